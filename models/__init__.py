"""What both sides share: the recommender, the catalogue, the shape of an update, the promise."""

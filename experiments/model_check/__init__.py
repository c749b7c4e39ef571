"""What every recommender must do: checks that `terry check model` and the tests run."""

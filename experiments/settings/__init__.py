"""The settings of a run, their defaults, and the queries and the promise that follow from them."""

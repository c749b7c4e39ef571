"""The code of the aggregator: rounds, sums, the optimiser and the accountant."""

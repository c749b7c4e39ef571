"""What runs at the aggregator: rounds, sums, the optimiser, the accountant."""

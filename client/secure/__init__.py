"""A node's side of secure aggregation."""

"""Trainers of devices, one by one or together, and how their updates are bounded and noised."""

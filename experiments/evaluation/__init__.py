"""Splits into training and test data, and the measurement of accuracy."""

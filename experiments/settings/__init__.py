"""The settings of a run, their defaults, and what a run asks of devices and promises by them."""

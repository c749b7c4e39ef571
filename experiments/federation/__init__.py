"""A federation of processes on one machine or several: its keys, its folder, and starting and stopping it."""

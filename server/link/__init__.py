"""The Flower server that devices reach: its two listeners, its operator, and the process that runs the rounds."""

"""The Flower server that devices reach: its listeners, its operator, and the process of its rounds."""

"""One run of a simulation: its engines, its folder, its result."""

"""Bounds that devices, the server and the command line share; a command's help needs nothing but them."""

# That one device stores, whatever its owner says: its memory and its work are bounded by a public number.
MOST_EVENTS = 100_000

# Of the linear model's matrix: its square is sent, and its eigenvectors are found.
MOST_ITEMS = 5_000

# Of a run: what a device may take part in is found from it, in doubles.
MOST_ROUNDS = 2**40

"""Limits that devices, the server and the command line share. Help texts need no more than this file."""

# Events that one device stores, whatever its owner sets: a public number bounds its memory and its work.
MOST_EVENTS = 100_000

# Items of the linear model's matrix: devices send its square, and its eigenvectors are computed.
MOST_ITEMS = 5_000

# Steps of a device in one round: the name of a random stream has 16 bits for the step.
MOST_STEPS = 65_535

# Rounds of a run: the rounds that a device may take part in are computed from it, in doubles.
MOST_ROUNDS = 2**40

# The optimisers of the server: one of this project's, or a class of another package.
OPTIMIZER = r"^(adam|sgd|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"
# Clipping norms that a device accepts, besides no clip at all.
LEAST_CLIP, MOST_CLIP = 1e-6, 1e6

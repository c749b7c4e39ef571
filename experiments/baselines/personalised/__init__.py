"""Published methods that keep an item table on every device; only the simulator trains and measures them.

No terrycloth device runs these methods and no promise covers them. They show how much of a published figure
comes from the way in which its training negatives were drawn (`examples.py`).
"""

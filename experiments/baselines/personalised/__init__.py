"""Published methods that keep a table of items on every device, trained by the simulator to be measured.

No device of ours runs them and no promise covers them: what they are for is the question how much of a
published figure comes from the protocol it was measured by (`examples.py`).
"""

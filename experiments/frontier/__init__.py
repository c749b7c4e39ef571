"""What each promise costs in accuracy: a grid of runs, one table of results and one page."""

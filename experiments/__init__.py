"""What a researcher runs: data sets, simulation, baselines, reports, and the command line."""

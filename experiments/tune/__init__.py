"""terry tune: search for settings on a validation split and record every trial."""

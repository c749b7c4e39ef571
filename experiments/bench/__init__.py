"""What `terry bench` measures: a round here, beside the same round by the tools that others use."""

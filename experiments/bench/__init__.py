"""The benchmark of `terry bench`: a round of terrycloth compared with the same round of other tools."""

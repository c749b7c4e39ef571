"""The names of the splits, in a module of their own so that the command line loads no splitting code."""

from typing import Literal, get_args

SplitName = Literal["date", "next-visit", "basket", "last-item"]
SPLITS = get_args(SplitName)

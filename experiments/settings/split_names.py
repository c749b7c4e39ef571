"""The names of the splits, apart from what parts the data: flags need them, and load nothing else."""

from typing import Literal, get_args

SplitName = Literal["date", "next-visit", "basket", "last-item"]
SPLITS = get_args(SplitName)

"""Train a federation in a folder that is deleted afterwards, for commands that only measure it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terrycloth.experiments.runs.run_folder import created
from terrycloth.experiments.runs.simulation import (
    Reporter,
    RoundLog,
    RunPlan,
    federate,
    lay_out,
    needed_bytes,
)


@contextmanager
def federated(plan: RunPlan, scratch: Path) -> Iterator[RoundLog]:
    """Train all rounds of a plan in the folder `scratch`, yield its rounds, and delete the folder.

    The model of the last round can be measured inside the block. Raises UserError if the run is refused, and
    NoSpace if the disk is full.
    """
    shutil.rmtree(scratch, ignore_errors=True)  # a killed run may have left it
    try:
        with created(scratch, needed_bytes(plan)) as folder:
            lay_out(plan, folder)
            yield federate(plan, folder, Reporter(), resume=False)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

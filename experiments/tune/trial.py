"""One run of a search: a federation like any other, over the validation split, measured at its end."""

import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from terrycloth.experiments.settings.config import RunConfig, explain
from terrycloth.models.errors import UserError

METRICS = ("ndcg@10", "hr@10", "sampled_ndcg@10", "sampled_hr@10")  # the columns of `simulation.flat`


class Run(NamedTuple):
    """What one process is asked: settings of trial number `trial`, and a seed."""

    trial: int
    seed: int
    settings: dict[str, Any]

    def config(self, said: RunConfig) -> RunConfig:
        """The settings of the run; measured once, at its end. Raises UserError."""
        only = {"seed": self.seed, "evaluate_every": 0, "central": False, "ceiling": False}
        try:
            return RunConfig.model_validate({**said.model_dump(), **self.settings, **only})
        except ValidationError as error:
            raise UserError(explain(error)) from None


class Outcome(NamedTuple):
    """metrics: by METRICS, empty where the run failed, for the reason given."""

    metrics: dict[str, float]
    seconds: float
    reason: str = ""


def measure(said: RunConfig, run: Run, scratch: Path) -> Outcome:
    """Train and measure one run in a folder of its own, which is gone after. In any process.

    Raises UserError where the disk is full.
    """
    from terrycloth.experiments.runs.run_folder import NoSpace, created
    from terrycloth.experiments.runs.simulation import Reporter, federate, flat, lay_out, needed_bytes

    started = time.monotonic()
    shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
    try:
        plan = validation_plan(run.config(said))
        with created(scratch, needed_bytes(plan)) as folder:
            lay_out(plan, folder)
            rounds = federate(plan, folder, Reporter(), resume=False)
            metrics = flat(rounds.measured or rounds.measure(rounds.score))
    except NoSpace:
        raise  # once there is some, the run is still to be done
    except UserError as error:
        return Outcome({}, time.monotonic() - started, str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Outcome({name: metrics[name] for name in METRICS}, time.monotonic() - started)


def validation_plan(config: RunConfig) -> Any:
    """The plan of a run over the validation split. Raises UserError."""
    from terrycloth.experiments.frontier.cell import DATA_SETTINGS
    from terrycloth.experiments.runs.simulation import plan_for

    dataset, split = validation_data(RunConfig(**{name: getattr(config, name) for name in DATA_SETTINGS}))
    return plan_for(config, dataset, split)


@lru_cache(maxsize=1)
def validation_data(config: RunConfig) -> Any:
    """The data set as it is before its test, and the validation split: read once a process."""
    from dataclasses import replace

    from terrycloth.experiments.datasets import load
    from terrycloth.experiments.evaluation.split import make_split, validation_split
    from terrycloth.experiments.runs.simulation import data_options, rule_of

    dataset = load(config.data, data_options(config))
    test = make_split(dataset, rule_of(config, dataset), config.data_seed, config.evaluate_sample)
    seen = replace(dataset, events=test.train, published=None, ceiling=None)
    return seen, validation_split(test, len(dataset.catalogue), config.data_seed)

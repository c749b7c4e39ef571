"""One run of a search: a normal federation on the validation split, measured at its end."""

import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from terrycloth.experiments.settings.config import RunConfig, explain
from terrycloth.models.errors import UserError

METRICS = ("ndcg@10", "hr@10", "sampled_ndcg@10", "sampled_hr@10")  # keys of `simulation.flat`


class Run(NamedTuple):
    """One run of a search: the number of its trial, its seed, and the trial's settings."""

    trial: int
    seed: int
    settings: dict[str, Any]

    def config(self, given: RunConfig) -> RunConfig:
        """Return the run's settings: those given, changed by the trial's, with one measurement at the end.

        Raises UserError if they are invalid.
        """
        only = {"seed": self.seed, "evaluate_every": 0, "central": False, "ceiling": False}
        try:
            return RunConfig.model_validate({**given.model_dump(), **self.settings, **only})
        except ValidationError as error:
            raise UserError(explain(error)) from None


class Outcome(NamedTuple):
    """The outcome of a run. metrics: by the names in METRICS; empty if the run failed for `reason`."""

    metrics: dict[str, float]
    seconds: float
    reason: str = ""


def measure(given: RunConfig, run: Run, scratch: Path) -> Outcome:
    """Train and measure one run in its own folder, which is deleted afterwards. Works in any process.

    given: the settings that the user gave. A refused or failed run gives an outcome without metrics. Raises
    UserError if the disk is full.
    """
    from terrycloth.experiments.runs.run_folder import NoSpace
    from terrycloth.experiments.runs.scratch import federated
    from terrycloth.experiments.runs.simulation import flat

    started = time.monotonic()
    try:
        with federated(validation_plan(run.config(given)), scratch) as rounds:
            metrics = flat(rounds.measured or rounds.measure(rounds.score))
    except NoSpace:
        raise  # the run is not recorded, so it is made once there is space
    except UserError as error:
        return Outcome({}, time.monotonic() - started, str(error))
    return Outcome({name: metrics[name] for name in METRICS}, time.monotonic() - started)


def validation_plan(config: RunConfig) -> Any:
    """Return the plan of a run on the validation split. Raises UserError if the settings are invalid."""
    from terrycloth.experiments.runs.simulation import plan_for
    from terrycloth.experiments.settings.config import DATA_SETTINGS

    dataset, split = validation_data(RunConfig(**{name: getattr(config, name) for name in DATA_SETTINGS}))
    return plan_for(config, dataset, split)


@lru_cache(maxsize=1)
def validation_data(config: RunConfig) -> Any:
    """Return the data set without its test events and the validation split, read once per process."""
    from terrycloth.experiments.datasets import data_options, load
    from terrycloth.experiments.evaluation.split import make_split, one_step_earlier
    from terrycloth.experiments.runs.simulation import rule_of

    dataset = load(config.data, data_options(config))
    test = make_split(dataset, rule_of(config, dataset), config.data_seed, config.evaluate_sample)
    return one_step_earlier(dataset, test, config.data_seed)

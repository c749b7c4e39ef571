"""What the report and the datasheet of a finished run are made from: its result, its model and its data."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from terrycloth.experiments.assessment.groups import GroupAccuracy, by_group
from terrycloth.experiments.assessment.identifying import Identifying, identifying
from terrycloth.experiments.assessment.made_up import MadeUp, made_up_shoppers
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.split import Split, make_split
from terrycloth.experiments.reports.comparison import recompute_ranks, reload_data
from terrycloth.experiments.runs.result import Result
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import rule_of
from terrycloth.experiments.runs.trained import Trained, load_trained
from terrycloth.models.privacy.promise import FALSE_ALARMS


@dataclass(frozen=True)
class FinishedRun:
    """A finished run with its data, which are read again. Raises UserError where a file is missing."""

    path: Path

    @cached_property
    def result(self) -> Result:
        """The content of result.json."""
        return RunFolder(self.path).read_result()

    @cached_property
    def trained(self) -> Trained:
        """The settings and the model."""
        return load_trained(RunFolder(self.path))

    @cached_property
    def dataset(self) -> Dataset:
        """The data of the run."""
        return reload_data(self.path, self.trained)

    @cached_property
    def split(self) -> Split:
        """The split of the run."""
        config = self.trained.config
        rule = rule_of(config, self.dataset)
        return make_split(self.dataset, rule, config.data_seed, config.evaluate_sample)

    @cached_property
    def identifying(self) -> Identifying:
        """How identifying the training purchases are."""
        return identifying(self.split.train, self.dataset.catalogue, dated=self.dataset.times_known)

    @cached_property
    def groups(self) -> list[GroupAccuracy]:
        """Accuracy by group; none if the devices measured, whose counts belong to no shopper."""
        if self.result.metrics.measured_by != "simulator":
            return []
        ranks = recompute_ranks(self.path, self.trained, self.result, self.split)
        return by_group(self.dataset, self.split, ranks)

    @cached_property
    def made_up(self) -> list[MadeUp]:
        """What made-up shoppers would be shown."""
        return list(made_up_shoppers(self.trained, self.split.now))

    @property
    def caught(self) -> float | None:
        """The largest share that an attacker with 1% false alarms recognises; None without a promise."""
        promise = self.result.promise
        return None if promise.epsilon is None else promise.caught(FALSE_ALARMS)

"""The search: propose settings, run them with several seeds, and confirm the best with fresh seeds.

A tree-structured Parzen estimator (Bergstra et al. 2011; Optuna's TPESampler) proposes the settings of each
trial. It uses only the recorded trials and the trial's own number, so a search that was stopped continues
exactly as if it had not been stopped. Trial 0 is the defaults. The best of many means over few seeds is
biased upwards. The best few trials and the defaults are therefore run again with fresh seeds, which had no
part in choosing them, and only these runs decide.

Nothing is pruned. A run has no value before its last round, and ending a trial after one seed would save a
third of its time but let the noise of that seed mislead the search.
"""

import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import optuna

from terrycloth.experiments.settings.planning import ResolvedConfig
from terrycloth.experiments.tune.folder import SearchFolder
from terrycloth.experiments.tune.space import Space, start_of, to_parameters, to_settings
from terrycloth.experiments.tune.trial import Outcome, Run

CONFIRMED = 3  # trials that are confirmed, besides the defaults
CONFIRMING_SEEDS = 3  # fresh seeds per seed of a trial
RUNS_AT_ONCE = (1 + CONFIRMED) * CONFIRMING_SEEDS  # at most, per seed of a trial
MINIMUM_TRIALS = 10  # with fewer, the importance of settings is not estimated

Runner = Callable[[list[Run]], Iterator[tuple[Run, Outcome]]]


class SearchResult(NamedTuple):
    """The result of a search.

    best: the number of the best trial. means: the mean metric of each confirmed trial over the fresh seeds.
    gain: the mean difference between the best trial and the defaults, paired by seed. error: the standard
    error of the gain. importance: the importance of each setting.
    """

    best: int
    means: dict[int, float]
    gain: float
    error: float
    importance: dict[str, float]


class Search:
    """A search that records its runs in a folder and calls `run` for the runs that the folder lacks."""

    def __init__(
        self,
        folder: SearchFolder,
        space: Space,
        default: ResolvedConfig,
        metric: str,
        seeds: int,
        run: Runner,
    ) -> None:
        self.folder = folder
        self.space = space
        self.start = start_of(space, default)
        self.metric = metric
        self.seeds = range(seeds)
        self.fresh = range(seeds, seeds + CONFIRMING_SEEDS * seeds)
        self.run = run
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize")

    def trials(self, number: int) -> None:
        """Run the trials 0 … number − 1, each with every seed."""
        for trial in range(number):
            settings = self.folder.settings.get(trial) or (self.propose(trial) if trial else self.start)
            self.measure([Run(trial, seed, settings) for seed in self.seeds])
            value = self.mean(trial, self.seeds)
            state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
            self.study.add_trial(
                optuna.trial.create_trial(
                    params=to_parameters(settings), distributions=dict(self.space), value=value, state=state
                )
            )

    def propose(self, trial: int) -> dict[str, float]:
        """Propose settings from the earlier trials, by a new study seeded with the trial's number."""
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=trial))
        study.add_trials(self.study.trials)
        return to_settings(study.ask(dict(self.space)).params)

    def measure(self, runs: list[Run]) -> None:
        """Make and record the runs that are not recorded yet."""
        left = [run for run in runs if (run.trial, run.seed) not in self.folder.outcomes]
        for run, outcome in self.run(left) if left else []:
            self.folder.add(run, outcome)

    def mean(self, trial: int, seeds: range) -> float | None:
        """Return the mean of a trial's metric over the seeds, or None if one of its runs failed."""
        values = self.values(trial, seeds)
        return None if None in values else statistics.fmean(value for value in values if value is not None)

    def values(self, trial: int, seeds: range) -> list[float | None]:
        """Return the metric for each seed; None if the run failed or no shopper could be tested."""
        values = [self.folder.outcomes[trial, seed].metrics.get(self.metric) for seed in seeds]
        return [None if value is None or value != value else value for value in values]

    def confirm(self) -> SearchResult:
        """Run the best few trials and the defaults with fresh seeds, and return the result.

        Of equal trials the earlier wins, so the defaults win first.
        """
        done = [trial for trial in self.study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        ranked = sorted(done, key=lambda trial: -(trial.value or 0.0))
        chosen = sorted({0, *(trial.number for trial in ranked[:CONFIRMED])})
        settings = self.folder.settings
        self.measure([Run(trial, seed, settings[trial]) for trial in chosen for seed in self.fresh])
        measured = {trial: self.mean(trial, self.fresh) for trial in chosen}
        means = {trial: mean for trial, mean in measured.items() if mean is not None}
        best = max(means, key=lambda trial: means[trial], default=0)
        pairs = zip(self.values(best, self.fresh), self.values(0, self.fresh), strict=True)
        gains = [value - default for value, default in pairs if value is not None and default is not None]
        gain = statistics.fmean(gains) if gains else 0.0
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        return SearchResult(best, means, gain, error, self.importance())

    def importance(self) -> dict[str, float]:
        """Return each setting's importance among the better trials (PED-ANOVA: Watanabe et al. 2023).

        The result is empty if there are fewer than MINIMUM_TRIALS trials without failures.
        """
        if len(self.study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) < MINIMUM_TRIALS:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(self.study, evaluator=evaluator))

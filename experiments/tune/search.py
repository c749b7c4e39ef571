"""The search itself: propose settings, run them over several seeds, and confirm the best with fresh ones.

Settings are proposed by a tree-structured Parzen estimator (Bergstra et al. 2011; Optuna's TPESampler), each
from what is recorded and the trial's own number alone, so that a search which was stopped goes on as if it
had not been. Trial 0 is the defaults. A mean over few seeds that came out best of many is too good to be
true, so the best few and the defaults are run once more with seeds that chose none of them, and these decide.

Nothing is pruned: a run has no value before its last round, and to give up a trial after one seed saves a
third of its time for a search that the noise of that seed misleads.
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

CONFIRMED = 3  # trials, besides the defaults
CONFIRMING_SEEDS = 3  # times as many as a trial has
RUNS_AT_ONCE = (1 + CONFIRMED) * CONFIRMING_SEEDS  # at most, for each of a trial's seeds
LEAST_TRIALS = 10  # that say anything of which setting mattered

Runner = Callable[[list[Run]], Iterator[tuple[Run, Outcome]]]


class Found(NamedTuple):
    """best: the trial that won. means: of every trial confirmed, by its fresh seeds. importance: by setting.

    gain, error: what the best has over the defaults, paired by seed, and its standard error.
    """

    best: int
    means: dict[int, float]
    gain: float
    error: float
    importance: dict[str, float]


class Search:
    """One search over a folder; `run` is called for what the folder does not hold yet."""

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
        """All trials up to so many."""
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
        """Settings that follow from the trials before, in a study of their own."""
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=trial))
        study.add_trials(self.study.trials)
        return to_settings(study.ask(dict(self.space)).params)

    def measure(self, runs: list[Run]) -> None:
        """Those that are not recorded."""
        left = [run for run in runs if (run.trial, run.seed) not in self.folder.outcomes]
        for run, outcome in self.run(left) if left else []:
            self.folder.add(run, outcome)

    def mean(self, trial: int, seeds: range) -> float | None:
        """Of a trial's metric; None where one of its runs failed."""
        values = self.values(trial, seeds)
        return None if None in values else statistics.fmean(value for value in values if value is not None)

    def values(self, trial: int, seeds: range) -> list[float | None]:
        """By seed; None where the run failed, or nobody could be tested."""
        found = [self.folder.outcomes[trial, seed].metrics.get(self.metric) for seed in seeds]
        return [None if value is None or value != value else value for value in found]

    def confirm(self) -> Found:
        """The best few and the defaults, by fresh seeds; of equals the earlier, so the defaults first."""
        done = [trial for trial in self.study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        ranked = sorted(done, key=lambda trial: -(trial.value or 0.0))
        chosen = sorted({0, *(trial.number for trial in ranked[:CONFIRMED])})
        settings = self.folder.settings
        self.measure([Run(trial, seed, settings[trial]) for trial in chosen for seed in self.fresh])
        found = {trial: self.mean(trial, self.fresh) for trial in chosen}
        means = {trial: mean for trial, mean in found.items() if mean is not None}
        best = max(means, key=lambda trial: means[trial], default=0)
        pairs = zip(self.values(best, self.fresh), self.values(0, self.fresh), strict=True)
        gains = [one - other for one, other in pairs if one is not None and other is not None]
        gain = statistics.fmean(gains) if gains else 0.0
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        return Found(best, means, gain, error, self.importance())

    def importance(self) -> dict[str, float]:
        """How much each setting matters among the better trials (PED-ANOVA: Watanabe et al. 2023)."""
        if len(self.study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) < LEAST_TRIALS:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(self.study, evaluator=evaluator))

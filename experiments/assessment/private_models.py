"""Train the recommender under one promise, or under none, and measure it on one period."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from terrycloth.client.events import Events
from terrycloth.experiments.assessment.period import Measured, Period
from terrycloth.experiments.runs.scratch import federated
from terrycloth.experiments.runs.simulation import RunPlan, central_scorer, plan_for
from terrycloth.experiments.runs.trained import Trained
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import LEAST_NODES, resolve
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.privacy.trust import TRUST_MODELS, AnyTrust

NUMBERS = count(1)


@dataclass(frozen=True)
class Asked:
    """A promise at the level of shoppers: its trust model and its ε."""

    trust: AnyTrust
    epsilon: float


class Trainer:
    """Trains one kind of model over a period, in a scratch folder.

    config: the settings that no promise changes, such as the model. seeds: the number of runs per promise,
    over whose noise a measurement is averaged.
    """

    def __init__(self, config: RunConfig, scratch: Path, seeds: int) -> None:
        alone = {"central": False, "floors": False, "ceiling": False, "baselines": False, "evaluate_every": 0}
        self.config = config.model_copy(update=alone)
        self.scratch = scratch
        self.seeds = seeds

    def without_promise(self, period: Period) -> Measured:
        """Measure the same model trained on pooled data without noise."""
        plan = self.plan(period, self.config.model_copy(update={"unit": "none"}))
        return period.measure(central_scorer(plan))

    def like(self, config: RunConfig) -> "Trainer":
        """Return a trainer of the same model under other settings."""
        return Trainer(config.model_copy(update={"model": self.config.model}), self.scratch, self.seeds)

    def under(self, asked: Asked, period: Period, times_as_many: int = 1) -> Measured:
        """Measure the federated model under a promise, as the mean over its seeds.

        times_as_many: estimate the accuracy with this many times as many shoppers who are like the present
        ones. The sum of their updates is then as many times larger while the noise stays the same, so the
        present shoppers are trained with a fraction of the noise. What further shoppers would teach besides
        that is left out, so the estimate is cautious.
        """
        measured = []
        for seed in range(self.seeds):
            plan = self.plan(period, asking(self.config, asked, period, times_as_many, seed))
            with federated(plan, self.own_folder()) as rounds:
                measured.append(period.measure_devices(rounds.score))
        return Measured.mean(measured)

    def trained_under(self, asked: Asked, period: Period) -> Trained:
        """Train once under a promise, and return the released model with its settings."""
        plan = self.plan(period, asking(self.config, asked, period))
        with federated(plan, self.own_folder()) as rounds:
            assert rounds.scorer is not None
            rounds.scorer(Events.none(1))  # loads what was released into the model
            return Trained(plan.config, period.dataset.catalogue, rounds.model)

    def own_folder(self) -> Path:
        """Return a folder for one run; a device keeps the catalogue that it has read in its folder."""
        return self.scratch.with_name(f"{self.scratch.name}-{next(NUMBERS)}")

    def promise(self, asked: Asked, period: Period) -> Promise:
        """Return the promise in full, as a run without a seed would make it."""
        return self.plan(period, asking(self.config, asked, period, seed=None)).promise

    def plan(self, period: Period, config: RunConfig) -> RunPlan:
        """Return the plan of a run over a period. Raises UserError if the promise cannot be kept."""
        return plan_for(config, period.dataset, period.split)


def asking(
    config: RunConfig, asked: Asked, period: Period, times_as_many: int = 1, seed: int | None = 0
) -> RunConfig:
    """Return the settings of a run under a promise."""
    masked = TRUST_MODELS[asked.trust].secure_aggregation
    promise = {
        "unit": "shopper",
        "trust": asked.trust,
        "epsilon": asked.epsilon,
        "seed": seed,
        "nodes": LEAST_NODES if masked else 1,
    }
    config = config.model_copy(update=promise)
    if times_as_many == 1:
        return config
    # δ, and so the noise, also follows from the number of shoppers.
    devices = times_as_many * period.dataset.events.num_devices
    resolved = resolve(config, devices, period.num_items)
    noise = resolved.noise_multiplier / times_as_many
    return config.model_copy(update={"epsilon": None, "noise_multiplier": noise})

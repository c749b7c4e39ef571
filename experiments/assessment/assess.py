"""Assess what private personalisation would do for one shop.

Every choice is made on an earlier period, and a later one measures what was chosen.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from terrycloth.experiments.assessment.alternatives import Alternative, alternatives
from terrycloth.experiments.assessment.choice import EPSILONS, Choice, choose
from terrycloth.experiments.assessment.columns import WithoutColumn, leave_out
from terrycloth.experiments.assessment.identifying import Identifying, identifying
from terrycloth.experiments.assessment.made_up import MadeUp, made_up_shoppers
from terrycloth.experiments.assessment.period import Measured, Period, periods
from terrycloth.experiments.assessment.private_models import Asked, Trainer
from terrycloth.experiments.assessment.verdict import Verdict, verdict
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.settings.auto_model import PublicFacts
from terrycloth.experiments.settings.auto_model import choose as choose_model
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.privacy.promise import FALSE_ALARMS, Promise

MODEL_FOR_MANY_ITEMS = "linear"
WEAKEST = Asked("central", EPSILONS[0])  # the promise under which models are compared
TIMES_AS_MANY = (1, 10, 100)
SEEDS = 3  # where noise is largest; once is enough at ten times as many shoppers

Say = Callable[[str], None]


@dataclass(frozen=True)
class Assessment:
    """Everything that an assessment found.

    unprotected: the best model without privacy, by its label. models: by name, the figures without a promise
    and under the weakest one on the earlier period, by which `model` was chosen. private: the model under the
    chosen promise. at_sizes: by ε and by how many times as many shoppers, the model under the trust chosen.
    caught: by ε, the largest share of shoppers that an attacker with 1% false alarms recognises. made_up:
    made-up shoppers, and what the model under the chosen promise would show them.
    """

    later: Period
    identifying: Identifying
    columns: list[WithoutColumn]
    alternatives: list[Alternative]
    models: dict[str, tuple[float, float]]
    model: str
    unprotected: tuple[str, Measured]
    choice: Choice
    promise: Promise
    private: Measured
    at_sizes: dict[float, dict[int, Measured]]
    caught: dict[float, float]
    made_up: list[MadeUp]
    verdict: Verdict
    seconds: float

    @property
    def floors(self) -> dict[str, Measured]:
        """The floors on the later period, by their labels."""
        return {each.label: each.later for each in self.alternatives if each.floor}


def assess(config: RunConfig, dataset: Dataset, scratch: Path, say: Say = lambda stage: None) -> Assessment:
    """Assess a data set. scratch: a folder for the runs, which is deleted. say: is told of each stage.

    Raises UserError if the data leave too few shoppers to test.
    """
    started = time.monotonic()
    say("splitting by date, and measuring how identifying the purchases are")
    earlier, later = periods(config, dataset)
    facts = identifying(later.split.train, dataset.catalogue, dated=dataset.times_known)

    say("tuning best sellers and the other alternatives")
    others = list(alternatives(earlier, later))

    say("comparing models on the earlier period")
    models = {name: of_model(config, name, scratch) for name in candidates(dataset)}
    reached = {
        name: (each.without_promise(earlier), each.under(WEAKEST, earlier)) for name, each in models.items()
    }
    model = max(reached, key=lambda name: reached[name][1].found.mean())
    trainer = models[model]

    say("leaving out one column after another")
    once = Trainer(trainer.config, scratch, seeds=1)
    columns = list(
        leave_out(
            earlier, trainer.config, lambda period, changed: once.under(WEAKEST, period, config=changed)
        )
    )

    say("choosing the promise on the earlier period")
    unprotected_earlier = {f"the same model ({model})": reached[model][0]}
    unprotected_earlier |= {each.label: each.earlier for each in others if not each.floor}
    best_label = max(unprotected_earlier, key=lambda label: unprotected_earlier[label].found.mean())
    best = float(unprotected_earlier[best_label].found.mean())
    known = {WEAKEST: float(reached[model][1].found.mean())}
    choice = choose(
        lambda asked: known[asked] if asked in known else float(trainer.under(asked, earlier).found.mean()),
        best,
    )

    say("measuring on the later period, at this number of shoppers and at more")
    same_model = trainer.without_promise(later)
    unprotected = next((each.later for each in others if each.label == best_label), same_model)
    at_sizes = {
        epsilon: {
            times: (trainer if times == 1 else once).under(Asked(choice.asked.trust, epsilon), later, times)
            for times in TIMES_AS_MANY
        }
        for epsilon in EPSILONS
    }
    private = at_sizes[choice.asked.epsilon][1]
    promises = {epsilon: trainer.promise(Asked(choice.asked.trust, epsilon), later) for epsilon in EPSILONS}

    say("asking what made-up shoppers would see")
    made_up = list(made_up_shoppers(trainer.trained_under(choice.asked, later), later.split.now))
    floors = {each.label: each.later for each in others if each.floor}
    more = {times: at_sizes[choice.asked.epsilon][times] for times in TIMES_AS_MANY[1:]}
    asked = choice.asked
    answer = verdict(
        floors, unprotected, private, choice.near, f"ε = {asked.epsilon:g} with {asked.trust} trust", more
    )
    return Assessment(
        later,
        facts,
        columns,
        others,
        {name: (alone.per_100, private.per_100) for name, (alone, private) in reached.items()},
        model,
        (best_label, unprotected),
        choice,
        promises[choice.asked.epsilon],
        private,
        at_sizes,
        {epsilon: promise.caught(FALSE_ALARMS) for epsilon, promise in promises.items()},
        made_up,
        answer,
        time.monotonic() - started,
    )


def candidates(dataset: Dataset) -> list[str]:
    """Return the models to compare: the one for large catalogues, and the one that suits the catalogue."""
    suits, _ = choose_model(PublicFacts.of(dataset.catalogue), "shopper")
    return list(dict.fromkeys((MODEL_FOR_MANY_ITEMS, suits)))


def of_model(config: RunConfig, model: str, scratch: Path) -> Trainer:
    """Return what trains one kind of model."""
    return Trainer(config.model_copy(update={"model": model}), scratch, SEEDS)

"""Assess what private personalisation would do for one shop.

Every choice is made on an earlier period, and a later one measures what was chosen.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

from terrycloth.experiments.assessment.alternatives import Alternative, alternatives, trials
from terrycloth.experiments.assessment.choice import EPSILONS, LEAST_TRUST_FIRST, Choice, choose
from terrycloth.experiments.assessment.columns import WithoutColumn, leave_out
from terrycloth.experiments.assessment.half_lives import HALF_LIVES, with_half_lives
from terrycloth.experiments.assessment.identifying import Identifying, identifying
from terrycloth.experiments.assessment.made_up import MadeUp, made_up_shoppers
from terrycloth.experiments.assessment.period import Measured, Period, periods
from terrycloth.experiments.assessment.private_models import Asked, Trainer
from terrycloth.experiments.assessment.verdict import Verdict, verdict
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.runs.simulation import Reporter
from terrycloth.experiments.runs.trained import Trained
from terrycloth.experiments.settings.auto_model import PublicFacts
from terrycloth.experiments.settings.auto_model import choose as choose_model
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.privacy.promise import FALSE_ALARMS, Promise
from terrycloth.models.privacy.trust import TRUST_MODELS, AnyTrust
from terrycloth.models.recommenders.kinds import kind_of

MODEL_FOR_MANY_ITEMS = "linear"
WEAKEST = Asked("central", EPSILONS[0])  # the promise under which models are compared
TIMES_AS_MANY = (1, 10, 100)
T = TypeVar("T")
SEEDS = 3  # where models are compared and the answer is measured; for all other choices, once is enough


@dataclass(frozen=True)
class Assessment:
    """Everything that an assessment found.

    left_out: why alternatives are left out. models: by name, the figures without a promise and under the
    weakest one on the earlier period, by which `model` was chosen. unprotected: the best model without
    privacy, by its label. at_sizes: by ε and by how many times as many shoppers, the model under the trust
    chosen. caught: by ε, the largest share of shoppers that an attacker with 1% false alarms recognises.
    trained: the model under the chosen promise. made_up: made-up shoppers, and what it would show them.
    """

    later: Period
    identifying: Identifying
    columns: list[WithoutColumn]
    alternatives: list[Alternative]
    left_out: list[str]
    models: dict[str, tuple[float, float]]
    model: str
    unprotected: tuple[str, Measured]
    choice: Choice
    promise: Promise
    at_sizes: dict[float, dict[int, Measured]]
    caught: dict[float, float]
    trained: Trained
    made_up: list[MadeUp]
    verdict: Verdict
    seconds: float

    @property
    def private(self) -> Measured:
        """The model under the chosen promise, on the later period."""
        return self.at_sizes[self.choice.asked.epsilon][1]

    @property
    def floors(self) -> dict[str, Measured]:
        """The floors on the later period, by their labels."""
        return {each.label: each.later for each in self.alternatives if each.floor}


def assess(
    config: RunConfig, dataset: Dataset, scratch: Path, reporter: Reporter | None = None
) -> Assessment:
    """Assess a data set. scratch: a folder for the runs, which is deleted.

    Raises UserError if the data leave too few shoppers to test.
    """
    started = time.monotonic()
    reporter = reporter or Reporter()
    reporter.doing("splitting by date, and measuring how identifying the purchases are")
    earlier, later = periods(config, dataset)
    facts = identifying(later.split.train, dataset.catalogue, dated=dataset.times_known)

    reporter.doing("tuning best sellers and the other alternatives", trials(later))
    others, left_out = alternatives(earlier, later, reporter.step)

    reporter.doing("choosing half-lives on the earlier period", 1 + sum(map(len, HALF_LIVES.values())))
    config = with_half_lives(config, lambda changed: reach_of_linear(changed, earlier, scratch, reporter))

    reporter.doing("comparing models on the earlier period")
    models = {name: of_model(config, name, scratch, SEEDS) for name in candidates(dataset)}
    reached = {
        name: (each.without_promise(earlier), each.under(WEAKEST, earlier)) for name, each in models.items()
    }
    model = max(reached, key=lambda name: reached[name][1].per_100)
    trainer, once = models[model], of_model(config, model, scratch, seeds=1)

    reporter.doing("leaving out one column after another")
    columns = leave_out(earlier, config, lambda period, changed: once.like(changed).under(WEAKEST, period))
    needed = list(counted(columns, reporter))

    reporter.doing("choosing the promise on the earlier period")
    same = f"the same model ({model})"
    unprotected = {same: reached[model][0]}
    unprotected |= {each.label: each.earlier for each in others if each.earlier is not None}
    best = max(unprotected, key=lambda label: unprotected[label].per_100)
    known = {WEAKEST: reached[model][1]}
    choice = choose(
        lambda asked: (known.get(asked) or once.under(asked, earlier)).per_100,
        unprotected[best].per_100,
        trusts_in_time(model),
    )

    reporter.doing(
        "measuring on the later period, here and with more shoppers", len(EPSILONS) * len(TIMES_AS_MANY)
    )
    measured = {each.label: each.later for each in others}
    if best == same:
        measured[same] = trainer.without_promise(later)
    trust = choice.asked.trust
    at_sizes: dict[float, dict[int, Measured]] = {epsilon: {} for epsilon in EPSILONS}
    for epsilon, times in product(EPSILONS, TIMES_AS_MANY):
        several = trainer if times == 1 else once
        at_sizes[epsilon][times] = several.under(Asked(trust, epsilon), later, times)
        reporter.step()
    promises = {epsilon: trainer.promise(Asked(trust, epsilon), later) for epsilon in EPSILONS}

    reporter.doing("asking what made-up shoppers would see")
    trained = trainer.trained_under(choice.asked, later)
    at_chosen = at_sizes[choice.asked.epsilon]
    return Assessment(
        later=later,
        identifying=facts,
        columns=needed,
        alternatives=others,
        left_out=left_out,
        models={name: (alone.per_100, private.per_100) for name, (alone, private) in reached.items()},
        model=model,
        unprotected=(best, measured[best]),
        choice=choice,
        promise=promises[choice.asked.epsilon],
        at_sizes=at_sizes,
        caught={epsilon: promise.caught(FALSE_ALARMS) for epsilon, promise in promises.items()},
        trained=trained,
        made_up=list(made_up_shoppers(trained, later.split.now)),
        verdict=verdict(
            {each.label: each.later for each in others if each.floor},
            measured[best],
            at_chosen[1],
            choice.near,
            f"ε = {choice.asked.epsilon:g}",
            {times: at_chosen[times] for times in TIMES_AS_MANY if times > 1},
        ),
        seconds=time.monotonic() - started,
    )


def trusts_in_time(model: str) -> tuple[AnyTrust, ...]:
    """Return the trust models to try, from the least trust on.

    Secure aggregation takes several messages per round, so many rounds of it take minutes. It is tried for
    models with few rounds.
    """
    few_rounds = bool(kind_of(model).releases)
    return tuple(
        trust for trust in LEAST_TRUST_FIRST if few_rounds or not TRUST_MODELS[trust].secure_aggregation
    )


def candidates(dataset: Dataset) -> list[str]:
    """Return the models to compare: the one for large catalogues, and the one that suits the catalogue."""
    suits, _ = choose_model(PublicFacts.of(dataset.catalogue), "shopper")
    return list(dict.fromkeys((MODEL_FOR_MANY_ITEMS, suits)))


def of_model(config: RunConfig, model: str, scratch: Path, seeds: int) -> Trainer:
    """Return what trains one kind of model."""
    return Trainer(config.model_copy(update={"model": model}), scratch, seeds)


def reach_of_linear(config: RunConfig, period: Period, scratch: Path, reporter: Reporter) -> float:
    """Return what the linear model reaches under the weakest promise, and count a step."""
    measured = of_model(config, MODEL_FOR_MANY_ITEMS, scratch, seeds=1).under(WEAKEST, period)
    reporter.step()
    return measured.per_100


def counted(steps: Iterable[T], reporter: Reporter) -> Iterator[T]:
    """Yield what is made one after the other, and count it."""
    for each in steps:
        yield each
        reporter.step()

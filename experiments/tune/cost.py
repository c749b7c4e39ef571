"""The privacy cost of a search, which is not part of the ε of its runs: that ε covers one run."""

from typing import NamedTuple

from terrycloth.experiments.datasets import SOURCES
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import resolve
from terrycloth.experiments.tune.trial import Run
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import History, epsilon_composed
from terrycloth.models.privacy.promise import Promise, rounded_up


class SearchCost(NamedTuple):
    """The cost of a search. models: how many were trained. epsilon: that of releasing them all.

    epsilon is None if there is no promise.
    """

    models: int
    epsilon: float | None


def cost_of(given: RunConfig, runs: list[Run], devices: int, items: int) -> SearchCost:
    """Compose the histories of all runs, including those of other seeds, at the δ of one run.

    A run whose settings were refused trained no model and costs nothing. Without a promise, ε is None.
    """
    histories: dict[int, History] = {}
    history: History = ()
    models, delta, renyi = 0, 0.0, False
    for run in runs:
        if run.trial not in histories:
            try:
                resolved = resolve(run.config(given), devices, items)
            except UserError:
                continue
            histories[run.trial] = ()
            if given.unit != "none":
                settings = resolved.settings
                histories[run.trial] = settings.history(settings.last_round)
                delta, renyi = settings.delta, settings.only_renyi
        models, history = models + 1, history + histories[run.trial]
    if given.unit == "none":
        return SearchCost(models, None)
    return SearchCost(models, epsilon_composed(history, delta, only_renyi=renyi).epsilon)


def statement(cost: SearchCost, data: str, promise: Promise) -> str:
    """Return sentences that say whether the promise covers the cost of the search."""
    if not SOURCES[data].real:
        return "These data are synthetic: the search used no person's data, so it costs no privacy."
    if cost.epsilon is None or promise.epsilon is None or promise.delta is None:
        return "There is no promise. The settings were chosen on these data, and no ε covers that choice."
    return (
        f"The promise does not cover the search: ε = {rounded_up(promise.epsilon)} covers one run, and the "
        f"search trained {cost.models:,} models. Releasing all of them would cost at most "
        f"ε = {rounded_up(cost.epsilon)} (δ = {rounded_up(promise.delta)}) for the training data. The "
        "settings were chosen by exact metrics on held-out purchases, and no ε covers these metrics. To keep "
        "the promise, use settings that were found on public or synthetic data."
    )

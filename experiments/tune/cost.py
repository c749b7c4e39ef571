"""What a search costs in privacy: never a part of its runs' ε, which covers one run."""

from typing import NamedTuple

from terrycloth.experiments.datasets import SOURCES
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import resolve
from terrycloth.experiments.tune.trial import Run
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import History, epsilon_composed
from terrycloth.models.privacy.promise import Promise, rounded_up


class SearchCost(NamedTuple):
    """models: how many were trained. epsilon: of all of them, released together; None: no promise."""

    models: int
    epsilon: float | None


def cost_of(said: RunConfig, runs: list[Run], devices: int, items: int) -> SearchCost:
    """The history of every run, seeds included, composed at the δ of one; without a promise there is none.

    A run whose settings were refused trained nothing.
    """
    histories: dict[int, History] = {}
    history: History = ()
    models, delta, renyi = 0, 0.0, False
    for run in runs:
        if run.trial not in histories:
            try:
                resolved = resolve(run.config(said), devices, items)
            except UserError:
                continue
            histories[run.trial] = ()
            if said.unit != "none":
                settings = resolved.settings
                histories[run.trial] = settings.history(settings.last_round)
                delta, renyi = settings.delta, settings.only_renyi
        models, history = models + 1, history + histories[run.trial]
    if said.unit == "none":
        return SearchCost(models, None)
    return SearchCost(models, epsilon_composed(history, delta, only_renyi=renyi).epsilon)


def statement(cost: SearchCost, data: str, promise: Promise) -> str:
    """Whether the cost of the search is inside the promise, in plain sentences."""
    if not SOURCES[data].real:
        return "These data are synthetic: the search looked at nobody, so it costs no privacy."
    if cost.epsilon is None or promise.epsilon is None or promise.delta is None:
        return "No promise is made. The settings come of looking at these data, which no ε covers."
    return (
        f"The search is not inside the promise: ε = {rounded_up(promise.epsilon)} covers one run, and the "
        f"search trained {cost.models:,}. Were all of their models released, that would be at most "
        f"ε = {rounded_up(cost.epsilon)} (δ = {rounded_up(promise.delta)}) for what is trained on; the "
        "purchases held out to choose by were counted exactly, which no ε covers. To keep the promise, use "
        "settings that were found on public or synthetic data."
    )

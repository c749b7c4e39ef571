"""Made-up shoppers: what they would be shown and why, so that nobody has to look at a real one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terrycloth.client.events import Array, Events
from terrycloth.client.serving import serving_vectors
from terrycloth.experiments.reports.reasons import spoken
from terrycloth.experiments.reports.recommendation import Recommendation, best_items, recommended
from terrycloth.experiments.runs.trained import Trained
from terrycloth.models.catalogue import TITLE, Catalogue

SHOPPERS = 3
BOUGHT = 3  # items of each made-up shopper
SHOWN = 10


@dataclass(frozen=True)
class MadeUp:
    """A made-up shopper. interest: what the bought items have in common. bought: their titles."""

    interest: str
    bought: list[str]
    shown: list[Recommendation]


def made_up_shoppers(trained: Trained, now: int) -> Iterator[MadeUp]:
    """Yield shoppers who bought a few items that share a value of an attribute, and what they are shown.

    Their items are those that the model, which is already released, shows first to somebody who has bought
    nothing; so nothing but the catalogue and the model is used. now: the time of their visit, in seconds
    since 1970.
    """
    catalogue = trained.catalogue
    nobody = Events.none(1)
    vectors = serving_vectors(trained.model, nobody, trained.config.serving)
    ((order, _),) = best_items(trained.model, vectors, nobody, len(catalogue))
    for interest, items in interests(catalogue, np.array(order)):
        bought = items[:BOUGHT]
        one = np.ones(len(bought))
        own = Events.from_columns(0 * bought, bought, now * one, one, num_devices=1)
        titles = [str(catalogue.table[TITLE][item]) for item in bought]
        yield MadeUp(interest, titles, recommended(trained, own, SHOWN))


def interests(catalogue: Catalogue, order: Array) -> list[tuple[str, Array]]:
    """Return SHOPPERS interests, each with its items in the given order.

    They are the commonest values of the attribute that is known of most items. Without attributes, the items
    are dealt out in turn.
    """
    names = catalogue.attributes
    if not names:
        return [("", order[first::SHOPPERS]) for first in range(SHOPPERS)]
    best = max(names, key=lambda name: int(catalogue.table[name].map(len).gt(0).to_numpy().sum()))
    cells = catalogue.table[best]
    values = cells.explode().dropna().value_counts().index[:SHOPPERS]
    return [
        (
            spoken(f"{best}={value}"),
            np.array([item for item in order.tolist() if value in cells[item]], dtype=np.int64),
        )
        for value in values
    ]

"""Made-up shoppers: what they would be shown and why, so that nobody has to look at a real one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from terrycloth.client.events import Events
from terrycloth.client.serving import Serving, serving_vectors
from terrycloth.experiments.reports.recommendation import reasons, spoken
from terrycloth.models.catalogue import TITLE, Catalogue
from terrycloth.models.recommenders.recommender import Recommender

SHOPPERS = 3
BOUGHT = 3  # items of each made-up shopper
SHOWN = 10
REASONS = 2  # named for each item; the others add up to a rest
REST = "everything else"


@dataclass(frozen=True)
class Shown:
    """An item that a made-up shopper is shown. reasons: parts of its score by name, which add up to it."""

    title: str
    score: float
    reasons: dict[str, float]


@dataclass(frozen=True)
class MadeUp:
    """A made-up shopper. interest: the attribute and value that the bought items share."""

    interest: str
    bought: list[str]
    shown: list[Shown]


def made_up_shoppers(
    model: Recommender, serving: Serving, catalogue: Catalogue, now: int
) -> Iterator[MadeUp]:
    """Yield shoppers who bought a few items that share a value of an attribute, and what they are shown.

    Their items are the ones that the model, which is already released, shows first to somebody without
    purchases, so nothing but the catalogue and the model is used. now: the time of their visit, in seconds
    since 1970.
    """
    with torch.no_grad():
        appeal = model.score_catalogue(serving_vectors(model, Events.none(1), serving))[0].numpy()
    order = np.argsort(-appeal, kind="stable")
    for interest, items in interests(catalogue, order):
        bought = items[:BOUGHT]
        own = Events.from_columns(
            np.zeros(len(bought), dtype=np.int64), bought, np.full(len(bought), now), np.ones(len(bought)), 1
        )
        vector = serving_vectors(model, own, serving)
        with torch.no_grad():
            scores = model.score_catalogue(vector)[0]
        scores[torch.from_numpy(bought.astype(np.int64))] = -torch.inf
        best = scores.topk(min(SHOWN, len(scores) - len(bought)))
        shown = [
            Shown(
                title_of(catalogue, int(item)), float(score), with_rest(reasons(model, vector[0], int(item)))
            )
            for score, item in zip(*best, strict=True)
        ]
        yield MadeUp(interest, [title_of(catalogue, int(item)) for item in bought], shown)


def interests(catalogue: Catalogue, order: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return SHOPPERS interests, each with its items in the given order.

    They are the commonest values of the attribute that is known of most items; without attributes, items are
    taken in turn.
    """
    names = catalogue.attributes
    if not names:
        return [("no attributes are known", order[first::SHOPPERS]) for first in range(SHOPPERS)]
    known = {name: catalogue.table[name].map(len).gt(0).sum() for name in names}
    best = max(names, key=lambda name: known[name])
    cells = catalogue.table[best]
    values = cells.explode().dropna().value_counts().index[:SHOPPERS]
    return [
        (spoken(f"{best}={value}"), order[cells.iloc[order].map(lambda has, value=value: value in has)])
        for value in values
    ]


def title_of(catalogue: Catalogue, item: int) -> str:
    """Return the title of an item."""
    return str(catalogue.table[TITLE][item])


def with_rest(parts: dict[str, float]) -> dict[str, float]:
    """Return the largest parts of a score, and the sum of all others as a rest, so that they still add up."""
    named = dict(list(parts.items())[:REASONS])
    others = list(parts.values())[REASONS:]
    return named | ({REST: sum(others)} if others else {})

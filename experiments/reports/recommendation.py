"""Recommend items to a shopper from a run folder, as the device would with its own events."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from terrycloth.client.events import Events
from terrycloth.client.serving import serving_vectors
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.trained import load_trained
from terrycloth.models.catalogue import ITEM, TITLE
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import Recommender

REASONS_SHOWN = 4


@dataclass(frozen=True)
class Recommendation:
    """A recommended item. reasons: exact parts of the score by name, largest first; they sum to the score."""

    rank: int
    item: str
    title: str
    score: float
    reasons: dict[str, float]


def recommend(run: Path, device: int, top: int) -> list[Recommendation]:
    """Return the `top` best items that the device does not hold yet.

    Raises UserError if the run folder cannot be used or has no such device.
    """
    folder = RunFolder(run)
    trained = load_trained(folder)
    model, catalogue = trained.model, trained.catalogue
    try:
        events = Events.load(folder.devices / "events")
    except FileNotFoundError as error:
        raise UserError(f"{run} lacks {Path(error.filename).name}: run it again") from None
    if not 0 <= device < events.num_devices:
        raise UserError(
            f"there is no device {device} in {run}: its devices are 0 to {events.num_devices - 1}"
        )
    own = events.span(device, device + 1)
    vector = serving_vectors(model, own, trained.config.serving)
    with torch.no_grad():
        scores = model.score_catalogue(vector)[0]
        scores[torch.from_numpy(own.items.astype(np.int64))] = -torch.inf
        best = scores.topk(min(top, len(scores)))
    chosen = [(int(item), float(score)) for score, item in zip(*best, strict=True) if score > -torch.inf]
    return [
        Recommendation(
            rank=rank,
            item=str(catalogue.table[ITEM][item]),
            title=str(catalogue.table[TITLE][item]),
            score=score,
            reasons=reasons(model, vector[0], item),
        )
        for rank, (item, score) in enumerate(chosen, start=1)
    ]


def reasons(model: Recommender, vector: torch.Tensor, item: int) -> dict[str, float]:
    """Return the parts of an item's score by name, largest first; none if the model has no exact parts."""
    with torch.no_grad():
        parts = model.explain(vector, item)
    if parts is None:
        return {}
    parts = parts or {"you have no items yet": 0.0}
    return dict(sorted(parts.items(), key=lambda part: -abs(part[1])))


def spoken(reason: str) -> str:
    """Return a reason in words: `colour=blue` becomes blue, but a number keeps its attribute: price 5–9."""
    attribute, equals, value = reason.partition("=")
    if not equals:
        return reason
    return value if any(letter.isalpha() for letter in value) else f"{attribute} {value}"


def print_recommendations(run: Path, device: int, top: int, *, as_json: bool) -> None:
    """Print recommendations as a table with the largest reasons, or as JSON with every reason."""
    recommendations = recommend(run, device, top)
    if as_json:
        print(
            json.dumps(
                [asdict(recommendation) for recommendation in recommendations], ensure_ascii=False, indent=2
            )
        )
        return
    table = Table("", "item", "score", "because", title=f"device {device}")
    for each in recommendations:
        digits = 2 if abs(each.score) >= 0.1 else 4  # scores of the linear model are small
        shown = [f"{spoken(name)} {part:+.{digits}f}" for name, part in each.reasons.items()]
        because = ", ".join(shown[:REASONS_SHOWN]) or "the model is a network: its score has no exact parts"
        table.add_row(str(each.rank), each.title, f"{each.score:.2f}", because)
    make_console().print(table)

"""A shopper's list from a run folder, as the device would make it: shared parameters and its own events."""

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
    """One item of a list. reasons: name → exact part of the score, largest first; they add up to it."""

    rank: int
    item: str
    title: str
    score: float
    reasons: dict[str, float]


def recommend(run: Path, device: int, top: int) -> list[Recommendation]:
    """The `top` best items that the device does not hold yet. Raises UserError."""
    folder = RunFolder(run)
    trained = load_trained(folder)
    model, catalogue = trained.model, trained.catalogue
    try:
        events = Events.load(folder.devices / "events")
    except FileNotFoundError as error:
        raise UserError(f"{run} lacks {Path(error.filename).name}: run it again") from None
    if not 0 <= device < events.num_devices:
        raise UserError(f"there is no device {device} in {run}: they are 0 to {events.num_devices - 1}")
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
    """The parts of the score by name, the largest first; none where the model cannot explain its scores."""
    with torch.no_grad():
        parts = model.explain(vector, item)
    if parts is not None and not parts:
        parts = {"nothing you have, yet": 0.0}
    if parts is None:
        return {}
    return dict(sorted(parts.items(), key=lambda part: -abs(part[1])))


def spoken(reason: str) -> str:
    """`colour=blue` as a person says it: blue; but a bare number keeps its attribute: price 5–9."""
    attribute, equals, value = reason.partition("=")
    if not equals:
        return reason
    return value if any(letter.isalpha() for letter in value) else f"{attribute} {value}"


def print_recommendations(run: Path, device: int, top: int, *, as_json: bool) -> None:
    """As a table, or as JSON with every reason."""
    found = recommend(run, device, top)
    if as_json:
        print(json.dumps([asdict(recommendation) for recommendation in found], ensure_ascii=False, indent=2))
        return
    table = Table("", "item", "score", "because", title=f"device {device}")
    for each in found:
        digits = 2 if abs(each.score) >= 0.1 else 4  # the linear model's scores are small
        shown = [f"{spoken(name)} {part:+.{digits}f}" for name, part in each.reasons.items()]
        because = ", ".join(shown[:REASONS_SHOWN]) or "the model is a network: its score has no exact parts"
        table.add_row(str(each.rank), each.title, f"{each.score:.2f}", because)
    make_console().print(table)

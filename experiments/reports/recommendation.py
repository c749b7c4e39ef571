"""Recommend items to shoppers from a run folder, as their devices would with their own events."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from rich.table import Column, Table

from terrycloth.client.events import Events
from terrycloth.client.serving import serving_vectors
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.reports.reasons import because, digits_of
from terrycloth.experiments.runs.files import write_whole
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.trained import Trained, load_trained
from terrycloth.models.catalogue import ITEM, TITLE
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import Recommender

HISTORY_SHOWN = 10
DEVICES_AT_ONCE = 256
CSV_COLUMNS = ("device", "rank", "item", "title", "score")


@dataclass(frozen=True)
class Recommendation:
    """A recommended item. reasons: exact parts of the score by name, largest first; they sum to the score."""

    rank: int
    item: str
    title: str
    score: float
    reasons: dict[str, float]


@dataclass(frozen=True)
class Bought:
    """An event of the history that a list was made from. time: in seconds since 1970."""

    item: str
    title: str
    time: int


def recommend(run: Path, device: int | None, top: int) -> list[Recommendation]:
    """Return the `top` best items that the device does not hold yet.

    device: None stands for a shopper who has bought nothing. Raises UserError if the run folder cannot be
    used or has no such device.
    """
    trained = load_trained(RunFolder(run))
    return recommended(trained, events_of(run, device), top)


def events_of(run: Path, device: int | None) -> Events:
    """Return the events of one device: none for None. Raises UserError if there is no such device."""
    if device is None:
        nothing = np.zeros(0, dtype=np.int64)
        return Events.from_columns(nothing, nothing, nothing, nothing.astype(np.float64), num_devices=1)
    events = load_events(run)
    if not 0 <= device < events.num_devices:
        raise UserError(
            f"there is no device {device} in {run}: its devices are 0 to {events.num_devices - 1}"
        )
    return events.span(device, device + 1)


def load_events(run: Path) -> Events:
    """Return the events of all devices of a run. Raises UserError if they are missing."""
    try:
        return Events.load(RunFolder(run).devices / "events")
    except FileNotFoundError as error:
        if RunFolder(run).read_config().engine == "federation":
            raise UserError(
                f"{run} is a federation, whose devices keep their own events: name the run of a simulation"
            ) from None
        raise UserError(f"{run} lacks {Path(error.filename).name}: run it again") from None


def recommended(trained: Trained, own: Events, top: int) -> list[Recommendation]:
    """Return the list of the one device whose events these are."""
    model, table = trained.model, trained.catalogue.table
    vectors = serving_vectors(model, own, trained.config.serving)
    ((items, scores),) = best_items(model, vectors, own, top)
    return [
        Recommendation(
            rank, str(table[ITEM][item]), str(table[TITLE][item]), score, reasons(model, vectors[0], item)
        )
        for rank, (item, score) in enumerate(zip(items, scores, strict=True), start=1)
    ]


def best_items(
    model: Recommender, vectors: torch.Tensor, own: Events, top: int
) -> Iterator[tuple[list[int], list[float]]]:
    """Yield for each device its `top` best items that it does not hold, and their scores.

    vectors: [devices, dim], of the devices whose events `own` holds.
    """
    with torch.no_grad():
        scores = model.score_catalogue(vectors)
        scores[torch.from_numpy(own.devices), torch.from_numpy(own.items.astype(np.int64))] = -torch.inf
        best = scores.topk(min(top, scores.shape[1]), dim=1)
    for row, items in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        known = [(item, score) for item, score in zip(items, row, strict=True) if score > -float("inf")]
        yield [item for item, _ in known], [score for _, score in known]


def reasons(model: Recommender, vector: torch.Tensor, item: int) -> dict[str, float]:
    """Return the parts of an item's score by name, largest first; none if the model has no exact parts."""
    with torch.no_grad():
        parts = model.explain(vector, item)
    if parts is None:
        return {}
    parts = parts or {"you have no items yet": 0.0}
    return dict(sorted(parts.items(), key=lambda part: -abs(part[1])))


def history(trained: Trained, own: Events) -> list[Bought]:
    """Return the events that a device is served from, the newest first."""
    used, table = own.newest(trained.config.serving.most_events), trained.catalogue.table
    return [
        Bought(str(table[ITEM][item]), str(table[TITLE][item]), int(time))
        for item, time in reversed(list(zip(used.items.tolist(), used.times.tolist(), strict=True)))
    ]


def print_recommendations(run: Path, device: int | None, top: int, *, as_json: bool) -> None:
    """Print the history and the recommendations with their reasons, or the latter as JSON.

    device: None stands for a shopper who has bought nothing.
    """
    trained, own = load_trained(RunFolder(run)), events_of(run, device)
    listed = recommended(trained, own, top)
    if as_json:
        print(json.dumps([asdict(each) for each in listed], ensure_ascii=False, indent=2))
        return
    console = make_console()
    for line in history_lines(history(trained, own)):
        console.print(line)
    who = "a shopper who has bought nothing" if device is None else f"device {device}"
    table = Table("", Column("item", ratio=1), "score", Column("why", ratio=2), title=who)
    for each in listed:
        why = because(each.reasons, each.score, known=len(own) > 0)
        table.add_row(str(each.rank), each.title, f"{each.score:.{digits_of(each.score)}f}", why)
    console.print(table)


def history_lines(bought: list[Bought]) -> list[str]:
    """Return the history that a list was made from, one line per event, the newest first."""
    if not bought:
        return ["No purchases are known, so the list is the one that everybody gets at first."]
    events = "1 purchase" if len(bought) == 1 else f"{len(bought):,} purchases"
    lines = [f"The list is made from {events}, the newest first:"]
    for each in bought[:HISTORY_SHOWN]:
        day = f"{datetime.fromtimestamp(each.time, UTC):%Y-%m-%d}"
        lines.append(f"  {day}  {each.title}")
    if len(bought) > HISTORY_SHOWN:
        lines.append(f"  and {len(bought) - HISTORY_SHOWN:,} before these")
    return lines


def write_all(run: Path, top: int, path: Path) -> int:
    """Write the lists of all devices into a new CSV file, readable by its owner only.

    Returns the number of devices. Raises UserError if the file exists or cannot be written.
    """
    if path.exists():
        raise UserError(f"{path} exists: choose another --csv, or remove it")
    trained, events = load_trained(RunFolder(run)), load_events(run)
    table, text = trained.catalogue.table, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for start in range(0, events.num_devices, DEVICES_AT_ONCE):
        own = events.span(start, min(start + DEVICES_AT_ONCE, events.num_devices))
        vectors = serving_vectors(trained.model, own, trained.config.serving)
        for device, (items, scores) in enumerate(best_items(trained.model, vectors, own, top), start=start):
            for rank, (item, score) in enumerate(zip(items, scores, strict=True), start=1):
                writer.writerow((device, rank, table[ITEM][item], table[TITLE][item], f"{score:.6g}"))
    write_whole(path, text.getvalue(), remedy="choose another --csv")
    return events.num_devices

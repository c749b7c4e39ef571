"""Helpers that write a shop's two files, and show what an import makes of them in a readable form."""

from pathlib import Path
from typing import Any

from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset

Purchase = tuple[int, str, str, float]  # device, item, time, weight


def table(text: str, delimiter: str = ",") -> str:
    """Return a table as a CSV file; in the text, cells may be aligned with spaces around |."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(delimiter.join(cell.strip() for cell in line.split("|")) for line in lines) + "\n"


def import_files(folder: Path, orders: str | bytes, items: str | bytes, **options: Any) -> Dataset:
    """Write the two files and import them."""
    for name, text in (("orders.csv", orders), ("items.csv", items)):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return load("csv", DataOptions(path=folder / "orders.csv", catalogue=folder / "items.csv", **options))


def purchases(dataset: Dataset) -> list[Purchase]:
    """Return every event: device, item, the time of its visit (UTC) and weight."""
    items = dataset.catalogue.table["item"].to_numpy()[dataset.events.items].tolist()
    times = dataset.events.times.astype("datetime64[s]").astype("datetime64[m]").astype(str).tolist()
    return list(
        zip(dataset.events.devices.tolist(), items, times, dataset.events.weights.tolist(), strict=True)
    )


def catalogue(dataset: Dataset) -> list[list[Any]]:
    """Return the rows of the catalogue."""
    rows: list[list[Any]] = dataset.catalogue.table.to_numpy().tolist()
    return rows

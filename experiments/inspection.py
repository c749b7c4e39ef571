"""What `terry data inspect` prints: rows, columns, the shape of the histories, the catalogue's attributes."""

import numpy as np
from rich.table import Table

from client.evaluation import NONE
from experiments.console import make_console
from experiments.datasets.dataset import Dataset
from experiments.split import leave_one_out


def print_dataset(dataset: Dataset) -> None:
    """Everything that was kept and everything that was not."""
    console = make_console()
    console.print(rows_table(dataset))
    report = dataset.report
    if report.columns_kept:
        console.print(f"columns kept: {', '.join(report.columns_kept)}")
    if report.columns_dropped:
        console.print(f"columns dropped: {', '.join(report.columns_dropped)}")
    for column, why in report.columns_never_read.items():
        console.print(f"column never read: {column} ({why})")
    for note in report.notes:
        console.print(note)
    console.print(shape_table(dataset))
    console.print(attribute_table(dataset))


def rows_table(dataset: Dataset) -> Table:
    """rows read = rows kept + rows dropped, by reason."""
    report = dataset.report
    table = Table("rows", "number", title=f"{dataset.name}: {report.source}")
    table.add_row("read", f"{report.rows_read:,}")
    table.add_row("kept", f"{report.rows_kept:,}")
    for reason, rows in report.rows_dropped.items():
        table.add_row(f"dropped: {reason}", f"{rows:,}")
    return table


def shape_table(dataset: Dataset) -> Table:
    """Devices, items, and how long the histories are."""
    counts = dataset.events.counts
    split = leave_one_out(dataset)
    table = Table("what", "number", title="shape")
    table.add_row("devices", f"{dataset.events.num_devices:,}")
    table.add_row("items", f"{len(dataset.catalogue):,}")
    table.add_row("events", f"{len(dataset.events):,}")
    quartiles = np.percentile(counts, [0, 25, 50, 75, 100]).astype(int)
    table.add_row("events a device: least, quartiles, most", " ".join(f"{count:,}" for count in quartiles))
    table.add_row("devices with an item held out", f"{int((split.held_out != NONE).sum()):,}")
    table.add_row("later events left out of training", f"{split.later:,}")
    return table


def attribute_table(dataset: Dataset) -> Table:
    """Each attribute: how many values it has, which are the commonest, what share of the items has one."""
    table = Table("attribute", "values", "items with one", "commonest", title="catalogue")
    for attribute in dataset.catalogue.attributes:
        values = dataset.catalogue.table[attribute].explode().dropna()
        known = dataset.catalogue.table[attribute].map(len).gt(0).mean()
        common = ", ".join(str(value) for value in values.value_counts().index[:4])
        table.add_row(attribute, f"{values.nunique():,}", f"{known:.0%}", common)
    return table

"""What `terry data inspect` prints: rows, columns, the histories, what is known of time, the catalogue."""

from datetime import UTC, datetime

import numpy as np
from rich.table import Table

from terrycloth.client.events import Array, Events
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.split import DAY, QUANTILE, make_split, midnight, parted, rule_for
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.settings.split_names import SPLITS, SplitName
from terrycloth.models.errors import UserError


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
    console.print(time_table(dataset))
    console.print(split_table(dataset))
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
    table = Table("what", "number", title="shape")
    table.add_row("devices", f"{dataset.events.num_devices:,}")
    table.add_row("items", f"{len(dataset.catalogue):,}")
    table.add_row("events", f"{len(dataset.events):,}")
    table.add_row("events a device: least, quartiles, most", quartiles(dataset.events.counts))
    return table


def quartiles(counts: Array) -> str:
    """The least, the quartiles and the most of some counts; of none, a dash."""
    if len(counts) == 0:
        return "–"
    return " ".join(f"{count:,}" for count in np.percentile(counts, [0, 25, 50, 75, 100]).astype(int))


def time_table(dataset: Dataset) -> Table:
    """How much is known of time: the span, what a visit holds, and who is new in the last part."""
    events, order = dataset.events, dataset.report.file_order
    table = Table("what", "number", title="time")
    if not dataset.times_known or len(events) == 0:
        table.add_row("times", "none: what a shopper did is one visit")
        return table
    first, last = int(events.times.min()), int(events.times.max())
    visits, items = visit_sizes(events)
    several = np.unique(visits[items > 1])
    table.add_row("first and last day", f"{day_of(first)} to {day_of(last)}")
    table.add_row("days", f"{last // DAY - first // DAY + 1:,}")
    table.add_row("visits", f"{len(visits):,}")
    table.add_row(
        "visits a device: least, quartiles, most", quartiles(np.bincount(visits)[events.counts > 0])
    )
    table.add_row("different items a visit: least, quartiles, most", quartiles(items))
    share = len(several) / int((events.counts > 0).sum())
    table.add_row("shoppers with a visit of several items", f"{share:.1%}")
    if order is not None and order.visits:
        shares = f"{order.ascending / order.visits:.1%} (by chance {order.by_chance / order.visits:.1%})"
        table.add_row("visits that the file lists in ascending item id", shares)
    at = midnight(events, QUANTILE)
    table.add_row(f"buyers from {day_of(at)} on who were unseen before", share_unseen(events, at))
    return table


def visit_sizes(events: Events) -> tuple[Array, Array]:
    """Of each visit its device and how many different items it holds: int64 [visits] each."""
    devices, visits = events.devices, events.visits
    rows = np.stack([devices, visits, events.items])
    begins = np.ones(len(events), dtype=np.bool_)
    begins[1:] = (rows[:2, 1:] != rows[:2, :-1]).any(axis=0)
    different = begins.copy()
    different[1:] |= rows[2, 1:] != rows[2, :-1]  # inside a visit items are sorted
    starts = np.flatnonzero(begins)
    return devices[starts], np.add.reduceat(different.astype(np.int64), starts)


def share_unseen(events: Events, at: int) -> str:
    """Of the shoppers who bought from `at` on, the part that had bought nothing before."""
    later, earlier = (np.unique(events.devices[mask]) for mask in (events.times >= at, events.times < at))
    return f"{1 - np.isin(later, earlier).mean():.1%}"


def day_of(instant: int) -> str:
    """The day (UTC) of an instant: 2011-11-02."""
    return datetime.fromtimestamp(instant, UTC).date().isoformat()


def split_table(dataset: Dataset) -> Table:
    """How many shoppers each split would test, and on how many targets."""
    table = Table("split", "shoppers tested", "targets", "what it is", title="splits")
    for name in SPLITS:
        try:
            table.add_row(*split_row(dataset, name))
        except UserError as error:
            table.add_row(name, "–", "–", str(error))
    return table


def split_row(dataset: Dataset, name: SplitName) -> tuple[str, str, str, str]:
    """Its name, shoppers, targets and sentence. Raises UserError where the data cannot be split so."""
    rule = rule_for(dataset, name)
    if rule.published:
        targets = make_split(dataset, rule).test.targets
    else:  # no negatives are drawn
        targets = parted(dataset.events, rule, seed=0).targets
    called = f"{name}, from {rule.date} on" if rule.date else name
    return called, f"{(targets.counts > 0).sum():,}", f"{len(targets):,}", rule.sentence


def attribute_table(dataset: Dataset) -> Table:
    """Each attribute: how many values it has, which are the commonest, what share of the items has one."""
    table = Table("attribute", "values", "items with one", "commonest", title="catalogue")
    for attribute in dataset.catalogue.attributes:
        values = dataset.catalogue.table[attribute].explode().dropna()
        known = dataset.catalogue.table[attribute].map(len).gt(0).mean()
        common = ", ".join(str(value) for value in values.value_counts().index[:4])
        table.add_row(attribute, f"{values.nunique():,}", f"{known:.0%}", common)
    return table

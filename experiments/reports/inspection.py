"""What `terry data inspect` prints: rows, columns, histories, times, splits and the catalogue."""

from datetime import UTC, datetime

import numpy as np
from rich.table import Table

from terrycloth.client.events import Array, Events
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.split import QUANTILE, make_split, midnight, parted, rule_for
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.settings.split_names import SPLITS, SplitName
from terrycloth.models.errors import UserError
from terrycloth.models.times import DAY


def print_dataset(dataset: Dataset) -> None:
    """Print what was kept, what was left out, and how the data are distributed."""
    console = make_console()
    console.print(rows_table(dataset))
    report = dataset.report
    if report.columns_kept:
        console.print(f"columns kept: {', '.join(report.columns_kept)}")
    if report.columns_dropped:
        console.print(f"columns dropped: {', '.join(report.columns_dropped)}")
    for column, why in report.columns_never_read.items():
        console.print(f"column never read: {column} ({why})")
    for sentence in report.sentences():
        console.print(sentence)
    console.print(shape_table(dataset))
    console.print(time_table(dataset))
    console.print(split_table(dataset))
    console.print(attribute_table(dataset))


def rows_table(dataset: Dataset) -> Table:
    """The number of rows read, kept, and dropped for each reason; read = kept + dropped."""
    report = dataset.report
    table = Table("rows", "number", title=f"{dataset.name}: {report.source}")
    table.add_row("read", f"{report.rows_read:,}")
    table.add_row("kept", f"{report.rows_kept:,}")
    for reason, rows in report.rows_dropped.items():
        table.add_row(f"dropped: {reason}", f"{rows:,}")
    return table


def shape_table(dataset: Dataset) -> Table:
    """The numbers of devices, items and events, and the lengths of the histories."""
    table = Table("what", "number", title="shape")
    table.add_row("devices", f"{dataset.events.num_devices:,}")
    table.add_row("items", f"{len(dataset.catalogue):,}")
    table.add_row("events", f"{len(dataset.events):,}")
    table.add_row("events per device: minimum, quartiles, maximum", quartiles(dataset.events.counts))
    return table


def quartiles(counts: Array) -> str:
    """The minimum, quartiles and maximum of some counts as text; a dash if there are no counts."""
    if len(counts) == 0:
        return "–"
    return " ".join(f"{count:,}" for count in np.percentile(counts, [0, 25, 50, 75, 100]).astype(int))


def time_table(dataset: Dataset) -> Table:
    """The span of the data, the visits and their sizes, and the share of new shoppers in the last part."""
    events, order = dataset.events, dataset.report.file_order
    table = Table("what", "number", title="time")
    if not dataset.times_known or len(events) == 0:
        table.add_row("times", "none: each shopper's purchases are one visit")
        return table
    first, last = int(events.times.min()), int(events.times.max())
    visits, items = visit_sizes(events)
    several = np.unique(visits[items > 1])
    table.add_row("first and last day", f"{day_of(first)} to {day_of(last)}")
    table.add_row("days", f"{last // DAY - first // DAY + 1:,}")
    table.add_row("visits", f"{len(visits):,}")
    table.add_row(
        "visits per device: minimum, quartiles, maximum", quartiles(np.bincount(visits)[events.counts > 0])
    )
    table.add_row("different items per visit: minimum, quartiles, maximum", quartiles(items))
    share = len(several) / int((events.counts > 0).sum())
    table.add_row("shoppers with a visit of several items", f"{share:.1%}")
    if order is not None and order.visits:
        shares = f"{order.ascending / order.visits:.1%} (by chance {order.by_chance / order.visits:.1%})"
        table.add_row("visits that the file lists in ascending order of item id", shares)
    boundary = midnight(events, QUANTILE)
    new_buyers = f"buyers from {day_of(boundary)} on who had not bought before"
    table.add_row(new_buyers, share_unseen(events, boundary))
    return table


def visit_sizes(events: Events) -> tuple[Array, Array]:
    """The device and the number of different items of each visit: int64 [visits] each."""
    devices, visits = events.devices, events.visits
    rows = np.stack([devices, visits, events.items])
    begins = np.ones(len(events), dtype=np.bool_)
    begins[1:] = (rows[:2, 1:] != rows[:2, :-1]).any(axis=0)
    different = begins.copy()
    different[1:] |= rows[2, 1:] != rows[2, :-1]  # the items of a visit are sorted
    starts = np.flatnonzero(begins)
    return devices[starts], np.add.reduceat(different.astype(np.int64), starts)


def share_unseen(events: Events, at: int) -> str:
    """The share, in per cent, of the shoppers who bought from `at` on but not before."""
    later, earlier = (np.unique(events.devices[mask]) for mask in (events.times >= at, events.times < at))
    return f"{1 - np.isin(later, earlier).mean():.1%}"


def day_of(instant: int) -> str:
    """The day (UTC) of an instant in seconds since 1970, as in 2011-11-02."""
    return datetime.fromtimestamp(instant, UTC).date().isoformat()


def split_table(dataset: Dataset) -> Table:
    """How many shoppers each split would test, and on how many targets."""
    table = Table("split", "shoppers tested", "targets", "description", title="splits")
    for name in SPLITS:
        try:
            table.add_row(*split_row(dataset, name))
        except UserError as error:
            table.add_row(name, "–", "–", str(error))
    return table


def split_row(dataset: Dataset, name: SplitName) -> tuple[str, str, str, str]:
    """A split's name, shoppers, targets and description. Raises UserError if the data cannot be split so."""
    rule = rule_for(dataset, name)
    if rule.published:
        targets = make_split(dataset, rule).test.targets
    else:  # no negatives are drawn
        targets = parted(dataset.events, rule, seed=0).targets
    label = f"{name}, from {rule.date} on" if rule.date else name
    return label, f"{(targets.counts > 0).sum():,}", f"{len(targets):,}", rule.sentence


def attribute_table(dataset: Dataset) -> Table:
    """For each attribute, its number of values, the share of items with one, and the commonest values."""
    table = Table("attribute", "values", "items with one", "commonest", title="catalogue")
    for attribute in dataset.catalogue.attributes:
        values = dataset.catalogue.table[attribute].explode().dropna()
        known = dataset.catalogue.table[attribute].map(len).gt(0).mean()
        common = ", ".join(str(value) for value in values.value_counts().index[:4])
        table.add_row(attribute, f"{values.nunique():,}", f"{known:.0%}", common)
    return table

"""The page's main table: one row per point, with all its metrics, its promise and its commands below it."""

from terrycloth.experiments.evaluation.metric_table import METRICS
from terrycloth.experiments.frontier.baseline_table import NAMES_OF
from terrycloth.experiments.frontier.points import Federation, Point
from terrycloth.experiments.frontier.table import SAMPLED
from terrycloth.experiments.frontier.table_cells import HITS, epsilon_cell, measured
from terrycloth.experiments.pages.page import Commands, Terms
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
from terrycloth.models.privacy.promise import FALSE_ALARMS, rounded_up

CAPTION = (
    "Hits of 100: of 100 next purchases, how many are among ten recommendations, as the mean over shoppers "
    "(HR@10 × 100) and over the seeds, with the lowest and the highest in brackets. Gain: what shoppers' "
    "data add to that, compared with a device by itself."
)
COLUMNS = (
    Column("shoppers", number=True), Column("model"), Column("promise"), Column("ε", number=True),
    Column(HITS, number=True), Column("beside its best floor"), Column("gain", number=True),
)  # fmt: skip


def point_table(federations: list[Federation]) -> Table:
    """Return the table of all points, each the mean of its seeds."""
    entries = [entry_of(federation, point) for federation in federations for point in federation.points]
    return Table(CAPTION, COLUMNS, entries, filtered=True)


def entry_of(federation: Federation, point: Point) -> Entry:
    """Return the row of a point."""
    of = point.of
    leaky = "leaky negative sampling" if of("negative_sampling") == "leaky" else None
    promise = "none" if of("unit") == "none" else f"{of('unit')} level, {of('trust')} trust"
    return Entry(
        [
            Cell(f"{of('devices'):,}", of("devices")),
            Cell(", ".join(filter(None, (of("model"), of("variant"), leaky)))),
            Cell(promise),
            epsilon_cell(point.epsilon),
            measured(point.spread("hr@10"), 100.0, "{:.1f}"),
            floor_cell(point),
            gain_cell(point),
        ],
        [of("promise"), Terms(further(federation, point)), Commands([row["command"] for row in point.rows])],
        "promise, all metrics and commands",
    )


def gain_cell(point: Point) -> Cell:
    """Return a cell with what shoppers' data add to the hits of 100 that a device reaches by itself."""
    gain = point.mean("above_nothing_released")
    return Cell("–", -1.0) if gain is None else Cell(f"{100 * gain:+.1f}", gain)


def floor_cell(point: Point) -> Cell:
    """Return a cell that says whether a point is above or below its best floor, and names that floor."""
    floor = point.floor()
    if floor is None:
        return Cell("–", "")
    where = "below" if point.below() else "above"
    return Cell(f"{where} {floor.label} ({100 * floor.level:.1f})", f"{where} {floor.label}")


def further(federation: Federation, point: Point) -> dict[str, str]:
    """Return everything else that is known about a point, by its name."""
    of, caught = point.of, point.spread("caught")
    metrics = {name: metric.label for name, metric in METRICS.items() if metric.on_page}
    metrics |= {name: NAMES_OF[name] for name in SAMPLED} if federation.published else {}
    return {
        "data": of("data"),
        "split": f"{federation.split_label}. {federation.sentence}",
        **({} if of("delta") is None else {"δ": rounded_up(of("delta"))}),
        **(
            {}
            if caught is None
            else {f"caught at {FALSE_ALARMS:.0%} false alarms": f"{rounded_up(100 * caught.high)}% at most"}
        ),
        **{label: measured(point.spread(name)).text for name, label in metrics.items()},
        "bytes sent per device": f"{of('bytes_up_per_device'):,}",
        "rounds": str(of("rounds")),
        "seconds": f"{point.mean('seconds'):.1f}",
        "seeds": str(len(point.rows)),
    }

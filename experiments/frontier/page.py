"""Write the page of a frontier: one file that needs no network, from page.html, page.css and page.js."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from terrycloth.experiments.evaluation.metric_table import METRICS
from terrycloth.experiments.frontier.baseline_table import SAMPLED_HEADERS, baseline_rows
from terrycloth.experiments.frontier.baseline_table import headers as baseline_headers
from terrycloth.experiments.frontier.findings import findings, opening_sentences
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.points import Federation, Point
from terrycloth.experiments.frontier.style import Drawn
from terrycloth.experiments.frontier.svg import inline_svg
from terrycloth.experiments.frontier.table import COLUMNS, SAMPLED, Row
from terrycloth.experiments.frontier.table_cell import TableCell, measured
from terrycloth.experiments.runs.files import RUN_AGAIN, write_whole
from terrycloth.experiments.runs.result import Versions
from terrycloth.models.privacy.promise import rounded_up

# The headings of the metrics that the table shows in addition to HR@10.
FURTHER = {name: metric.label for name, metric in METRICS.items() if metric.on_page and name != "hr@10"}


@dataclass(frozen=True)
class Figure:
    """A drawn figure, and its SVG as the page holds it."""

    drawn: Drawn
    svg: Markup


@dataclass(frozen=True)
class PageRow:
    """One row of the page's main table, which shows one point.

    published: whether metrics that rank among 99 sampled negatives are shown too.
    """

    federation: Federation
    point: Point
    published: bool

    @cached_property
    def cells(self) -> list[TableCell]:
        """The cells of the row, in the order of `headers`."""
        of, epsilon = self.point.of, self.point.epsilon
        delta, split = of("delta"), self.federation.split_label
        leaky = "leaky negative sampling" if of("negative_sampling") == "leaky" else None
        return [
            TableCell(of("data"), of("data"), number=False),
            TableCell(split, split, number=False),
            TableCell(f"{of('devices'):,}", of("devices")),
            TableCell(
                model := ", ".join(filter(None, (of("model"), of("variant"), leaky))), model, number=False
            ),
            TableCell(of("unit"), of("unit"), number=False),
            TableCell(of("trust") or "–", of("trust") or "", number=False),
            TableCell(
                "∞" if math.isinf(epsilon) else f"{epsilon:g}", 1e9 if math.isinf(epsilon) else epsilon
            ),
            TableCell("–" if delta is None else rounded_up(delta), delta or 0.0),
            floor_cell(self.point),
            measured(self.point.spread("hr@10")),
            measured(self.point.spread("above_nothing_released"), "{:+.3f}"),
            *(measured(self.point.spread(name)) for name in FURTHER),
            *(measured(self.point.spread(name)) for name in (SAMPLED if self.published else ())),
            TableCell(f"{of('bytes_up_per_device'):,}", of("bytes_up_per_device")),
            TableCell(str(of("rounds")), of("rounds")),
            TableCell(f"{self.point.mean('seconds'):.1f}", self.point.mean("seconds") or 0.0),
            TableCell(str(len(self.point.rows)), len(self.point.rows)),
        ]


def floor_cell(point: Point) -> TableCell:
    """Return a cell that says whether a point is above or below its best floor, and names that floor."""
    floor = point.floor()
    if floor is None:
        return TableCell("–", "", number=False)
    where = "below" if point.below() else "above"
    return TableCell(f"{where} {floor.label} ({floor.level:.3f})", f"{where} {floor.label}", number=False)


def headers(published: bool) -> tuple[str, ...]:
    """Return the headings of the main table."""
    return (
        "data", "split", "devices", "model", "unit", "trust", "ε", "δ", "best floor", "HR@10",
        "above nothing released", *FURTHER.values(),
        *(SAMPLED_HEADERS if published else ()), "bytes per device", "rounds", "seconds", "seeds",
    )  # fmt: skip


def write_page(
    folder: FrontierFolder,
    rows: list[Row],
    federations: list[Federation],
    drawn: list[Drawn],
    not_compared: list[str] | None = None,
) -> None:
    """Write index.html in one step. Everything except the SVG of the figures is escaped.

    not_compared: why some baselines are missing from the page.
    """
    environment = Environment(
        loader=PackageLoader("terrycloth.experiments.frontier", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = [
        Figure(one, Markup(inline_svg((folder.figures / f"{one.name}.svg").read_text("utf-8"), one.name)))
        for one in drawn
    ]
    published = any(federation.published for federation in federations)
    context: dict[str, Any] = {
        "title": "What privacy costs: " + ", ".join(dict.fromkeys(row["data"] for row in rows)),
        "first": opening_sentences(federations),
        "splits": {federation.split_label: federation.sentence for federation in federations},
        "published": published,
        "answers": findings(rows, federations),
        "figures": figures,
        "headers": headers(published),
        "rows": [
            PageRow(federation, point, published) for federation in federations for point in federation.points
        ],
        "baseline_headers": baseline_headers(published),
        "baseline_rows": [row for federation in federations for row in baseline_rows(federation, published)],
        "not_compared": not_compared or [],
        "failed": [row for row in rows if row["status"] == "failed"],
        "columns": COLUMNS,
        "versions": Versions.installed().model_dump(),
    }
    write_whole(folder.page, environment.get_template("page.html").render(context), RUN_AGAIN)

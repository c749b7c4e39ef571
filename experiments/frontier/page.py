"""The page of a frontier: the answer and one chart, a chart for each further question, then everything."""

from terrycloth.experiments.frontier.answer import CHOSEN, answer, headline, question, tiles
from terrycloth.experiments.frontier.baseline_table import baseline_table
from terrycloth.experiments.frontier.figure import Figure, name_of
from terrycloth.experiments.frontier.findings import REAL_RUN, Finding, findings, opening_sentences
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.point_table import point_table
from terrycloth.experiments.frontier.points import Federation
from terrycloth.experiments.frontier.table import COLUMNS, Row
from terrycloth.experiments.pages.page import Bullets, Commands, Links, Page, Part, Section, Terms, write_page
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
from terrycloth.experiments.runs.files import RUN_AGAIN
from terrycloth.experiments.runs.result import Versions


def write_frontier_page(
    folder: FrontierFolder,
    rows: list[Row],
    federations: list[Federation],
    figures: list[Figure],
    not_compared: list[str] | None = None,
) -> None:
    """Write index.html in one step. not_compared: why some baselines are missing from the page."""
    page = make_page(rows, federations, figures, not_compared or [])
    write_page(page, folder.page, RUN_AGAIN)


def make_page(
    rows: list[Row], federations: list[Federation], figures: list[Figure], not_compared: list[str]
) -> Page:
    """Return the page."""
    first = first_figure(federations, figures)
    others = [one.page for one in figures if one is not first]
    sections = [
        Section("What was promised, and to whom?", promises(federations)),
        Section("More charts", others),
        Section("Every point", points(rows, federations, not_compared)),
        *(
            Section(finding.question, in_words(finding), opened=False)
            for finding in findings(rows, federations)
        ),
        Section("Columns of frontier.csv", [Terms(described(COLUMNS), code=True)], opened=False),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in Versions.installed().model_dump().items())
    sizes = sorted({federation.devices for federation in federations})
    return Page(
        title=f"A frontier of {len(rows):,} runs"
        + (f" with {' and '.join(f'{size:,}' for size in sizes)} shoppers" if sizes else ""),
        question=question(rows),
        answer=answer(rows, federations),
        tiles=tiles(federations),
        chart=first.page if first else None,
        alert=opening_sentences(federations),
        sections=[section for section in sections if section.parts],
        footer=f"{versions}. The same grid gives the same numbers on the same machine, except for seconds.",
    )


def first_figure(federations: list[Federation], figures: list[Figure]) -> Figure | None:
    """Return the figure of the federation that the answer is about, else the first one."""
    one = headline(federations)
    name = one and name_of(
        "frontier", one.federation.data, str(one.federation.devices), *one.federation.family[1:]
    )
    return next((each for each in figures if each.name == name), figures[0] if figures else None)


def promises(federations: list[Federation]) -> list[Part]:
    """Return the promise of the first screen in full, and what it does not say."""
    one = headline(federations)
    if one is None:
        return []
    return [str(one.point.of("promise")), *([REAL_RUN, CHOSEN] if one.point.private else [])]


def in_words(finding: Finding) -> list[Part]:
    """Return a finding: its first sentence, and the others as a list."""
    first, *others = finding.sentences
    return [first, Bullets(others)] if others else [first]


def points(rows: list[Row], federations: list[Federation], not_compared: list[str]) -> list[Part]:
    """Return the tables: points, baselines, and runs that failed."""
    baselines = baseline_table(federations)
    failed = [row for row in rows if row["status"] == "failed"]
    return [
        *([point_table(federations)] if federations else []),
        *([baselines] if baselines else []),
        *(f"Missing comparison: {reason}." for reason in not_compared),
        *([failures(failed)] if failed else []),
        "The same runs, with one row per seed and every column:",
        Links({name: name for name in ("frontier.csv", "frontier.parquet")}),
    ]


def failures(failed: list[Row]) -> Table:
    """Return the table of runs that failed."""
    entries = [
        Entry([Cell(row["run"]), Cell(row["reason"])], [Commands([row["command"]])], "command")
        for row in failed
    ]
    return Table("Runs that failed", [Column("run"), Column("reason")], entries)


def described(columns: dict[str, str]) -> dict[str, str]:
    """Return the description of each column; an empty one is that of the column before."""
    return {name: text or "as above" for name, text in columns.items()}

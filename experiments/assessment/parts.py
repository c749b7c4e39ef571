"""Parts that the pages of assessments and of runs share: what was read, and what would be shown."""

from collections.abc import Sequence

from terrycloth.experiments.assessment.identifying import SMALL_GROUP, Identifying
from terrycloth.experiments.assessment.made_up import MadeUp
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.bootstrap import Difference
from terrycloth.experiments.pages.page import Bullets, Part, Terms
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
from terrycloth.experiments.reports.reasons import because, digits_of

FOR_THE_BRAND = (
    "The exact figures on this page were computed from personal data. They are for the brand that holds the "
    "data and not for publication; no promise of privacy covers the page itself."
)

PROMISED = (
    "The runs behind these figures are seeded, so that they can be repeated, and nothing of them is "
    "released. A real run, without a seed, promises:"
)


def what_was_read(data: Dataset, identifying: Identifying) -> list[Part]:
    """Return the account of the import, and how identifying the data are."""
    report = data.report
    dropped = [f"{rows:,} rows were left out: {reason}." for reason, rows in report.rows_dropped.items()]
    kept = (
        f"{report.rows_read:,} rows were read from {report.source}, of which {report.rows_kept:,} were kept. "
        f"They are {len(data.events):,} purchases of {data.events.num_devices:,} shoppers."
    )
    used = [f"{header} (as the {part})" for part, header in report.columns_used.items()]
    never = [f"{name} ({why})" for name, why in report.columns_never_read.items()]
    columns = {
        "used": ", ".join(used or report.columns_kept),
        "not used": ", ".join(report.columns_dropped) or "none",
        "not read, because it looks personal": ", ".join(never) or "none",
    }
    said = report.sentences(columns=False)
    return [
        kept,
        *([Bullets(dropped)] if dropped else []),
        Terms(columns),
        *([Bullets(said)] if said else []),
        "Although no name is stored, purchases can identify a shopper:",
        Bullets(identifying_sentences(identifying)),
    ]


def identifying_sentences(found: Identifying) -> list[str]:
    """Return how identifying the data are, one sentence each."""
    alone = found.singled_out
    singled = [
        f"{100 * share:.1f} of 100 shoppers are singled out by {known} of their purchases (item and day)."
        for known, share in alone.items()
    ]
    small = [
        f"{name}: {100 * share:.1f} of 100 shoppers bought a set of its values that fewer than "
        f"{SMALL_GROUP} shoppers bought."
        for name, share in found.in_small_groups.items()
    ]
    return [*singled, *small]


def what_is_shown(made_up: Sequence[MadeUp]) -> list[Part]:
    """Return what made-up shoppers would be shown, each item with the reasons for it."""
    parts: list[Part] = [
        "These shoppers are made up: each bought a few items of the catalogue. What they would be shown "
        "comes from the model under the chosen promise and from their own purchases, on their own device."
    ]
    for each in made_up:
        entries = [
            Entry(
                [
                    Cell(shown.title),
                    Cell(because(shown.reasons, shown.score)),
                    Cell(f"{shown.score:.{digits_of(shown.score)}f}", shown.score),
                ]
            )
            for shown in each.shown
        ]
        caption = f"A shopper who bought: {'; '.join(each.bought)}"
        parts.append(
            Table(caption, [Column("is shown"), Column("because"), Column("score", number=True)], entries)
        )
    return parts


def interval(change: Difference) -> str:
    """Return a difference with its interval, as in +1.2 (+0.4 to +2.0)."""
    return f"{change.mean:+.1f} ({change.low:+.1f} to {change.high:+.1f})"

"""The table of baselines that models are compared with; all other code iterates over this table."""

from terrycloth.experiments.baselines import (
    co_occurrence,
    ease,
    ials,
    nearest,
    nothing_released,
    own_frequency,
    popularity,
    sequence,
)
from terrycloth.experiments.baselines.row import TRIALS, BaselineRow

BASELINES: dict[str, BaselineRow] = {
    "popularity": BaselineRow(
        "popularity",
        "Recommends to everyone the items that most shoppers have.",
        popularity.fit_popularity,
        floor=True,
    ),
    "recent_popularity": BaselineRow(
        "recent popularity",
        "Recommends to everyone the items that most shoppers bought recently.",
        popularity.fit_recent_popularity,
        fits=popularity.RECENT_GRID,
        floor=True,
        needs_times=True,
    ),
    "own_frequency": BaselineRow(
        "own frequency",
        "Recommends the items that the shopper buys most often, then popular items.",
        own_frequency.fit_own_frequency,
        fits=own_frequency.FITS,
        serves=own_frequency.SERVES,
        floor=True,
        needs_times=True,
        needs_repeats=True,
    ),
    "nothing_released": BaselineRow(
        "nothing released",
        "Each device ranks the catalogue by similarity to its own purchases and learns nothing from others.",
        nothing_released.fit_nothing_released,
        fits=nothing_released.FITS,
        serves=nothing_released.SERVES,
        floor=True,
        unusable=nothing_released.why_unusable,
    ),
    "ease": BaselineRow(
        "EASE",
        "A linear autoencoder fitted in closed form to the pooled purchases of all shoppers (Steck 2019).",
        ease.fit_ease,
        fits=ease.FITS,
        serves=ease.SERVES,
        libraries=("irspack",),
        most_items=ease.MOST_ITEMS,
    ),
    "ials": BaselineRow(
        "iALS",
        "Implicit alternating least squares on all shoppers' pooled purchases (Hu, Koren & Volinsky 2008).",
        ials.fit_ials,
        fits=ials.FITS,
        serves=ials.SERVES,
        libraries=("implicit", "threadpoolctl"),
    ),
    "co_occurrence": BaselineRow(
        "co-occurrence",
        "Recommends items that are bought at about the same time as the shopper's items, by pooled counts.",
        co_occurrence.fit_co_occurrence,
        fits=co_occurrence.FITS,
        serves=co_occurrence.SERVES,
        most_items=co_occurrence.MOST_ITEMS,
    ),
    "item_knn": BaselineRow(
        "item-kNN",
        "Recommends the nearest neighbours of the shopper's items, by the cosine of their sets of owners.",
        nearest.fit_nearest,
        fits=nearest.FITS,
        serves=nearest.SERVES,
        libraries=("irspack",),
    ),
    "sasrec": BaselineRow(
        "SASRec",
        "A transformer over each shopper's purchase sequence, trained on pooled data (Kang & McAuley 2018).",
        sequence.fit_sequence,
        fits=sequence.FITS,
        serves=sequence.SERVES,
        needs_times=True,
        most_events=150_000,  # one fit to twice as many takes half an hour
        absent=sequence.absent,
    ),
}

ENTRY_POINTS = "terrycloth.baselines"  # the group in which packages name their baselines


def add_baseline(name: str, row: object) -> None:
    """Add a baseline of another package. Raises ValueError if it is none, or its name is taken."""
    if not isinstance(row, BaselineRow):
        raise ValueError(f"the baseline {name} is not a {BaselineRow.__module__}.BaselineRow")
    if BASELINES.get(name, row) is not row:
        raise ValueError(f"the name {name} belongs to another baseline: use another label")
    if len(row.trials) > TRIALS:
        raise ValueError(f"the baseline {name} has {len(row.trials)} settings to try: use {TRIALS} or fewer")
    BASELINES[name] = row


NOTHING_RELEASED = "nothing_released"

# Comparisons outside the table: the same model trained by other means, and the floors under a promise.
OTHERS = {
    "central": "the same model, trained centrally",
    "private_popularity": "private popularity",
    "private_recent_popularity": "private recent popularity",
    "flower": "Flower's DP strategy",
}


def label_of(name: str) -> str:
    """Return the name under which a baseline is shown to users."""
    return BASELINES[name].label if name in BASELINES else OTHERS[name]


def missing_libraries() -> str | None:
    """Return a sentence that names a missing library of the extra `baselines`, or None if none is missing."""
    reasons = (row.missing() for row in BASELINES.values() if row.libraries)
    return next((reason for reason in reasons if reason is not None), None)

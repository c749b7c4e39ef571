"""The table of what a model is held against: one row a baseline, and everything else goes over this table."""

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
from terrycloth.experiments.baselines.row import BaselineRow

BASELINES: dict[str, BaselineRow] = {
    "popularity": BaselineRow(
        "popularity",
        "Everyone gets what most shoppers have.",
        popularity.fit_popularity,
        floor=True,
    ),
    "recent_popularity": BaselineRow(
        "recent popularity",
        "Everyone gets what most shoppers bought lately.",
        popularity.fit_recent_popularity,
        fits=popularity.RECENT_GRID,
        floor=True,
        needs_times=True,
    ),
    "own_frequency": BaselineRow(
        "own frequency",
        "Each shopper gets what the shopper buys most, then what is popular.",
        own_frequency.fit_own_frequency,
        fits=own_frequency.FITS,
        serves=own_frequency.SERVES,
        floor=True,
        needs_times=True,
        needs_repeats=True,
    ),
    "nothing_released": BaselineRow(
        "nothing released",
        "Each device ranks the catalogue by likeness to its own purchases, and learns nothing of others.",
        nothing_released.fit_nothing_released,
        fits=nothing_released.FITS,
        serves=nothing_released.SERVES,
        floor=True,
        unusable=nothing_released.nothing_in,
    ),
    "ease": BaselineRow(
        "EASE",
        "A linear autoencoder of everybody's pooled purchases, in closed form (Steck 2019).",
        ease.fit_ease,
        fits=ease.FITS,
        serves=ease.SERVES,
        libraries=("irspack",),
        most_items=ease.MOST_ITEMS,
    ),
    "ials": BaselineRow(
        "iALS",
        "Implicit alternating least squares on everybody's pooled purchases (Hu, Koren & Volinsky 2008).",
        ials.fit_ials,
        fits=ials.FITS,
        serves=ials.SERVES,
        libraries=("implicit", "threadpoolctl"),
    ),
    "co_occurrence": BaselineRow(
        "co-occurrence",
        "Items bought at about the same time as those the shopper has, counted over all pooled purchases.",
        co_occurrence.fit_co_occurrence,
        fits=co_occurrence.FITS,
        serves=co_occurrence.SERVES,
        most_items=co_occurrence.MOST_ITEMS,
    ),
    "item_knn": BaselineRow(
        "item-kNN",
        "The nearest neighbours of what the shopper has, by the cosine of who has them.",
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
        absent=sequence.absent,
    ),
}

NOTHING_RELEASED = "nothing_released"

# What is no row of the table: the same model by other means, and the floors under a promise.
OTHERS = {
    "central": "the same model, trained centrally",
    "private_popularity": "private popularity",
    "private_recent_popularity": "private recent popularity",
    "flower": "Flower's DP strategy",
}


def label_of(name: str) -> str:
    """What people call a baseline."""
    return BASELINES[name].label if name in BASELINES else OTHERS[name]


def missing_libraries() -> str | None:
    """Which library of the extra `baselines` is not installed, in a sentence, or None."""
    reasons = (row.missing() for row in BASELINES.values() if row.libraries)
    return next((reason for reason in reasons if reason is not None), None)

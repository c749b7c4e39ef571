"""The table of what a model is held against: one row a baseline, and everything else goes over this table."""

from experiments.baselines import (
    co_occurrence,
    ease,
    ials,
    nearest,
    nothing_released,
    own_frequency,
    popularity,
)
from experiments.baselines.row import BaselineRow

BASELINES: dict[str, BaselineRow] = {
    "popularity": BaselineRow(
        "popularity",
        "Everyone gets what most shoppers have.",
        popularity.fit_popularity,
        floor=True,
    ),
    "recent-popularity": BaselineRow(
        "recent popularity",
        "Everyone gets what most shoppers bought lately.",
        popularity.fit_recent_popularity,
        fits=popularity.RECENT_GRID,
        floor=True,
        needs_times=True,
    ),
    "own-frequency": BaselineRow(
        "own frequency",
        "Each shopper gets what the shopper buys most, then what is popular.",
        own_frequency.fit_own_frequency,
        fits=own_frequency.FITS,
        serves=own_frequency.SERVES,
        floor=True,
        needs_times=True,
        needs_repeats=True,
    ),
    "nothing-released": BaselineRow(
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
    "co-occurrence": BaselineRow(
        "co-occurrence",
        "What is bought at about the time of what the shopper has, counted over all pooled purchases.",
        co_occurrence.fit_co_occurrence,
        fits=co_occurrence.FITS,
        serves=co_occurrence.SERVES,
        most_items=co_occurrence.MOST_ITEMS,
    ),
    "item-knn": BaselineRow(
        "item-kNN",
        "The nearest neighbours of what the shopper has, by the cosine of who has them.",
        nearest.fit_nearest,
        fits=nearest.FITS,
        serves=nearest.SERVES,
        libraries=("irspack",),
    ),
}

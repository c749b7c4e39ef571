"""The paired bootstrap of a mean difference (Efron & Tibshirani 1993, chapter 13: percentile intervals)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
LEVEL = 0.95
LEAST_SHOPPERS = 20  # the resamples of fewer are too much alike for an interval
SEED = 0  # fixed, so that the same runs give the same interval


@dataclass(frozen=True)
class Difference:
    """A mean difference and its bootstrap interval, which holds the middle LEVEL of the resampled means.

    shoppers: number of shoppers whose mean it is.
    """

    mean: float
    low: float
    high: float
    shoppers: int

    @property
    def verdict(self) -> str:
        """The difference in words; it can be told from chance only if 0 is outside the interval."""
        if self.shoppers < LEAST_SHOPPERS:
            return f"{self.mean:+.3f}, too few shoppers to tell apart"
        significant = self.low > 0 or self.high < 0
        words = ("above" if self.mean > 0 else "below") + " it" if significant else "too close to tell apart"
        return f"{self.mean:+.3f}, {words} (from {self.low:+.3f} to {self.high:+.3f})"


def paired_bootstrap(differences: npt.NDArray[np.float64], resamples: int = RESAMPLES) -> Difference:
    """Resample shoppers with replacement and return the interval of the mean difference.

    differences: float64 [shoppers], at least one. Shoppers with the same difference are interchangeable, so
    the numbers of draws of each distinct value are drawn at once, from a multinomial distribution.
    """
    values, counts = np.unique(differences, return_counts=True)
    shoppers = len(differences)
    drawn = np.random.default_rng(SEED).multinomial(shoppers, counts / shoppers, size=resamples)
    means = drawn @ values / shoppers  # [resamples]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(differences.mean()), float(low), float(high), shoppers)

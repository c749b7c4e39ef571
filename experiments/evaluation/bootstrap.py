"""The paired bootstrap of a mean difference (Efron & Tibshirani 1993, chapter 13: percentiles)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0  # the same runs give the same interval


@dataclass(frozen=True)
class Difference:
    """A mean difference, and where the middle LEVEL of the resampled ones lie."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether it can be told from chance: not where 0 is in the interval."""
        apart = self.low > 0 or self.high < 0
        words = ("above" if self.mean > 0 else "below") + " it" if apart else "too close to tell apart"
        return f"{self.mean:+.3f}, {words} (from {self.low:+.3f} to {self.high:+.3f})"


def paired_bootstrap(differences: npt.NDArray[np.float64], resamples: int = RESAMPLES) -> Difference:
    """Resample shoppers with replacement, each with its own difference: float64 [shoppers], at least one.

    How often each shopper is drawn matters only through the value it brings, so the numbers of draws of the
    different values are drawn at once: a multinomial, with as many cells as there are values.
    """
    values, counts = np.unique(differences, return_counts=True)
    shoppers = len(differences)
    drawn = np.random.default_rng(SEED).multinomial(shoppers, counts / shoppers, size=resamples)
    means = drawn @ values / shoppers  # [resamples]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(differences.mean()), float(low), float(high))

"""What devices and server read alike off a released popularity: a direction, and the head of the catalogue.

Popularity is the first release of the linear model, a sum over devices with noise on it. All here is a
function of it and of public numbers, so it costs nothing, and it holds for whatever numbers a server sends.
"""

import math

import torch
from torch import Tensor

from terrycloth.models.limits import MOST_ITEMS

LEAST_HEAD = 50
FLOOR = 1e-5  # of the largest: what noise pushed to zero and below keeps a direction


def head_size(items: int, deviation: float, scale: float) -> int:
    """M', how many items the second release is over: max(50, c / √s), within the catalogue and MOST_ITEMS.

    scale: c. deviation: s, of a Gaussian that costs what both releases cost, in a device's part of the mean.
    Where the noise is z on a sum over N devices it is z/N, and M' is c √(N/z). An eigenvalue stands out if it
    passes the noise's edge, s·√(2M'): the more noise, the fewer items. Without noise all that MOST_ITEMS
    allows.
    """
    most = min(items, MOST_ITEMS)
    if deviation <= 0:
        return most
    return min(most, max(LEAST_HEAD, math.floor(scale / math.sqrt(deviation))))


def popularity_direction(popularity: Tensor, deviation: float = 0.0) -> Tensor:
    """p̂: positive, of norm 1, float64 [items]; all items alike where nothing is above zero.

    deviation: s, of the noise in each released number y. With noise an item's popularity θ is estimated by
    its posterior mean under an exponential prior, whose mean m is that of all released numbers: the mean of a
    normal of deviation s around y − s²/m that is cut off below zero. So numbers that noise alone explains are
    shrunk towards zero, and their order stays.
    """
    finite = torch.nan_to_num(popularity, nan=0.0).double()
    if 0.0 < deviation < math.inf:
        finite = posterior_mean(finite, deviation)
    largest = finite.max()
    positive = (finite / largest).clamp(min=FLOOR) if largest > 0 else torch.ones_like(finite)
    direction: Tensor = positive / positive.norm()
    return direction


def posterior_mean(released: Tensor, deviation: float) -> Tensor:
    """E[θ | y] for y ~ N(θ, s²), θ ≥ 0 exponential with the mean of the released numbers: float64 [items]."""
    mean = max(float(released.mean()), 1e-3 * deviation)
    at = released / deviation - deviation / mean  # of the normal's middle, in deviations
    hazard: Tensor = math.sqrt(2.0 / math.pi) / torch.special.erfcx(
        -at / math.sqrt(2.0)
    )  # φ/Φ, wherever it is
    estimated: Tensor = deviation * (at + hazard).clamp(min=0.0)
    return estimated


def head_items(popularity: Tensor, size: int) -> Tensor:
    """The `size` items that it ranks highest, of equal ones the first: int64 [size], in ascending order."""
    finite = torch.nan_to_num(popularity.double(), nan=0.0)
    return torch.argsort(finite, descending=True, stable=True)[:size].sort().values

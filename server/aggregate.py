"""The server's arithmetic: sum, divide by a public constant, step. It only ever sees sums."""

import hashlib
import math

import torch
from torch import Tensor

from terrycloth.models.limits import LEAST_CLIP, MOST_CLIP
from terrycloth.models.plug_in_loading import load_object
from terrycloth.models.privacy.randomness import Purpose, Stream, add_noise
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.server.settings import ServerSettings


def sum_updates(updates: list[Parameters]) -> Parameters:
    """Return the sum of updates in double precision, independent of the order in which they arrived.

    Floating-point addition is not associative. Sorting the addends by a digest of their bytes makes a run
    repeatable on any engine. Raises ValueError if the list is empty.
    """
    if not updates:
        raise ValueError("no update to add up")
    ordered = sorted(updates, key=_digest)
    return {name: _sum([update[name] for update in ordered]) for name in ordered[0]}


def _sum(tensors: list[Tensor]) -> Tensor:
    """Sum tensors. Integers keep their width and wrap around, so their sum is mod 2³² or 2⁶⁴."""
    exact = torch.float64 if tensors[0].is_floating_point() else tensors[0].dtype
    return torch.stack(tensors).sum(dim=0, dtype=exact)


def add_central_noise(total: Parameters, deviation: float, key: bytes, round: int) -> Parameters:
    """Add Gaussian noise to every coordinate of the sum.

    The server does this before it reads the sum for anything else.
    """
    noise = Stream(key, round=round, purpose=Purpose.CENTRAL_NOISE)
    return {name: add_noise(tensor, deviation, noise) for name, tensor in total.items()}


def _digest(update: Parameters) -> bytes:
    hashed = hashlib.sha256()
    for name in sorted(update):
        hashed.update(update[name].contiguous().numpy().tobytes())
    return hashed.digest()


def pseudo_gradient(total: Parameters, expected: float) -> Parameters:
    """Return −Σ updates / `expected`, the gradient for a torch optimiser (Reddi et al. 2021, algorithm 2).

    `expected` is q·N, the public expectation of how many devices take part, and never how many did. A count
    of arrivals, or a weight by events, would make the released model depend on more than the clipped sum
    (McMahan et al. 2018, section 3, the fixed-denominator estimator).
    """
    return {name: (-tensor / expected).float() for name, tensor in total.items()}


def adapted_clip(clip: float, below: float, quantile: float, settings: ServerSettings) -> float:
    """Return the next clipping norm, C·exp(−η(b − γ)) (Andrew et al. 2021, equation 2).

    It shrinks if more than the fraction `quantile` (γ) of the updates are below the clip, and stays within
    the bounds that devices accept. `below` (b) is the noised fraction of devices whose update was below the
    clip.
    """
    moved = clip * math.exp(-settings.clip_learning_rate * (min(max(below, 0.0), 1.0) - quantile))
    return min(max(moved, LEAST_CLIP), MOST_CLIP)


def make_optimizer(parameters: list[Tensor], settings: ServerSettings) -> torch.optim.Optimizer:
    """Return the server's optimiser over the shared parameters.

    It is Adam, SGD with momentum, or a `torch.optim.Optimizer` of another package as package.module:Class,
    which is called with the parameters, `lr` and `weight_decay`. Raises ValueError if that does not exist.
    """
    decay, rate = settings.server_weight_decay, settings.server_learning_rate
    if settings.server_optimizer == "adam":
        betas = (settings.server_momentum, 0.99)
        return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay)
    if settings.server_optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=settings.server_momentum, weight_decay=decay)
    optimizer: torch.optim.Optimizer = load_object(settings.server_optimizer)(
        parameters, lr=rate, weight_decay=decay
    )
    return optimizer

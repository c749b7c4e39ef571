"""The server's arithmetic: add up, divide by a public constant, step. It never sees anything but sums."""

import hashlib

import torch
from torch import Tensor

from models.randomness import Purpose, Stream, add_noise
from models.recommender import Parameters
from server.settings import ServerSettings


def sum_updates(updates: list[Parameters]) -> Parameters:
    """The sum of updates, in double precision and in an order that does not depend on who came first.

    Floating-point addition is not associative; ordering the addends by their own bytes makes a run repeatable
    on any engine. Raises ValueError on an empty list.
    """
    if not updates:
        raise ValueError("no update to add up")
    ordered = sorted(updates, key=_digest)
    return {name: torch.stack([u[name].double() for u in ordered]).sum(dim=0) for name in ordered[0]}


def add_central_noise(total: Parameters, deviation: float, key: bytes, round: int) -> Parameters:
    """Noise on every coordinate of the sum, before anything else reads it."""
    noise = Stream(key, round=round, purpose=Purpose.CENTRAL_NOISE)
    return {name: add_noise(tensor, deviation, noise) for name, tensor in total.items()}


def _digest(update: Parameters) -> bytes:
    hashed = hashlib.sha256()
    for name in sorted(update):
        hashed.update(update[name].contiguous().numpy().tobytes())
    return hashed.digest()


def pseudo_gradient(total: Parameters, participation: float, devices: int) -> Parameters:
    """−Σ updates / (q·N): what a torch optimiser descends (Reddi et al. 2021, algorithm 2).

    The denominator is the public expectation q·N of how many take part, never how many did: a count of
    arrivals, or a weight by events, would make the released model depend on more than the clipped sum
    (McMahan et al. 2018, section 3, the fixed-denominator estimator).
    """
    return {name: (-tensor / (participation * devices)).float() for name, tensor in total.items()}


def make_optimizer(parameters: list[Tensor], settings: ServerSettings) -> torch.optim.Optimizer:
    """Adam or SGD with momentum over the shared parameters."""
    decay, rate = settings.server_weight_decay, settings.server_learning_rate
    if settings.server_optimizer == "adam":
        betas = (settings.server_momentum, 0.99)
        return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=settings.server_momentum, weight_decay=decay)

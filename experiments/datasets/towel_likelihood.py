"""How likely a taste makes what a shopper bought, where of each visit only the set of new items is known.

Items are bought in the Plackett–Luce order: each new one with a probability in proportion to its mass among
what is not yet bought (Luce 1959, *Individual Choice Behavior*; Plackett 1975, *The Analysis of
Permutations*). The likelihood of a set is the sum over the orders it may have been bought in. In an
exponential race, in which item i arrives at E_i / mass_i with E_i ~ Exponential(1), the order of arrival is
that order (`towels.draw_orders`), and the likelihood of a visit's set S of k new items is the chance that all
of them arrive before any other that is not yet bought. With a_i = mass_i / (mass of what is left after the
visit) and A = Σ_S a_i,

    P(S) = ∫₀^∞ e^{−x} Π_S (1 − e^{−a_i x}) dx
         = Π_S a_i / (1 + A/2)^{k+1} · ∫₀^∞ y^k e^{−y} Π_S h(a_i y / (2 + A)) dy,        h(t) = sinh(t) / t.

The last integral is k! where all a_i are small. Gauss–Laguerre quadrature of weight y^k e^{−y} finds it
(Golub and Welsch 1969, "Calculation of Gauss quadrature rules"): with four nodes to 1e-5 of P(S) for visits
of five items of forty, and less exactly only where a few items hold most of what is left.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import special
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.experiments.evaluation.split_rules import pairs_of

NODES = 4
SMALLEST_REMAINDER = 1e-6  # of the whole: float32 cannot tell what is left from 0 below this


@dataclass(frozen=True)
class Visits:
    """What some shoppers bought, side by side: int64 [n, most], padded with a number that is no item's.

    items: each item once, ordered by the visit it was new in, then by number. visits: that visit, counted
    from 0 among a shopper's visits with something new; 0 where padded. sizes: [n, most visits], new items of
    each.
    """

    items: Tensor
    visits: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, events: Events, nothing: int) -> "Visits":
        """Of the devices' shoppers. nothing: what to pad with."""
        pairs = pairs_of(events)
        order = np.lexsort((pairs.items, pairs.first, pairs.devices))
        devices, items, first = pairs.devices[order], pairs.items[order], pairs.first[order]
        counts = np.bincount(devices, minlength=events.num_devices)
        starts = np.cumsum(counts) - counts
        begins = np.append(True, (np.diff(devices) > 0) | (np.diff(first) > 0))[: len(devices)]
        running = np.cumsum(begins)
        visits = running - running[starts[devices]]
        place = np.arange(len(devices)) - starts[devices]
        shape = (events.num_devices, max(1, int(counts.max(initial=0))))
        all_items, all_visits = np.full(shape, nothing), np.zeros(shape, dtype=np.int64)
        all_items[devices, place], all_visits[devices, place] = items, visits
        sizes = np.zeros((events.num_devices, int(visits.max(initial=0)) + 1), dtype=np.int64)
        np.add.at(sizes, (devices, visits), 1)
        return cls(*(torch.from_numpy(column) for column in (all_items, all_visits, sizes)))


@cache
def quadrature(most: int) -> tuple[Tensor, Tensor]:
    """Nodes, and logarithms of weights that sum to 1, of y^k e^{−y} for k = 0 … most: [most + 1, NODES]."""
    rules = [special.roots_genlaguerre(NODES, k) for k in range(most + 1)]
    nodes, weights = (np.array([rule[part] for rule in rules]) for part in (0, 1))
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(nodes).float(), torch.from_numpy(np.log(weights)).float()


def log_likelihood(masses: Tensor, whole: Tensor, held: Visits) -> tuple[Tensor, Tensor]:
    """log Π_v P(S_v) / k_v! of each shopper's visits, and the mass of what is not bought: [n, samples] each.

    masses: [n, samples, most], of the items held, 0 where padded. whole: [n, samples], the mass of all items.
    """
    shape = (len(held.items), masses.shape[1], held.sizes.shape[1])
    visits = held.visits.unsqueeze(1).expand_as(masses)
    of_visit = torch.zeros(shape).scatter_add_(2, visits, masses)
    left = whole.unsqueeze(2) - of_visit.cumsum(dim=2)
    left = torch.maximum(left, SMALLEST_REMAINDER * whole.unsqueeze(2))
    of_visit = of_visit / left  # A
    own = masses / left.gather(2, visits)  # a
    found = torch.where(own > 0, own.log(), 0.0).sum(dim=2)
    found -= ((held.sizes.unsqueeze(1) + 1) * torch.log1p(of_visit / 2)).sum(dim=2)
    nodes, log_weights = quadrature(int(held.sizes.max()))
    steps = own / (2 + of_visit.gather(2, visits))
    bent = steps.unsqueeze(3) * nodes[held.sizes.gather(1, held.visits)].unsqueeze(1)
    bent.clamp_(min=1e-3)  # where h is 1 to seven digits
    bent = (bent.sinh() / bent).log_()  # log h [n, samples, most, NODES]
    of_nodes = torch.zeros(*shape, NODES).scatter_add_(2, visits.unsqueeze(3).expand_as(bent), bent)
    found += torch.logsumexp(of_nodes + log_weights[held.sizes].unsqueeze(1), dim=3).sum(dim=2)
    return found, left[:, :, -1]

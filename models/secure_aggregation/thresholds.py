"""How many nodes must agree, how many shares open a secret, and which nodes are neighbours.

Every node computes these from the number of adverts and from its own floors; the server sends none of them.

Complete graph (Bonawitz et al. 2017). Each of n nodes holds shares of all others. T = ⌊fraction·n⌋ + 1 nodes
must agree, and t = ⌊n/3⌋ + 1 shares open a secret.

Sparse graph (Bell et al. 2020, sections 3 and 4). It is a Harary graph: a node's neighbours are the `half`
nearest nodes on either side of it on a random ring. Bell et al. require that colluding and dropped nodes,
placed at random, leave the graph connected and with enough shares. The check here is stronger, since a lying
server chooses who is dropped. It chooses `half` and m such that any `half` places in a row hold fewer than m
colluding nodes, except with probability 2⁻¹²⁸, and at least m nodes that stay, except with probability 2⁻²⁰.
A node refuses a U3 with fewer than m members in any row. Then each row holds an honest node of U3, so these
are linked all around the ring, and no part of the sum can be isolated. Of 2·half neighbours, fewer than 2m −
1 collude and at least 2m stay, so t = 2m − 1 shares open a secret.

Why 2⁻¹²⁸, although Bell et al. use 2⁻⁴⁰. A hash of the adverts draws the ring, and a server holds all adverts
before it shows any. It may grind: try other keys and commitments for the nodes that collude with it, or list
other nodes, until the colluding nodes lie close together. A try costs one hash per node and succeeds with
probability at most 2⁻¹²⁸, so 2ᵏ tries succeed with probability at most 2^(k−128): it takes 2⁸⁸ tries to reach
2⁻⁴⁰. Nothing in an advert rules grinding out. Its commitment is to the seed of the node's own mask. That seed
is opened at the last stage, and for some nodes never, but the ring is needed at the second. One more
exchange, of commitments to shares of the ring's randomness before these are shown, would leave the server one
try per session.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import floor

import numpy as np
from scipy.stats import hypergeom

COMPLETE_UP_TO = 128
SECURITY_BITS = 128  # sparse graph: probability, per try, that colluding nodes lie too close
CORRECTNESS_BITS = 20  # sparse graph: probability that a round fails with at most DROPPED dropped
COLLUDING = 0.1  # sparse graph: share of the nodes that may collude
DROPPED = 1 / 3  # sparse graph: share of the nodes that may drop out


@dataclass(frozen=True)
class Floors:
    """The conditions that a round must meet before a node answers; its owner sets them, never the server.

    least_nodes: minimum number of adverts. least_devices: minimum number of `honest` devices in the sum.
    agreement: share of the adverts, in [0.5, 1), that must sign the same lists. 0.5 is a majority, and
    suffices if no node colludes.
    """

    least_devices: int
    least_nodes: int = 3
    agreement: float = 2 / 3

    def __post_init__(self) -> None:
        if not 0.5 <= self.agreement < 1.0:
            raise ValueError(
                f"agreement must be in [0.5, 1), not {self.agreement}: otherwise two lists could pass"
            )
        if self.least_nodes < 3:
            raise ValueError(
                f"least_nodes must be at least 3, not {self.least_nodes}: of two nodes, each knows the other"
            )
        if self.least_devices < 2:
            raise ValueError(
                f"least_devices must be at least 2, not {self.least_devices}: a sum of one hides nothing"
            )


@dataclass(frozen=True)
class SharingPlan:
    """The thresholds of a round of `nodes` adverts.

    agreement: signatures needed on the same lists. shares: shares that open a secret. half: neighbours on
    either side of the ring, or 0 on the complete graph. in_a_row: minimum number of members of U3 among any
    `half` places in a row.
    """

    nodes: int
    agreement: int
    shares: int
    half: int = 0
    in_a_row: int = 0

    @property
    def tolerated(self) -> int:
        """The most nodes that may collude with the server."""
        most = self.shares - 1 if not self.half else floor(COLLUDING * self.nodes)
        return min(2 * self.agreement - self.nodes - 1, most)


def plan_for(nodes: int, fraction: float) -> SharingPlan:
    """Return the thresholds for `nodes` adverts, if the share `fraction` of them must agree."""
    agreement = floor(fraction * nodes) + 1
    if nodes > COMPLETE_UP_TO:
        half, in_a_row = sparse(nodes, COLLUDING, DROPPED)
        if 2 * half < nodes - 1:
            return SharingPlan(nodes, agreement, 2 * in_a_row - 1, half, in_a_row)
    return SharingPlan(nodes, agreement, nodes // 3 + 1)


def honest(devices: Iterable[int], tolerated: int) -> int:
    """Return the number of devices left if the `tolerated` nodes with the most devices collude.

    A colluding node knows its own share of the noise, and can subtract it from a sum. devices: the number of
    devices of each node.
    """
    return sum(sorted(devices, reverse=True)[tolerated:])


def least_listed(roster: int) -> int:
    """Return the minimum number of nodes with which a session begins: 3, and more than half of the roster.

    With fewer, a server that chooses which nodes it lists could have most of them collude with it.
    """
    return max(3, roster // 2 + 1)


def tolerated_of(fewest: int, nodes: int, fraction: float) -> tuple[int, int]:
    """Return the fewest and the most nodes that may collude, over rounds of `fewest` to `nodes` adverts.

    On one graph, n adverts tolerate no more colluding nodes than n + 2 do. So it is enough to check the two
    numbers at either end of each graph's range.
    """
    last = COMPLETE_UP_TO
    ends = (fewest, fewest + 1, last - 1, last, last + 1, last + 2, nodes - 1, nodes)
    each = [plan_for(end, fraction).tolerated for end in ends if fewest <= end <= nodes]
    return min(each), max(each)


@lru_cache(maxsize=64)
def sparse(nodes: int, colluding: float, dropped: float) -> tuple[int, int]:
    """Return the smallest `half`, and m: any `half` places in a row hold < m colluding and ≥ m staying nodes.

    A row is a sample without replacement, so the counts are hypergeometric. There are n rows (a union bound).
    Returns (nodes, 0), longer than any row, if no `half` suffices.
    """
    collude, stay = floor(colluding * nodes), nodes - floor(dropped * nodes)
    for half in range(1, nodes // 2):
        counts = np.arange(half + 1)
        too_many = nodes * hypergeom.sf(counts - 1, nodes, collude, half)  # P(m or more collude)
        too_few = nodes * hypergeom.cdf(counts - 1, nodes, stay, half)  # P(fewer than m stay)
        good = (too_many <= 2.0**-SECURITY_BITS) & (too_few <= 2.0**-CORRECTNESS_BITS)
        if good.any():
            return half, int(np.argmax(good))
    return nodes, 0

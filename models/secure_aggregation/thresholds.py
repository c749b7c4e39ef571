"""How many must agree, how many shares open a secret, and who neighbours whom.

Every node works these out from the number of adverts and from its own floors; the server sends none of them.

Complete graph (Bonawitz et al. 2017). Each of n nodes holds shares of all others: T = ⌊fraction·n⌋ + 1 to
agree, t = ⌊n/3⌋ + 1 shares.

Sparse graph (Bell et al. 2020, sections 3 and 4): a Harary graph, each node beside the `half` nearest on
either side of a random ring. Bell et al. ask that colluding and dropped nodes, placed at random, leave it
connected and with enough shares. Here the check is stronger, since a lying server chooses who is dropped:
choose `half` and m so that any `half` places in a row hold, but for a chance of 2⁻¹²⁸, fewer than m nodes
that collude, and, but for 2⁻²⁰, at least m that stay. A node refuses a U3 with fewer than m in some row. Then
each row holds an honest node of U3, so that these are linked all around the ring, and no part of the sum
comes out alone. Of 2·half neighbours fewer than 2m − 1 collude and at least 2m stay: t = 2m − 1 shares.

Why 2⁻¹²⁸, where Bell et al. are content with 2⁻⁴⁰. The ring is drawn by a hash of the adverts, all of which a
server has in hand before it shows any. It may grind: try other keys and commitments for the nodes that
collude with it, or other choices of whom it lists, until they lie close. A try costs a hash a node and wins
with a chance of 2⁻¹²⁸ at most, so 2ᵏ tries win with 2^(k−128) at most: it takes 2⁸⁸ to be back at 2⁻⁴⁰.
Nothing in an advert rules grinding out. Its commitment is to the seed of the node's own mask, which is opened
at the last stage, and of some nodes never; the ring is needed at the second. One more exchange, of
commitments to shares of the ring's randomness before these are shown, would leave one try a session.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import floor

import numpy as np
from scipy.stats import hypergeom

COMPLETE_UP_TO = 128
SECURITY_BITS = 128  # of the sparse graph: chance that those who collude lie too close, at each try
CORRECTNESS_BITS = 20  # of the sparse graph: chance that a round fails though no more dropped than stated
COLLUDING = 0.1  # share of the nodes that may collude, on the sparse graph
DROPPED = 1 / 3  # share of the nodes that may drop out, on the sparse graph


@dataclass(frozen=True)
class Floors:
    """What a node asks of a round before it answers; its owner's choice, never the server's.

    least_nodes: adverts. least_devices: `honest` devices in the sum. agreement: share of the adverts in
    [0.5, 1) that must sign the same lists; 0.5 is a majority, and holds if no node colludes.
    """

    least_devices: int
    least_nodes: int = 3
    agreement: float = 2 / 3

    def __post_init__(self) -> None:
        if not 0.5 <= self.agreement < 1.0:
            raise ValueError(
                f"agreement is in [0.5, 1), not {self.agreement}: else two lists could be agreed on"
            )
        if self.least_nodes < 3:
            raise ValueError(
                f"least_nodes is 3 or more, not {self.least_nodes}: of two, each knows the other"
            )
        if self.least_devices < 2:
            raise ValueError(
                f"least_devices is 2 or more, not {self.least_devices}: a sum of one hides nothing"
            )


@dataclass(frozen=True)
class SharingPlan:
    """Thresholds of a round of `nodes` adverts.

    agreement: signatures of the same lists. shares: shares that open a secret. half: neighbours on either
    side of the ring, 0 on the complete graph. in_a_row: members of U3 among any `half` places in a row.
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
    """Thresholds for `nodes` adverts, where `fraction` of them must agree."""
    agreement = floor(fraction * nodes) + 1
    if nodes > COMPLETE_UP_TO:
        half, in_a_row = sparse(nodes, COLLUDING, DROPPED)
        if 2 * half < nodes - 1:
            return SharingPlan(nodes, agreement, 2 * in_a_row - 1, half, in_a_row)
    return SharingPlan(nodes, agreement, nodes // 3 + 1)


def honest(devices: Iterable[int], tolerated: int) -> int:
    """Devices that are left when those nodes collude that have most, as many as are tolerated.

    Who colludes knows its own shares of the noise, and can take them off a sum. devices: of each node.
    """
    return sum(sorted(devices, reverse=True)[tolerated:])


def least_listed(roster: int) -> int:
    """Nodes that a session begins with at least: more than half of those on the roster, and three.

    Of fewer, a server that chooses whom it lists could have most collude with it.
    """
    return max(3, roster // 2 + 1)


def tolerated_of(fewest: int, nodes: int, fraction: float) -> tuple[int, int]:
    """The fewest and the most nodes that may collude, over all rounds of `fewest` to `nodes` adverts.

    On one graph n adverts tolerate no more than n + 2 do, so the two at either end of it are enough.
    """
    last = COMPLETE_UP_TO
    ends = (fewest, fewest + 1, last - 1, last, last + 1, last + 2, nodes - 1, nodes)
    each = [plan_for(end, fraction).tolerated for end in ends if fewest <= end <= nodes]
    return min(each), max(each)


@lru_cache(maxsize=64)
def sparse(nodes: int, colluding: float, dropped: float) -> tuple[int, int]:
    """Smallest `half`, and m: of any `half` places in a row fewer than m collude, and at least m stay.

    A row is a sample without replacement, so the counts are hypergeometric; there are n rows (a union bound).
    Gives (nodes, 0), longer than any row, where no `half` will do.
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

"""Opening secrets from shares, some of which may be wrong, and taking the masks off a sum.

A wrong share gives a wrong secret. Each secret was fixed in a signed advert, the mask key by its public key
and the seed by its commitment, so a wrong one is seen, and other shares are tried.
"""

import random
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from terrycloth.models.secure_aggregation.keys import commitment, own_mask_key, pairwise_mask_key, public_key
from terrycloth.models.secure_aggregation.masks import Vector, add_pairwise, expand
from terrycloth.models.secure_aggregation.messages import Advert, RoundFailed
from terrycloth.models.secure_aggregation.shares import combine
from terrycloth.models.secure_aggregation.view import View

TRIES = 64  # with one liar of 33 holders, and 27 shares needed, all fail with probability 3·10⁻⁶


def take_off_masks(
    total: Vector, view: View, shared: list[str], masked: list[str], shares: Mapping[str, Mapping[str, bytes]]
) -> int:
    """Turn the sum of masked vectors [length] into the sum of vectors, in place; gives how many holders lied.

    shared, masked: U2 and U3. shares: by owner and holder, of the seed of an owner in U3, of the mask key of
    another. Raises RoundFailed where a secret cannot be opened; the sum is then of no use.
    """
    inside, doubted = set(masked), set[str]()
    reach = {name: [other for other in view.neighbours(name) if other in inside] for name in shared}
    needed = [name for name in shared if name in inside or reach[name]]
    if any(len(shares[owner]) < view.plan.shares for owner in needed):
        raise RoundFailed("too few shares")
    for owner in needed:
        holders = view.holders(owner)
        by_number = {number: shares[owner][h] for number, h in enumerate(holders) if h in shares[owner]}
        # Who lied is used last from now on, not thrown out: the owner may have dealt it a wrong share.
        last = {number for number, holder in enumerate(holders) if holder in doubted}
        fits = (fits_seed if owner in inside else fits_mask_key)(view.adverts[owner])
        secret, wrong = open_secret(by_number, view.plan.shares, fits, last)
        if secret is None:
            raise RoundFailed("shares that do not fit together")
        doubted |= {holders[number] for number in wrong}
        if owner in inside:
            take_off_own(total, view, secret)
        else:
            take_off_pairwise(total, view, owner, secret, reach[owner])
    return len(doubted)


def open_secret(
    shares: Mapping[int, bytes], threshold: int, fits: Callable[[bytes], bool], last: Iterable[int] = ()
) -> tuple[bytes | None, set[int]]:
    """The secret that `threshold` of the shares (by holder's number) give, and whose share of it is wrong.

    None if too few fit together within `TRIES`. Holders in `last` are used only where the others do not do.
    """
    doubted = set(last)
    holders = sorted(shares, key=lambda holder: (holder in doubted, holder))
    if len(holders) < threshold:
        return None, set()
    draw = random.Random(0)  # which subsets are tried is no secret
    chosen = first = holders[:threshold]
    for _ in range(TRIES):
        secret = combine([(holder, shares[holder]) for holder in chosen])
        if fits(secret):
            rest = [(holder, shares[holder]) for holder in chosen[1:]]
            suspects = set(first) - set(chosen)
            # A right share can take the place of another right one.
            return secret, {h for h in suspects if not fits(combine([*rest, (h, shares[h])]))}
        chosen = draw.sample(holders, threshold)
    return None, set()


def fits_mask_key(advert: Advert) -> Callable[[bytes], bool]:
    """Whether a secret is the private key of the advertised mask key."""
    return lambda secret: public_key(secret) == advert.mask_key


def fits_seed(advert: Advert) -> Callable[[bytes], bool]:
    """Whether a secret is the seed that the advert is committed to."""
    return lambda secret: commitment(secret) == advert.commitment


def take_off_own(total: Vector, view: View, seed: bytes) -> None:
    """Subtract from the sum [length] the mask of a node in U3."""
    task = view.task
    np.subtract(total, expand(own_mask_key(seed, view.digest), task.width, task.length), out=total)


def take_off_pairwise(total: Vector, view: View, dropped: str, private: bytes, masked: Iterable[str]) -> None:
    """Take off the sum [length] what nodes in U3 (`masked`) put on for their neighbour that dropped out."""
    task = view.task
    for other in masked:
        key = pairwise_mask_key(private, view.adverts[other].mask_key, view.digest, (dropped, other))
        # What the dropped node would have put on cancels what the other one did.
        add_pairwise(total, expand(key, task.width, task.length), dropped, other)

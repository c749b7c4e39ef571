"""Recover secrets from shares, some of which may be wrong, and remove the masks from a sum.

A wrong share gives a wrong secret. A signed advert fixes each secret beforehand, the mask key by its public
key and the seed by its commitment. So a wrong secret is noticed, and other shares are tried.
"""

import random
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from terrycloth.models.secure_aggregation.keys import commitment, own_mask_key, pairwise_mask_key, public_key
from terrycloth.models.secure_aggregation.masks import Vector, add_pairwise, expand
from terrycloth.models.secure_aggregation.messages import Advert, RoundFailed
from terrycloth.models.secure_aggregation.shares import combine
from terrycloth.models.secure_aggregation.view import View

TRIES = 64  # with 1 wrong share among 33 holders, and 27 needed, all fail with probability 3·10⁻⁶


def take_off_masks(
    total: Vector, view: View, shared: list[str], masked: list[str], shares: Mapping[str, Mapping[str, bytes]]
) -> int:
    """Turn the sum of masked vectors [length] into the sum of vectors, in place.

    shared, masked: U2 and U3. shares: by owner and holder, the shares of the seed of an owner in U3, and of
    the mask key of any other owner. Returns how many holders sent wrong shares. Raises RoundFailed if a
    secret cannot be recovered; the sum is then unusable.
    """
    in_masked, doubted = set(masked), set[str]()
    masked_neighbours = {
        name: [other for other in view.neighbours(name) if other in in_masked] for name in shared
    }
    needed = [name for name in shared if name in in_masked or masked_neighbours[name]]
    if any(len(shares[owner]) < view.plan.shares for owner in needed):
        raise RoundFailed("too few shares")
    for owner in needed:
        holders = view.holders(owner)
        by_number = {number: shares[owner][h] for number, h in enumerate(holders) if h in shares[owner]}
        # A holder of a wrong share is used last from now on, but still used: its owner may have dealt it.
        last = {number for number, holder in enumerate(holders) if holder in doubted}
        fits = (fits_seed if owner in in_masked else fits_mask_key)(view.adverts[owner])
        secret, wrong = open_secret(by_number, view.plan.shares, fits, last)
        if secret is None:
            raise RoundFailed("inconsistent shares")
        doubted |= {holders[number] for number in wrong}
        if owner in in_masked:
            take_off_own(total, view, secret)
        else:
            take_off_pairwise(total, view, owner, secret, masked_neighbours[owner])
    return len(doubted)


def open_secret(
    shares: Mapping[int, bytes], threshold: int, fits: Callable[[bytes], bool], last: Iterable[int] = ()
) -> tuple[bytes | None, set[int]]:
    """Return the secret that `threshold` of the shares give, and the holders whose shares of it are wrong.

    Shares and holders go by the holder's number. The secret is None if TRIES subsets contain none that fits.
    Holders in `last` are used only if the other shares do not suffice.
    """
    doubted = set(last)
    holders = sorted(shares, key=lambda holder: (holder in doubted, holder))
    if len(holders) < threshold:
        return None, set()
    draw = random.Random(0)  # the choice of subsets need not be secret
    chosen = first = holders[:threshold]
    for _ in range(TRIES):
        secret = combine([(holder, shares[holder]) for holder in chosen])
        if fits(secret):
            rest = [(holder, shares[holder]) for holder in chosen[1:]]
            suspects = set(first) - set(chosen)
            # Replacing a correct share by another correct one gives the same secret.
            return secret, {h for h in suspects if not fits(combine([*rest, (h, shares[h])]))}
        chosen = draw.sample(holders, threshold)
    return None, set()


def fits_mask_key(advert: Advert) -> Callable[[bytes], bool]:
    """Return a test of whether a secret is the private key of the advertised mask key."""
    return lambda secret: public_key(secret) == advert.mask_key


def fits_seed(advert: Advert) -> Callable[[bytes], bool]:
    """Return a test of whether a secret is the seed that the advert commits to."""
    return lambda secret: commitment(secret) == advert.commitment


def take_off_own(total: Vector, view: View, seed: bytes) -> None:
    """Subtract from the sum [length] a node's own mask. The node is in U3."""
    task = view.task
    np.subtract(total, expand(own_mask_key(seed, view.digest), task.width, task.length), out=total)


def take_off_pairwise(total: Vector, view: View, dropped: str, private: bytes, masked: Iterable[str]) -> None:
    """Remove from the sum [length] the masks shared with a node that dropped out.

    Its neighbours in U3 (`masked`) added them to their vectors.
    """
    task = view.task
    for other in masked:
        key = pairwise_mask_key(private, view.adverts[other].mask_key, view.digest, (dropped, other))
        # The mask that the dropped node would have added cancels the other node's.
        add_pairwise(total, expand(key, task.width, task.length), dropped, other)

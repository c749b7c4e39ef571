"""A secret can be opened although some of the given shares are wrong."""

import os

import pytest

from terrycloth.models.secure_aggregation.shares import split
from terrycloth.server.secure import unmasking
from terrycloth.server.secure.unmasking import TRIES, open_secret

SECRET = bytes(range(32))


def fits(secret: bytes) -> bool:
    return secret == SECRET


def shares(threshold: int, holders: int, wrong: tuple[int, ...] = ()) -> dict[int, bytes]:
    """Return shares by holder's number, some of them replaced by random bytes."""
    honest = dict(enumerate(split(SECRET, threshold, holders)))
    return honest | {holder: os.urandom(32) for holder in wrong}


def test_enough_shares_open_a_secret_and_fewer_do_not() -> None:
    given = shares(3, 5)
    assert open_secret({h: given[h] for h in (1, 3, 4)}, 3, fits) == (SECRET, set())
    assert open_secret({h: given[h] for h in (1, 3)}, 3, fits) == (None, set())


@pytest.mark.parametrize("wrong", [(0,), (2,), (0, 1), (1, 4)])
def test_holders_of_wrong_shares_are_named(wrong: tuple[int, ...]) -> None:
    secret, wrong_holders = open_secret(shares(3, 6, wrong), 3, fits)
    assert secret == SECRET
    # Only the first three shares were tried.
    assert wrong_holders == {holder for holder in wrong if holder < 3}


def test_shares_of_earlier_wrong_holders_are_tried_last() -> None:
    given = shares(3, 6, wrong=(0, 1))
    tried: list[bytes] = []

    def watched(secret: bytes) -> bool:
        tried.append(secret)
        return fits(secret)

    assert open_secret(given, 3, watched, last={0, 1}) == (SECRET, set())
    assert len(tried) == 1


def test_the_number_of_tries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(unmasking, "combine", lambda chosen: calls.append(chosen) or bytes(32))
    assert open_secret(shares(3, 9), 3, fits) == (None, set())
    assert len(calls) == TRIES

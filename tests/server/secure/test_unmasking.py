"""Opening one secret, with wrong shares among those given."""

import os

import pytest

from terrycloth.models.secure_aggregation.shares import split
from terrycloth.server.secure import unmasking
from terrycloth.server.secure.unmasking import TRIES, open_secret

SECRET = bytes(range(32))


def fits(secret: bytes) -> bool:
    return secret == SECRET


def shares(threshold: int, holders: int, wrong: tuple[int, ...] = ()) -> dict[int, bytes]:
    """By holder's number, some of them random bytes."""
    honest = dict(enumerate(split(SECRET, threshold, holders)))
    return honest | {holder: os.urandom(32) for holder in wrong}


def test_enough_shares_open_a_secret_and_fewer_do_not() -> None:
    given = shares(3, 5)
    assert open_secret({h: given[h] for h in (1, 3, 4)}, 3, fits) == (SECRET, set())
    assert open_secret({h: given[h] for h in (1, 3)}, 3, fits) == (None, set())


@pytest.mark.parametrize("wrong", [(0,), (2,), (0, 1), (1, 4)])
def test_liars_are_named(wrong: tuple[int, ...]) -> None:
    secret, liars = open_secret(shares(3, 6, wrong), 3, fits)
    assert secret == SECRET
    assert liars == {
        holder for holder in wrong if holder < 3
    }  # those among the first three, which were tried


def test_who_lied_before_is_asked_last() -> None:
    given = shares(3, 6, wrong=(0, 1))
    tried: list[bytes] = []

    def watched(secret: bytes) -> bool:
        tried.append(secret)
        return fits(secret)

    assert open_secret(given, 3, watched, last={0, 1}) == (SECRET, set())
    assert len(tried) == 1


def test_tries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(unmasking, "combine", lambda chosen: calls.append(chosen) or bytes(32))
    assert open_secret(shares(3, 9), 3, fits) == (None, set())
    assert len(calls) == TRIES

"""Keyed streams give the answers published in RFC 8439, and their draws follow the claimed distributions.

Statistical tests use a fixed key. With a fresh key, each would fail on a correct program with probability
`RARE` at most.
"""

import struct
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from terrycloth.models.privacy.randomness import KEY_BYTES, Purpose, Stream, new_key, seeded_key

RARE = 1e-7
KEY = bytes(range(32))
MANY = 200_000
NO_PURPOSE: Any = 0  # the RFC's nonces end in zeros, which is the number of none of our purposes


def stream(**name: Any) -> Stream:
    return Stream(KEY, **{"round": 1, "purpose": Purpose.NOISE, **name})


def test_a_stream_matches_rfc_8439_section_2_3_2() -> None:
    """Key 00 … 1f, nonce 00000009 0000004a 00000000, block counter 1: the second block of our stream."""
    expected = bytes.fromhex(
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    words = Stream(
        KEY,
        device=struct.unpack("<I", bytes.fromhex("00000009"))[0],
        round=struct.unpack("<I", bytes.fromhex("0000004a"))[0],
        step=0,
        purpose=NO_PURPOSE,
    ).words(16)
    assert words[8:].tobytes() == expected


def test_a_stream_matches_rfc_8439_appendix_a_1() -> None:
    """Key and nonce of zeros: vector 1 is block 0, where our stream starts, and vector 2 is block 1."""
    expected = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    assert Stream(bytes(32), round=0, purpose=NO_PURPOSE).words(16).tobytes() == expected


def test_the_same_name_gives_the_same_draws_in_any_pieces() -> None:
    whole = stream(device=3, step=2).words(1000)
    again = stream(device=3, step=2)
    pieces = [again.words(count) for count in (1, 7, 0, 8, 500, 484)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_every_part_of_the_name_gives_other_draws() -> None:
    names = [
        {},
        {"device": 1},
        {"device": 2**32 - 1},
        {"round": 2},
        {"round": 2**32 - 1},
        {"step": 1},
        {"step": 2**16 - 1},
        *({"purpose": purpose} for purpose in Purpose if purpose != Purpose.NOISE),
    ]
    drawn = [stream(**name).uniforms(4).tolist() for name in names]
    drawn.append(Stream(bytes(32), round=1, purpose=Purpose.NOISE).uniforms(4).tolist())
    for one, other in combinations(drawn, 2):
        assert not set(one) & set(other)


names = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1))
edges = st.tuples(*[st.sampled_from([0, 1, 255, 256, 65535])] * 3)


@given(st.tuples(names | edges, st.sampled_from(Purpose)), st.tuples(names | edges, st.sampled_from(Purpose)))
def test_no_two_names_share_a_stream(one: Any, other: Any) -> None:
    def words(name: Any) -> list[int]:
        (device, round, step), purpose = name
        return Stream(KEY, device=device, round=round, step=step, purpose=purpose).words(2).tolist()

    assert (words(one) == words(other)) == (one == other)


@pytest.mark.parametrize(
    "name",
    [{"step": 2**16}, {"device": 2**32}, {"round": 2**32}, {"step": -1}, {"device": -1}, {"round": -1}],
    ids=str,
)
def test_a_part_of_a_name_out_of_range_is_an_error_and_does_not_wrap(name: dict[str, int]) -> None:
    with pytest.raises(struct.error):
        stream(**name)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        Stream(bytes(16), round=1, purpose=Purpose.NOISE)


def test_new_keys_differ_and_a_seeds_key_is_repeatable() -> None:
    assert len(new_key()) == len(seeded_key(7)) == KEY_BYTES == 32
    assert new_key() != new_key()
    assert seeded_key(7) == seeded_key(7)
    assert len({seeded_key(seed) for seed in (0, 1, 255, 256, 2**32, 2**64 - 1)}) == 6


def test_the_numbers_of_purposes_never_change() -> None:
    """A run resumed under other numbers would draw from other streams, and not continue as it began."""
    assert {purpose.name: int(purpose) for purpose in Purpose} == {
        "PARTICIPATION": 1,
        "BATCH": 2,
        "NEGATIVES": 3,
        "NOISE": 4,
        "DEVICE_NOISE": 5,
        "CENTRAL_NOISE": 6,
        "LAZY_NOISE": 7,
    }


@pytest.mark.parametrize(
    ("word", "uniform"), [(0, 2.0**-53), (2**64 - 1, 1.0 - 2.0**-53), (2**63, 0.5 + 2.0**-53)]
)
def test_uniforms_and_integers_stay_inside_their_range_for_extreme_words(
    word: int, uniform: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stream, "words", lambda self, count: np.full(count, word, dtype=np.uint64))
    assert stream().uniforms(2).tolist() == [uniform] * 2
    for below in (1, 2, 3, 1000, 1682, 2**31 - 1, 2**31):
        assert 0 <= stream().integers(1, below)[0] < below


def test_gaussian_draws_reach_9_2_standard_deviations_on_either_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest words give the outermost draws, with a sign in the last bit; the largest, the middle."""
    words = np.array([0, 1, 2**64 - 2, 2**64 - 1], dtype=np.uint64)
    monkeypatch.setattr(Stream, "words", lambda self, count: words)
    low, high, *middle = stream().normals(4).tolist()
    assert abs(low) == pytest.approx(-stats.norm.ppf(2.0**-65), rel=1e-9)
    assert high == -low
    assert middle == [0.0, 0.0]


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    drawn = stream().uniforms(MANY)
    assert drawn.min() > 0.0
    assert drawn.max() < 1.0
    assert stats.kstest(drawn, "uniform").pvalue > RARE
    # Successive draws, and streams with neighbouring names: √n · correlation is about N(0, 1).
    limit = stats.norm.isf(RARE / 2) / MANY**0.5
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < limit
    for neighbour in (stream(device=1), stream(round=2), stream(step=1), stream(purpose=Purpose.BATCH)):
        assert abs(np.corrcoef(drawn, neighbour.uniforms(MANY))[0, 1]) < limit


def test_normals_are_standard_gaussian() -> None:
    drawn = stream().normals(MANY)
    assert stats.kstest(drawn, "norm").pvalue > RARE
    assert abs(drawn.mean()) < stats.norm.isf(RARE / 2) / MANY**0.5
    low, high = stats.chi2.isf([1 - RARE / 2, RARE / 2], MANY - 1) / (MANY - 1)
    assert low < drawn.var(ddof=1) < high
    # The tails, where a sum of uniforms or a clipped draw would differ.
    for bound in (3.0, 4.0):
        expected = MANY * 2 * stats.norm.sf(bound)
        low, high = stats.poisson.ppf([RARE / 2, 1 - RARE / 2], expected)
        assert low <= (abs(drawn) > bound).sum() <= high


@pytest.mark.parametrize("below", [2, 7, 1000])
def test_integers_are_uniform(below: int) -> None:
    drawn = stream().integers(MANY, below)
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn, minlength=below)
    assert len(counts) == below
    assert stats.chisquare(counts).pvalue > RARE


def test_a_gaussian_is_the_quantile_of_63_bits_with_a_separate_sign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last bit is the sign. The others give a probability below ½, where doubles are finest."""
    places = [0, 1, 2, 2**30, 2**62, 2**63 - 1]
    words = np.array([2 * place + sign for sign in (0, 1) for place in places], dtype=np.uint64)
    monkeypatch.setattr(Stream, "words", lambda self, count: words)
    below, above = stream().normals(len(words)).reshape(2, -1)
    expected = [-stats.norm.ppf((place + 0.5) / 2**64) for place in places]
    assert abs(below).tolist() == pytest.approx(expected, rel=1e-12)
    assert (above == -below).all()
    assert (np.sign(below[:-1]) == np.sign(below[0])).all()
    assert len(set(below)) == len(places), "one step of the last bit near the end must give another draw"


def test_signs_are_balanced_and_uncorrelated_with_magnitudes() -> None:
    drawn = stream().normals(MANY)
    limit = stats.norm.isf(RARE / 2) / MANY**0.5
    assert abs(np.sign(drawn).mean()) < limit
    assert abs(np.corrcoef(np.sign(drawn), abs(drawn))[0, 1]) < limit


def test_noise_is_finer_than_single_precision() -> None:
    """Mironov 2012: noise in single precision has gaps. Ours keeps bits that a float32 would drop."""
    drawn = stream().normals(1000)
    assert (drawn != drawn.astype(np.float32)).mean() > 0.99


@pytest.mark.parametrize("draw", [Stream.words, Stream.uniforms, Stream.normals])
def test_drawing_zero_numbers_returns_none(draw: Callable[[Stream, int], np.ndarray]) -> None:
    assert len(draw(stream(), 0)) == 0

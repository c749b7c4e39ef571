"""Compiled streams equal the library's ChaCha20 and the reference's uniforms; their normals are Gaussian."""

import numpy as np
import pytest
from scipy.stats import kstest

from terrycloth.client.training.compiled.compiled_streams import (
    LANES,
    NORMALS,
    UNIFORMS,
    WORDS,
    fill_normals,
    fill_uniforms,
    fill_words,
    key_words,
)
from terrycloth.models.privacy.randomness import Purpose, Stream

KEY = bytes(range(7, 39))


def words_of(device: int, query: int, step: int, purpose: int, first: int = 0) -> np.ndarray:
    words = np.empty((WORDS, LANES), np.uint32)
    fill_words(key_words(KEY), device, query, step, purpose, first, words)
    return words


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize(
    ("device", "query", "step"), [(0, 0, 0), (1, 2, 3), (2**32 - 1, 2**32 - 1, 2**16 - 1), (77, 5, 40_000)]
)
def test_words_equal_those_of_the_library(purpose, device, query, step):
    """Each device, query, step and purpose has its own nonce, and no bit of them is lost."""
    stream = Stream(KEY, device=device, round=query, step=step, purpose=purpose)
    expected = stream.words(3 * LANES * WORDS // 2).view(np.uint32).reshape(3, LANES, WORDS)
    for group in range(3):
        words = words_of(device, query, step, int(purpose), group * LANES)
        np.testing.assert_array_equal(words.T, expected[group])


def test_uniforms_equal_those_of_the_reference():
    uniforms = np.empty(UNIFORMS)
    fill_uniforms(words_of(3, 4, 5, 2), uniforms)
    np.testing.assert_array_equal(
        uniforms, Stream(KEY, device=3, round=4, step=5, purpose=Purpose.BATCH).uniforms(UNIFORMS)
    )


def normals(words: np.ndarray) -> np.ndarray:
    drawn = np.empty(NORMALS, np.float32)
    fill_normals(np.ascontiguousarray(words, dtype=np.uint32), drawn)
    return drawn


@pytest.mark.slow
def test_normals_are_gaussian():
    """Kolmogorov–Smirnov and the fourth moment, over 2.5 million draws; false alarm below 1e-6."""
    drawn = np.concatenate([normals(words_of(device, 1, 1, 7)) for device in range(10_000)]).astype(
        np.float64
    )
    assert kstest(drawn, "norm").pvalue > 5e-7
    assert abs((drawn**4).mean() - 3) < 5.1 * (96 / len(drawn)) ** 0.5


def test_normals_from_one_word_are_uncorrelated():
    """Two draws from one word, and successive draws, have uncorrelated values and sizes; false alarm 1e-6."""
    drawn = np.stack([normals(words_of(device, 1, 1, 7)) for device in range(4000)]).astype(np.float64)
    half = NORMALS // 2
    for first, second in ((drawn[:, :half], drawn[:, half:]), (drawn[:, :-1], drawn[:, 1:])):
        pairs = first.size
        assert abs((first * second).mean()) < 5.2 / pairs**0.5
        assert abs((first**2 * second**2).mean() - 1) < 5.2 * 8**0.5 / pairs**0.5


@pytest.mark.parametrize(
    ("radial", "radius"),
    [
        (0, np.sqrt(-2 * np.log(0.5 * 2.0**-40))),  # the draw farthest out
        (2**32 - 1, 0.0),
        (2**31, np.sqrt(-2 * np.log(0.5))),
        (1, np.sqrt(-2 * np.log((256 + 0.5) * 2.0**-40))),
        (int(2**32 * 0.99), np.sqrt(-2 * np.log(0.99))),
    ],
)
@pytest.mark.parametrize("turn", [0, 1, 2**21, 2**22, 2**23 - 1, 2**23 + 5, 3 * 2**22 + 99, 2**24 - 1])
def test_the_transform_by_hand(radial, radius, turn):
    """The middle of quadrant q is at q quarter turns; word B's low 24 bits begin an eighth before."""
    words = np.zeros((WORDS, LANES), np.uint32)
    words[: WORDS // 2] = radial
    words[WORDS // 2 :] = turn
    drawn = normals(words)
    angle = (turn + 0.5) / 2**24 * 2 * np.pi - np.pi / 4
    np.testing.assert_allclose(drawn[: NORMALS // 2], radius * np.cos(angle), atol=3e-6, rtol=0)
    np.testing.assert_allclose(drawn[NORMALS // 2 :], radius * np.sin(angle), atol=3e-6, rtol=0)

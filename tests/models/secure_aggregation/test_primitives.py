"""Keys, masks and shares, built from libraries' primitives and checked against known answers if any."""

import os

import numpy as np
import pytest
from scipy.stats import chi2

from terrycloth.models.secure_aggregation.keys import (
    SEALED_BYTES,
    commitment,
    new_private_key,
    own_mask_key,
    pairwise_mask_key,
    public_key,
    seal,
    unseal,
    usable,
)
from terrycloth.models.secure_aggregation.masks import add_pairwise, expand
from terrycloth.models.secure_aggregation.messages import ProtocolError
from terrycloth.models.secure_aggregation.shares import combine, split

VIEW = b"v" * 32


def flipped(key: bytes, bit: int) -> bytes:
    changed = bytearray(key)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# --- masks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "words"), [(32, [0xADE0B876, 0x903DF1A0]), (64, [0x903DF1A0ADE0B876, 0x28BD8653E56A5D40])]
)
def test_a_mask_is_the_chacha20_stream(width: int, words: list[int]) -> None:
    """RFC 8439, appendix A.1, vector 1: the zero key's stream starts 76b8e0ada0f13d90 405d6ae55386bd28."""
    mask = expand(bytes(32), width, 2)
    assert mask.dtype == f"uint{width}"
    assert mask.tolist() == words


def test_a_mask_depends_on_every_bit_of_its_256_bit_key() -> None:
    """A generator that folds its seed into 32 bits would give the same mask for many of these keys."""
    key = bytes(range(32))
    masks = {tuple(expand(flipped(key, bit), 64, 4)) for bit in range(256)}
    assert len(masks | {tuple(expand(key, 64, 4))}) == 257
    seeds = {own_mask_key(flipped(key, bit), VIEW) for bit in range(256)} | {own_mask_key(key, VIEW)}
    assert len(seeds) == 257
    assert {len(seed) for seed in seeds} == {32}


@pytest.mark.parametrize("width", [32, 64])
def test_a_mask_is_uniform(width: int) -> None:
    """χ² of the mask's bytes has 255 degrees of freedom. The mask is seeded, so the result never changes."""
    mask = expand(b"k" * 32, width, 2**20 // width)
    counts = np.bincount(mask.view(np.uint8), minlength=256)
    expected = mask.nbytes / 256
    assert chi2.ppf(1e-7, 255) < ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-7, 255)


@pytest.mark.parametrize("width", [32, 64])
def test_two_nodes_masks_cancel(width: int) -> None:
    mask, first, second = expand(b"k" * 32, width, 100), *np.ones((2, 100), dtype=f"uint{width}")
    add_pairwise(first, mask, "a", "b")
    add_pairwise(second, mask, "b", "a")
    assert np.all(first == 1 + mask)
    assert np.all(first + second == 2)


# --- keys -------------------------------------------------------------------------------------------------


def test_a_pairwise_key_is_the_same_on_both_sides_and_bound_to_the_pair_and_the_view() -> None:
    a, b, c = (new_private_key() for _ in range(3))
    key = pairwise_mask_key(a, public_key(b), VIEW, ("a", "b"))
    assert key == pairwise_mask_key(b, public_key(a), VIEW, ("b", "a"))
    assert len(key) == 32
    others = {
        pairwise_mask_key(a, public_key(b), b"w" * 32, ("a", "b")),
        pairwise_mask_key(a, public_key(b), VIEW, ("a", "c")),
        pairwise_mask_key(a, public_key(c), VIEW, ("a", "b")),
    }
    assert len(others | {key}) == 4


def test_only_the_recipient_can_open_sealed_shares() -> None:
    a, b, c = (new_private_key() for _ in range(3))
    shares = os.urandom(64)
    sealed = seal(a, public_key(b), VIEW, "a", "b", shares)
    assert len(sealed) == SEALED_BYTES
    assert unseal(b, public_key(a), VIEW, "a", "b", sealed) == shares
    wrong = [
        (c, public_key(a), VIEW, "a", "b"),
        (b, public_key(c), VIEW, "a", "b"),
        (b, public_key(a), b"w" * 32, "a", "b"),
        (b, public_key(a), VIEW, "b", "a"),
        (b, public_key(a), VIEW, "a", "c"),
        (b, public_key(a), VIEW, "c", "b"),
    ]
    for private, public, view, sender, recipient in wrong:
        with pytest.raises(ProtocolError, match="not meant for this node"):
            unseal(private, public, view, sender, recipient, sealed)
    for spoiled in (sealed[:-1], sealed + b"x", b""):
        with pytest.raises(ProtocolError, match="wrong ciphertext size"):
            unseal(b, public_key(a), VIEW, "a", "b", spoiled)
    for bit in (0, 100, 8 * SEALED_BYTES - 1):
        with pytest.raises(ProtocolError, match="not meant for this node"):
            unseal(b, public_key(a), VIEW, "a", "b", flipped(sealed, bit))


def test_sealing_the_same_shares_twice_gives_different_bytes() -> None:
    a, b = new_private_key(), new_private_key()
    assert len({seal(a, public_key(b), VIEW, "a", "b", bytes(64)) for _ in range(5)}) == 5


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"", bytes(31), b"k" * 33])
def test_degenerate_public_keys_are_refused(public: bytes) -> None:
    assert not usable(public)
    with pytest.raises(ProtocolError, match="unusable public key"):
        pairwise_mask_key(new_private_key(), public, VIEW, ("a", "b"))


def test_a_commitment_binds_one_seed() -> None:
    assert commitment(b"a" * 32) == commitment(b"a" * 32) != commitment(b"b" * 32)
    assert commitment(b"a" * 32) != own_mask_key(b"a" * 32, VIEW)


# --- shares -----------------------------------------------------------------------------------------------


def test_any_threshold_shares_give_the_secret_and_one_fewer_does_not() -> None:
    secret = os.urandom(32)
    shares = list(enumerate(split(secret, 3, 5)))
    assert {len(share) for _, share in shares} == {32}
    for chosen in ([0, 1, 2], [4, 2, 0], [1, 3, 4]):
        assert combine([shares[holder] for holder in chosen]) == secret
    assert combine(shares[:2]) != secret
    assert combine([shares[0], shares[1], (2, bytes(32))]) != secret

"""The keyed streams of models/privacy/randomness.py, for compiled loops over devices.

This is the same ChaCha20 (RFC 8439, section 2.3), block for block; a test compares it with the library's.
LANES blocks are computed in parallel, one in each lane of the processor's vector registers.

Gaussian draws differ from `Stream.normals`. A device's own later steps read millions of draws, which come
from the transform of Box & Muller (1958), two draws per 64-bit word. The radius has 40 bits and ends at 7.5 σ
(a pair exceeds 7.446 σ with probability 2⁻⁴⁰); the angle has 24 bits, in single precision. These draws are
never all the noise in a release: every coordinate also has the noise of a device's last step, from
`Stream.normals`.
"""

import math

import numpy as np

from terrycloth.client.training.compiled.compile import Array, compiled

LANES = 16  # blocks computed at a time
WORDS = 16  # 32-bit words per block
UNIFORMS = LANES * WORDS // 2  # drawn at a time, from 64 bits each
NORMALS = LANES * WORDS  # drawn at a time, from 32 bits each

u32 = np.uint32
f32 = np.float32

LN2 = f32(math.log(2.0))
STEP_OF_ANGLE = f32(math.pi / 2.0 * 2.0**-22)
ONE_BITS = u32(0x3F800000)  # 1.0 as single-precision bits
ROOT_HALF_BITS = u32(0x3F3504F3)  # √½, from which mantissas run to √2


def key_words(key: bytes) -> Array:
    """Convert a 256-bit key to the words that the cipher reads: uint32 [8]."""
    return np.frombuffer(key, dtype="<u4").astype(np.uint32)


@compiled(forceinline=True)
def quarter_round(a, b, c, d):
    """The quarter round of RFC 8439, section 2.1."""
    a = u32(a + b)
    d = u32(d ^ a)
    d = u32(u32(d << u32(16)) | u32(d >> u32(16)))
    c = u32(c + d)
    b = u32(b ^ c)
    b = u32(u32(b << u32(12)) | u32(b >> u32(20)))
    a = u32(a + b)
    d = u32(d ^ a)
    d = u32(u32(d << u32(8)) | u32(d >> u32(24)))
    c = u32(c + d)
    b = u32(b ^ c)
    b = u32(u32(b << u32(7)) | u32(b >> u32(25)))
    return a, b, c, d


@compiled(forceinline=True)
def double_round(state):
    """One round on the columns and one on the diagonals."""
    x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15 = state
    x0, x4, x8, x12 = quarter_round(x0, x4, x8, x12)
    x1, x5, x9, x13 = quarter_round(x1, x5, x9, x13)
    x2, x6, x10, x14 = quarter_round(x2, x6, x10, x14)
    x3, x7, x11, x15 = quarter_round(x3, x7, x11, x15)
    x0, x5, x10, x15 = quarter_round(x0, x5, x10, x15)
    x1, x6, x11, x12 = quarter_round(x1, x6, x11, x12)
    x2, x7, x8, x13 = quarter_round(x2, x7, x8, x13)
    x3, x4, x9, x14 = quarter_round(x3, x4, x9, x14)
    return x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15


@compiled()
def fill_words(key, device, query, step, purpose, first, words):
    """Compute LANES blocks of a stream from block `first`; words[w, b] is word w of block b."""
    k0, k1, k2, k3, k4, k5, k6, k7 = key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]
    c0, c1, c2, c3 = u32(0x61707865), u32(0x3320646E), u32(0x79622D32), u32(0x6B206574)
    n1, n2, n3 = u32(device), u32(query), u32(u32(step) | u32(u32(purpose) << u32(16)))
    # The compiler vectorises this loop, because no block depends on another.
    for block in range(LANES):
        counter = u32(first + block)
        x = (c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, counter, n1, n2, n3)
        x = double_round(double_round(double_round(double_round(double_round(x)))))
        x = double_round(double_round(double_round(double_round(double_round(x)))))
        words[0, block] = x[0] + c0
        words[1, block] = x[1] + c1
        words[2, block] = x[2] + c2
        words[3, block] = x[3] + c3
        words[4, block] = x[4] + k0
        words[5, block] = x[5] + k1
        words[6, block] = x[6] + k2
        words[7, block] = x[7] + k3
        words[8, block] = x[8] + k4
        words[9, block] = x[9] + k5
        words[10, block] = x[10] + k6
        words[11, block] = x[11] + k7
        words[12, block] = x[12] + counter
        words[13, block] = x[13] + n1
        words[14, block] = x[14] + n2
        words[15, block] = x[15] + n3


@compiled()
def fill_uniforms(words, uniforms):
    """Compute `Stream.uniforms` from LANES blocks of its words: float64 [UNIFORMS], in the stream's order."""
    for pair in range(WORDS // 2):
        for block in range(LANES):
            cell = (np.uint64(words[2 * pair + 1, block]) << np.uint64(20)) | (
                np.uint64(words[2 * pair, block]) >> np.uint64(12)
            )
            uniforms[block * (WORDS // 2) + pair] = (np.float64(cell) + 0.5) * 2.0**-52


# Division by zero follows NumPy, because Python's exception would prevent vectorisation of the loop.
@compiled(error_model="numpy", fastmath={"contract"})
def fill_normals(words, normals):
    """Compute standard Gaussian draws from LANES blocks: float32 [NORMALS].

    The polynomials are minimax fits. Their errors are at most 6·10⁻⁹ for the logarithm and 4·10⁻⁹ for a sine
    or cosine, a tenth of the rounding errors of single precision.
    """
    half = NORMALS // 2
    radial, angular = words[: WORDS // 2].ravel(), words[WORDS // 2 :].ravel()
    for place in range(half):
        angle_bits = angular[place]
        # A uniform in (0, 1], times 2⁴⁰, is 2^exponent · m with √½ ≤ m < √2: no cancellation near 1.
        low = f32(np.int32(angle_bits >> u32(24))) + f32(0.5)
        uniform = f32(f32(radial[place]) * f32(256.0) + low)
        shifted = u32(uniform.view(np.uint32) + u32(ONE_BITS - ROOT_HALF_BITS))
        exponent = f32(np.int32(shifted >> u32(23))) - f32(127 + 40)
        beyond = u32(u32(shifted & u32(0x007FFFFF)) + ROOT_HALF_BITS).view(np.float32) - f32(1.0)
        # ln(1 + x) = x − x²/2 + x³ series(x)
        series = f32(-0.0763449669)
        series = f32(0.1276157647) + beyond * series
        series = f32(-0.1316018254) + beyond * series
        series = f32(0.1420175731) + beyond * series
        series = f32(-0.1662335694) + beyond * series
        series = f32(0.2000122663) + beyond * series
        series = f32(-0.2500081956) + beyond * series
        series = f32(0.3333333135) + beyond * series
        logarithm = exponent * LN2 + (beyond + beyond * beyond * (beyond * series - f32(0.5)))
        radius = np.sqrt(f32(-2.0) * logarithm)
        # The angle is a quadrant, and a distance of at most an eighth of a turn from its middle.
        angle = (f32(np.int32(angle_bits & u32(0x003FFFFF))) - f32(2.0**21 - 0.5)) * STEP_OF_ANGLE
        square = angle * angle
        sine = f32(-0.0001951729893)
        sine = f32(0.0083321781457) + square * sine
        sine = f32(-0.1666665494369) + square * sine
        sine = angle + angle * square * sine
        cosine = f32(2.44384515157e-05)
        cosine = f32(-0.0013887367515) + square * cosine
        cosine = f32(0.0416666468664) + square * cosine
        cosine = f32(-0.5) + square * cosine
        cosine = f32(1.0) + square * cosine
        odd = u32(angle_bits & u32(1 << 22)) != u32(0)
        signed = -radius if u32(angle_bits & u32(1 << 23)) != u32(0) else radius
        normals[place] = signed * (-sine if odd else cosine)
        normals[half + place] = signed * (cosine if odd else sine)

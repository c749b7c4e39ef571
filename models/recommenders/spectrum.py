"""What a noised symmetric matrix tells of the one below: its eigenvalues and how far they are to be trusted.

Noise of deviation s on the diagonal and s/√2 off it, M × M, has its eigenvalues below the edge e = s·√(2M)
(Wigner's semicircle: Anderson, Guionnet & Zeitouni 2010, theorem 2.1.22). An eigenvalue θ of the signal above
e/2 shows as w = θ + e²/(4θ) > e, and the squared overlap of the two eigenvectors is 1 − e²/(4θ²)
(Benaych-Georges & Nadakuditi 2011, "The eigenvalues and eigenvectors of finite, low rank perturbations of
large random matrices", section 3.1). The rule reads nothing but the released matrix and public numbers.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Spectrum(NamedTuple):
    """centre [items]: the first eigenvector, which is not negative. vectors [items, kept]: the next ones that
    are kept; weights [kept]: how much each counts. noise: the edge's part in edge + ridge.
    """

    centre: Tensor
    vectors: Tensor
    weights: Tensor
    noise: float


def shrunk(matrix: Tensor, deviation: float, most: int, regularisation: float) -> Spectrum:
    """The first eigenvector, and of the next those above the noise's edge, with the weight c²·θ/(θ + λ).

    The first of a matrix whose entries are not negative is not negative either (Perron and Frobenius; Horn &
    Johnson 2013, theorem 8.3.1): it is what all rows have in common. c²: the squared overlap. λ is
    `regularisation` mean eigenvalues of the released matrix [items, items] without the first: without noise
    the weights w/(w + λ) are those of a ridge regression. most: how many are kept.
    """
    items, scale = len(matrix), float(matrix.abs().max())
    # To size 1 first: whatever finite numbers it holds, nothing overflows, and the weights stay the same.
    matrix, deviation = matrix / (scale or 1.0), deviation / (scale or 1.0)
    edge = deviation * (2.0 * items) ** 0.5
    if scale == 0.0:
        noise = 1.0 if edge > 0 else 0.0
        return Spectrum(torch.full((items,), items**-0.5), torch.zeros(items, 0), torch.zeros(0), noise)
    values, vectors = torch.linalg.eigh(matrix)
    least = max(edge, 1e-6 * float(values.abs().max()))  # single precision tells no smaller one from zero
    centre = vectors[:, -1].abs()  # its sign is arbitrary; noise may push an entry below zero
    ridge = regularisation * max(float(values[:-1].double().sum()), 0.0) / items
    noise = edge / (edge + ridge) if edge > 0 else 0.0
    values, vectors = values[:-1], vectors[:, :-1]
    above = values > least
    kept, values = vectors[:, above][:, -most:], values[above][-most:].double()
    signal = (values + (values.square() - edge**2).clamp(min=0.0).sqrt()) / 2.0
    overlap = 1.0 - (edge / (2.0 * signal)).square()
    return Spectrum(centre, kept.contiguous(), (overlap * signal / (signal + ridge)).float(), noise)

"""The linear model's matrix, added up pair by pair: no memory but the matrix's, whatever a device holds."""

import numpy as np

from terrycloth.client.training.compiled.compile import compiled


@compiled()
def add_kernels(offsets, places, visits, weights, head, total):
    """Add K/|K| of each device, packed, to `total`: float64 [head · (head + 1) / 2].

    offsets: int64 [devices + 1]. places: int64, of a device's items in the head, ascending; visits: int64, of
    its last purchase of each. weights: float64, 2^(−d / h') for visits that are d apart. An entry off the
    diagonal stands twice in K, so it counts √2 once.
    """
    for device in range(len(offsets) - 1):
        first, after = offsets[device], offsets[device + 1]
        square = 0.0
        for left in range(first, after):
            square += weights[0] * weights[0]
            for right in range(left + 1, after):
                weight = weights[abs(visits[left] - visits[right])]
                square += 2.0 * weight * weight
        if square == 0.0:
            continue
        on_diagonal = 1.0 / np.sqrt(square)
        beside = np.sqrt(2.0) * on_diagonal
        for left in range(first, after):
            place = places[left]
            start = place * head - place * (place + 1) // 2
            total[start + place] += on_diagonal * weights[0]
            for right in range(left + 1, after):
                total[start + places[right]] += beside * weights[abs(visits[left] - visits[right])]

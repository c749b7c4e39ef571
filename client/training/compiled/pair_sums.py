"""The linear model's Gram matrix, added up pair by pair, with no memory beyond the matrix itself."""

import numpy as np

from terrycloth.client.training.compiled.compile import compiled


@compiled()
def add_kernels(offsets, places, visits, weights, head, total):
    """Add K/|K| of each device, packed, to `total`: float64 [head · (head + 1) / 2].

    offsets: int64 [devices + 1], device k has pairs offsets[k] : offsets[k + 1]. places: int64 [pairs], the
    places of the device's items in the head, ascending. visits: int64 [pairs], the number of the device's
    visits after its last purchase of each item. weights: float64, weights[d] = 2^(−d / h') for visits that
    are d apart. The packed form holds an off-diagonal entry once, times √2, because K holds it twice.
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

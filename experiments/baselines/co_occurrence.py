"""Symmetric decayed co-occurrence of items that are bought at about the same time, without privacy.

C_ij = Σ 2^(−|v_i − v_j| / h) over the shoppers who have both items, where v_i is the visit of the last
purchase of item i. Only a shopper's last 50 visits count. The weight is C_ij / √(n_i n_j), where n_i is the
number of shoppers who have item i. This is the cosine of item-based collaborative filtering (Deshpande &
Karypis 2004), except that a pair counts less the more visits lie between its purchases, as in Ludewig &
Jannach 2018, "Evaluation of session-based recommendation algorithms". With h = ∞ and no limit of visits it is
the plain cosine.
"""

import numpy as np

from terrycloth.client.events import Array
from terrycloth.client.training.compiled.compile import compiled
from terrycloth.client.training.profiles import last_rows
from terrycloth.experiments.baselines.ease import by_weights
from terrycloth.experiments.baselines.row import HALF_LIFE, Context, Serve, Settings

APART = "apart"  # h, in visits; 0 means infinite
VISITS = 50

MOST_ITEMS = 30_000  # two dense arrays of items² numbers

FITS = tuple({APART: visits} for visits in (1.0, 3.0, 10.0, 30.0))
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 1.0, 2.5, 5.0, 10.0, 30.0))


def fit_co_occurrence(context: Context, settings: Settings) -> Serve:
    """Fit the co-occurrence weights; an item scores the sum of its weights with the shopper's items."""
    train, num_items = context.train, context.num_items
    rows = last_rows(train, num_items)
    owners = np.maximum(np.bincount(train.items[rows], minlength=num_items), 1)
    rows = rows[train.later_visits[rows] < VISITS]
    counts = np.bincount(train.devices[rows], minlength=train.num_devices)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    lags = np.arange(VISITS)
    kernel = np.ones(VISITS) if settings[APART] == 0 else np.exp2(-lags / settings[APART])
    weights = np.zeros((num_items, num_items), dtype=np.float32)
    add_pairs(offsets, train.items[rows], train.later_visits[rows], kernel.astype(np.float32), weights)
    weights += weights.T
    scale = (1.0 / np.sqrt(owners)).astype(np.float32)
    weights *= scale[:, None]
    weights *= scale[None, :]
    return by_weights(weights)


@compiled()
def add_pairs(offsets: Array, items: Array, later: Array, kernel: Array, weights: Array) -> None:
    """Add kernel[|later_i − later_j|] to weights[i, j] for every two items i < j of each device."""
    for device in range(len(offsets) - 1):
        for left in range(offsets[device], offsets[device + 1]):
            for right in range(left + 1, offsets[device + 1]):
                weights[items[left], items[right]] += kernel[abs(later[left] - later[right])]

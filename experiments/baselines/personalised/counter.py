"""No model: an item's score is minus how often it was drawn as a negative for this shopper.

It learns nothing of what anybody likes, so what it finds is the leak of a protocol and nothing else. Where
negatives are drawn regardless of the held-out item, it is at chance.
"""

import numpy as np
import torch
from torch import Tensor

from terrycloth.experiments.baselines.personalised.examples import Integers, Shoppers


class Counter:
    """counts: int32 [devices, items], of all rounds so far."""

    shared_numbers = 0  # sent by a device in a round

    def __init__(self, shoppers: Shoppers, negatives: int) -> None:
        self.shoppers = shoppers
        self.each = negatives
        self.counts = torch.zeros(shoppers.num_devices, shoppers.num_items, dtype=torch.int32)

    def train_round(self, round: int, generator: np.random.Generator) -> None:
        """Draw a round's negatives, and count them."""
        shoppers = self.shoppers
        for devices in shoppers.chunks(self.each):
            drawn = shoppers.negatives(devices, self.each, generator)
            held = np.arange(drawn.shape[1]) < shoppers.counts[devices, None]  # for a positive, no padding
            places = (devices[:, None, None] * shoppers.num_items + drawn)[held]
            ones = torch.ones(places.size, dtype=torch.int32)
            self.counts.view(-1).index_add_(0, torch.from_numpy(places.ravel()), ones)

    def scores(self, devices: Integers) -> Tensor:
        """[devices, items]."""
        return -self.counts[torch.from_numpy(devices)].float()

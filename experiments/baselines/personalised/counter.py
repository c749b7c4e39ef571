"""A counter instead of a model: an item scores minus the number of times it was a negative for the shopper.

The counter learns nothing about preferences, so its accuracy measures only the leak of the negative sampling.
If negatives are drawn without regard to the held-out item, its accuracy is at chance level.
"""

import numpy as np
import torch
from torch import Tensor

from terrycloth.experiments.baselines.personalised.examples import Integers, Shoppers


class Counter:
    """Count how often each item is drawn as a negative. counts: int32 [devices, items], over all rounds."""

    shared_numbers = 0  # the numbers that a device sends per round

    def __init__(self, shoppers: Shoppers, negatives: int) -> None:
        self.shoppers = shoppers
        self.each = negatives
        self.counts = torch.zeros(shoppers.num_devices, shoppers.num_items, dtype=torch.int32)

    def train_round(self, round: int, generator: np.random.Generator) -> None:
        """Draw the negatives of one round and count them."""
        shoppers = self.shoppers
        for devices in shoppers.chunks(self.each):
            drawn = shoppers.negatives(devices, self.each, generator)
            held = np.arange(drawn.shape[1]) < shoppers.counts[devices, None]  # False for padding
            places = (devices[:, None, None] * shoppers.num_items + drawn)[held]
            ones = torch.ones(places.size, dtype=torch.int32)
            self.counts.view(-1).index_add_(0, torch.from_numpy(places.ravel()), ones)

    def scores(self, devices: Integers) -> Tensor:
        """Return the scores of all items for some devices: [devices, items]."""
        return -self.counts[torch.from_numpy(devices)].float()

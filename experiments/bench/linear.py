"""Times of the linear model's two rounds for devices as in the towel data: many, with few purchases each."""

import time

import numpy as np
import torch

from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.linear_trainer import LinearTrainer
from terrycloth.experiments.bench.workload import draw_events, plain_catalogue, promise, round_settings
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.kinds import KINDS
from terrycloth.models.recommenders.linear_autoencoder import LinearAutoencoder

EVENTS, ITEMS = 12, 300


def linear_rounds(devices: int) -> dict[str, float]:
    """Return the seconds of each shopper-level round by its release's name, without the server's part."""
    settings = round_settings(
        **promise("shopper", epsilon=8.0, noise_multiplier=1.0),
        model="linear",
        rounds=len(KINDS["linear"].releases),
        head_size=ITEMS,
        devices=devices,
    )
    model = recommender_for(settings, plain_catalogue(ITEMS))
    assert isinstance(model, LinearAutoencoder)
    events = draw_events(devices, EVENTS, ITEMS)
    cohort = Cohort(np.arange(devices), events, torch.zeros(devices, 0), seeded_key(1), query=1)
    parameters, seconds = model.shared_parameters(), {}
    for number, released in enumerate(KINDS["linear"].releases, start=1):
        started = time.perf_counter()
        update, _ = LinearTrainer(model, settings.at(number)).train(cohort, parameters)
        seconds[released] = time.perf_counter() - started
        parameters = {**parameters, **update}
    return seconds

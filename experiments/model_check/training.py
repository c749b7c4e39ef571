"""The checks of a model's training: many devices at once as one after the other, and within the clip."""

import numpy as np
import torch

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.trainers import bounded_trainer
from terrycloth.experiments.model_check.contract import Broken, Make, prepared, random_vectors, settings_of
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import RoundSettings

VECTORS = "shoppers' vectors"
COUNTS = (0, 1, 2, 30, 7)  # events of each device
TOLERANCE = 1e-4  # the reference keeps parameters in single precision
CLIP = 0.05
ROUNDED = 1.001  # by which single precision may exceed a clip


def check_batches(make: Make, unit: str) -> None:
    """Training many devices at once gives the update that training one after the other gives."""
    clip = {} if unit == "none" else {"clip": 0.5}
    settings = settings_of(make(), unit, **clip, sampling_rate=0.6, steps_per_round=2)
    events = events_of(COUNTS, make().num_items)
    reference, batched = (update_of(make, settings, events, together) for together in (False, True))
    for name, expected in reference.items():
        difference, size = float((batched[name] - expected).norm()), float(expected.norm())
        if not difference <= TOLERANCE * size:
            raise Broken(
                f"under unit {unit}, training many devices at once changes {name} differently from training "
                f"one after the other (by {difference:.2g}, of {size:.2g}): if a score reads more of a table "
                "than the rows of its items, set looks_up_rows = False"
            )


def check_clip(make: Make, unit: str) -> None:
    """One more unit, an interaction or a shopper, changes the sum of updates by the clip at most."""
    model = make()
    settings = settings_of(model, unit, clip=CLIP, learning_rate=1.0)
    more = events_of((1, 2), model.num_items)
    fewer = more.keep(np.arange(len(more)) < len(more) - 1) if unit == "interaction" else more.span(0, 1)
    for together in (False, True):
        sums = [update_of(make, settings, events, together) for events in (more, fewer)]
        if unit == "shopper":  # at this level, vectors stay on their devices
            sums = [{name: part for name, part in each.items() if name != VECTORS} for each in sums]
        change = torch.cat([(part - sums[1][name]).reshape(-1) for name, part in sums[0].items()])
        size = float(change.norm())
        if not 0.0 < size <= ROUNDED * CLIP:
            raise Broken(
                f"one more {unit} changes the update by {size:.4g}, where the clip is {CLIP}: compute each "
                "score from its own shopper's vector and its own items"
            )


def update_of(make: Make, settings: RoundSettings, events: Events, together: bool) -> Parameters:
    """The sum of the devices' updates, and as VECTORS the changes of their vectors, in double precision."""
    model = prepared(make)
    parameters = {name: tensor.clone() for name, tensor in model.shared_parameters().items()}
    vectors = 0.3 * random_vectors(len(COUNTS), model.dim, seed=2)[: events.num_devices]
    cohort = Cohort(np.arange(events.num_devices), events, vectors, seeded_key(7), query=3)
    update, after = bounded_trainer(model, settings, together).train(cohort, parameters)
    return {name: part.double() for name, part in update.items()} | {VECTORS: (after - vectors).double()}


def events_of(counts: tuple[int, ...], num_items: int) -> Events:
    """Devices with these numbers of events, of all weights."""
    generator = np.random.default_rng(3)
    total = sum(counts)
    return Events.from_columns(
        np.repeat(np.arange(len(counts)), counts),
        generator.integers(num_items, size=total),
        np.arange(total),
        np.exp(generator.uniform(-2, 2, size=total)),
        len(counts),
    )

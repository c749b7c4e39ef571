"""Cohorts for tests of the trainers of many devices, and comparisons of these trainers with the references.

Statistical checks have fixed keys and a false-alarm rate below 1e-6 each.
"""

import numpy as np
import torch
from scipy.stats import chi2, norm

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.opacus_trainer import OpacusTrainer
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.client.training.shopper_level import ClippedSgdTrainer
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.settings import RoundSettings

ITEMS = 8
DIM = 3
REFERENCES = {"interaction": OpacusTrainer, "shopper": ClippedSgdTrainer, "none": SgdTrainer}


def ragged(items: int = ITEMS, counts: tuple[int, ...] = (0, 1, 2, 1000, 7, 0, 300)) -> Events:
    """Return devices that hold nothing, one event, or many of few items, with weights from 0.001 to 40."""
    generator = np.random.default_rng(3)
    total = sum(counts)
    return Events.from_columns(
        np.repeat(np.arange(len(counts)), counts),
        generator.integers(items, size=total),
        np.arange(total),
        np.exp(generator.uniform(-7, 3.7, size=total)),
        len(counts),
    )


def cohort_of(events: Events, vectors: torch.Tensor | None = None, key: int = 7, first: int = 5) -> Cohort:
    devices = np.arange(first, first + events.num_devices)
    start = torch.zeros(events.num_devices, DIM) if vectors is None else vectors
    return Cohort(devices, events, start, seeded_key(key), query=3)


def model_and_parameters(settings: RoundSettings, shop, seed: int = 1):
    model = recommender_for(settings, shop)
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        name: tensor + 0.2 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in model.shared_parameters().items()
    }
    return model, parameters


def assert_close(ours, theirs, relative: float = 1e-5) -> None:
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (expected.shape, expected.dtype)
        assert float((ours[name] - expected).norm()) <= relative * float(expected.norm()), name


ALARM = 1e-6  # probability of a false alarm, over everything that one check looks at


def runs(trainer, parameters, events: Events, vectors, count: int) -> torch.Tensor:
    """Return update and vectors of `count` rounds with independent draws: [count, coordinates], float64."""
    rows = []
    for query in range(1, count + 1):
        cohort = Cohort(np.arange(events.num_devices), events, vectors, seeded_key(11), query)
        update, after = trainer.train(cohort, parameters)
        rows.append(torch.cat([*(part.reshape(-1) for part in update.values()), after.reshape(-1)]))
    return torch.stack(rows).double()


def same_distribution(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Return whether two samples have equal means and covariances; false alarms have chance ALARM."""

    def moments(sample):
        centred = sample - sample.mean(dim=0)
        return torch.cat([sample, (centred.unsqueeze(2) * centred.unsqueeze(1)).flatten(1)], dim=1)

    a, b = moments(ours), moments(theirs)
    spread = (a.var(dim=0) / len(a) + b.var(dim=0) / len(b)).sqrt().clamp(min=1e-12)
    z = ((a.mean(dim=0) - b.mean(dim=0)) / spread).abs()
    return float(z.max()) <= norm.isf(ALARM / 2 / len(z))


def has_all_noise(trainer_class, shop, ask, count: int = 4000, **model_settings) -> bool:
    """Return whether each coordinate has variance n·T·(ησC)², touched or not, and no two are correlated."""
    settings = ask(
        **model_settings,
        noise_multiplier=1e4,
        clip=1e-4,
        steps_per_round=3,
        sampling_rate=0.5,
        learning_rate=0.1,
    )
    model, parameters = model_and_parameters(settings, shop)
    events = ragged(counts=(0, 1, 40, 3))
    drawn = runs(trainer_class(model, settings), parameters, events, torch.zeros(4, DIM), count)
    shared = drawn.shape[1] - 4 * DIM
    each = 3 * (0.1 * 1.0) ** 2  # the variance of one device's noise
    variances = torch.cat([torch.full((shared,), 4 * each), torch.full((4 * DIM,), each)])
    squares = (drawn.square() / variances).sum(dim=0).numpy()
    low, high = chi2.ppf([ALARM / 2 / len(squares), 1 - ALARM / 2 / len(squares)], len(drawn))
    correlation = np.corrcoef(drawn.numpy().T)
    np.fill_diagonal(correlation, 0.0)
    apart = abs(correlation).max() < norm.isf(ALARM / correlation.size) / len(drawn) ** 0.5
    return bool((low < squares).all() and (squares < high).all() and apart)


# Broken variants, each to be mixed into a trainer.


class NoiseTwice:
    """The noise that devices drew is added a second time."""

    def noised(self, cohort, units, drawn, part):
        return super().noised(cohort, units, np.zeros_like(drawn), part)


class NoNoiseWhereRead:
    """A coordinate with a device's own noise gets none for the steps after."""

    def noised(self, cohort, units, drawn, part):
        return super().noised(cohort, units, np.where(drawn > 0, 12, 0), part)


class ReadNoiseIsNotReleased:
    """What was read enters the sum without its noise, which is drawn anew."""

    def train(self, cohort, parameters):
        _, vectors = super().train(cohort, parameters)
        other = Cohort(cohort.devices, cohort.events, cohort.vectors, seeded_key(12), cohort.query)
        return super().train(other, parameters)[0], vectors

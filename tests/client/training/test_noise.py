"""How much noise a device adds: the whole noise, or a share of the sum's noise."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from terrycloth.client.training.noise import LocalNoise, SharedNoise
from terrycloth.client.training.trainers import trainer_for
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.update import STEPS, expected_update

ALARM = 1e-7
BASKETS = [[0, 1, 0], [2], []]


def flat(update) -> torch.Tensor:
    return torch.cat([update[name].double().reshape(-1) for name in sorted(update)])


@pytest.fixture
def distributed(ask):
    def settings(**changes):
        values = {"unit": "shopper", "trust": "distributed", "devices": 10, "least_devices": 8}
        return ask(**values | changes)

    return settings


def test_each_trust_model_has_its_kind_of_noise(ask, build, distributed):
    shopper = ask(unit="shopper")
    assert isinstance(trainer_for(build(shopper), shopper), LocalNoise)
    assert isinstance(trainer_for(build(distributed()), distributed()), SharedNoise)
    for settings in (ask(), ask(unit="shopper", trust="central")):
        assert not isinstance(trainer_for(build(settings), settings), LocalNoise | SharedNoise)


def test_without_noise_the_steps_decode_to_the_update(ask, build, copied, held, gather, distributed):
    plain, shared = (
        ask(unit="shopper", trust="central", noise_multiplier=0.0),
        distributed(noise_multiplier=0.0),
    )
    recommender = build(plain)
    parameters, cohort = copied(recommender), gather(held(*BASKETS))
    update, _ = trainer_for(recommender, plain).train(cohort, parameters)
    steps, _ = trainer_for(recommender, shared).train(cohort, parameters)
    expected = expected_update(shared, parameters)
    assert set(steps) == {STEPS}
    assert (steps[STEPS].shape, steps[STEPS].dtype) == (expected[STEPS].shape, expected[STEPS].dtype)
    grid = fixed_point(shared, len(steps[STEPS]))
    assert (flat(grid.decode(steps[STEPS], parameters)) - flat(update)).abs().max() <= 0.5 * grid.step


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_a_noise_share_is_sigma_times_the_sensitivity_over_the_root_of_least_devices(
    devices, build, copied, held, gather, distributed
):
    """Devices that hold nothing send noise only, on every coordinate."""
    settings = distributed(noise_multiplier=1.5, clip=0.8)
    recommender = build(settings)
    parameters = copied(recommender)
    trainer = trainer_for(recommender, settings)
    draws = torch.stack(
        [
            trainer.train(gather(held(*[[]] * devices), query=query), parameters)[0][STEPS]
            for query in range(1, 301)
        ]
    )
    sensitivity = fixed_point(settings, draws.shape[1]).sensitivity
    variance = devices * (1.5 * sensitivity) ** 2 / 8
    squares = draws.double().square().sum(dim=0) / variance
    low, high = chi2.interval(1 - ALARM / draws.shape[1], len(draws))
    assert ((squares > low) & (squares < high)).all()


def test_two_queries_share_no_noise(build, copied, held, gather, distributed):
    recommender = build(distributed())
    parameters = copied(recommender)
    one, other = (
        trainer_for(recommender, distributed()).train(gather(held([]), query=query), parameters)[0]
        for query in (1, 2)
    )
    assert not np.array_equal(one[STEPS].numpy(), other[STEPS].numpy())

"""At shopper level a device's whole update is clipped, and the trust model says who adds the noise."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from terrycloth.client.device_group import DeviceGroup, afford
from terrycloth.client.ledger import Ledger
from terrycloth.client.state import DeviceState
from terrycloth.client.training.least_squares import LeastSquaresTrainer
from terrycloth.client.training.noise import LocalNoise
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.client.training.shopper_level import (
    ClippedLeastSquaresTrainer,
    ClippedSgdTrainer,
    clip_factor,
)
from terrycloth.client.training.trainers import bounded_trainer, trainer_for
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import BELOW_CLIP, Refusal, Request
from tests.policies import ANYTHING

ALARM = 1e-7
BASKETS = [[1, 4, 4], [], [6], [0, 1, 2, 3, 4, 5, 6, 7], [2, 2, 2, 2]]
FACTORISATIONS = [
    {"model": "mf"},
    {"model": "mf", "item_bias": False},
    {"model": "attributes"},
    {"model": "attributes", "own_rows": True},
]


def shopper(ask, trust="central", **changes) -> RoundSettings:
    return ask(unit="shopper", trust=trust, **changes)


def norm(update) -> float:
    return math.sqrt(sum(float(part.double().square().sum()) for part in update.values()))


def flat(update):
    return torch.cat([part.double().reshape(-1) for _, part in sorted(update.items())])


@pytest.mark.parametrize("model", FACTORISATIONS)
@pytest.mark.parametrize("clip", [0.05, 2.0, 1e6])
def test_least_squares_clips_each_device_like_a_plain_loop(model, clip, ask, build, copied, held, gather):
    settings = shopper(ask, clip=clip, **model)
    recommender = build(settings)
    parameters = copied(recommender)
    expected = torch.zeros_like(flat(parameters))
    clipped = []
    for place, basket in enumerate(BASKETS):
        if not basket:
            continue  # this device adds nothing
        alone = gather(held(basket), devices=[place])
        update, _ = LeastSquaresTrainer(recommender, settings).train(alone, parameters)
        factor = min(1.0, clip / norm(update))
        clipped.append(factor < 1.0)
        expected += factor * flat(update)
    together, _ = ClippedLeastSquaresTrainer(recommender, settings).train(gather(held(*BASKETS)), parameters)
    assert torch.allclose(flat(together), expected, rtol=1e-4, atol=1e-5)
    assert all(clipped) if clip == 0.05 else True
    assert not any(clipped) if clip == 1e6 else True


@pytest.mark.parametrize("model", [*FACTORISATIONS, {"model": "neural-cf"}])
@pytest.mark.parametrize("clip", [0.05, 1.0])
def test_one_more_device_changes_the_sum_by_the_clip_at_most(model, clip, ask, build, copied, held, gather):
    settings = shopper(ask, clip=clip, learning_rate=0.3, **model)
    recommender = build(settings)
    parameters = copied(recommender)
    trainer = trainer_for(recommender, settings)
    without, _ = trainer.train(gather(held(*BASKETS[:-1])), parameters)
    more, _ = trainer.train(gather(held(*BASKETS)), parameters)
    change = norm({name: more[name] - without[name] for name in more})
    assert 0.5 * clip < change <= clip * (1 + 1e-4) if clip == 0.05 else change <= clip * (1 + 1e-4)


def test_a_device_without_events_adds_nothing(ask, build, copied, held, gather):
    for model in [*FACTORISATIONS, {"model": "neural-cf"}]:
        settings = shopper(ask, **model)
        recommender = build(settings)
        update, _ = trainer_for(recommender, settings).train(gather(held([], [])), copied(recommender))
        assert norm(update) == 0.0


def test_an_infinite_clip_gives_plain_sgd(plain, build, copied, held, gather):
    settings = plain(unit="none", trust="none", model="neural-cf")
    recommender = build(settings)
    parameters = copied(recommender)
    one, _ = SgdTrainer(recommender, settings).train(gather(held(*BASKETS)), parameters)
    other, _ = ClippedSgdTrainer(recommender, settings).train(gather(held(*BASKETS)), parameters)
    assert torch.equal(flat(one), flat(other))


def test_an_update_that_is_not_finite_is_multiplied_by_zero():
    factor = clip_factor(torch.tensor([4.0, math.inf, math.nan, 0.0]), 1.0)
    assert factor.tolist() == [pytest.approx(0.5, rel=1e-4), 0.0, 0.0, 1.0]


def test_a_device_that_diverges_does_not_change_the_sum_to_nan(ask, build, copied, held, gather):
    settings = shopper(ask, model="neural-cf", learning_rate=1e6, steps_per_round=4)
    recommender = build(settings)
    update, _ = trainer_for(recommender, settings).train(gather(held(*BASKETS)), copied(recommender))
    assert torch.isfinite(flat(update)).all()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_under_local_trust_every_device_adds_its_noise(devices, ask, build, copied, held, gather):
    """Devices that hold nothing send noise only, of variance σ²C² a device and coordinate."""
    settings = shopper(ask, "local", noise_multiplier=1.5, clip=0.8)
    recommender = build(settings)
    parameters = copied(recommender)
    trainer = trainer_for(recommender, settings)
    assert isinstance(trainer, LocalNoise)
    draws = torch.stack(
        [
            flat(trainer.train(gather(held(*[[]] * devices), query=query), parameters)[0])
            for query in range(1, 301)
        ]
    )
    variance = devices * (1.5 * 0.8) ** 2
    squares = draws.double().square().sum(dim=0) / variance
    low, high = chi2.interval(1 - ALARM / draws.shape[1], len(draws))
    assert ((squares > low) & (squares < high)).all()


def test_under_central_trust_devices_add_no_noise(ask, build, copied, held, gather):
    settings = shopper(ask, "central", noise_multiplier=5.0)
    recommender = build(settings)
    trainer = trainer_for(recommender, settings)
    assert isinstance(trainer, ClippedLeastSquaresTrainer)
    updates = [
        flat(trainer.train(gather(held(*BASKETS), query=query), copied(recommender))[0]) for query in (1, 2)
    ]
    assert torch.equal(*updates)


@pytest.mark.parametrize(
    ("changes", "mechanism"),
    [
        ({"sampling_rate": 0.2, "steps_per_round": 3, "participation": 0.5}, (1.0, 0.2, 3)),
        (
            {"unit": "shopper", "sampling_rate": 0.2, "steps_per_round": 3, "participation": 0.5},
            (1.0, 1.0, 1),
        ),
        ({"unit": "shopper", "trust": "central", "participation": 0.5, "steps_per_round": 3}, (1.0, 0.5, 1)),
    ],
)
def test_the_mechanism_of_a_round(changes, mechanism, ask):
    """Participation lowers the cost only where the observer cannot see who took part."""
    assert ask(**changes).mechanism == mechanism


def test_which_devices_record_a_round(ask):
    """With amplification every device records a round whatever its draw; otherwise those that train."""
    sampled, new = np.array([True, False]), Ledger.empty(2)
    for trust, paid in (("central", [True, True]), ("local", [True, False])):
        settings = shopper(ask, trust, participation=0.5)
        everyone = np.ones_like(sampled)
        took_part, booked, refused = afford(new, new.steps, everyone, sampled, settings, ANYTHING)
        assert took_part.tolist() == [True, False]
        assert booked.tolist() == paid
        assert refused == {}


@pytest.mark.parametrize("trust", ["none", "somebody"])
def test_an_unknown_trust_model_is_refused(trust, ask):
    with pytest.raises(ValueError, match="trust"):
        shopper(ask, trust)


@pytest.mark.parametrize("size", [1e6, 1e20])
def test_a_failure_does_not_reveal_the_events(size, ask, build, copied, held, gather):
    """A server that sends a row for which a device's own matrix is singular learns nothing from an error."""
    for trust in ("local", "central"):
        settings = shopper(ask, trust, catalogue_weight=0.0)
        recommender = build(settings)
        parameters = copied(recommender)
        parameters["table.weight"][7] = size
        update, vectors = trainer_for(recommender, settings).train(gather(held([7, 1], [2])), parameters)
        assert torch.isfinite(flat(update)).all()
        assert torch.isfinite(vectors).all()


def test_another_promise_on_the_same_ledger_is_refused(ask, shop, held, build, copied, tmp_path):
    """A vector trained without noise must not be the starting point of training at interaction level."""
    DeviceGroup.create(tmp_path, shop, held(*BASKETS), ANYTHING)
    first = shopper(ask, "central")
    parameters = copied(build(first))
    assert DeviceGroup(tmp_path).answer(Request(parameters, first)).answered == len(BASKETS)
    for other in (ask(), shopper(ask, "local")):
        reply = DeviceGroup(tmp_path).answer(Request(parameters, other))
        assert (reply.answered, reply.refused) == (0, {Refusal.PROMISE: len(BASKETS)})


def test_the_same_query_of_another_run_is_another_query(ask, shop, held, build, copied, tmp_path):
    """Under central trust the server's noise is new each time, so the same sum must be recorded twice."""
    DeviceGroup.create(tmp_path, shop, held(*BASKETS), ANYTHING)
    parameters = copied(build(shopper(ask)))
    for number, run in enumerate(["one", "two", "two"]):
        settings = shopper(ask, "central", run=run)
        assert DeviceGroup(tmp_path).answer(Request(parameters, settings)).answered == len(BASKETS)
        booked = DeviceState.load(tmp_path / "state-0-of-1.safetensors").ledger.steps
        assert (booked == min(number + 1, 2)).all()


# The adaptive clip


@pytest.mark.parametrize("model", ["mf", "neural-cf"])
def test_devices_below_the_clip_are_counted_beside_the_update(model, ask, build, copied, held, gather):
    """The count is ±β/2 for each device that holds something, and 0 for the others."""
    holding = sum(len(basket) > 0 for basket in BASKETS)
    parameters = copied(build(shopper(ask, model=model)))
    devices = gather(held(*BASKETS, []))

    def indicator_sum(clip: float) -> float:
        settings = shopper(ask, "central", model=model, clip=clip, clip_quantile=0.5)
        update, _ = trainer_for(build(settings), settings).train(devices, parameters)
        assert set(update) == {*parameters, BELOW_CLIP}
        return float(update[BELOW_CLIP]) / settings.indicator

    assert indicator_sum(1e5) == pytest.approx(0.5 * holding)
    assert indicator_sum(1e-5) == pytest.approx(-0.5 * holding)


@pytest.mark.parametrize("trust", ["local", "central", "distributed"])
def test_a_device_adds_at_most_the_joint_sensitivity(trust, ask, build, copied, held, gather):
    for clip in (1e-3, 1.0, 1e3):
        settings = shopper(ask, trust, clip=clip, clip_quantile=0.5)
        recommender = build(settings)
        trainer = bounded_trainer(recommender, settings)
        for basket in BASKETS:
            update, _ = trainer.train(gather(held(basket)), copied(recommender))
            assert flat(update).double().norm() <= settings.sensitivity
    # Andrew et al. 2021, theorem 1: z⁻² = z_Δ⁻² + (2σ_b)⁻², with z_Δ C = z·sensitivity and σ_b of the count.
    noise = settings.noise_multiplier * settings.sensitivity
    assert settings.noise_multiplier**-2 == pytest.approx(
        (noise / settings.clip) ** -2 + (2 * noise / settings.indicator) ** -2
    )


def test_without_a_quantile_no_count_is_sent(ask, build, copied, held, gather):
    settings = shopper(ask, "central")
    update, _ = trainer_for(build(settings), settings).train(gather(held(*BASKETS)), copied(build(settings)))
    assert BELOW_CLIP not in update
    assert settings.sensitivity == settings.clip


@pytest.mark.parametrize("trust", ["local", "central", "distributed"])
def test_no_parameters_evade_the_clip(trust, ask, build, held, gather):
    """A gradient so small that its square is 0 in single precision is multiplied by a large vector."""
    settings = shopper(
        ask,
        trust,
        model="mf",
        dim=1,
        item_bias=False,
        clip=1e-6,
        catalogue_weight=1.3e-23,
        regularisation=1e-60,
    )
    recommender = build(settings)
    halves = torch.tensor([[2.0**-62], [2.0**-63]]).repeat(4, 1)
    trainer = bounded_trainer(recommender, settings)
    for item in (0, 1):
        cohort = gather(held([item]), vectors=torch.zeros(1, 1))
        update, _ = trainer.train(cohort, {"table.weight": halves})
        assert norm(update) <= settings.sensitivity

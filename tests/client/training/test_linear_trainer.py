"""Both rounds of the linear model: what each sends under every trust model, and with which noise."""

import math

import numpy as np
import pytest
import torch

from terrycloth.client.events import Events
from terrycloth.client.training.trainers import bounded_trainer, trainer_for
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.settings import ROUNDING
from terrycloth.models.update import STEPS, expected_update, plain, released_update
from terrycloth.server.settings import ServerSettings
from terrycloth.server.strategy import FederatedSum

HEAD = 5
SIZES = {1: ("popularity", 8), 2: ("gram", HEAD * (HEAD + 1) // 2)}
BASKETS = [[1, 4, 4], [], [6], [0, 1, 2, 3]]


@pytest.fixture
def linear(ask):
    def settings(**changes):
        values = {
            "model": "linear", "rounds": 2, "head_size": HEAD, "unit": "shopper", "trust": "central",
            "kernel_half_life": 3.0,
        }  # fmt: skip
        return ask(**values | changes)

    return settings


@pytest.mark.parametrize("round", SIZES)
@pytest.mark.parametrize("trust", ["none", "local", "distributed", "central"])
def test_each_round_sends_its_own_array(trust, round, linear, build, copied, held, gather):
    name, size = SIZES[round]
    unprotected = {"unit": "none", "noise_multiplier": 0.0, "clip": math.inf, "epsilon": math.inf}
    settings = linear(trust=trust, round=round, **(unprotected if trust == "none" else {}))
    model = build(settings)
    shared = copied(model)
    cohort = gather(held(*BASKETS), vectors=torch.zeros(4, settings.vector_length))
    update, vectors = trainer_for(model, settings).train(cohort, shared)
    expected = expected_update(settings, shared)
    assert {key: (value.shape, plain(value).dtype) for key, value in update.items()} == {
        key: (value.shape, value.dtype) for key, value in expected.items()
    }
    assert {key: value.numel() for key, value in released_update(settings, shared).items()} == {name: size}
    assert list(update) == [STEPS if trust == "distributed" else name]
    assert vectors.shape == (4, 0)


@pytest.mark.parametrize("round", SIZES)
@pytest.mark.parametrize(("clip", "norm"), [(0.25, 0.25), (1.0, 1.0), (3.0, 1.0)])
def test_no_update_exceeds_the_clip(clip, norm, round, linear, build, copied, held, gather):
    settings = linear(clip=clip, round=round)
    model = build(settings)
    update, _ = trainer_for(model, settings).train(gather(held([1, 4])), copied(model))
    found = float(update[SIZES[round][0]].double().norm())
    assert found == pytest.approx(norm * ROUNDING, rel=1e-6)
    assert found <= norm  # the margin covers rounding


@pytest.mark.parametrize("round", SIZES)
def test_the_update_of_a_device_group_is_the_sum_of_its_devices(round, linear, build, copied, held, gather):
    settings = linear(round=round)
    model, events = build(settings), held(*BASKETS)
    shared = copied(model)
    whole, _ = trainer_for(model, settings).train(gather(events), shared)
    apart = [
        trainer_for(model, settings).train(gather(events.span(d, d + 1), devices=[d]), shared)[0]
        for d in range(4)
    ]
    name = SIZES[round][0]
    assert torch.allclose(whole[name], torch.stack([part[name] for part in apart]).sum(dim=0), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("round", SIZES)
@pytest.mark.parametrize("trust", ["local", "distributed"])
def test_each_round_has_its_own_noise(trust, round, linear, build, copied, held, gather):
    """Devices that hold nothing send noise only; over 5,000 draws, 7σ are within 7%."""
    settings = linear(trust=trust, round=round, noise_multiplier=0.9, devices=4, least_devices=4)
    model, events = build(settings), held([], [], [], [])
    shared, drawn = copied(model), []
    for query in range(700):
        update, _ = trainer_for(model, settings).train(gather(events, query=query), shared)
        drawn.append(next(iter(update.values())).double())
    noise = torch.cat(drawn)
    if trust == "distributed":
        noise = noise * fixed_point(settings, SIZES[round][1]).step
    share = {1: 0.25, 2: 0.75}[round]
    # Under local trust each of four devices adds all of it, else each adds a share.
    expected = 0.9 / math.sqrt(share) * (2.0 if trust == "local" else 1.0)
    assert float(noise.std()) == pytest.approx(expected, rel=0.07)


@pytest.mark.parametrize("popularity", [0.0, -5.0, 3e38, -3e38, 1e-45])
def test_absurd_popularities_do_not_enlarge_an_update(popularity, linear, build, copied, held, gather):
    settings = linear(round=2)
    model = build(settings)
    shared = copied(model) | {"popularity": torch.full((8,), popularity)}
    update, _ = trainer_for(model, settings).train(gather(held([0, 4, 1])), shared)
    assert 0.0 < float(update["gram"].double().norm()) <= 1.0


def test_the_second_round_uses_the_popularity_released_in_the_first(linear, build, copied, held, gather):
    settings = linear(round=2)
    model = build(settings)
    shared = copied(model) | {"popularity": torch.tensor([0.0, 0, 0, 5, 4, 3, 2, 1])}
    cohort = gather(held([0, 1, 2], [0, 1]))
    update, _ = trainer_for(model, settings).train(cohort, shared)
    assert not update["gram"].any(), "the head is items 3 to 7, of which the devices hold none"
    other = shared | {"popularity": shared["popularity"].flip(0)}
    assert trainer_for(model, settings).train(cohort, other)[0]["gram"].any()


def test_the_server_changes_only_what_a_round_releases(linear, build):
    settings = linear()
    model = build(settings)
    model.initialise(0)
    server = ServerSettings(
        catalogue="unread", server_optimizer="sgd", server_learning_rate=1.0, server_momentum=0.0
    )
    strategy = FederatedSum(model.shared_parameters(), settings, server)
    popularity, gram = torch.arange(8).double(), torch.arange(15).double()
    strategy.step({"popularity": popularity}, settings.at(1))
    assert not strategy.shared()["gram"].any()
    strategy.step({"gram": gram}, settings.at(2))
    assert torch.equal(strategy.shared()["popularity"], (popularity / 10).float())
    assert torch.equal(strategy.shared()["gram"], (gram / 10).float())


@pytest.mark.parametrize("round", SIZES)
def test_the_model_knows_the_noise_of_each_release(round, linear, build):
    assert build(linear(round=round)).noise_deviations == pytest.approx((2.0 / 10, 0.75**-0.5 / 10))


def test_each_round_applies_its_half_life(linear, build, copied, gather):
    """Two purchases are two days apart: with a half-life of a day the older counts a quarter of the newer."""
    events = Events.from_columns(
        np.zeros(2, int), np.array([1, 4]), np.array([86_400, 3 * 86_400]), np.ones(2), 1
    )
    given = {"now": 3 * 86_400, "popularity_half_life": 1.0, "popularity_norm": 2.0}
    settings = linear(round=1, **given)
    model = build(settings)
    update, _ = bounded_trainer(model, settings).train(gather(events), copied(model))
    assert update["popularity"].tolist() == pytest.approx(
        [0, ROUNDING * 0.25 / 2, 0, 0, ROUNDING / 2, 0, 0, 0]
    )


def test_the_linear_model_cannot_be_trained_at_interaction_level(ask):
    with pytest.raises(ValueError, match="interaction"):
        ask(model="linear", rounds=2, head_size=3)


def test_the_ledger_records_each_round_with_its_own_noise(linear):
    from terrycloth.client.ledger import Ledger

    ledger = Ledger.empty(1)
    for round in SIZES:
        ledger = ledger.after(np.ones(1, dtype=np.bool_), *linear(round=round).mechanism)
    assert ledger.mechanisms.tolist() == [[2.0, 1.0], [pytest.approx(0.75**-0.5), 1.0]]
    from terrycloth.models.privacy.accounting import epsilon_spent

    assert ledger.epsilon(1e-5)[0] == pytest.approx(epsilon_spent(1.0, 1.0, 1, 1e-5).epsilon)

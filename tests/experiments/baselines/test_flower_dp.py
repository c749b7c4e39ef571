"""Flower's own strategy: the noise that it adds, the ε that it spends, and what each device sends."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping
from scipy.optimize import brentq
from scipy.stats import chi2, norm

from terrycloth.client.events import Events
from terrycloth.experiments.baselines.flower_dp import (
    ARRAYS,
    EXAMPLES,
    LEAST_CHANGE,
    METRICS,
    SLACK,
    flower_config,
    make_strategy,
    parameters_to_send,
    refuse,
    seeded_generators,
    to_double_arrays,
    train_by_flower,
)
from terrycloth.experiments.engines.in_process import InProcessGrid, be_the_server
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import make_promise, resolve
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.update import from_arrays, to_arrays

ALARM = 1e-7
SETTINGS = {
    "unit": "shopper", "trust": "central", "epsilon": 2.0, "delta": 1e-5, "model": "attributes", "dim": 2,
    "rounds": 3, "seed": 1, "devices": 4,
}  # fmt: skip


def planned(**changes):
    config = resolve(RunConfig.model_validate(SETTINGS | changes), (SETTINGS | changes)["devices"], 6)
    return config, make_promise(config)


@pytest.mark.slow
def test_the_noise_multiplier_covers_all_rounds_without_amplification() -> None:
    """Three Gaussians of multiplier z equal one of z/√3, which spends ε = 2 at δ = 1e-5 (Balle & Wang 2018).

    A run's own participation, which amplifies, does not apply to this strategy.
    """

    def delta_at(sigma: float) -> float:
        return float(norm.cdf(0.5 / sigma - 2 * sigma) - math.exp(2.0) * norm.cdf(-0.5 / sigma - 2 * sigma))

    sigma = brentq(lambda sigma: delta_at(sigma) - 1e-5, 0.5, 10.0, xtol=1e-12)
    config, promise = planned(participation=0.5)
    asked = flower_config(config, promise.model_copy(update={"epsilon": 2.0}))
    assert asked.noise_multiplier == pytest.approx(math.sqrt(3) * sigma, rel=1e-6)
    own = make_promise(asked)
    assert own.epsilon == pytest.approx(2.0, rel=1e-6)
    assert own.epsilon <= 2.0
    assert not own.catalogue_from_events
    assert (own.unit, own.trust, own.rounds, own.participation) == ("shopper", "central", 3, 1.0)


def release_of(
    strategy: DifferentialPrivacyServerSideFixedClipping,
    sent: dict[str, torch.Tensor],
    updates: list[float],
    weights: list[int],
) -> ArrayRecord | None:
    """Return what it releases in one round in which so many of four devices answer."""
    be_the_server()
    grid = InProcessGrid(ClientApp(), {}, 4)
    asked = strategy.configure_train(1, to_arrays(sent), ConfigRecord(), grid)
    replies = []
    for query, update, weight in zip(list(asked)[: len(updates)], updates, weights, strict=True):
        trained = to_arrays({name: tensor + update for name, tensor in sent.items()})
        content = RecordDict({ARRAYS: trained, METRICS: MetricRecord({EXAMPLES: weight})})
        replies.append(Message(content, reply_to=query))
    return strategy.aggregate_train(1, replies)[0]


def test_the_deviation_of_the_released_noise() -> None:
    """The deviation is z·C/N for every number of the average, by a χ² interval, whatever the devices send."""
    config, promise = planned()
    asked = flower_config(config, promise)
    sent = {"table": torch.zeros(20_000)}
    with seeded_generators(3):
        released = release_of(make_strategy(asked), sent, [0.0001, 0.0002, -0.0001, -0.0002], [1, 1, 1, 1])
    assert released is not None
    noise = from_arrays(released)["table"].double()
    deviation = asked.noise_multiplier * asked.clip / 4
    low, high = chi2.interval(1 - ALARM, len(noise))
    assert low < float(noise.square().sum()) / (deviation * (1 + SLACK)) ** 2 < high


def test_an_update_is_clipped_and_averaged_over_all_devices() -> None:
    """One device's update is far larger than C; the average changes by C/N, with almost no noise."""
    config, promise = planned()
    asked = flower_config(config, promise).model_copy(update={"noise_multiplier": 1e-6})
    released = release_of(
        make_strategy(asked), {"table": torch.zeros(100)}, [50.0, 1e-9, 1e-9, 1e-9], [1] * 4
    )
    assert released is not None
    assert float(from_arrays(released)["table"].norm()) == pytest.approx(asked.clip / 4, rel=1e-3)


def test_unequal_weights_are_refused_and_nothing_is_released_if_a_device_is_missing() -> None:
    config, promise = planned()
    asked, sent = flower_config(config, promise), {"table": torch.zeros(5)}
    with pytest.raises(ValueError, match="equal client weights"):
        release_of(make_strategy(asked), sent, [0.1] * 4, [1, 1, 1, 2])
    assert release_of(make_strategy(asked), sent, [0.1] * 3, [1] * 3) is None


@pytest.mark.parametrize(("pack", "holds"), [(to_arrays, False), (to_double_arrays, True)])
def test_one_device_moves_the_average_by_at_most_the_recorded_sensitivity(
    pack: Callable[[Parameters], ArrayRecord], holds: bool
) -> None:
    """In single precision one device also changes how later sums are rounded."""
    devices, numbers = 200, 2_000
    config, promise = planned(devices=devices)
    asked = flower_config(config, promise).model_copy(update={"noise_multiplier": 1e-12})
    generator = torch.Generator().manual_seed(0)
    sent = {"table": 100.0 * torch.randn(numbers, generator=generator)}
    updates = torch.randn(devices, numbers, generator=generator)

    def released(first: torch.Tensor) -> torch.Tensor:
        be_the_server()
        strategy, grid = make_strategy(asked), InProcessGrid(ClientApp(), {}, devices)
        queries = strategy.configure_train(1, pack(sent), ConfigRecord(), grid)
        replies = []
        for query, update in zip(queries, [first, *updates[1:]], strict=True):
            at = from_arrays(query.content.array_records[ARRAYS])
            trained = pack(parameters_to_send(at, {"table": update}, asked.clip))
            content = RecordDict({ARRAYS: trained, METRICS: MetricRecord({EXAMPLES: 1})})
            replies.append(Message(content, reply_to=query))
        arrays = strategy.aggregate_train(1, replies)[0]
        assert arrays is not None
        return from_arrays(arrays)["table"].double()

    moved = float((released(updates[0]) - released(torch.zeros(numbers))).norm()) * devices / asked.clip
    assert moved == pytest.approx(1.0, rel=0.1)
    assert (moved <= 1 + SLACK) is holds


def test_every_round_is_accounted_for(catalogue: Catalogue, events: Events) -> None:
    """Device 2 holds no events, and the run continues. Flower's accountant gives a larger bound than ours."""
    config, promise = planned()
    strategy = make_strategy(flower_config(config, promise))
    precisions = set()

    def aggregated(round: int, replies: Iterable[Message]) -> Any:
        replies = list(replies)
        precisions.update(
            array.numpy().dtype for reply in replies for array in reply.content[ARRAYS].values()
        )
        return aggregate(round, replies)

    aggregate, strategy.aggregate_train = strategy.aggregate_train, aggregated
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("terrycloth.experiments.baselines.flower_dp.make_strategy", lambda config: strategy)
        public = promise.model_copy(update={"catalogue_from_events": True})
        model, own = train_by_flower(config, public, catalogue, events)
    assert own.catalogue_from_events
    spent = strategy.privacy_spent()
    assert spent is not None
    assert spent.num_releases == 3
    assert own.epsilon is not None
    assert own.epsilon <= spent.epsilon < own.epsilon / 0.75
    assert strategy.noise_multiplier == own.noise_multiplier * (1.0 + SLACK)
    assert precisions == {np.dtype(np.float64)}
    assert all(torch.isfinite(tensor).all() for tensor in model.shared_parameters().values())


def test_a_seed_repeats_the_run_without_using_global_generators(catalogue: Catalogue, events: Events) -> None:
    found = []
    for seed in (1, 1, 2):
        before = np.random.get_state()[1].tolist()  # noqa: NPY002
        config, promise = planned(seed=seed)
        model, _ = train_by_flower(config, promise, catalogue, events)
        found.append(model.shared_parameters()["table.weight"])
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("update", [0.0, math.inf, math.nan])
@pytest.mark.parametrize("first", [0.0, 100.0])
def test_a_device_that_holds_nothing_or_diverged_sends_almost_no_change(update: float, first: float) -> None:
    sent = {"table": torch.full((3,), first)}
    back = parameters_to_send(sent, {"table": torch.full((3,), update)}, clip=0.5)["table"] - sent["table"]
    assert back[1:].tolist() == [0.0, 0.0]
    assert 0 < float(back[0]) <= max(0.5 * LEAST_CHANGE * 1.01, first * 1.2e-7)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"unit": "interaction", "trust": "local"}, "--unit shopper"),
        ({"trust": "local"}, "--trust central"),
        ({"model": "linear"}, "--model mf or attributes"),
        ({"devices": 2001}, "2,001 devices are more than the 2,000"),
    ],
)
def test_settings_that_it_does_not_support_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        refuse(RunConfig.model_validate({"unit": "shopper", "trust": "central", **changes}))

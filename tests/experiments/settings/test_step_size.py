"""Steps under noise: worked out by hand, and the same noise at the end whatever the number of rounds."""

import math

import pytest

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import ResolvedConfig, resolve
from terrycloth.experiments.settings.step_size import TABLE_NOISE, VECTOR_NOISE, device_step, server_steps


def test_a_device_moves_its_vector_by_so_much_noise() -> None:
    """σ = 2, C = 3, T = 4: noise of 12 a unit of learning rate."""
    assert device_step(2.0, 3.0, 4, longest=1.0) == pytest.approx(VECTOR_NOISE / 12.0)
    assert device_step(2.0, 3.0, 4, longest=0.001) == 0.001
    assert device_step(0.0, 3.0, 4, longest=0.5) == 0.5


def test_the_server_lets_so_much_noise_into_the_table() -> None:
    """0.05 in a round's mean is 0.1 after four rounds."""
    for unit, most in TABLE_NOISE.items():
        assert server_steps(unit, 0.05, 4, longest=1e3) == (pytest.approx(most / 0.1), 0.0)
        assert server_steps(unit, 0.05, 4, longest=0.2, momentum=0.0) == (pytest.approx(0.2), 0.0)
        rate, _ = server_steps(unit, 0.05, 4, longest=1e3, momentum=0.75)
        assert rate == pytest.approx(0.25 * most / 0.1), "its noise counts four times"


def test_beyond_the_longest_step_momentum_lets_in_the_rest_of_the_noise() -> None:
    """Up to 0.8, and at shopper level only. 1.1 is what the noise allows."""
    rate, momentum = server_steps("shopper", 0.05, 4, longest=0.55)
    assert (rate, momentum) == (pytest.approx(0.55), pytest.approx(0.5))
    assert server_steps("shopper", 0.05, 4, longest=0.1) == (pytest.approx(0.1), pytest.approx(0.8))
    assert server_steps("shopper", 0.0, 4, longest=2.0) == (pytest.approx(2.0), pytest.approx(0.8))
    assert server_steps("interaction", 0.0, 4, longest=2.0) == (2.0, 0.0)


def noises(config: ResolvedConfig) -> tuple[float, float]:
    """Of a device's vector, and of the table, at the end of the run."""
    steps = config.rounds * config.steps_per_round
    vector = config.learning_rate * config.noise_multiplier * config.clip * math.sqrt(steps)
    return vector, config.server_learning_rate * vector / math.sqrt(config.participation * config.devices)


def run(devices: int = 300, **said: float | str) -> ResolvedConfig:
    return resolve(RunConfig.model_validate({"unit": "interaction", "epsilon": 2.0, **said}), devices)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"rounds": 40},
        {"clip": 1.0},
        {"steps_per_round": 3, "sampling_rate": 0.5},
        {"participation": 0.5},
        {"epsilon": 0.5},
    ],
    ids=str,
)
def test_more_rounds_or_less_epsilon_bring_no_more_noise(said: dict[str, float]) -> None:
    assert noises(run(**said)) == pytest.approx((VECTOR_NOISE, TABLE_NOISE["interaction"]))


def test_more_devices_allow_a_longer_step_and_defaults_bound_it() -> None:
    few, more, many = (run(devices) for devices in (300, 1200, 10**6))
    assert more.server_learning_rate == pytest.approx(2.0 * few.server_learning_rate)
    assert many.server_learning_rate > more.server_learning_rate
    assert run(10**9).server_learning_rate == many.server_learning_rate


def test_what_is_said_is_kept() -> None:
    config = run(learning_rate=0.5, server_learning_rate=7.0)
    assert (config.learning_rate, config.server_learning_rate) == (0.5, 7.0)
    assert noises(run(learning_rate=0.5))[1] == pytest.approx(TABLE_NOISE["interaction"]), (
        "whatever the device's step"
    )
    momentum = run(10**6, unit="shopper", trust="central", server_momentum=0.5)
    assert (momentum.server_learning_rate, momentum.server_momentum) == (6.0, 0.5)
    for settings in ({}, {"unit": "shopper", "trust": "central"}):
        first = run(10**5, **settings)
        again = resolve(RunConfig.model_validate(first.model_dump()), 10**5)
        assert again == first, "a resumed run goes on with the same"


@pytest.mark.parametrize(("trust", "noises_in_sum"), [("central", 1.0), ("local", 300.0)])
@pytest.mark.parametrize("rounds", [20, 80])
def test_at_shopper_level_the_server_does_the_same(trust: str, noises_in_sum: float, rounds: int) -> None:
    """Central trust has one noise in a sum, local trust one of each device. Devices take no steps."""
    config = run(unit="shopper", trust=trust, rounds=rounds, clip=0.5)
    deviation = config.noise_multiplier * 0.5 * math.sqrt(noises_in_sum) / 300
    expected = TABLE_NOISE["shopper"]
    assert config.server_learning_rate * deviation * math.sqrt(rounds) == pytest.approx(expected)
    assert config.server_momentum == 0.0, "the step is not the longest"
    assert config.learning_rate == run(unit="shopper", trust=trust, epsilon=8.0).learning_rate


def test_many_devices_are_stepped_on_with_momentum_and_as_much_noise() -> None:
    config = run(20_000, unit="shopper", trust="central", epsilon=1.0)
    deviation = config.noise_multiplier * config.clip / 20_000
    whole = config.server_learning_rate / (1.0 - config.server_momentum)
    assert 0.0 < config.server_momentum < 0.8
    assert whole * deviation * math.sqrt(config.rounds) == pytest.approx(TABLE_NOISE["shopper"])


@pytest.mark.parametrize(
    "said",
    [
        {"model": "neural-cf"},
        {"model": "neural-cf", "unit": "shopper", "trust": "central"},
        {"model": "linear", "unit": "shopper", "trust": "central"},
    ],
    ids=str,
)
def test_other_models_take_the_steps_that_defaults_say(said: dict[str, str]) -> None:
    assert run(**said).learning_rate == run(**said | {"epsilon": 8.0}).learning_rate
    assert run(**said).server_learning_rate == run(**said | {"epsilon": 8.0}).server_learning_rate


def test_adam_is_left_alone() -> None:
    assert run(server_optimizer="adam").server_learning_rate == run(10**6).server_learning_rate
    adam = run(10**6, unit="shopper", trust="central", server_optimizer="adam")
    assert adam.server_momentum == 0.0, "as the defaults say"

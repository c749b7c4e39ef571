"""Steps under noise: computed by hand, with the same final noise for any number of rounds."""

import math

import pytest

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import ResolvedConfig, resolve
from terrycloth.experiments.settings.step_size import TABLE_NOISE, VECTOR_NOISE, device_step, server_steps


def test_the_noise_of_a_devices_vector_by_hand() -> None:
    """With σ = 2, C = 3 and T = 4, the noise is 12 for each unit of learning rate."""
    assert device_step(2.0, 3.0, 4, longest=1.0) == pytest.approx(VECTOR_NOISE / 12.0)
    assert device_step(2.0, 3.0, 4, longest=0.001) == 0.001
    assert device_step(0.0, 3.0, 4, longest=0.5) == 0.5


def test_the_noise_of_the_table_by_hand() -> None:
    """0.05 in a round's mean is 0.1 after four rounds."""
    for unit, most in TABLE_NOISE.items():
        assert server_steps(unit, 0.05, 4, longest=1e3) == (pytest.approx(most / 0.1), 0.0)
        assert server_steps(unit, 0.05, 4, longest=0.2, momentum=0.0) == (pytest.approx(0.2), 0.0)
        rate, _ = server_steps(unit, 0.05, 4, longest=1e3, momentum=0.75)
        assert rate == pytest.approx(0.25 * most / 0.1), "with momentum 0.75 the noise counts four times"


def test_beyond_the_largest_step_momentum_makes_up_for_the_rest() -> None:
    """Momentum is at most 0.8 and at shopper level only; the noise would allow a step of 1.1."""
    rate, momentum = server_steps("shopper", 0.05, 4, longest=0.55)
    assert (rate, momentum) == (pytest.approx(0.55), pytest.approx(0.5))
    assert server_steps("shopper", 0.05, 4, longest=0.1) == (pytest.approx(0.1), pytest.approx(0.8))
    assert server_steps("shopper", 0.0, 4, longest=2.0) == (pytest.approx(2.0), pytest.approx(0.8))
    assert server_steps("interaction", 0.0, 4, longest=2.0) == (2.0, 0.0)


def noises(config: ResolvedConfig) -> tuple[float, float]:
    """Return the noise of a device's vector and of the table at the end of the run."""
    steps = config.rounds * config.steps_per_round
    vector = config.learning_rate * config.noise_multiplier * config.clip * math.sqrt(steps)
    return vector, config.server_learning_rate * vector / math.sqrt(config.participation * config.devices)


def run(devices: int = 300, **given: float | str) -> ResolvedConfig:
    return resolve(RunConfig.model_validate({"unit": "interaction", "epsilon": 2.0, **given}), devices)


@pytest.mark.parametrize(
    "given",
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
def test_more_rounds_or_a_smaller_epsilon_add_no_noise(given: dict[str, float]) -> None:
    assert noises(run(**given)) == pytest.approx((VECTOR_NOISE, TABLE_NOISE["interaction"]))


def test_more_devices_allow_a_larger_step_up_to_the_default() -> None:
    few, more, many = (run(devices) for devices in (300, 1200, 10**6))
    assert more.server_learning_rate == pytest.approx(2.0 * few.server_learning_rate)
    assert many.server_learning_rate > more.server_learning_rate
    assert run(10**9).server_learning_rate == many.server_learning_rate


def test_given_step_sizes_are_kept() -> None:
    config = run(learning_rate=0.5, server_learning_rate=7.0)
    assert (config.learning_rate, config.server_learning_rate) == (0.5, 7.0)
    assert noises(run(learning_rate=0.5))[1] == pytest.approx(TABLE_NOISE["interaction"]), (
        "it does not depend on the device's step"
    )
    momentum = run(10**6, unit="shopper", trust="central", server_momentum=0.5)
    assert (momentum.server_learning_rate, momentum.server_momentum) == (6.0, 0.5)
    for settings in ({}, {"unit": "shopper", "trust": "central"}):
        first = run(10**5, **settings)
        again = resolve(RunConfig.model_validate(first.model_dump()), 10**5)
        assert again == first, "a resumed run continues with the same"


@pytest.mark.parametrize(("trust", "noises_in_sum"), [("central", 1.0), ("local", 300.0)])
@pytest.mark.parametrize("rounds", [20, 80])
def test_at_shopper_level_the_final_noise_is_the_same(trust: str, noises_in_sum: float, rounds: int) -> None:
    """Under central trust a sum has one noise, under local trust one for each device.

    Devices take no steps.
    """
    config = run(unit="shopper", trust=trust, rounds=rounds, clip=0.5)
    deviation = config.noise_multiplier * 0.5 * math.sqrt(noises_in_sum) / 300
    expected = TABLE_NOISE["shopper"]
    assert config.server_learning_rate * deviation * math.sqrt(rounds) == pytest.approx(expected)
    assert config.server_momentum == 0.0, "the step is below the limit"
    assert config.learning_rate == run(unit="shopper", trust=trust, epsilon=8.0).learning_rate


def test_many_devices_use_momentum_with_as_much_noise() -> None:
    config = run(20_000, unit="shopper", trust="central", epsilon=1.0)
    deviation = config.noise_multiplier * config.clip / 20_000
    whole = config.server_learning_rate / (1.0 - config.server_momentum)
    assert 0.0 < config.server_momentum < 0.8
    assert whole * deviation * math.sqrt(config.rounds) == pytest.approx(TABLE_NOISE["shopper"])


@pytest.mark.parametrize(
    "given",
    [
        {"model": "neural-cf"},
        {"model": "neural-cf", "unit": "shopper", "trust": "central"},
        {"model": "linear", "unit": "shopper", "trust": "central"},
    ],
    ids=str,
)
def test_other_models_use_the_default_steps(given: dict[str, str]) -> None:
    assert run(**given).learning_rate == run(**given | {"epsilon": 8.0}).learning_rate
    assert run(**given).server_learning_rate == run(**given | {"epsilon": 8.0}).server_learning_rate


def test_the_step_of_adam_is_not_changed() -> None:
    assert run(server_optimizer="adam").server_learning_rate == run(10**6).server_learning_rate
    adam = run(10**6, unit="shopper", trust="central", server_optimizer="adam")
    assert adam.server_momentum == 0.0, "the default applies"

"""The server's accountant agrees with Flower's where it has one, and its saved state continues exactly."""

import json
import math
from fractions import Fraction
from typing import Any

import pytest
from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyAccountant,
    PrivacyConfig,
    RdpAccountant,
    SamplingMethod,
)

from terrycloth.models.privacy.accounting import epsilon_composed
from terrycloth.server.accountant import Accountant, whole_numbers

DELTA = 1e-5


def config(sampling: str = "poisson", **changes: Any) -> PrivacyConfig:
    return PrivacyConfig(
        **{
            "target_delta": DELTA,
            "population_size": 1000,
            "neighboring_relation": NeighboringRelation.ADD_OR_REMOVE_ONE,
            "sampling_method": SamplingMethod(sampling),
            **changes,
        }
    )


def event(noise: float = 3.0, sample: int = 50, population: int = 1000) -> GaussianPrivacyEvent:
    return GaussianPrivacyEvent(noise, sample, population)


def accountant_after(*releases: tuple[GaussianPrivacyEvent, int], sampling: str = "poisson") -> Accountant:
    accountant = Accountant(config(sampling))
    for release, count in releases:
        accountant.compose(release, count)
    return accountant


def test_epsilon_equals_that_of_the_rest_of_the_package() -> None:
    accountant = accountant_after((event(), 20), (event(2.0), 5))
    composed = epsilon_composed(((3.0, 0.05, 20), (2.0, 0.05, 5)), DELTA)
    assert accountant.get_epsilon(DELTA) == composed.epsilon
    spent = accountant.get_privacy_spent()
    assert (spent.epsilon, spent.accounting_method) == composed
    assert (spent.delta, spent.num_releases) == (DELTA, 25)
    assert accountant.get_privacy_spent(1e-7).epsilon > spent.epsilon
    assert accountant.get_delta(spent.epsilon) == pytest.approx(DELTA, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["poisson", "no-amplification"])
def test_epsilon_is_below_flowers_accountant_and_close_to_it(sampling: str) -> None:
    accountant, flowers = accountant_after((event(), 100), sampling=sampling), RdpAccountant(config(sampling))
    flowers.compose(event(), 100)
    assert 0.75 * flowers.get_epsilon(DELTA) < accountant.get_epsilon(DELTA) < flowers.get_epsilon(DELTA)
    assert accountant.get_delta(0.5) < flowers.get_delta(0.5)


def test_sampling_amplifies_only_if_the_configuration_says_so() -> None:
    amplified, seen = (accountant_after((event(), 10), sampling=by) for by in ("poisson", "no-amplification"))
    assert seen.get_epsilon(DELTA) == epsilon_composed(((3.0, 1.0, 10),), DELTA).epsilon
    assert amplified.get_epsilon(DELTA) < 0.2 * seen.get_epsilon(DELTA)


def test_composing_releases_one_by_one_or_together_is_the_same() -> None:
    together, single = accountant_after((event(), 7)), accountant_after(*[(event(), 1)] * 7)
    assert single.state_dict() == together.state_dict()
    assert single.num_releases == 7
    assert single.get_epsilon(DELTA) == together.get_epsilon(DELTA)


def test_nothing_released_costs_nothing() -> None:
    assert accountant_after().get_epsilon(DELTA) == 0.0
    assert accountant_after().get_delta(0.0) == 0.0


def test_a_state_saved_as_json_continues_exactly() -> None:
    accountant = accountant_after((event(1 / 3), 20), (event(math.pi, 1), 5))
    state = json.loads(json.dumps(accountant.state_dict()))
    resumed = Accountant(config())
    resumed.load_state_dict(state)
    assert resumed.state_dict() == accountant.state_dict()
    for each in (accountant, resumed):
        each.compose(event(2.0))
    assert resumed.num_releases == 26
    assert resumed.get_epsilon(DELTA) == accountant.get_epsilon(DELTA)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"only_renyi": True},
        {"releases": None},
        {"releases": [[{"noise_multiplier": 1.0}, 1]]},
        {"releases": [[{"noise_multiplier": 0.0, "sample_size": 1, "population_size": 1000}, 1]]},
        {"releases": [[{"noise_multiplier": 1.0, "sample_size": 1, "population_size": 1000}, 0]]},
        {"releases": [[{"noise_multiplier": 1.0, "sample_size": 1, "population_size": 999}, 1]]},
    ],
    ids=str,
)
def test_a_damaged_state_or_one_of_another_promise_is_refused_and_changes_nothing(
    change: dict[str, Any],
) -> None:
    accountant = accountant_after((event(), 2))
    before = accountant.state_dict()
    with pytest.raises(ValueError, match=r".+"):
        accountant.load_state_dict({**before, **change})
    with pytest.raises(ValueError, match="another promise"):
        Accountant(config(target_delta=1e-6)).load_state_dict(before)
    assert accountant.state_dict() == before


@pytest.mark.slow
def test_would_exceed_answers_without_composing_the_release() -> None:
    accountant = accountant_after((event(), 10))
    after = epsilon_composed(((3.0, 0.05, 11),), DELTA).epsilon
    assert not accountant.would_exceed(event(), after)
    assert accountant.would_exceed(event(), after * 0.999)
    assert accountant.would_exceed(event(), after, count=2)
    assert accountant.num_releases == 10
    limited = Accountant(config(max_epsilon=1e-3))
    assert limited.would_exceed(event(0.5))
    for limit in (None, 0.0, math.nan):
        with pytest.raises(ValueError, match="max_epsilon"):
            accountant.would_exceed(event(), limit)


def test_discrete_noise_is_accounted_for_by_its_renyi_curve() -> None:
    accountant = Accountant(config("no-amplification"), only_renyi=True)
    accountant.compose(event(), 10)
    assert (
        accountant.get_epsilon(DELTA) == epsilon_composed(((3.0, 1.0, 10),), DELTA, only_renyi=True).epsilon
    )
    assert accountant.get_privacy_spent().accounting_method in ("opacus-rdp", "dp-accounting-rdp")
    assert accountant_after((event(), 10), sampling="no-amplification").get_epsilon(
        DELTA
    ) < accountant.get_epsilon(DELTA)


def test_releases_that_it_cannot_account_for_are_refused() -> None:
    with pytest.raises(ValueError, match="replace-one"):
        Accountant(
            config("without-replacement", neighboring_relation=NeighboringRelation.REPLACE_ONE),
        )
    for count in (0, -1, 1.0, True):
        with pytest.raises(ValueError, match="whole number"):
            accountant_after((event(), count))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="999"):
        accountant_after((event(population=999), 1))
    for delta in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="δ"):
            accountant_after().get_epsilon(delta)
    for epsilon in (-1.0, math.nan):
        with pytest.raises(ValueError, match="ε"):
            accountant_after().get_delta(epsilon)


@pytest.mark.parametrize(
    ("rate", "devices", "whole"), [(0.05, 10_000, (500, 10_000)), (0.05, 30, (15, 300)), (1.0, 7, (7, 7))]
)
def test_a_rate_in_whole_numbers_by_hand(rate: float, devices: int, whole: tuple[int, int]) -> None:
    assert whole_numbers(rate, devices) == whole


@pytest.mark.parametrize("rate", [1 / 3, 0.1 + 0.2, math.pi / 4, 1e-9 / 7, 1 - 2**-53, 5e-324])
@pytest.mark.parametrize("devices", [1, 7, 10**6])
def test_a_rate_in_whole_numbers_is_the_rate(rate: float, devices: int) -> None:
    sample, population = whole_numbers(rate, devices)
    assert sample / population == rate
    assert 0 < sample <= population
    assert population % devices == 0
    assert abs(Fraction(sample, population) / Fraction(rate) - 1) < (1e-15 if rate > 1e-300 else 1)
    GaussianPrivacyEvent(1.0, sample, population)


def test_the_accountant_implements_flowers_interface() -> None:
    wanted = [name for name in vars(PrivacyAccountant) if not name.startswith("_")]
    assert len(wanted) >= 9
    assert all(hasattr(Accountant, name) for name in wanted)
    as_flower_has_it: PrivacyAccountant = accountant_after()
    assert as_flower_has_it.num_releases == 0

"""The server's accountant composes what was released, as Flower's own bounds it, and resumes exactly."""

import json
import math
from typing import Any

import pytest
from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    RdpAccountant,
    SamplingMethod,
)

from terrycloth.models.privacy.accounting import epsilon_composed
from terrycloth.models.settings import RoundSettings
from terrycloth.server.accountant import RunAccountant
from tests.models.test_settings import record_settings

DELTA = 1e-5


def settings(noise: float = 3.0, round: int = 1, **changes: Any) -> RoundSettings:
    """A round of federated averaging in which each of 1,000 devices takes part with probability 0.05."""
    asked = {"unit": "shopper", "trust": "central", "devices": 1000, "participation": 0.05, "rounds": 40}
    return record_settings(
        {**asked, "noise_multiplier": noise, "round": round, "model": "mf", "delta": DELTA, **changes}
    )


def accountant_of(*rounds: RoundSettings) -> RunAccountant:
    """The accountant of a run that has booked these rounds."""
    accountant = RunAccountant(rounds[0] if rounds else settings())
    for each in rounds:
        accountant.book(each)
    return accountant


def test_epsilon_is_that_of_all_rounds_composed() -> None:
    accountant = accountant_of(*(settings(round=number) for number in (1, 2, 3)))
    assert accountant.releases == [(3.0, 0.05, 3)]
    spent = accountant.book(settings(2.0, 4))  # each booking composes anew, which takes most of a second
    assert accountant.releases == [(3.0, 0.05, 3), (2.0, 0.05, 1)]
    assert spent == accountant.epsilon == epsilon_composed(tuple(accountant.releases), DELTA).epsilon


@pytest.mark.slow
@pytest.mark.parametrize(("trust", "sampling"), [("central", "poisson"), ("local", "no-amplification")])
def test_flowers_own_accountant_gives_a_larger_bound_that_is_close(trust: str, sampling: str) -> None:
    accountant = accountant_of(*(settings(round=number, trust=trust) for number in range(1, 31)))
    config = PrivacyConfig(
        target_delta=DELTA,
        population_size=1000,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod(sampling),
    )
    flowers = RdpAccountant(config)
    for noise, _, steps in accountant.releases:
        flowers.compose(GaussianPrivacyEvent(noise, 50, 1000), steps)
    assert 0.75 * flowers.get_epsilon(DELTA) < accountant.epsilon < flowers.get_epsilon(DELTA)


def test_sampling_amplifies_only_where_the_trust_model_hides_who_took_part() -> None:
    hidden, seen = (accountant_of(settings(trust=trust)) for trust in ("central", "local"))
    assert hidden.releases == [(3.0, 0.05, 1)]
    assert seen.releases == [(3.0, 1.0, 1)]
    assert hidden.epsilon < 0.2 * seen.epsilon


def test_without_a_release_nothing_is_spent() -> None:
    assert accountant_of().epsilon == 0.0


def test_a_round_without_noise_spends_everything() -> None:
    accountant = accountant_of(settings())
    assert accountant.book(settings(0.0, 2)) == math.inf
    assert accountant.book(settings(round=3)) == math.inf


def test_it_resumes_exactly_through_json() -> None:
    accountant = accountant_of(settings(1 / 3), settings(math.pi, 2))
    resumed = RunAccountant(settings())
    resumed.load_state_dict(json.loads(json.dumps(accountant.state_dict())))
    assert resumed.state_dict() == accountant.state_dict()
    assert resumed.book(settings(2.0, 3)) == accountant.book(settings(2.0, 3))
    assert resumed.releases == accountant.releases


@pytest.mark.parametrize(
    "change",
    [
        {"unprotected": None},
        {"releases": None},
        {"releases": [[1.0, 0.05]]},
        {"releases": [[0.0, 0.05, 1]]},
        {"releases": [[math.nan, 0.05, 1]]},
        {"releases": [[1.0, 1.1, 1]]},
        {"releases": [[1.0, 0.05, 0]]},
        {"releases": [["1.0", 0.05, 1]]},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    accountant = accountant_of(settings(), settings(round=2))
    before = accountant.state_dict()
    with pytest.raises(ValueError, match="cannot be read"):
        accountant.load_state_dict({**before, **change})
    assert accountant.state_dict() == before

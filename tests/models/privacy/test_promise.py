"""A promise states all of its parts, and claims nothing that it does not keep."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from terrycloth.models.privacy.promise import Promise, rounded_up

LOCAL = {
    "unit": "interaction",
    "trust": "local",
    "epsilon": 2.0,
    "delta": 1e-5,
    "noise_multiplier": 1.9,
    "clip": 1.0,
    "participation": 1.0,
    "rounds": 30,
    "steps_per_round": 3,
    "sampling_rate": 0.2,
    "accountant": "opacus-prv",
    "seeded": False,
}
NONE = {"unit": "none", "trust": None, "epsilon": None, "delta": None, "clip": None, "accountant": None}


def promise(**changes: Any) -> Promise:
    return Promise.model_validate({**LOCAL, **changes})


def test_label_names_the_promise_or_says_not_private() -> None:
    assert promise().label == "interaction level, local trust, ε = 2, δ = 1e-05"
    assert promise(seeded=True).label.endswith(" (not private: seeded)")
    assert promise(**NONE).label == "not private"
    assert promise(epsilon=None).label == "not private"


def test_sentence_holds_every_part_of_the_promise() -> None:
    sentence = promise().sentence()
    for part in (
        "Anyone who reads every reply of a device, including the server,",
        "over all 30 rounds",
        "any one interaction",
        "with false alarms in 1% of the cases in which it is not, they catch at most 7.4% of those",
        "a factor of at most 7.39,",  # e²
        "(ε = 2, δ = 1e-05)",
        "except with probability δ.",
    ):
        assert part in sentence
    assert "not private" not in sentence
    assert promise(seeded=True).sentence().endswith("not private.")


@pytest.mark.parametrize(
    ("unit", "trust", "what", "who"),
    [
        ("shopper", "local", "everything one shopper did", "including the server"),
        (
            "shopper",
            "distributed",
            "everything one shopper did",
            "the sums that secure aggregation gives the server",
        ),
        ("shopper", "central", "everything one shopper did", "every model that the server releases"),
    ],
)
def test_sentence_names_the_unit_and_whom_it_is_against(unit: str, trust: str, what: str, who: str) -> None:
    sentence = promise(unit=unit, trust=trust).sentence()
    assert what in sentence
    assert who in sentence


@pytest.mark.parametrize("rounds", [1, 30])
def test_sentence_counts_evaluation_among_the_releases(rounds: int) -> None:
    sentence = promise(rounds=rounds, evaluated=True).sentence()
    assert "and in the counts of hits that devices release afterwards, can hardly tell" in sentence
    assert "counts of hits" not in promise(rounds=rounds).sentence()


def test_sentence_says_if_the_catalogue_was_made_from_events() -> None:
    statement = "The catalogue lists what these shoppers chose, and counts as public"
    assert statement in promise(catalogue_from_events=True).sentence()
    assert statement not in promise().sentence()


def test_sentence_says_how_many_nodes_may_collude() -> None:
    shares = {"unit": "shopper", "trust": "distributed", "least_devices": 1170}
    sentence = promise(**shares, tolerated_nodes=2).sentence()
    assert "the noise of at least 1,170 devices, not counting those of up to 2 nodes" in sentence
    assert "if more nodes collude" in sentence
    for tolerated in (0, None):
        sentence = promise(**shares, tolerated_nodes=tolerated).sentence()
        assert "the noise of at least 1,170 devices; if some of them reveal" in sentence


@pytest.mark.parametrize("changes", [NONE, {"epsilon": None}, {"delta": None}, {**NONE, "seeded": True}])
def test_sentence_claims_nothing_without_a_promise(changes: dict[str, Any]) -> None:
    sentence = promise(**changes).sentence()
    assert sentence.startswith("No promise of privacy is made")
    assert "factor" not in sentence


@pytest.mark.parametrize(
    ("epsilon", "delta", "caught", "well"),
    [
        (math.log(3.0), 0.01, "4%", "can hardly tell"),  # 3 · 1% + 1%
        (math.log(30.0), 0.01, "31%", "may sometimes be able to tell"),  # 30 · 1% + 1%
        (math.log(49.0), 0.01, "50%", "may sometimes be able to tell"),
        (math.log(4900.0), 0.01, "100%", "may nearly always be able to tell"),  # 1 − 98% / 4900 = 99.98%
        (math.log(140.0), 0.29, "99.5%", "may nearly always be able to tell"),  # 1 − 70% / 140
        (math.log(70.0), 0.01, "71%", "may often be able to tell"),
        (1000.0, 1e-5, "100%", "may nearly always be able to tell"),
    ],
)
def test_sentence_says_what_share_an_attacker_catches(
    epsilon: float, delta: float, caught: str, well: str
) -> None:
    sentence = promise(epsilon=epsilon, delta=delta).sentence()
    assert f"they catch at most {caught} of those in which it is" in sentence
    assert well in sentence
    assert ("a factor of" in sentence) is (epsilon < math.log(10.0)), "a large factor means nothing"


def test_the_history_of_releases_bounds_an_attacker_more_tightly_than_epsilon_does() -> None:
    """One Gaussian release of μ = 1: at 2.275% false alarms the attacker catches Φ(−2 + 1) = 15.87%, for
    every δ.
    """
    known = promise(epsilon=4.4, delta=1e-5, history=((1.0, 1.0, 1),))
    assert known.caught(0.02275013194817921) == pytest.approx(0.15865525393145707)
    assert promise(epsilon=4.4, delta=1e-5).caught(0.02275013194817921) > 0.9
    discrete = known.model_copy(update={"mechanism": "discrete-gaussian"})
    assert known.caught(0.01) < discrete.caught(0.01) < 0.2, "less is proved about discrete noise"
    with pytest.raises(ValueError, match="without a promise"):
        promise(**NONE).caught(0.01)


@pytest.mark.parametrize("epsilon", [1000.0, 1e5])
def test_sentence_can_state_a_very_large_epsilon(epsilon: float) -> None:
    sentence = promise(epsilon=epsilon).sentence()
    assert f"(ε = {rounded_up(epsilon)}, δ = 1e-05)" in sentence
    assert "e+304" not in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": math.inf},
        {"epsilon": math.nan},
        {"clip": math.inf},
        {"noise_multiplier": math.nan},
        {"unit": "device"},
        {"trust": "server"},
        {"relation": "replace-one"},
        {"audited": True},
    ],
    ids=str,
)
def test_contradictory_or_out_of_range_promises_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        promise(**changes)


@pytest.mark.parametrize("name", LOCAL)
def test_no_part_may_be_left_out(name: str) -> None:
    with pytest.raises(ValidationError):
        Promise.model_validate({key: value for key, value in LOCAL.items() if key != name})


def test_round_trip_and_frozen() -> None:
    for each in (promise(), promise(**NONE)):
        assert Promise.model_validate_json(each.model_dump_json()) == each
    with pytest.raises(ValidationError):
        promise().epsilon = 1.0  # type: ignore[misc]
    assert promise().relation == "add-or-remove-one"


@pytest.mark.parametrize(
    ("value", "text"),
    [(7.984, "7.99"), (8.0, "8"), (1.4e-6, "1.4e-06"), (8.106e-6, "8.11e-06"), (0.1, "0.1")],
)
def test_a_printed_number_is_rounded_up(value: float, text: str) -> None:
    assert rounded_up(value) == text
    assert float(rounded_up(value)) >= value * (1 - 1e-9)

"""Round settings survive the Flower record exactly, and unknown keys and values out of range are refused."""

import math
from typing import Any

import pytest
from flwr.app import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from terrycloth.models.limits import MOST_ITEMS
from terrycloth.models.privacy.accounting import reduced
from terrycloth.models.settings import PROTOCOL, RoundSettings

VALID: dict[str, Any] = {
    "round": 2,
    "rounds": 5,
    "model": "attributes",
    "dim": 8,
    "own_rows": False,
    "item_bias": True,
    "unit": "interaction",
    "trust": "local",
    "epsilon": 8.0,
    "delta": 1e-5,
    "noise_multiplier": 1.35,
    "clip": 1.0,
    "devices": 10,
    "participation": 0.5,
    "sampling_rate": 0.25,
    "steps_per_round": 3,
    "learning_rate": 0.1,
    "negatives": 4,
    "negative_weight": 1.0,
    "catalogue_weight": 0.1,
    "regularisation": 1.0,
}


LEFT_OUT: dict[str, Any] = {
    "clip_quantile": 0.0,
    "least_devices": 1,
    "agreement": 2 / 3,
    "secure_aggregation": True,
    "evaluate": False,
    "evaluation_noise": 0.0,
    "recency_half_life": 0.0,
    "head_size": 0,
    "popularity_share": 0.25,
    "now": 0,
    "popularity_half_life": 0.0,
    "popularity_norm": 0.0,
    "kernel_half_life": 0.0,
    "attribute_weight": 0.01,
    "noised_attribute_weight": 0.1,
    "popularity_discount": 0.0,
    "title_words": False,
}


NO_PROMISE: dict[str, Any] = {
    "unit": "none",
    "trust": "none",
    "epsilon": math.inf,
    "noise_multiplier": 0.0,
    "clip": math.inf,
}


def record(**changes: Any) -> ConfigRecord:
    return ConfigRecord({"protocol": PROTOCOL, **VALID, **changes})


def test_settings_survive_the_record() -> None:
    settings = RoundSettings.model_validate(VALID)
    assert RoundSettings.from_record(settings.to_record()) == settings
    assert dict(settings.to_record()) == {"protocol": 1, "run": "", **VALID, **LEFT_OUT}


def test_settings_without_a_promise_survive_the_record() -> None:
    settings = RoundSettings.model_validate({**VALID, **NO_PROMISE, "delta": 0.0})
    assert RoundSettings.from_record(settings.to_record()) == settings


@given(
    epsilon=st.floats(1e-6, 1e6),
    noise=st.just(0.0) | st.floats(1e-6, 1e6),
    clip=st.floats(1e-6, 1e6),
    rate=st.floats(0, 1, exclude_min=True),
    dim=st.integers(1, 4096),
    round=st.integers(1, 2**31),
)
def test_every_number_survives_the_record_exactly(
    epsilon: float, noise: float, clip: float, rate: float, dim: int, round: int
) -> None:
    settings = RoundSettings.model_validate(
        {
            **VALID,
            "epsilon": epsilon,
            "noise_multiplier": noise,
            "clip": clip,
            "sampling_rate": rate,
            "dim": dim,
            "round": round,
            "rounds": 2**31,
        }
    )
    assert RoundSettings.from_record(settings.to_record()) == settings


def test_flowers_own_count_of_rounds_is_ignored() -> None:
    assert RoundSettings.from_record(record(**{"server-round": 17})).round == 2


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="send_raw_events"):
        RoundSettings.from_record(record(send_raw_events=True))


@pytest.mark.parametrize("name", ["protocol", *VALID])
def test_a_missing_key_is_refused(name: str) -> None:
    values = {key: value for key, value in record().items() if key != name}
    with pytest.raises(ValueError, match=name):
        RoundSettings.from_record(ConfigRecord(values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol", 2),
        ("protocol", 0),
        ("round", 0),
        ("round", -1),
        ("rounds", 0),
        ("model", "package:Class"),
        ("dim", 0),
        ("dim", 4097),
        ("unit", "device"),
        ("unit", "household"),
        ("trust", "central"),
        ("trust", "distributed"),
        ("epsilon", 0.0),
        ("epsilon", -1.0),
        ("epsilon", math.nan),
        ("delta", -1e-9),
        ("delta", 1.0),
        ("delta", math.nan),
        ("noise_multiplier", -1.0),
        ("noise_multiplier", math.nan),
        ("clip", 0.0),
        ("clip", -1.0),
        ("clip", math.nan),
        ("participation", 0.0),
        ("participation", 1.01),
        ("participation", math.nan),
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.01),
        ("sampling_rate", math.nan),
        ("steps_per_round", 0),
        ("steps_per_round", 2**16),  # a stream's name has 16 bits for the step
        ("clip", 0.99e-6),  # Opacus adds 1e-6 to a norm before it divides by it
        ("clip", -math.inf),
        ("learning_rate", 1.01e6),
        ("catalogue_weight", 1.01e6),
        ("negative_weight", 1.01e6),
        ("regularisation", 1.01e6),
        ("regularisation", math.nan),
        ("epsilon", -math.inf),
        ("noise_multiplier", math.inf),
        ("learning_rate", math.inf),
        ("negative_weight", math.inf),
        ("catalogue_weight", math.inf),
        ("regularisation", math.inf),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("negatives", 0),
        ("negative_weight", -0.1),
        ("catalogue_weight", -0.1),
        ("regularisation", 0.0),
        # Values of another type, which a looser check would convert.
        ("round", 2.0),
        ("round", "2"),
        ("round", True),
        ("noise_multiplier", "1.35"),
        ("own_rows", 1),
        ("item_bias", "true"),
    ],
)
def test_out_of_range_and_another_type_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        RoundSettings.from_record(record(**{name: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {"trust": "none"},
        {"unit": "none"},
        {"clip": math.inf},
        {"delta": 0.0},
        *({**NO_PROMISE, name: VALID[name]} for name in NO_PROMISE),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RoundSettings.from_record(record(**changes))


@pytest.mark.parametrize("noise", [5e-324, 1e-9, 0.999999e-6, 1.000001e6, 1e300])
def test_noise_too_small_or_too_large_is_refused(noise: float) -> None:
    with pytest.raises(ValidationError, match="a noise multiplier must be 0, or from 1e-6 to 1e6"):
        RoundSettings.from_record(record(noise_multiplier=noise))


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e6])
def test_noise_at_its_bounds_is_accepted(noise: float) -> None:
    assert RoundSettings.from_record(record(noise_multiplier=noise)).noise_multiplier == noise


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("clip", [1.000001e6, 1e300])
def test_a_finite_clip_so_large_that_it_clips_nothing_is_refused(clip: float, noise: float) -> None:
    with pytest.raises(ValidationError, match="a clip must be at most 1e6, or infinite"):
        RoundSettings.from_record(record(clip=clip, noise_multiplier=noise))


@pytest.mark.parametrize("clip", [1e-6, 1e6])
def test_a_clip_at_its_bounds_is_accepted(clip: float) -> None:
    assert RoundSettings.from_record(record(clip=clip)).clip == clip


def test_a_clip_and_noise_may_both_be_missing() -> None:
    """DP-SGD with neither is plain SGD, which the tests compare it with; it also claims no ε."""
    settings = RoundSettings.from_record(record(noise_multiplier=0.0, clip=math.inf, epsilon=math.inf))
    assert settings.clip == math.inf


def test_a_round_after_the_last_is_refused() -> None:
    assert RoundSettings.from_record(record(round=5)).round == 5
    with pytest.raises(ValidationError, match="round 6 is beyond the 5"):
        RoundSettings.from_record(record(round=6))


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        RoundSettings.model_validate(VALID).noise_multiplier = 0.0  # type: ignore[misc]


# The two releases of the linear model.


LINEAR: dict[str, Any] = {
    "model": "linear", "rounds": 2, "round": 1, "head_size": 5, "unit": "shopper", "trust": "central",
    "participation": 1.0, "noise_multiplier": 1.35,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{"rounds": 1}, {"rounds": 3}, {"head_size": 0}, {"head_size": MOST_ITEMS + 1},
                {"unit": "interaction"},
                {"popularity_share": 0.0}, {"popularity_share": 1.0}, {"kernel_half_life": 1e-4},
                {"popularity_half_life": 1e-4}, {"popularity_norm": 1e-4}, {"now": -1}, {"now": 2**41}]
)  # fmt: skip
def test_settings_that_the_linear_model_cannot_have_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        record_settings({**LINEAR, **changes})


@pytest.mark.parametrize("name", ["kernel_half_life", "popularity_half_life", "popularity_norm"])
@pytest.mark.parametrize("value", [0.0, 1e-3])
def test_half_lives_and_norms_at_their_bounds_are_accepted(name: str, value: float) -> None:
    assert getattr(record_settings({**LINEAR, name: value}), name) == value


def record_settings(changes: dict[str, Any]) -> RoundSettings:
    return RoundSettings.from_record(record(**changes))


@pytest.mark.parametrize("trust", ["local", "distributed", "central"])
@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9])
def test_both_releases_together_cost_as_much_as_one_with_the_noise_multiplier(
    trust: str, share: float
) -> None:
    settings = record_settings({**LINEAR, "trust": trust, "popularity_share": share})
    first, second = settings.at(1), settings.at(2)
    assert (first.released, second.released) == ("popularity", "gram")
    assert first.noise == pytest.approx(1.35 / math.sqrt(share))
    assert second.noise == pytest.approx(1.35 / math.sqrt(1.0 - share))
    assert first.mechanism == (first.noise, 1.0, 1)
    assert settings.history(1) == (first.mechanism,)
    assert settings.history(2) == (first.mechanism, second.mechanism)
    ((noise, rate, steps),) = reduced(settings.history(2))
    assert (noise, rate, steps) == (pytest.approx(1.35, rel=1e-14), 1.0, 1)
    assert first.released_deviation / second.released_deviation == pytest.approx(first.noise / second.noise)


def test_both_releases_are_amplified_and_a_device_may_take_part_in_both() -> None:
    central = record_settings({**LINEAR, "participation": 0.05})
    assert [(rate, steps) for _, rate, steps in central.history(2)] == [(0.05, 1), (0.05, 1)]
    local = record_settings({**LINEAR, "participation": 0.05, "trust": "local"})
    assert local.covered == 2, "the rounds cost different amounts, so that no part of them stands for others"
    assert [rate for _, rate, _ in local.history(2)] == [1.0, 1.0]


def test_covered_rounds_are_not_limited_where_rounds_cost_nothing() -> None:
    settings = record_settings({"rounds": 20, "participation": 0.3})
    assert settings.covered < 20
    free = {"unit": "none", "trust": "none", "noise_multiplier": 0.0, "clip": math.inf, "epsilon": math.inf}
    assert record_settings({"rounds": 20, "participation": 0.3, **free}).covered == 20


def test_the_evaluation_round_comes_last_and_is_accounted_with_its_own_noise() -> None:
    settings = record_settings({**LINEAR, "evaluate": True, "evaluation_noise": 7.0})
    assert settings.history(3) == (*settings.history(2), (7.0, 1.0, 1))
    assert settings.at(3).released is None
    assert settings.measured(2) == ()


def test_a_number_of_rounds_too_large_for_a_devices_share_is_refused() -> None:
    """With 2⁵³ rounds the device would fail in the middle of an answer."""
    settings = RoundSettings.model_validate(
        {**VALID, "unit": "shopper", "trust": "local", "participation": 0.5, "rounds": 2**40}
    )
    assert settings.covered == pytest.approx(2**39, rel=1e-5)
    with pytest.raises(ValidationError, match="rounds"):
        RoundSettings.model_validate({**VALID, "rounds": 2**40 + 1})

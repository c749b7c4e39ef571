"""From a configuration to the noise, the promise, and the settings that Flower carries."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import terrycloth.experiments.settings.planning
from terrycloth.client.serving import Serving
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import (
    ResolvedConfig,
    defaults,
    make_promise,
    resolve,
    run_config,
)
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import epsilon_composed, epsilon_spent
from terrycloth.server.settings import from_run_config

pytestmark = [
    pytest.mark.filterwarnings("ignore:Optimal order:UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

TABLES = """
[all]
split = "date"
dim = 16
regularisation = 1.0
catalogue_weight = 0.1
negative_weight = 1.0
server_optimizer = "adam"
server_learning_rate = 0.05
server_momentum = 0.9
server_weight_decay = 0.25
sampling_rate = 1.0
learning_rate = 1.0
recency_half_life = 0.0
popularity_share = 0.25
popularity_half_life = 30.0
popularity_norm = 1.0
attribute_weight = 0.01
noised_attribute_weight = 0.1
popularity_discount = 0.0
title_words = false
head_scale = 17.0
most_events = 10
kernel_half_life = 30.0

[none]
server_weight_decay = 0.01
rounds = 60
steps_per_round = 1

[none-neural-cf]
rounds = 30
negative_weight = 4.0

[none-linear]
rounds = 2
server_optimizer = "sgd"
server_learning_rate = 1.0
server_momentum = 0.0
server_weight_decay = 0.0

[interaction]
epsilon = 6.0
dim = 8
rounds = 5
steps_per_round = 2
clip = 0.75

[shopper]
epsilon = 4.0
steps_per_round = 1
clip = 1.0
server_optimizer = "sgd"
server_learning_rate = 1.0
server_momentum = 0.0
server_weight_decay = 0.0

[shopper-linear]
rounds = 2
recency_half_life = 5.0
"""


TUNED = """
[none]
regularisation = 3.0

[none-linear]
kernel_half_life = 7.0
"""


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use defaults of the test's own, so that tuning the shipped ones breaks nothing here."""
    (tmp_path / "all.toml").write_text(TABLES, encoding="utf-8")
    (tmp_path / "towels.toml").write_text("", encoding="utf-8")
    (tmp_path / "movielens.toml").write_text(TUNED, encoding="utf-8")
    monkeypatch.setattr(terrycloth.experiments.settings.planning, "DEFAULTS", tmp_path)


def plan(devices: int = 200, **settings: Any) -> ResolvedConfig:
    return resolve(RunConfig.model_validate(settings), devices)


def private(**settings: Any) -> ResolvedConfig:
    return plan(**{"unit": "interaction", **settings})


def test_defaults_by_unit_and_then_by_model() -> None:
    plain = defaults("none", "mf", "csv")
    assert (plain["rounds"], plain["negative_weight"]) == (60, 1.0)
    own = defaults("none", "neural-cf", "csv")
    assert (own["rounds"], own["negative_weight"], own["dim"]) == (30, 4.0, 16)
    assert defaults("interaction", "neural-cf", "csv")["dim"] == 8


def test_defaults_tuned_for_a_data_set_apply_only_to_it() -> None:
    tuned, plain = defaults("none", "linear", "movielens"), defaults("none", "linear", "csv")
    assert {name for name in plain if tuned[name] != plain[name]} == {"regularisation", "kernel_half_life"}
    assert (tuned["regularisation"], tuned["kernel_half_life"]) == (3.0, 7.0)
    assert defaults("none", "mf", "movielens")["kernel_half_life"] == 30.0
    assert defaults("none", "linear", "towels") == plain
    assert plan(data="movielens", model="linear").kernel_half_life == 7.0
    assert plan(data="csv", model="linear").kernel_half_life == 30.0


def test_a_split_has_a_default_by_data_set_which_settings_override(tmp_path: Path) -> None:
    (tmp_path / "movielens.toml").write_text('[all]\nsplit = "next-visit"\n', encoding="utf-8")
    assert plan(data="movielens").split == "next-visit"
    assert plan(data="csv").split == "date"
    assert plan(data="movielens", split="basket").split == "basket"


def test_given_settings_are_kept_and_the_others_filled() -> None:
    config = plan(dim=3, regularisation=2.0)
    assert (config.dim, config.regularisation, config.rounds, config.devices) == (3, 2.0, 60, 200)
    assert config.serving == Serving(0.1, 1.0, 2.0, None, most_events=10)


def test_without_a_promise_there_is_no_clip_and_no_noise() -> None:
    config = plan()
    assert (config.clip, config.noise_multiplier, config.epsilon) == (math.inf, 0.0, None)


@pytest.mark.parametrize(
    "settings", [{"epsilon": 8.0}, {"noise_multiplier": 1.0}, {"clip": 1.0}, {"epsilon": math.inf}], ids=str
)
def test_settings_of_a_promise_without_one_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="part of a promise, which needs a unit: add --unit interaction"):
        plan(**settings)


@pytest.mark.parametrize(
    ("unit", "devices", "delta"),
    [
        ("shopper", 1, 1e-5),
        ("shopper", 10_000, 1e-5),
        ("shopper", 20_000, 5e-6),
        ("shopper", 10**6, 1e-7),
        ("interaction", 1, 1e-5),
        # The most that they may store together, because the actual number is private.
        (
            "interaction",
            200,
            0.1 / (200 * 100),
        ),
        ("interaction", 20_000, 0.1 / (20_000 * 100)),
    ],
)
def test_delta_is_a_tenth_of_one_divided_by_all_units_and_at_most_1e_5(
    unit: str, devices: int, delta: float
) -> None:
    found = plan(unit=unit, devices=devices, noise_multiplier=1.0, most_events=100, rounds=1).delta
    assert found == pytest.approx(delta)


def test_a_given_delta_is_kept() -> None:
    assert private(delta=1e-6, noise_multiplier=1.0, most_events=100).delta == 1e-6


@pytest.mark.parametrize(
    ("unit", "delta", "whose"),
    [
        ("shopper", 1 / 200, "one shopper's data"),
        ("interaction", 1 / 20_000, "up to 100 purchases each"),
    ],
)
def test_delta_that_would_let_one_unit_be_published_whole_is_refused(
    unit: str, delta: float, whose: str
) -> None:
    with pytest.raises(UserError, match=whose):
        plan(unit=unit, delta=delta, most_events=100, rounds=1)
    kept = plan(unit=unit, delta=delta * 0.99, most_events=100, rounds=1, noise_multiplier=1.0)
    assert kept.delta == delta * 0.99
    assert plan(delta=0.5).delta == 0.5, "without a promise δ has no effect"


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_the_noise_is_computed_for_epsilon_over_the_whole_run(epsilon: float) -> None:
    config = private(epsilon=epsilon, rounds=4, steps_per_round=3, sampling_rate=0.2)
    over_all = epsilon_spent(config.noise_multiplier, 0.2, 12, 1e-5).epsilon
    assert 0.99 * epsilon <= over_all <= epsilon
    promise = make_promise(config)
    assert promise.epsilon == over_all
    assert (promise.rounds, promise.steps_per_round, promise.sampling_rate) == (4, 3, 0.2)
    one_round = epsilon_spent(config.noise_multiplier, 0.2, 3, 1e-5).epsilon
    assert one_round < 0.9 * over_all, "the two must differ for this test to mean something"


def test_epsilon_has_a_default() -> None:
    assert 0.99 * 6.0 <= (make_promise(private()).epsilon or 0) <= 6.0


def test_epsilon_is_computed_from_the_noise() -> None:
    promise = make_promise(private(noise_multiplier=2.0))
    assert promise.noise_multiplier == 2.0
    assert promise.epsilon == epsilon_spent(2.0, 1.0, 10, 1e-5).epsilon
    assert promise.accountant == "analytic-gaussian"


def test_rounds_are_computed_from_epsilon_and_noise() -> None:
    config = private(epsilon=4.0, noise_multiplier=8.0)
    spent = [
        epsilon_spent(8.0, 1.0, 2 * rounds, 1e-5).epsilon for rounds in (config.rounds, config.rounds + 1)
    ]
    assert spent[0] <= 4.0 < spent[1]
    assert config.rounds == 27, "ε = 4 is one step at noise 1.08: 2 · 27 / 8² of 1.08⁻²"
    promise = make_promise(config)
    assert (promise.epsilon, promise.noise_multiplier, promise.rounds) == (spent[0], 8.0, 27)
    assert config.evaluate_every == 1
    assert private(epsilon=4.0, noise_multiplier=20.0).evaluate_every == 10
    assert private(epsilon=4.0, noise_multiplier=20.0, evaluate_every=0).evaluate_every == 0
    again = resolve(RunConfig.model_validate(config.model_dump()), 200)
    assert again == config


def test_epsilon_noise_and_rounds_together_are_refused() -> None:
    with pytest.raises(UserError, match="two of --epsilon, --noise-multiplier and --rounds"):
        private(epsilon=1.0, noise_multiplier=1.0, rounds=3)
    with pytest.raises(UserError, match="--model linear has two rounds"):
        private(model="linear", epsilon=1.0, noise_multiplier=1.0)


def test_a_gpu_is_refused_if_there_is_none_or_the_model_does_not_use_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"model": "neural-cf", "torch_device": "cuda"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: torch finds no GPU"):
        private(**asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert private(**asked).torch_device == "cuda"
    for other in ({"model": "attributes"}, {"trainer": "reference"}):
        with pytest.raises(UserError, match="--device cuda is for --model neural-cf and --trainer fast"):
            private(**asked | other)


def test_it_is_a_user_error_if_no_round_fits() -> None:
    with pytest.raises(UserError, match="one round"):
        private(epsilon=1.0, noise_multiplier=0.0)


def test_an_epsilon_out_of_reach_is_a_user_error() -> None:
    with pytest.raises(UserError, match="--epsilon"):
        private(epsilon=1e-6, delta=1e-9)


def test_a_resolved_configuration_resolves_to_itself() -> None:
    for config in (private(epsilon=1.0), private(noise_multiplier=0.0), plan()):
        again = resolve(RunConfig.model_validate(config.model_dump()), 200)
        assert again == config
        assert make_promise(again) == make_promise(config)


def test_the_promise_of_local_trust_is_not_amplified_by_participation() -> None:
    """At participation ½ and ten rounds: nine rounds cover 99 of 100 devices, each at its full ε."""
    half = make_promise(private(noise_multiplier=1.0, participation=0.5, rounds=10))
    assert (half.participation, half.rounds, half.rounds_of_a_device) == (0.5, 10, 9)
    assert half.epsilon == make_promise(private(noise_multiplier=1.0, rounds=9)).epsilon


def test_the_promise_has_the_settings_of_the_run() -> None:
    promise = make_promise(private(noise_multiplier=1.0, seed=0))
    assert (promise.unit, promise.trust, promise.clip, promise.delta) == ("interaction", "local", 0.75, 1e-5)
    assert promise.seeded
    assert not make_promise(private(noise_multiplier=1.0)).seeded


def test_no_noise_is_no_promise() -> None:
    for promise in (make_promise(private(noise_multiplier=0.0)), make_promise(plan())):
        assert promise.epsilon is None
        assert promise.accountant is None
        assert promise.label == "not private"
    nothing = make_promise(plan(delta=1e-5))
    assert (nothing.unit, nothing.trust, nothing.delta, nothing.clip) == ("none", None, None, None)


def shared(devices: int = 300, **settings: Any) -> ResolvedConfig:
    given = {"unit": "shopper", "trust": "distributed", "noise_multiplier": 1.0, "rounds": 1} | settings
    return plan(devices=devices, **given)


@pytest.mark.parametrize(
    ("settings", "least", "tolerated"),
    [
        ({"nodes": 3}, 170, 1),  # 300, less a tenth, less the 100 behind one node
        ({"nodes": 10}, 180, 2),  # less 30 behind each of three nodes; of six listed nodes two are tolerated
        ({"nodes": 10, "tolerated_dropout": 0.0}, 210, 2),
        ({"nodes": 10, "agreement": 0.5}, 240, 0),  # of ten nodes one, of nine none
        ({"nodes": 7}, 184, 1),  # at most 43 behind each of two nodes
        # 150 − 34.6 take part, less a tenth; 50 + 20 are behind one node.
        (
            {"nodes": 3, "participation": 0.5},
            33,
            1,
        ),
        ({"nodes": 200}, 230, 12),  # the sparse graph tolerates a tenth of the nodes, and 12 of 129
        ({"nodes": 3, "secure_aggregation": False}, 270, None),
        ({"nodes": 1}, 270, None),
    ],
    ids=str,
)
def test_the_noise_in_a_sum_counts_devices_that_neither_drop_out_nor_collude(
    settings: dict[str, Any], least: int, tolerated: int | None
) -> None:
    config = shared(**settings)
    promise = make_promise(config)
    assert config.settings.least_devices == least
    assert (promise.least_devices, promise.tolerated_nodes) == (least, tolerated)


def test_it_is_a_user_error_if_no_noise_is_guaranteed() -> None:
    with pytest.raises(UserError, match=r"of 300 devices behind --nodes 3 none is sure .* = 0\.7 of the dev"):
        shared(nodes=3, tolerated_dropout=0.7)
    assert shared(nodes=3, tolerated_dropout=0.7, secure_aggregation=False).settings.least_devices == 90
    assert plan(nodes=3, trust="distributed", tolerated_dropout=0.7).settings.least_devices == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"epsilon": math.inf},
        {"clip": math.inf},
        {"noise_multiplier": math.inf},
        {"clip": math.inf, "noise_multiplier": 0.0},
    ],
    ids=str,
)
def test_an_infinite_promise_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="finite"):
        private(**settings)


def test_more_nodes_than_devices_are_refused() -> None:
    assert plan(devices=3, nodes=3).nodes == 3
    with pytest.raises(UserError, match="--nodes 4 is more than the 3 devices"):
        plan(devices=3, nodes=4)


def test_the_servers_optimiser_has_defaults_and_can_be_chosen() -> None:
    for config, decay in ((plan(), 0.01), (private(noise_multiplier=1.0), 0.25)):
        assert (config.server_optimizer, config.server_learning_rate) == ("adam", 0.05)
        assert (config.server_momentum, config.server_weight_decay) == (0.9, decay)
    given = plan(server_optimizer="sgd", server_momentum=0.0, server_weight_decay=0.0)
    assert (given.server_optimizer, given.server_momentum, given.server_weight_decay) == ("sgd", 0.0, 0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "neural-cf"},
        {"unit": "interaction", "noise_multiplier": 1.5, "participation": 0.5, "seed": 9},
        {"unit": "interaction", "noise_multiplier": 0.0},
    ],
    ids=str,
)
def test_flower_carries_all_settings_of_server_and_devices(settings: dict[str, Any], tmp_path: Path) -> None:
    config = plan(**settings)
    promise = make_promise(config)
    carried = run_config(
        config, promise, catalogue=tmp_path / "catalogue.parquet", folder=tmp_path, resume=True
    )
    assert all(isinstance(value, bool | int | float | str) for value in carried.values())
    server, asked = from_run_config(carried)
    assert (asked.devices, server.folder, server.resume) == (200, tmp_path, True)
    assert server.catalogue == tmp_path / "catalogue.parquet"
    assert server.initial_seed == (config.seed or 0)
    for name in ("server_optimizer", "server_learning_rate", "server_momentum", "server_weight_decay"):
        assert getattr(server, name) == getattr(config, name)
    for name in (
        "model",
        "unit",
        "dim",
        "rounds",
        "steps_per_round",
        "noise_multiplier",
        "clip",
        "participation",
        "sampling_rate",
        "learning_rate",
        "negatives",
        "negative_weight",
        "catalogue_weight",
        "regularisation",
    ):
        assert getattr(asked, name) == getattr(config, name)
    assert asked.epsilon == (math.inf if promise.epsilon is None else promise.epsilon)
    assert asked.delta == (promise.delta or 0.0)
    assert asked.trust == ("none" if config.unit == "none" else "local")


def test_devices_are_told_the_epsilon_of_the_whole_run() -> None:
    """Devices are told the ε that the whole run spends: after one more step they refuse."""
    config = private(epsilon=6.0)
    promise = make_promise(config)
    _, asked = from_run_config(
        run_config(config, promise, catalogue=Path("c"), folder=Path("f"), resume=False)
    )

    def spent(steps: int) -> float:
        return epsilon_spent(config.noise_multiplier, config.sampling_rate, steps, asked.delta).epsilon

    steps = asked.rounds * asked.mechanism[-1]
    assert spent(steps) == asked.epsilon
    assert spent(steps + 1) > asked.epsilon


def test_the_shipped_defaults_resolve_for_every_unit_and_model(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Path(terrycloth.experiments.settings.planning.__file__).with_name("defaults")
    monkeypatch.setattr(terrycloth.experiments.settings.planning, "DEFAULTS", shipped)
    for model in ("mf", "attributes", "neural-cf"):
        assert plan(model=model).noise_multiplier == 0.0
        assert 7.9 <= (make_promise(private(model=model)).epsilon or 0) <= 8.0


# --- The linear model: two releases, and a head -----------------------------------------------------------


def linear(devices: int = 943, items: int = 1682, **given: Any) -> ResolvedConfig:
    given = {"model": "linear", "unit": "shopper", "trust": "central", "delta": 1e-4} | given
    return resolve(RunConfig(**given), devices, items)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
@pytest.mark.parametrize("trust", ["central", "local"])
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_both_releases_together_spend_epsilon(epsilon: float, trust: str, share: float) -> None:
    config = linear(epsilon=epsilon, trust=trust, popularity_share=share)
    promise = make_promise(config)
    assert config.rounds == promise.rounds == 2
    assert (1 - 1e-8) * epsilon <= (promise.epsilon or 0) <= epsilon
    assert config.noise_multiplier == pytest.approx(linear(epsilon=epsilon, trust=trust).noise_multiplier)
    one = epsilon_spent(config.noise_multiplier, 1.0, 1, 1e-4).epsilon
    assert promise.epsilon == pytest.approx(one, rel=1e-9), "it equals one Gaussian of that multiplier"


@pytest.mark.slow
def test_both_releases_are_amplified_under_central_trust() -> None:
    config = linear(epsilon=1.0, participation=0.1)
    promise = make_promise(config)
    assert 0.99 <= (promise.epsilon or 0) <= 1.0
    assert config.noise_multiplier < 0.5 * linear(epsilon=1.0).noise_multiplier
    noises = [config.noise_multiplier * factor for factor in (2.0, 0.75**-0.5)]
    composed = epsilon_composed(tuple((noise, 0.1, 1) for noise in noises), 1e-4).epsilon
    assert promise.epsilon == pytest.approx(composed, rel=1e-12)


def test_the_evaluation_is_paid_from_the_same_epsilon() -> None:
    config = linear(epsilon=4.0, evaluate="released")
    assert 0.999 * 4.0 <= (make_promise(config).epsilon or 0) <= 4.0
    assert config.noise_multiplier > linear(epsilon=4.0).noise_multiplier


def test_the_size_of_the_head_depends_on_the_noise() -> None:
    assert linear(epsilon=8.0).head_size == 708
    assert linear(epsilon=1.0).head_size < linear(epsilon=2.0).head_size
    assert linear(unit="none", trust="local", delta=None).head_size == 1682
    assert linear(unit="none", trust="local", delta=None, items=10**6).head_size == 5000
    assert linear(epsilon=8.0, trust="local").head_size < 300, (
        "under local trust the sum has the noise of every device"
    )
    assert linear(epsilon=8.0, head_size=77).head_size == 77
    config = linear(epsilon=8.0)
    assert resolve(RunConfig.model_validate(config.model_dump()), 943, 1682) == config
    assert resolve(RunConfig(model="mf", unit="none", rounds=1), 10, 5).head_size == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rounds": 1}, "done after two rounds"),
        ({"rounds": 3}, "done after two rounds"),
        ({"clip": 0.5}, "has clip = 1.0: leave it out"),
        ({"head_size": 0}, "head_size = 0 is not from 1 to 1682 items"),
        ({"head_size": 1683}, "head_size = 1683 is not from 1 to 1682 items"),
    ],
)
def test_settings_that_the_linear_model_does_not_support_are_refused(
    given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        linear(epsilon=1.0, **given)


def test_devices_are_told_of_both_releases() -> None:
    config = linear(epsilon=8.0)
    promise = make_promise(config)
    carried = run_config(config, promise, catalogue=Path("c"), folder=Path("f"), resume=False)
    _, settings = from_run_config(carried)
    assert (settings.head_size, settings.popularity_share, settings.kernel_half_life) == (708, 0.25, 30.0)
    assert settings.recency_half_life == 5.0
    assert (settings.popularity_half_life, settings.popularity_norm) == (30.0, 1.0)
    assert not settings.title_words
    assert settings.now == 0, "a plan with data sets it"
    assert settings.epsilon == promise.epsilon
    assert config.serving.recency_half_life == 5.0


def recomputed(promise: dict[str, Any]) -> float:
    """Compute ε from result.json alone, with the library that the run did not use."""
    import dp_accounting
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    if promise["mechanism"] == "discrete-gaussian":  # only its Rényi curve is known
        other: Any = RdpAccountant()
    elif promise["accountant"].startswith("dp-accounting"):
        from opacus.accountants import PRVAccountant

        other = PRVAccountant()
        other.history = [tuple(release) for release in promise["history"]]
        return float(other.get_epsilon(promise["delta"]))
    else:
        other = PLDAccountant()
    for noise, rate, steps in promise["history"]:
        event: Any = dp_accounting.GaussianDpEvent(noise)
        if rate < 1.0:
            event = dp_accounting.PoissonSampledDpEvent(rate, event)
        other.compose(event, steps)
    return float(other.get_epsilon(promise["delta"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"unit": "interaction", "sampling_rate": 0.2, "steps_per_round": 3, "delta": 1e-5},
        {"unit": "interaction", "model": "neural-cf", "evaluate": "released"},
        {"unit": "interaction", "participation": 0.3, "rounds": 20},
        {"unit": "shopper", "trust": "local", "evaluate": "released"},
        {"unit": "shopper", "trust": "local", "model": "linear"},
        {"unit": "shopper", "trust": "central", "participation": 0.1, "rounds": 30},
        {"unit": "shopper", "trust": "central", "participation": 0.1, "evaluate": "released"},
        {"unit": "shopper", "trust": "central", "clip_quantile": 0.5},
        {"unit": "shopper", "trust": "central", "model": "linear", "evaluate": "released"},
        {"unit": "shopper", "trust": "distributed", "secure_aggregation": False, "rounds": 4},
        {"unit": "shopper", "trust": "distributed", "secure_aggregation": False, "model": "linear"},
        {"unit": "shopper", "trust": "distributed", "nodes": 5, "participation": 0.5, "evaluate": "released"},
    ],
    ids=str,
)
def test_epsilon_can_be_recomputed_from_a_result_alone(settings: dict[str, Any]) -> None:
    """It is recomputed with another library from every release: all rounds, and the evaluation."""
    promise = make_promise(plan(**{"epsilon": 3.0, "rounds": 2, **settings}))
    written = json.loads(promise.model_dump_json())
    releases = 1 + (settings.get("model") == "linear") + (settings.get("evaluate") == "released")
    assert len(written["history"]) == releases
    found = recomputed(written)
    assert 0.999 * written["epsilon"] <= found <= 1.02 * written["epsilon"]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"unit": "interaction", "epsilon": 4.0}, 4.0),
        ({"unit": "interaction"}, 6.0),  # the default
        # The number of rounds is computed.
        (
            {"unit": "interaction", "epsilon": 2.0, "noise_multiplier": 30.0},
            2.0,
        ),
        ({"unit": "interaction", "noise_multiplier": 2.0}, None),
        ({"unit": "none"}, None),
    ],
    ids=str,
)
def test_the_requested_epsilon_is_recorded_beside_the_noise(
    settings: dict[str, Any], asked: float | None
) -> None:
    resolved = resolve(RunConfig.model_validate(settings), 300)
    assert resolved.epsilon_asked == asked
    assert resolved.epsilon is None, "noise and rounds determine what a resumed run spends"
    again = resolve(RunConfig.model_validate(resolved.model_dump()), 300)
    assert again.epsilon_asked == asked
    assert again.noise_multiplier == resolved.noise_multiplier

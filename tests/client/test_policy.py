"""The owner's policy is read at every query, before events and state, and is never exceeded."""

import math
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError

import terrycloth.client.device_group
import terrycloth.models.recommenders.plug_ins
from terrycloth.client.device_group import DeviceGroup, day_of
from terrycloth.client.ledger import Ledger
from terrycloth.client.policy import Policy, PolicyUnreadable, policy_of
from terrycloth.client.state import DeviceState
from terrycloth.models.privacy.accounting import epsilon_composed
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import Refusal, Reply, Request
from tests.policies import ANYTHING

DELTA = 1e-5
NOON = 1_774_785_600  # 29 March 2026, 12:00 UTC
DAY = 86_400
A_STEP = 4.4  # slightly above ε of one step at σ = 1 and δ = 1e-5

ALL_KEYS = """
least_noise_multiplier = 0.5
most_epsilon = 8
most_epsilon_a_day = 2.5
most_delta = 1e-5
units = ["shopper", "interaction"]
trusts = ["local", "distributed"]
most_events = 1000
most_rounds = 200
models = ["attributes", "linear"]
most_dim = 64
most_negatives = 100
most_steps = 20
most_items = 10_000
most_bytes = 16_000_000
least_agreement = 0.75
least_nodes = 5
least_devices = 40
unmasked = true
least_task_age = 7
"""


@pytest.fixture
def written(tmp_path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "own-policy.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def folder(tmp_path, shop, held) -> Path:
    DeviceGroup.create(tmp_path / "device-group", shop, held([1, 4, 4], [], [6]), ANYTHING, seed=7)
    return tmp_path / "device-group"


@pytest.fixture
def query(build, copied) -> Callable[..., Request]:
    """Return a function that builds a query of these settings; `moved` makes it a different query."""

    def request(settings: RoundSettings, moved: float = 0.0) -> Request:
        parameters = copied(build(settings))
        next(iter(parameters.values())).view(-1)[0] += moved
        return Request(parameters, settings)

    return request


def policy(**keys: object) -> Policy:
    return Policy.model_validate(keys)


def state_of(folder: Path) -> DeviceState:
    return DeviceState.load(folder / "state-0-of-1.safetensors")


# The file


def test_every_key_is_read(written):
    assert Policy.load(written(ALL_KEYS)) == Policy(
        least_noise_multiplier=0.5,
        most_epsilon=8.0,
        most_epsilon_a_day=2.5,
        most_delta=1e-5,
        units=("shopper", "interaction"),
        trusts=("local", "distributed"),
        most_events=1000,
        most_rounds=200,
        models=("attributes", "linear"),
        most_dim=64,
        most_negatives=100,
        most_steps=20,
        most_items=10_000,
        most_bytes=16_000_000,
        least_agreement=0.75,
        least_nodes=5,
        least_devices=40,
        unmasked=True,
        least_task_age=7.0,
    )


def test_every_key_may_be_left_out(written, ask, plain):
    allowed = Policy.load(written(""))
    assert not allowed.unmasked
    assert (allowed.most_epsilon, allowed.most_epsilon_a_day) == (math.inf, math.inf)
    for settings in (ask(), plain(unit="none", trust="none"), ask(unit="shopper", trust="central")):
        assert allowed.objection(settings) is None
    assert ANYTHING.objection(ask(delta=0.9)) is None
    assert allowed.objection(ask(delta=0.9)) is Refusal.DELTA


def test_a_policy_is_frozen():
    with pytest.raises(ValidationError):
        Policy.model_validate({}).most_epsilon = 100.0


BROKEN = [
    "most_epsilom = 4",
    "most_epsilon = '4'",
    "most_epsilon = true",
    "most_epsilon = nan",
    "most_epsilon = -1",
    "most_epsilon_a_day = nan",
    "least_noise_multiplier = -0.1",
    "least_noise_multiplier = nan",
    "least_noise_multiplier = inf",
    "most_delta = 1.5",
    "most_delta = nan",
    "most_rounds = 1.5",
    "most_rounds = 0",
    "most_rounds = true",
    "units = 'shopper'",
    "units = ['household']",
    "trusts = ['none']",
    "trusts = [1]",
    "models = ['gru:4']",
    "most_events = 0",
    "most_events = 100_001",
    "most_dim = 0",
    "most_negatives = 2.5",
    "most_steps = -1",
    "most_items = '9'",
    "most_bytes = inf",
    "unmasked = 1",
    "least_agreement = 0.4",
    "least_nodes = 2",
    "least_devices = 0",
    "unmasked = 'yes'",
    "least_task_age = -1",
    "[budget]\nmost_epsilon = 4",
    "most_epsilon = 4\nmost_epsilon = 8",
    "most_epsilon: 4",
    "most_epsilon =",
    "{",
    "x = " + "[" * 5_000,
]


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:30])
def test_a_broken_file_is_reported_in_one_line_without_its_path(text, written):
    path = written(text)
    with pytest.raises(PolicyUnreadable) as raised:
        Policy.load(path)
    assert str(path.parent) not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_error_names_the_key_that_is_wrong(written):
    with pytest.raises(PolicyUnreadable, match="most_epsilom: Extra inputs are not permitted"):
        Policy.load(written("most_epsilom = 4"))
    with pytest.raises(
        PolicyUnreadable, match=r"units\.1: Input should be 'none', 'interaction' or 'shopper'"
    ):
        Policy.load(written("units = ['shopper', 'household']"))


@pytest.mark.parametrize("kind", ["absent", "a folder", "no text", "a link to nowhere", "relative"])
def test_a_file_that_cannot_be_read_is_an_error(kind, tmp_path, monkeypatch):
    path = tmp_path / "policy.toml"
    if kind == "a folder":
        path.mkdir()
    elif kind == "no text":
        path.write_bytes(b"\xff\xfe\x00")
    elif kind == "a link to nowhere":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "relative":
        path.write_text("")
        monkeypatch.chdir(tmp_path)
        path = Path("policy.toml")
    with pytest.raises(PolicyUnreadable):
        policy_of(tmp_path / "elsewhere", named=path)
    if kind != "relative":
        with pytest.raises(PolicyUnreadable):
            policy_of(tmp_path, named=None)


def test_a_named_policy_takes_precedence_over_the_folders(tmp_path, written):
    (tmp_path / "policy.toml").write_text("most_epsilon = 1")
    assert policy_of(tmp_path, None).most_epsilon == 1.0
    # The named policy takes precedence.
    assert policy_of(tmp_path, written("most_epsilon = 2")).most_epsilon == 2.0


# Rules that follow from the settings alone

SHOPPER = {"unit": "shopper", "trust": "central"}
SUM = {"unit": "shopper", "trust": "distributed", "least_devices": 5}
NONE = {"unit": "none", "trust": "none", "noise_multiplier": 0.0, "clip": math.inf, "epsilon": math.inf}


@pytest.mark.parametrize(
    ("keys", "allowed", "refused", "reason"),
    [
        ({"least_noise_multiplier": 1.0}, {}, {"noise_multiplier": 0.999}, "noise-below-floor"),
        ({"least_noise_multiplier": 1.0}, {}, NONE, "noise-below-floor"),
        ({"most_delta": 1e-5}, {"delta": 1e-5}, {"delta": 1.01e-5}, "delta-above-limit"),
        ({}, {"delta": 1e-3}, {"delta": 1.01e-3}, "delta-above-limit"),
        ({"units": ["interaction"]}, {}, SHOPPER, "unit-not-allowed"),
        ({"units": ["shopper"]}, SHOPPER, {}, "unit-not-allowed"),
        ({"units": ["shopper", "interaction"]}, {}, NONE, "unit-not-allowed"),
        ({"units": ["none"]}, NONE, {}, "unit-not-allowed"),
        ({"units": []}, None, {}, "unit-not-allowed"),
        ({"trusts": ["local"]}, {}, SHOPPER, "trust-not-allowed"),
        ({"trusts": ["distributed", "central"]}, SHOPPER, {}, "trust-not-allowed"),
        ({"trusts": ["local"]}, {}, NONE, "trust-not-allowed"),
        ({"trusts": ["local"], "units": ["none", "shopper"]}, NONE, SHOPPER, "trust-not-allowed"),
        ({"most_rounds": 7}, {"rounds": 7}, {"rounds": 8}, "too-many-rounds"),
        ({"models": ["mf", "linear"]}, {}, {"model": "attributes"}, "model-not-allowed"),
        ({"most_dim": 5}, {"dim": 5}, {"dim": 6}, "vectors-too-long"),
        ({"most_negatives": 5}, {"negatives": 5}, {"negatives": 6}, "too-many-negatives"),
        ({"most_steps": 5}, {"steps_per_round": 5}, {"steps_per_round": 6}, "too-many-steps"),
        ({"least_agreement": 0.6}, SUM | {"agreement": 0.6}, SUM | {"agreement": 0.59}, "sum-below-floor"),
        ({"least_devices": 5}, SUM, SUM | {"least_devices": 4}, "sum-below-floor"),
        ({"least_devices": 5}, SHOPPER, SUM | {"least_devices": 4}, "sum-below-floor"),
    ],
)  # fmt: skip
def test_each_rule_refuses_what_it_forbids(keys, allowed, refused, reason, ask):
    rule = policy(**keys)
    assert rule.objection(ask(**refused)) == reason
    if "least_agreement" not in keys:  # there is a minimum for it even if it is left out
        assert ANYTHING.objection(ask(**refused)) is None
    if allowed is not None:
        assert rule.objection(ask(**allowed)) is None


# The policy is checked before anything else


RULE_AND_REASON = {
    "least_noise_multiplier = 1.5": Refusal.NOISE,
    "units = ['shopper']": Refusal.UNIT,
    "trusts = ['central']": Refusal.TRUST,
    "models = ['linear']": Refusal.MODEL_NAME,
    "most_rounds = 9": Refusal.ROUNDS,
    "most_dim = 2": Refusal.DIM,
    "most_negatives = 2": Refusal.NEGATIVES,
    "most_steps = 1": Refusal.STEPS,
    "most_delta = 1e-6": Refusal.DELTA,
    "most_epsilom = 9": Refusal.POLICY,
    "not TOML": Refusal.POLICY,
}


@pytest.mark.parametrize("text", RULE_AND_REASON)
def test_a_query_is_refused_before_events_state_and_catalogue_are_read(text, folder, ask, query):
    """All of them are unreadable here, and none is created or changed."""
    for name in ("items", "times", "weights"):
        (folder / "events" / f"{name}.npy").write_bytes(b"unreadable")
    (folder / "catalogue.parquet").write_bytes(b"unreadable")
    (folder / "policy.toml").write_text(text)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    asked = query(ask(steps_per_round=2))
    assert DeviceGroup(folder).answer(asked) == Reply(1, {}, 0, {RULE_AND_REASON[text]: 3})
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    ANYTHING.save(folder)
    with pytest.raises(Exception, match=r"(?i)parquet"):  # this shows that they would have been read
        DeviceGroup(folder).answer(asked)


# The parameters of mf are a table of 8 items × 3 and 8 biases of 4 bytes; of linear, popularity and a packed
# matrix.
LINEAR = {"model": "linear", "rounds": 2, "head_size": 6, "unit": "shopper"}
SIZES = [
    ("most_items", 8, {}, Refusal.ITEMS),
    ("most_items", 8, LINEAR, Refusal.ITEMS),
    ("most_bytes", 4 * (8 * 3 + 8), {}, Refusal.BYTES),
    ("most_bytes", 4 * 8, LINEAR, Refusal.BYTES),
    ("most_bytes", 4 * 6 * 7 // 2, LINEAR | {"round": 2}, Refusal.BYTES),
    (
        "most_bytes",
        3 * 4,
        {"evaluate": True, "evaluation_noise": 1.0, "round": 11, "unit": "shopper"},
        Refusal.BYTES,
    ),
]


@pytest.mark.parametrize(("key", "size", "changes", "reason"), SIZES)
def test_a_query_above_a_size_limit_is_refused_before_it_is_recorded(
    key, size, changes, reason, folder, ask, query
):
    """At exactly this limit the query is answered; with a limit one byte or item lower it is refused."""
    asked = query(ask(**changes | {"steps_per_round": 1}))
    (folder / "events" / "items.npy").rename(folder / "items")
    (folder / "policy.toml").write_text(f"most_delta = 1.0\n{key} = {size - 1}")
    assert DeviceGroup(folder).answer(asked) == Reply(asked.settings.round, {}, 0, {reason: 3})
    assert not list(folder.glob("state-*"))
    (folder / "items").rename(folder / "events" / "items.npy")
    (folder / "policy.toml").write_text(f"most_delta = 1.0\n{key} = {size}")
    assert DeviceGroup(folder).answer(asked).answered == 3


@pytest.mark.parametrize("models", ["", "models = ['mf', 'gated-elsewhere']"])
def test_a_plug_in_that_is_not_listed_or_not_installed_is_never_loaded(
    models, folder, ask, query, monkeypatch
):
    """Its code is not the owner's, so it is refused before anything is imported, whatever a server asks."""
    asked = query(ask())
    asked = replace(asked, settings=ask(model="gated-elsewhere"))
    loaded = []
    monkeypatch.setattr(terrycloth.models.recommenders.plug_ins, "load", loaded.append)
    (folder / "policy.toml").write_text(f"most_delta = 1.0\n{models}")
    reply = DeviceGroup(folder).answer(asked)
    assert reply == Reply(asked.settings.round, {}, 0, {Refusal.MODEL_NAME: 3})
    assert loaded == []
    assert not list(folder.glob("state-*"))


def test_events_are_opened_only_for_training(folder, ask, query):
    """This also holds after the policy allowed it: a spent budget is found before events are opened."""
    group = DeviceGroup(folder)
    assert group.answer(query(ask(epsilon=0.1))).refused == {Refusal.BUDGET: 3}
    assert "events" not in vars(group)
    assert group.answer(query(ask())).answered == 3
    assert "events" in vars(group)


def test_a_corrupt_ledger_is_found_before_events_are_opened(folder, ask, query):
    assert DeviceGroup(folder).answer(query(ask())).answered == 3
    (folder / "state-0-of-1.safetensors").write_bytes(b"unreadable")
    (folder / "events" / "items.npy").write_bytes(b"unreadable")
    assert DeviceGroup(folder).answer(query(ask())).refused == {Refusal.LEDGER: 3}


def test_a_policy_is_read_at_every_query(folder, ask, query):
    group, asked = DeviceGroup(folder), query(ask())
    path = folder / "policy.toml"
    assert group.answer(asked).answered == 3
    path.write_text("most_rounds = 1")
    assert group.answer(asked).refused == {Refusal.ROUNDS: 3}  # not even the stored answer is given
    path.write_text("most_rounds = ")
    assert group.answer(asked).refused == {Refusal.POLICY: 3}
    path.write_text("most_rounds = 10")
    assert group.answer(asked).answered == 3


def test_everything_is_refused_if_the_named_policy_does_not_exist(folder, tmp_path, ask, query, caplog):
    (folder / "policy.toml").write_text("")
    group = DeviceGroup(folder, policy=tmp_path / "nowhere.toml")
    assert group.answer(query(ask())).refused == {Refusal.POLICY: 3}
    (line,) = [
        record.getMessage() for record in caplog.records if record.name == "terrycloth.client.device_group"
    ]
    assert "there is no such file" in line
    assert str(tmp_path) not in line


def test_without_a_policy_nothing_is_answered_and_the_log_says_what_to_do(folder, ask, plain, query, caplog):
    (folder / "policy.toml").unlink()
    for settings in (ask(), ask(unit="shopper"), plain(unit="none", trust="none")):
        assert DeviceGroup(folder).answer(query(settings)) == Reply(1, {}, 0, {Refusal.POLICY: 3})
    assert not list(folder.glob("state-*"))
    line = caplog.records[-1].getMessage()
    assert "there is no such file" in line
    assert "policy.toml in the device group's folder" in line
    assert "such as most_epsilon = 8.0" in line
    assert "\n" not in line


# The file that is written for an owner


@pytest.mark.parametrize("keys", [{}, tomllib.loads(ALL_KEYS), {"units": [], "trusts": []}])
def test_a_written_policy_loads_unchanged_and_explains_every_key(keys, tmp_path):
    policy(**keys).save(tmp_path)
    assert policy_of(tmp_path, None) == policy(**keys)
    lines = (tmp_path / "policy.toml").read_text().splitlines()
    for name, field in Policy.model_fields.items():
        below = lines[lines.index(f"# {name}: {field.description}") + 1]
        assert below == "# not limited" or below.startswith(f"{name} = ")


ALLOWED = [
    {},
    {"evaluate": True, "evaluation_noise": 0.4},
    {"unit": "shopper", "trust": "central", "participation": 0.5, "delta": 1e-7},
    {"unit": "shopper", "model": "linear", "rounds": 2, "head_size": 3, "noise_multiplier": 0.3},
    {
        "unit": "shopper",
        "trust": "distributed",
        "least_devices": 7,
        "agreement": 0.5,
        "secure_aggregation": False,
    },
    {"unit": "none", "trust": "none", "noise_multiplier": 0.0, "clip": math.inf, "epsilon": math.inf},
]


@pytest.mark.parametrize("changes", ALLOWED, ids=str)
def test_the_policy_of_a_run_allows_its_rounds_and_no_weaker_run(changes, ask, shop, tmp_path):
    settings = ask(**changes)
    Policy.allowing(settings, shop).save(tmp_path)
    allowed = policy_of(tmp_path, None)
    rounds = range(1, settings.last_round + 1)
    assert [allowed.objection(settings.at(round)) for round in rounds] == [None] * len(rounds)
    assert allowed.most_epsilon == settings.epsilon
    weaker = {
        "delta": settings.delta + 1e-9,
        "rounds": settings.rounds + 1,
        "model": "attributes",
        "unit": "shopper" if settings.unit != "shopper" else "interaction",
        "dim": settings.dim + 1,
        "negatives": settings.negatives + 1,
        "steps_per_round": settings.steps_per_round + 1,
    }
    if settings.noise_multiplier:
        weaker["noise_multiplier"] = 0.9 * min(settings.noise_multiplier, settings.at(rounds[-1]).noise)
    if settings.evaluate:
        weaker["evaluation_noise"] = 0.9 * settings.evaluation_noise
    if settings.trust == "distributed":
        weaker |= {"agreement": 0.499, "least_devices": 6}
    elif settings.trust != "none":
        weaker |= {"trust": "distributed"}
    for name, value in weaker.items():
        other = settings.model_copy(update={name: value})
        assert {allowed.objection(other.at(round)) for round in rounds} != {None}, name
    # In a sum of one device that device is not masked.
    assert allowed.unmasked is (settings.trust == "distributed")


# Budgets


def test_the_budget_is_the_smaller_of_the_runs_and_the_devices(folder, ask, query):
    """One step costs ε = 4.4, two cost 6.6 together, so 6 allows one."""
    for own, run in ((6.0, 50.0), (50.0, 6.0)):
        (folder / "policy.toml").write_text(f"most_epsilon = {own}")
        for path in folder.glob("state-*"):
            path.unlink()
        replies = [DeviceGroup(folder).answer(query(ask(epsilon=run), moved)) for moved in (0.0, 0.1)]
        assert [reply.answered for reply in replies] == [3, 0]
        assert replies[1].refused == {Refusal.BUDGET: 3}
        assert state_of(folder).ledger.steps.tolist() == [[1]] * 3


def test_a_query_without_a_promise_is_refused_under_any_budget(folder, plain, query):
    caps = [("most_epsilon", Refusal.BUDGET), ("most_epsilon_a_day", Refusal.DAILY_BUDGET)]
    for number, (key, reason) in enumerate(caps):
        (folder / "policy.toml").write_text(f"{key} = 1e300\nunits = ['none']")
        reply = DeviceGroup(folder).answer(query(plain(unit="none", trust="none"), 0.1 * number))
        assert (reply.answered, reply.refused) == (0, {reason: 3})


def test_a_day_ends_at_midnight_utc_and_a_clock_set_back_starts_no_new_day(folder, ask, query):
    (folder / "policy.toml").write_text(f"most_epsilon_a_day = {A_STEP}")
    times = [
        (NOON, 3),
        (NOON + 1, 0),
        (NOON + DAY / 2 - 1, 0),
        (NOON + DAY / 2, 3),  # midnight
        (NOON - DAY, 0),
        (NOON, 0),
        (NOON + DAY, 0),
        (NOON + 4 * DAY, 3),
        (NOON + 3 * DAY, 0),
    ]
    for number, (now, answered) in enumerate(times):
        reply = DeviceGroup(folder, clock=lambda now=now: now).answer(query(ask(), 0.1 * number))
        assert (now, reply.answered) == (now, answered)
        assert reply.refused == ({} if answered else {Refusal.DAILY_BUDGET: 3})
    state = state_of(folder)
    assert state.day == "2026-04-02"
    assert state.ledger.steps.tolist() == [[3]] * 3
    assert state.day_start.tolist() == [[2]] * 3


def test_a_clock_that_was_once_far_ahead_blocks_no_further_day(folder, ask, query):
    """In 2099 a day began; back in 2026 none begins before the next midnight, and then one does."""
    (folder / "policy.toml").write_text(f"most_epsilon_a_day = {A_STEP}")
    times = [(NOON, 3), (NOON + 73 * 365 * DAY, 3), (NOON, 0), (NOON + DAY / 3, 0), (NOON + DAY / 2, 3)]
    for number, (now, answered) in enumerate(times):
        reply = DeviceGroup(folder, clock=lambda now=now: now).answer(query(ask(), 0.1 * number))
        assert (now, reply.answered) == (now, answered)
    assert state_of(folder).day == "2026-03-30"


@pytest.mark.parametrize(
    ("now", "latest", "day", "begins"),
    [
        ("2026-03-29", "", "2026-03-29", True),
        ("2026-03-29", "2026-03-28", "2026-03-29", True),
        ("2026-03-29", "2026-03-29", "2026-03-29", False),
        ("2026-03-29", "2026-04-05", "2026-04-05", False),  # a week ahead: not certainly wrong
        ("2026-03-29", "2026-04-06", "2026-03-29", False),
        ("2026-03-29", "9999-12-31", "2026-03-29", False),
    ],
)
def test_the_day_that_a_query_is_charged_to(now, latest, day, begins):
    noon = datetime.fromisoformat(now + "T12:00:00+00:00").timestamp()
    assert day_of(noon, latest) == (day, begins)


def test_daily_spending_is_counted_before_a_daily_budget_is_set(folder, ask, query):
    assert DeviceGroup(folder, clock=lambda: NOON).answer(query(ask())).answered == 3
    (folder / "policy.toml").write_text(f"most_epsilon_a_day = {A_STEP}")
    assert DeviceGroup(folder, clock=lambda: NOON + 9).answer(query(ask(), 0.1)).answered == 0


def test_total_and_daily_budgets_are_separate_and_kept_for_each_device():
    """Steps before today and today are 2, 0; 0, 1; 0, 0; 1, 2. Two steps are allowed in all, one a day."""
    ledger = Ledger(np.array([[1.0, 1.0]]), np.array([[2], [1], [0], [3]]))
    day_start = np.array([[2], [0], [0], [1]])
    two = epsilon_composed(((1.0, 1.0, 2),), DELTA).epsilon
    settings = RoundSettings.model_construct(
        model="mf", popularity_share=0.25, round=1, rounds=9, unit="interaction", trust="local",
        noise_multiplier=1.0, sampling_rate=1.0,
        steps_per_round=1,
        participation=1.0, epsilon=math.inf, delta=DELTA,
    )  # fmt: skip
    rule = policy(most_epsilon=two, most_epsilon_a_day=A_STEP)
    everyone = np.array([True, True, True, True])
    took_part, booked, refused = terrycloth.client.device_group.afford(
        ledger, day_start, everyone, everyone, settings, rule
    )
    assert took_part.tolist() == booked.tolist() == [False, False, True, False]
    # A device that would exceed both is counted once.
    assert refused == {
        Refusal.BUDGET: 2,
        Refusal.DAILY_BUDGET: 1,
    }


ASKED = st.fixed_dictionaries(
    {
        "noise_multiplier": st.sampled_from([0.3, 0.8, 1.0, 2.5]),
        "sampling_rate": st.sampled_from([0.1, 1.0]),
        "participation": st.sampled_from([0.5, 1.0]),
        "steps_per_round": st.sampled_from([1, 3]),
        "delta": st.sampled_from([1e-9, DELTA, 2 * DELTA]),
        "epsilon": st.sampled_from([1.0, math.inf]),
    }
)
CLOCK = st.sampled_from([-3, -1, 0, 0, 0, 1])  # days by which the clock moves before a query
PROMISES = st.sampled_from([("interaction", "local"), ("shopper", "local"), ("shopper", "central")])


@pytest.mark.slow
@seed(20260329)
@examples(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    caps=st.tuples(st.sampled_from([3.0, 9.0]), st.sampled_from([0.7, 5.0])),
    promise=PROMISES,
    asked=st.lists(st.tuples(ASKED, CLOCK), min_size=2, max_size=7),
)
def test_no_budget_is_exceeded_whatever_is_asked(caps, promise, asked, folder, ask, query, monkeypatch):
    """ε in all, and that of each day that began, is composed anew from what the ledger gained.

    It is computed at most_delta; a query at a smaller δ cost more there (but for 0.01, the accountant's
    mesh).
    """

    class NoTrainer:
        def __init__(self, *rest: object) -> None: ...

        def train(self, cohort, parameters):
            return dict(parameters), cohort.vectors

    monkeypatch.setattr(terrycloth.client.device_group, "trainer_for", NoTrainer)
    (folder / "policy.toml").write_text(
        f"most_epsilon = {caps[0]}\nmost_epsilon_a_day = {caps[1]}\nmost_delta = {DELTA}"
    )
    for path in folder.glob("state-*"):
        path.unlink()
    day, latest, begun, before = 0, -math.inf, 0, np.zeros((3, 0), dtype=np.int64)
    gained: dict[int, list[Ledger]] = {}
    for number, (changes, moves) in enumerate(asked):
        day += moves
        group = DeviceGroup(folder, clock=lambda day=day: NOON + day * DAY)
        settings = ask(**changes, unit=promise[0], trust=promise[1], run=str(number))
        answer = group.answer(query(settings))
        if settings.delta > DELTA:
            assert answer.refused == {Refusal.DELTA: 3}
            continue
        begun += day > latest
        latest = latest if latest - 7 <= day <= latest else day
        ledger = state_of(folder).ledger
        assert (ledger.epsilon(DELTA) <= caps[0] + 0.01).all()
        gained.setdefault(begun, []).append(ledger.since(before))
        before = ledger.steps
    for parts in gained.values():
        total = np.zeros_like(parts[-1].steps)
        for part in parts:
            total[:, : part.steps.shape[1]] += part.steps
        assert (Ledger(parts[-1].mechanisms, total).epsilon(DELTA) <= caps[1] + 0.01).all()

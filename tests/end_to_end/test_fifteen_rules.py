"""The fifteen rules of privacy: for each, a check of the real code, and of code that breaks it.

A check passes on the code as it is, and raises AssertionError on each of the broken variants beside it. What
a check does is in the files that the table reads from: rules_of_devices.py and rules_of_federations.py.
Statistical checks have fixed seeds and, where the code is right, a chance of failing below 1e-6 each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.task_identity import TaskIdentity

from tests.end_to_end import rules_of_devices as devices
from tests.end_to_end import rules_of_federations as federations
from tests.end_to_end.rules_of_devices import EVALUATION, Bench, noise_is_everywhere


@dataclass(frozen=True)
class Rule:
    """A check, and the variants that it must catch, by what is wrong with them."""

    check: Callable[[Bench], None]
    broken: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = field(default_factory=dict)


def coordinates(promise: str, **changes: Any) -> Rule:
    """Noise on every coordinate under one promise."""
    return Rule(noise_is_everywhere(promise, **changes), devices.COORDINATES[promise])


def evaluation(promise: str) -> Rule:
    """The measuring round's noise, and one that is released without."""
    return Rule(noise_is_everywhere(promise, **EVALUATION), devices.UNNOISED_EVALUATION[promise])


RULES = {
    "1 the shopper's vector is in DP-SGD": Rule(devices.vector_is_in_dp_sgd, devices.VECTOR),
    "2 the denominator is public": Rule(federations.denominator_is_public, federations.DENOMINATOR),
    "2 gradients are summed": Rule(devices.gradients_are_summed, devices.SUMS),
    "2 steps and coins are constant": Rule(devices.steps_and_coins_are_constant, devices.STEPS_AND_COINS),
    "3 negatives are of the whole catalogue": Rule(
        devices.negatives_are_of_the_whole_catalogue, devices.NEGATIVES
    ),
    "4 noise is everywhere: interaction, local": coordinates("interaction"),
    "4 noise is everywhere: shopper, local": coordinates("local"),
    "4 noise is everywhere: shopper, central": coordinates("central"),
    "4 noise is everywhere: shopper, distributed": coordinates("distributed"),
    "5 nothing looks like anything": Rule(devices.nothing_looks_like_anything, devices.EMPTY),
    "6 participation amplifies where it is hidden": Rule(
        federations.participation_amplifies_where_it_is_hidden, federations.AMPLIFICATION
    ),
    "7 a reply is public facts": Rule(devices.reply_is_public, devices.REPLIES),
    "7 a server takes nothing else": Rule(federations.bad_replies_are_left_out, federations.BAD_REPLIES),
    "7 an evaluation is noised: local": evaluation("local"),
    "7 an evaluation is noised: central": evaluation("central"),
    "7 an evaluation is noised: distributed": evaluation("distributed"),
    "7 who measured is told": Rule(federations.who_measured_is_told, federations.WHO_MEASURED),
    "8 an evaluation is booked": Rule(federations.evaluation_is_composed, federations.EVALUATION_BOOKED),
    "8 stopped runs go on": Rule(federations.stopped_runs_go_on, federations.RESUMED),
    "8 an adapted clip is paid for": Rule(federations.adapted_clip_is_paid_for, federations.ADAPTED_CLIP),
    "8 the ledger comes before the reply": Rule(federations.ledger_comes_first, federations.LEDGER_FIRST),
    "9 a device keeps its policy": Rule(federations.policy_is_kept, federations.POLICIES),
    "9 unknown settings are refused": Rule(federations.unknown_settings_are_refused, federations.UNKNOWN),
    "9 a node signs one list": Rule(federations.node_signs_one_list, federations.ONE_LIST),
    "10 accountants agree": Rule(federations.accountants_agree, federations.ACCOUNTANTS),
    "11 each training has a key of its own": Rule(devices.each_training_has_a_key_of_its_own, devices.KEYS),
    "11 sessions share no noise": Rule(federations.sessions_share_no_noise, federations.SESSIONS),
    "11 noise lies on a grid": Rule(devices.noise_lies_on_a_grid, devices.GRID),
    "11 a seed voids the promise": Rule(federations.seed_voids_the_promise, federations.SEEDED),
    "12 errors tell no value": Rule(devices.errors_tell_no_value, devices.TEXTS),
    "12 a checkpoint holds the model alone": Rule(
        federations.checkpoint_holds_the_model_alone, federations.CHECKPOINT
    ),
    "13 a failure answers as nothing would": Rule(devices.failure_answers_as_nothing_would, devices.FAILURES),
    "13 memory is of public numbers": Rule(devices.memory_is_of_public_numbers, devices.MEMORY),
    "13 a killed device answers as nothing would": Rule(
        devices.killed_device_answers_as_nothing_would, devices.KILLED
    ),
    "13 sums move by the clip": Rule(devices.sums_move_by_the_clip, devices.PRECISION),
    "14 a device's owner alone says what it does": Rule(devices.owner_alone_decides, devices.OWNERS),
    "15 the unit is what is stored": Rule(federations.unit_is_what_is_stored, federations.STORED),
}
BROKEN = [(rule, variant) for rule in RULES for variant in RULES[rule].broken]


@pytest.fixture(autouse=True)
def superlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a SuperLink would tell this process."""
    for name, value in (("_task_id", 1), ("_run_id", 1), ("_node_id", SUPERLINK_NODE_ID)):
        monkeypatch.setattr(TaskIdentity, name, value)


@pytest.fixture
def bench(tmp_path: Path, shop, ask, build, copied, held, gather) -> Bench:
    return Bench(tmp_path, shop, ask, build, copied, held, gather)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds(rule: str, bench: Bench) -> None:
    RULES[rule].check(bench)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "variant"), BROKEN, ids=[f"{rule} - {variant}" for rule, variant in BROKEN])
def test_a_broken_variant_is_caught(rule: str, variant: str, bench: Bench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        RULES[rule].broken[variant](patch)
        with pytest.raises(AssertionError):
            RULES[rule].check(bench)


def test_every_rule_is_checked_and_every_check_catches_something() -> None:
    assert {int(rule.split()[0]) for rule in RULES} == set(range(1, 16))
    assert all(rule.broken for rule in RULES.values())

"""The fifteen rules of privacy, each with a check of the real code and of broken variants of it.

A check passes on the real code, and raises AssertionError on each of its broken variants. The checks are in
the files that the table reads from: rules_of_devices.py and rules_of_federations.py. Statistical checks have
fixed seeds and, where the code is right, a chance of failing below 1e-6 each.
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
    """Return the rule that one promise's noise is on every coordinate."""
    return Rule(noise_is_everywhere(promise, **changes), devices.COORDINATES[promise])


def evaluation(promise: str) -> Rule:
    """Return the rule that the evaluation is noised, with variants that release it without noise."""
    return Rule(noise_is_everywhere(promise, **EVALUATION), devices.UNNOISED_EVALUATION[promise])


RULES = {
    "1 the shopper's vector is in DP-SGD": Rule(devices.vector_is_in_dp_sgd, devices.VECTOR),
    "2 the denominator is public": Rule(federations.denominator_is_public, federations.DENOMINATOR),
    "2 gradients are summed": Rule(devices.gradients_are_summed, devices.SUMS),
    "2 steps and sampling draws are constant": Rule(
        devices.steps_and_draws_are_constant, devices.STEPS_AND_DRAWS
    ),
    "3 negatives are of the whole catalogue": Rule(
        devices.negatives_are_of_the_whole_catalogue, devices.NEGATIVES
    ),
    "4 noise is everywhere: interaction, local": coordinates("interaction"),
    "4 noise is everywhere: shopper, local": coordinates("local"),
    "4 noise is everywhere: shopper, central": coordinates("central"),
    "4 noise is everywhere: shopper, distributed": coordinates("distributed"),
    "5 an empty device looks like any other": Rule(devices.empty_device_looks_like_any_other, devices.EMPTY),
    "6 participation amplifies where it is hidden": Rule(
        federations.participation_amplifies_where_it_is_hidden, federations.AMPLIFICATION
    ),
    "7 a reply holds the update and public facts": Rule(devices.reply_is_public, devices.REPLIES),
    "7 a server accepts nothing else": Rule(federations.bad_replies_are_left_out, federations.BAD_REPLIES),
    "7 an evaluation is noised: local": evaluation("local"),
    "7 an evaluation is noised: central": evaluation("central"),
    "7 an evaluation is noised: distributed": evaluation("distributed"),
    "7 a result says who measured": Rule(federations.result_says_who_measured, federations.WHO_MEASURED),
    "8 an evaluation is accounted for": Rule(
        federations.evaluation_is_composed, federations.EVALUATION_BOOKED
    ),
    "8 stopped runs continue their ε": Rule(
        federations.stopped_runs_continue_their_epsilon, federations.RESUMED
    ),
    "8 an adaptive clip is accounted for": Rule(
        federations.adapted_clip_is_accounted_for, federations.ADAPTED_CLIP
    ),
    "8 the ledger comes before the reply": Rule(federations.ledger_comes_first, federations.LEDGER_FIRST),
    "9 a device enforces its policy": Rule(federations.policy_is_kept, federations.POLICIES),
    "9 unknown settings are refused": Rule(federations.unknown_settings_are_refused, federations.UNKNOWN),
    "9 a node confirms one list": Rule(federations.node_signs_one_list, federations.ONE_LIST),
    "10 accountants agree": Rule(federations.accountants_agree, federations.ACCOUNTANTS),
    "11 each training has its own key": Rule(devices.each_training_has_its_own_key, devices.KEYS),
    "11 sessions share no noise": Rule(federations.sessions_share_no_noise, federations.SESSIONS),
    "11 noise lies on a grid": Rule(devices.noise_lies_on_a_grid, devices.GRID),
    "11 a seed voids the promise": Rule(federations.seed_voids_the_promise, federations.SEEDED),
    "12 errors contain no value": Rule(devices.errors_contain_no_value, devices.TEXTS),
    "12 a checkpoint holds the model only": Rule(
        federations.checkpoint_holds_the_model_alone, federations.CHECKPOINT
    ),
    "13 a failed device answers as if it held nothing": Rule(
        devices.failed_device_answers_as_if_empty, devices.FAILURES
    ),
    "13 memory depends on public numbers": Rule(devices.memory_depends_on_public_numbers, devices.MEMORY),
    "13 a killed device answers as if it held nothing": Rule(
        devices.killed_device_answers_as_if_empty, devices.KILLED
    ),
    "13 a unit moves a sum by the clip at most": Rule(devices.sums_move_by_the_clip, devices.PRECISION),
    "14 only a device's owner decides what it allows": Rule(devices.only_the_owner_decides, devices.OWNERS),
    "15 the unit is what a device stores": Rule(federations.unit_is_what_is_stored, federations.STORED),
}
BROKEN = [(rule, variant) for rule in RULES for variant in RULES[rule].broken]


@pytest.fixture(autouse=True)
def superlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a SuperLink sets for a process that runs an app."""
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


def test_every_rule_has_checks_and_every_check_has_broken_variants() -> None:
    assert {int(rule.split()[0]) for rule in RULES} == set(range(1, 16))
    assert all(rule.broken for rule in RULES.values())

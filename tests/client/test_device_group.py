"""A device group: which devices take part, what a query costs, and that every query has one answer."""

import base64
import contextlib
import math
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from scipy.stats import binom

import terrycloth.client.device_group
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.events import Events
from terrycloth.client.state import DeviceState
from terrycloth.client.training.cohort import Cohort
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.randomness import KEY_BYTES, seeded_key
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.update import Refusal, Reply, Request, pack_reply
from tests.policies import ANYTHING

BASKETS = [[1, 4, 4], [], [6, 0, 2, 3], [7], [5, 5, 1], []]
NEW, RECORDED, ANSWERED = 1, 2, 3  # what the first query to a folder saves, in order


@pytest.fixture
def layout(tmp_path, shop: Catalogue, held) -> Callable[..., Path]:
    """Return a function that creates a device group's folder, seeded by default."""
    made = iter(range(1_000))

    def create(baskets: list[list[int]] = BASKETS, seed: int | None = 7) -> Path:
        folder = tmp_path / f"device group-{next(made)}"
        DeviceGroup.create(folder, shop, held(*baskets), ANYTHING, seed)
        return folder

    return create


def flat(parameters: Parameters) -> torch.Tensor:
    return torch.cat([parameters[name].reshape(-1) for name in sorted(parameters)])


def unrelated(one: Reply, other: Reply) -> bool:
    """Return whether two answers share no noise.

    On the grid one coordinate in some 2,000 agrees by chance.
    """
    return int(torch.isclose(flat(one.update), flat(other.update), atol=1e-6).sum()) <= 3


def content_of(reply: Reply) -> list[tuple[str, bytes]]:
    """Return every byte of a reply, with its place in the message, in order."""
    parts = get_all_nested_objects(pack_reply(reply))
    return [(name, part.deflate()) for name, part in parts.items()]


def state_of(folder: Path) -> DeviceState:
    return DeviceState.load(folder / "state-0-of-1.safetensors")


def steps(folder: Path) -> list[int]:
    """Return the number of recorded steps of each device, over all mechanisms, from the disk."""
    return state_of(folder).ledger.steps.sum(axis=1).tolist()


# Partitions and participation draws


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "trainer"), [("interaction", "reference"), ("interaction", "fast"), ("none", "fast")]
)
@pytest.mark.parametrize("partitions", [2, 3])
def test_partitions_add_up_to_the_whole(unit, trainer, partitions, ask, plain, layout, query):
    """Noise that is drawn once for a whole group differs between groups, so such noise is left out here."""
    settings = ask(participation=0.6, steps_per_round=2, sampling_rate=0.7)
    if (unit, trainer) == ("interaction", "fast"):
        settings = plain(clip=0.5, participation=0.6, steps_per_round=2, sampling_rate=0.7)
    if unit == "none":
        settings = plain(unit="none", trust="none", participation=0.6)
    undivided, divided = layout(), layout()
    for moved in (0.0, 0.1):  # the second round starts from the vectors that the first left
        asked = query(settings, moved)
        whole = DeviceGroup(undivided, trainer=trainer).answer(asked)
        parts = [
            DeviceGroup(divided, part, partitions, trainer=trainer).answer(asked)
            for part in range(partitions)
        ]
        assert 0 < whole.answered < len(BASKETS)
        assert sum(part.answered for part in parts) == whole.answered
        for name, tensor in whole.update.items():
            total = sum(part.update[name].double() for part in parts if part.answered)
            torch.testing.assert_close(total, tensor.double(), rtol=1e-5, atol=1e-5)


def test_a_partition_holds_its_own_devices_and_no_others(layout):
    folder = layout()
    parts = [DeviceGroup(folder, part, 4) for part in range(4)]
    assert np.concatenate([part.devices for part in parts]).tolist() == list(range(6))
    items = [part.events.items[part.events.devices == d] for part in parts for d in range(len(part.devices))]
    assert [list(map(int, own)) for own in items] == BASKETS


@pytest.mark.parametrize(("partition", "partitions"), [(-1, 2), (2, 2), (7, 2), (0, 0), (0, -1), (-1, 0)])
def test_a_partition_that_does_not_exist_is_an_error(partition, partitions, layout):
    with pytest.raises(ValueError, match="partitions"):
        DeviceGroup(layout(), partition, partitions)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_each_device_takes_part_by_its_own_participation_draw(rate, layout):
    """Over all devices and pairs together, the bounds fail with probability 1e-6."""
    group = DeviceGroup(layout())
    draws = np.stack([group.participation_draws(number) < rate for number in range(1, 1_501)]).astype(int)
    together = draws.T @ draws
    checks = [(together[d, d], rate) for d in range(6)]
    checks += [(together[a, b], rate**2) for a in range(6) for b in range(a)]
    edge = 1 - 1e-6 / len(checks)
    for count, chance in checks:
        low, high = binom.interval(edge, 1_500, chance)
        assert low <= count <= high


def test_participation_draws_of_different_keys_and_queries_are_independent(layout):
    one, other, unseeded = DeviceGroup(layout()), DeviceGroup(layout(seed=8)), DeviceGroup(layout(seed=None))
    draws = [group.participation_draws(number) for group in (one, other, unseeded) for number in (1, 2)]
    draws.append(unseeded.participation_draws(1))  # the same query again, with another key
    assert len(np.unique(draws)) == 7 * len(BASKETS)
    assert np.array_equal(one.participation_draws(1), draws[0])


def test_a_participation_draw_is_the_same_in_any_partition(layout):
    folder = layout()
    whole = DeviceGroup(folder).participation_draws(1)
    for partitions in (2, 3, 6, 8):
        draws = [DeviceGroup(folder, part, partitions).participation_draws(1) for part in range(partitions)]
        assert np.array_equal(np.concatenate(draws), whole)


def test_all_devices_take_part_at_participation_one(ask, layout, query):
    assert DeviceGroup(layout(seed=None)).answer(query(ask(participation=1.0))).answered == len(BASKETS)


def test_which_devices_take_part_does_not_depend_on_their_events(ask, layout, query):
    full, empty = layout(), layout([[] for _ in BASKETS])
    for number in range(1, 8):
        asked = query(ask(participation=0.5, round=number))
        assert DeviceGroup(full).answer(asked).answered == DeviceGroup(empty).answer(asked).answered
        assert np.array_equal(state_of(full).took_part, state_of(empty).took_part)


def test_a_partition_without_devices_answers(ask, layout, query):
    reply = DeviceGroup(layout([[1]]), 0, 2).answer(query(ask()))
    assert reply == Reply(1, {}, 0, {})


# A repeated query, and other queries


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("unit", ["interaction", "none"])
def test_a_repeated_query_gets_the_stored_answer_byte_for_byte(
    unit, seed, ask, plain, layout, query, held, monkeypatch
):
    """The repeated query costs nothing more and trains nothing, even if devices bought something since."""
    folder = layout(seed=seed)
    settings = ask(steps_per_round=3, sampling_rate=0.5, participation=0.7)
    if unit == "none":
        settings = plain(unit="none", trust="none")
    asked = query(settings)
    first = DeviceGroup(folder).answer(asked)
    before = (folder / "state-0-of-1.safetensors").read_bytes()
    held(*([*basket, 2] for basket in BASKETS)).save(folder / "events")
    monkeypatch.setattr(terrycloth.client.device_group, "trainer_for", crash)
    for _ in range(2):
        again = DeviceGroup(folder).answer(asked)
        assert content_of(again) == content_of(first)
        assert list(again.update) == list(first.update) == [n for n in asked.parameters if n in first.update]
    assert (folder / "state-0-of-1.safetensors").read_bytes() == before


def crash(*args: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "change", [{"round": 2}, {"rounds": 11}, {"negatives": 4}, {"delta": 2e-5}, {"clip": 1.0000001}]
)
def test_a_change_of_any_setting_makes_another_query(change, ask, layout, query):
    folder = layout([[]])
    first = DeviceGroup(folder).answer(query(ask()))
    other = DeviceGroup(folder).answer(query(ask(**change)))
    assert steps(folder) == [2]
    assert unrelated(first, other)


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("moved", [1e-6, 0.1])
def test_other_parameters_get_fresh_noise_and_are_recorded(moved, seed, ask, layout, query):
    """The difference of two replies to nearly the same query must not be free of noise."""
    folder = layout([[1, 4, 4]], seed)
    settings = ask(noise_multiplier=5.0, learning_rate=1.0)
    first = DeviceGroup(folder).answer(query(settings))
    other = DeviceGroup(folder).answer(query(settings, moved))
    assert steps(folder) == [2]
    assert unrelated(first, other)
    # The noise is √2·σ·C = 7 a coordinate; all data together add at most 1.
    assert float((flat(first.update) - flat(other.update)).square().mean().sqrt()) > 3.0


def test_a_query_repeated_after_another_one_is_a_new_release(ask, layout, query):
    folder = layout([[]])
    first = DeviceGroup(folder).answer(query(ask()))
    DeviceGroup(folder).answer(query(ask(), 0.1))
    again = DeviceGroup(folder).answer(query(ask()))
    assert steps(folder) == [3]
    assert unrelated(first, again)


def test_another_dim_keeps_the_ledger_and_draws_fresh_noise(ask, layout, query):
    folder = layout([[2]])
    replies = [DeviceGroup(folder).answer(query(ask(dim=dim))) for dim in (3, 2, 3)]
    assert steps(folder) == [3]
    assert unrelated(replies[0], replies[2])


def test_a_device_that_does_not_take_part_spends_nothing_and_keeps_its_vector(ask, layout, query):
    folder = layout()
    reply = DeviceGroup(folder).answer(query(ask(participation=0.5)))
    state = state_of(folder)
    assert 0 < reply.answered < 6
    assert [step == 1 for step in steps(folder)] == state.took_part.tolist()
    assert ((state.vectors != 0).any(dim=1).numpy() == state.took_part).all()


# Crashes


def crash_on_save(number: int, monkeypatch: pytest.MonkeyPatch) -> list[DeviceState]:
    """Make the disk fail at the given call to save a state; return a list that collects these states."""
    states: list[DeviceState] = []
    real = DeviceState.save

    def save(state: DeviceState, path: Path) -> None:
        states.append(state)
        if len(states) == number:
            crash()
        real(state, path)

    monkeypatch.setattr(DeviceState, "save", save)
    return states


def crash_in_training(folder: Path, asked: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the query recorded, but not answered."""
    with monkeypatch.context() as patched:
        patched.setattr(terrycloth.client.device_group, "trainer_for", crash)
        with pytest.raises(ZeroDivisionError):
            DeviceGroup(folder).answer(asked)
    assert not state_of(folder).replied


def test_the_ledger_is_on_disk_before_training_starts(ask, layout, query, monkeypatch):
    folder = layout()
    crash_in_training(folder, query(ask(steps_per_round=4)), monkeypatch)
    assert steps(folder) == [4] * 6
    state = state_of(folder)
    assert (state.asked, len(state.query)) == (1, 64)
    assert (state.replied, state.update) == (False, {})


@pytest.mark.parametrize("save", [NEW, RECORDED])
def test_nothing_is_trained_if_the_query_cannot_be_recorded(
    save, ask, layout, query, trainers_made, monkeypatch
):
    folder = layout()
    with monkeypatch.context() as patched:
        crash_on_save(save, patched)
        with pytest.raises(ZeroDivisionError):
            DeviceGroup(folder).answer(query(ask()))
    assert not trainers_made
    assert DeviceGroup(folder).answer(query(ask())).answered == 6
    assert steps(folder) == [1] * 6


def test_no_answer_leaves_if_it_cannot_be_stored(ask, layout, query, monkeypatch):
    folder = layout()
    crash_on_save(ANSWERED, monkeypatch)
    with pytest.raises(ZeroDivisionError):
        DeviceGroup(folder).answer(query(ask()))
    assert not state_of(folder).replied


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("place", ["in training", "storing the answer"])
def test_after_a_crash_the_query_is_trained_again_and_recorded_once(
    place, seed, ask, layout, query, drawn, monkeypatch
):
    """Training uses a fresh key, so it shares no noise with a first answer that might have left."""
    folder = layout(seed=seed)
    asked = query(ask(participation=0.6 if seed else 1.0, steps_per_round=2))  # known participation draws
    if place == "in training":
        crash_in_training(folder, asked, monkeypatch)
    else:
        with monkeypatch.context() as patched:
            lost = crash_on_save(ANSWERED, patched)
            with pytest.raises(ZeroDivisionError):
                DeviceGroup(folder).answer(asked)
    booked, ledger = state_of(folder), steps(folder)
    reply = DeviceGroup(folder).answer(asked)
    after = state_of(folder)
    assert reply.answered == after.took_part.sum() > 0
    assert (after.asked, after.replied) == (1, True)
    assert np.array_equal(after.took_part, booked.took_part)
    assert steps(folder) == ledger == (2 * after.took_part).tolist()
    assert content_of(DeviceGroup(folder).answer(asked)) == content_of(reply)
    if seed is None:
        assert len(drawn) == len(set(drawn)) == 3  # one for participation draws and two for training
    else:
        # The same as without a crash.
        assert content_of(reply) == content_of(DeviceGroup(layout(seed=seed)).answer(asked))
    if place == "storing the answer":
        assert lost[-1].replied
        assert unrelated(Reply(1, lost[-1].update, 0), reply) == (seed is None)


def test_a_recorded_query_that_was_never_answered_stays_recorded(ask, layout, query, drawn, monkeypatch):
    folder = layout([[1, 4]], seed=None)
    crash_in_training(folder, query(ask()), monkeypatch)
    assert DeviceGroup(folder).answer(query(ask(), 0.1)).answered == 1
    assert steps(folder) == [2]
    assert len(set(drawn)) == 4


# Refusals


@pytest.fixture
def trainers_made(monkeypatch) -> list[object]:
    """Return a list that collects every trainer that is made."""
    made: list[object] = []
    real = terrycloth.client.device_group.trainer_for
    monkeypatch.setattr(
        terrycloth.client.device_group, "trainer_for", lambda *rest: (made.append(rest), real(*rest))[1]
    )
    return made


def test_beyond_the_budget_nothing_is_trained_and_refusals_are_counted(ask, layout, query, trainers_made):
    folder = layout()
    settings = ask(epsilon=6.0)  # one step at σ = 1 costs ε = 4.4
    assert DeviceGroup(folder).answer(query(settings)).answered == 6
    before = (folder / "state-0-of-1.safetensors").read_bytes()
    reply = DeviceGroup(folder).answer(query(settings, 0.1))
    assert (reply.update, reply.answered, reply.refused) == ({}, 0, {Refusal.BUDGET: 6})
    assert len(trainers_made) == 1
    assert steps(folder) == [1] * 6
    assert before != (folder / "state-0-of-1.safetensors").read_bytes()  # the query is remembered
    again = DeviceGroup(folder).answer(query(settings, 0.1))
    assert (again.answered, again.refused) == (0, {Refusal.BUDGET: 6})


def test_only_devices_whose_budget_is_spent_refuse(ask, layout, query):
    folder = layout()
    DeviceGroup(folder).answer(query(ask(participation=0.5)))
    rounds_spent = np.array(steps(folder)) > 0
    reply = DeviceGroup(folder).answer(query(ask(epsilon=6.0)))
    assert 0 < rounds_spent.sum() < 6
    assert reply.refused == {Refusal.BUDGET: int(rounds_spent.sum())}
    assert reply.answered == int((~rounds_spent).sum())
    assert steps(folder) == [1] * 6


def test_the_ledger_never_passes_the_budget(ask, layout, query):
    folder = layout([[1], [2]])
    settings = ask(epsilon=9.0, participation=0.8)
    for number in range(12):
        DeviceGroup(folder).answer(query(settings, 0.01 * number))
        rounds_spent = state_of(folder).ledger.epsilon(settings.delta)
        assert (rounds_spent <= 9.0).all()
    assert (rounds_spent > 6.0).all()


def test_a_device_that_once_trained_without_noise_refuses_every_bounded_query(ask, plain, layout, query):
    folder = layout([[1], [2]])
    assert DeviceGroup(folder).answer(query(plain(unit="none", trust="none"))).answered == 2
    reply = DeviceGroup(folder).answer(query(ask(epsilon=1e6)))
    assert (reply.answered, reply.refused) == (0, {Refusal.PROMISE: 2})


def broken_shapes(parameters: Parameters) -> list[Parameters]:
    name, tensor = next(iter(parameters.items()))
    return [
        {},
        {other: value for other, value in parameters.items() if other != name},
        {**parameters, "extra": torch.zeros(1)},
        {**parameters, name: tensor[:-1]},
        {**parameters, name: tensor.reshape(-1)},
        {**parameters, "shopper.weight": torch.zeros(1, 3)},
    ]


@pytest.mark.parametrize("case", range(6))
def test_parameters_of_wrong_shapes_are_refused_before_events_are_read(
    case, ask, layout, query, trainers_made
):
    folder = layout()
    asked = query(ask())
    reply = DeviceGroup(folder).answer(Request(broken_shapes(asked.parameters)[case], asked.settings))
    assert reply == Reply(1, {}, 0, {Refusal.MODEL: 6})
    assert not trainers_made
    assert not (folder / "state-0-of-1.safetensors").exists()


@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.complex64, torch.bool], ids=str
)
@pytest.mark.parametrize("every", [True, False])
def test_parameters_of_another_precision_are_refused(every, kind, ask, layout, query, trainers_made):
    """One array of another precision is enough to be refused.

    Otherwise numbers that single precision cannot tell apart would be two queries.
    """
    folder, asked = layout(), query(ask())
    name = list(asked.parameters)[-1]
    changed = asked.parameters if every else {name: asked.parameters[name]}
    changed = {name: tensor.to(kind) for name, tensor in changed.items()}
    reply = DeviceGroup(folder).answer(Request({**asked.parameters, **changed}, asked.settings))
    assert reply == Reply(1, {}, 0, {Refusal.MODEL: 6})
    assert not trainers_made
    assert not (folder / "state-0-of-1.safetensors").exists()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_parameters_that_are_not_finite_are_refused(number, ask, layout, query, trainers_made):
    folder = layout()
    reply = DeviceGroup(folder).answer(query(ask(), number))
    assert reply == Reply(1, {}, 0, {Refusal.MODEL: 6})
    assert not trainers_made
    assert not (folder / "state-0-of-1.safetensors").exists()


@pytest.mark.parametrize(("before", "after"), [((0, 1), (0, 2)), ((1, 2), (0, 1)), ((1, 3), (1, 13))])
def test_a_folder_refuses_queries_under_another_partition(before, after, ask, layout, query, trainers_made):
    """Its ledgers follow the partition under which it was first answered."""
    folder = layout()
    assert DeviceGroup(folder, *before).answer(query(ask())).answered > 0
    disk = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for moved in (0.0, 0.1):
        group = DeviceGroup(folder, *after)
        reply = group.answer(query(ask(), moved))
        assert reply == Reply(1, {}, 0, {Refusal.PARTITION: len(group.devices)})
    assert len(trainers_made) == 1
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == disk
    assert DeviceGroup(folder, *before).answer(query(ask(), 0.1)).answered > 0


def test_a_lost_ledger_is_not_replaced_under_another_partition(ask, layout, query):
    folder = layout()
    assert DeviceGroup(folder).answer(query(ask())).answered == 6
    (folder / "state-0-of-1.safetensors").unlink()
    assert DeviceGroup(folder, 0, 2).answer(query(ask())).refused == {Refusal.PARTITION: 3}
    assert not list(folder.glob("*.safetensors"))


def test_a_first_query_that_fails_still_fixes_the_partition_of_the_folder(ask, layout, query, monkeypatch):
    folder = layout()
    with monkeypatch.context() as patched:
        patched.setattr(DeviceGroup, "book", crash)
        with pytest.raises(ZeroDivisionError):
            DeviceGroup(folder).answer(query(ask()))
    assert (steps(folder), state_of(folder).asked) == ([0] * 6, 0)
    assert DeviceGroup(folder, 0, 2).answer(query(ask())).refused == {Refusal.PARTITION: 3}
    assert DeviceGroup(folder).answer(query(ask())).answered == 6


def test_a_query_without_participants_leaves_empty_ledgers(ask, layout, query):
    folder = layout(seed=None)
    assert DeviceGroup(folder).answer(query(ask(participation=1e-12))).answered == 0
    assert (steps(folder), state_of(folder).asked) == ([0] * 6, 1)


def test_one_of_two_simultaneous_partitions_is_refused(ask, layout, query, monkeypatch):
    """Both processes look at the folder before either makes its state, unless one waits for the other."""
    folder = layout()
    both_looked = threading.Barrier(2)
    real = DeviceState.new

    def slow(devices: int, dim: int) -> DeviceState:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_looked.wait(timeout=1)
        return real(devices, dim)

    monkeypatch.setattr(DeviceState, "new", slow)
    groups = [DeviceGroup(folder, 0, 1), DeviceGroup(folder, 0, 2)]
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda group: group.answer(query(ask())), groups))
    refused = [reply.refused.get(Refusal.PARTITION, 0) for reply in replies]
    assert refused in ([0, 3], [6, 0])
    assert len(list(folder.glob("state-*.safetensors"))) == 1


@pytest.mark.parametrize("baskets", [[*BASKETS, [1]], BASKETS[:-1]])
def test_a_ledger_of_other_devices_is_refused(baskets, ask, layout, query, held, trainers_made):
    folder = layout()
    DeviceGroup(folder).answer(query(ask()))
    held(*baskets).save(folder / "events")
    assert DeviceGroup(folder).answer(query(ask(), 0.1)) == Reply(1, {}, 0, {Refusal.LEDGER: len(baskets)})
    assert len(trainers_made) == 1


DAMAGES = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "emptied": lambda path: path.write_bytes(b""),
    "of another kind": lambda path: path.write_text("steps = 0"),
    "of fewer devices": lambda path: DeviceState.new(5, 3).save(path),
    "lost": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_refused_and_left_unchanged(damage, ask, layout, query, trainers_made, caplog):
    """The log says in one line how to repair it; the old file, restored, is answered from again."""
    folder = layout()
    DeviceGroup(folder).answer(query(ask()))
    path = folder / "state-0-of-1.safetensors"
    good = path.read_bytes()
    DAMAGES[damage](path)
    damaged = path.read_bytes() if path.exists() else None
    for moved in (0.0, 0.1):  # the query that was answered before, and a new one
        reply = DeviceGroup(folder).answer(query(ask(), moved))
        assert reply == Reply(1, {}, 0, {Refusal.LEDGER: 6})
    assert len(trainers_made) == 1
    assert (path.read_bytes() if path.exists() else None) == damaged
    (line, _) = [
        record.getMessage() for record in caplog.records if record.name == "terrycloth.client.device_group"
    ]
    assert "state-0-of-1.safetensors" in line
    assert "backup" in line
    assert "retire" in line
    assert str(folder) not in line
    assert "\n" not in line
    path.write_bytes(good)
    assert DeviceGroup(folder).answer(query(ask(), 0.1)).answered == 6
    assert steps(folder) == [2] * 6


# Events that cannot be used


@pytest.mark.parametrize("unit", ["interaction", "none"])
@pytest.mark.parametrize("model", ["mf", "neural-cf"])
def test_unusable_events_are_ignored(unit, model, ask, plain, layout, query, held):
    settings = ask(model=model, steps_per_round=2, sampling_rate=0.7)
    if unit == "none":
        settings = plain(model=model, unit="none", trust="none", steps_per_round=2, sampling_rate=0.7)
    clean, damaged = layout([[1, 4, 4], [], [6]]), layout([[1, 4, 4], [], [6]])
    bad = [8, -1, 31_337, 2, 2, 2, 2, 2]
    weights = [1, 1, 1, math.nan, math.inf, -math.inf, 0, -3]
    held([1, *bad, 4, 4], bad, [*bad, 6], weights=[1, *weights, 1, 1, *weights, *weights, 1]).save(
        damaged / "events"
    )
    for moved in (0.0, 0.1):
        expected, got = (DeviceGroup(folder).answer(query(settings, moved)) for folder in (clean, damaged))
        assert expected.answered == 3
        assert content_of(got) == content_of(expected)
    assert torch.equal(state_of(damaged).vectors, state_of(clean).vectors)


# Keys


@pytest.fixture
def drawn(monkeypatch) -> list[bytes]:
    """Return a list that collects every key that the operating system gives."""
    keys: list[bytes] = []

    def token_bytes(count: int) -> bytes:
        keys.append(os.urandom(count))
        return keys[-1]

    monkeypatch.setattr("terrycloth.models.privacy.randomness.secrets.token_bytes", token_bytes)
    return keys


def holders(folder: Path, keys: list[bytes]) -> list[str]:
    """Return the files under a folder that hold at least half of a key, in any encoding."""
    halves = [key[part : part + KEY_BYTES // 2] for key in keys for part in (0, KEY_BYTES // 2)]
    forms = [form for half in halves for form in (half, half.hex().encode(), half.hex().upper().encode())]
    forms += [repr(half)[2:-1].encode() for half in halves]
    forms += [base64.b64encode(key)[:20] for key in keys]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if any(form in path.read_bytes() for form in forms))


def test_participation_draws_and_each_training_use_separate_keys_from_the_system(
    ask, layout, query, drawn, monkeypatch
):
    used: list[bytes] = []
    real = terrycloth.client.device_group.trainer_for

    class Watched:
        def __init__(self, *rest: object) -> None:
            self.trainer = real(*rest)

        def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, torch.Tensor]:
            used.append(cohort.key)
            return self.trainer.train(cohort, parameters)

    monkeypatch.setattr(terrycloth.client.device_group, "trainer_for", Watched)
    group = DeviceGroup(layout(seed=None))
    for moved in (0.0, 0.1, 0.1, 0.0):  # the third query repeats the second
        group.answer(query(ask(), moved))
    assert used == drawn[1::2]
    assert len(drawn) == len(set(drawn)) == 6
    assert {len(key) for key in drawn} == {KEY_BYTES}


@pytest.mark.parametrize("unit", ["interaction", "none"])
def test_no_key_is_written_to_disk(unit, ask, plain, layout, query, drawn, monkeypatch):
    """The keys are in no file while a query is recorded, after a crash, or beside an answer."""
    settings = ask() if unit == "interaction" else plain(unit="none", trust="none")
    folder = layout(seed=None)
    searched: list[int] = []
    real = DeviceState.save

    def save(state: DeviceState, path: Path) -> None:
        real(state, path)
        searched.append(len(drawn))
        assert holders(folder, drawn) == []

    monkeypatch.setattr(DeviceState, "save", save)
    for moved in (0.0, 0.1, 0.1):
        DeviceGroup(folder).answer(query(settings, moved))
    crash_in_training(folder, query(settings, 0.2), monkeypatch)
    DeviceGroup(folder).answer(query(settings, 0.2))
    # New, then recorded and answered, twice; then recorded, and answered after the crash.
    assert searched == [0, 2, 2, 4, 4, 6, 7]
    assert holders(folder, drawn) == []


@pytest.mark.parametrize(
    "written", [bytes, lambda key: key.hex().encode(), lambda key: repr(key).encode(), base64.b64encode]
)
def test_the_search_for_keys_finds_a_written_key(written, tmp_path):
    key = os.urandom(KEY_BYTES)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log").write_bytes(b"x" + written(key))
    (tmp_path / "other").write_bytes(os.urandom(1_000))
    assert holders(tmp_path, [os.urandom(KEY_BYTES), key]) == ["log"]


def test_a_cohort_does_not_show_its_key(gather, held):
    cohort = gather(held([1], [2]))
    assert "devices" in repr(cohort)
    for text in (repr(cohort), str(cohort), f"{cohort!r:.5000}"):
        for form in (cohort.key.hex(), repr(cohort.key), repr(cohort.key)[2:-1], "key"):
            assert form not in text


def test_two_device_groups_draw_different_noise_for_the_same_query(ask, layout, query):
    one, other = (DeviceGroup(layout(seed=None)).answer(query(ask())) for _ in range(2))
    assert unrelated(one, other)


def test_the_files_of_a_device_group_are_private(ask, layout, query):
    umask = os.umask(0)
    try:
        folder = layout(seed=None)
        DeviceGroup(folder).answer(query(ask()))
    finally:
        os.umask(umask)
    assert len(list(folder.rglob("*"))) > 8
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o700])
def test_an_existing_folder_is_made_private(mode, tmp_path, shop, held):
    folder = tmp_path / "device-group"
    folder.mkdir()
    folder.chmod(mode)
    DeviceGroup.create(folder, shop, held([1]), ANYTHING)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_seeded_device_group_repeats_its_answers_and_draws_anew_for_each_query(ask, layout, query, drawn):
    answers = []
    for folder in (layout(), layout()):
        answers.append([DeviceGroup(folder).answer(query(ask(), moved)) for moved in (0.0, 0.1, 0.0)])
        assert (DeviceGroup(folder).new_key(), state_of(folder).asked) == (seeded_key(7), 3)
    assert not drawn
    assert [content_of(one) for one in answers[0]] == [content_of(other) for other in answers[1]]
    assert all(unrelated(answers[0][a], answers[0][b]) for a, b in ((0, 1), (1, 2), (0, 2)))
    assert unrelated(answers[0][0], DeviceGroup(layout(seed=8)).answer(query(ask())))


def test_seeded_devices_answer_alike_in_one_folder_and_in_several(ask, layout, query, shop, held, tmp_path):
    """Partition 1 of 2 of a folder holds devices 3 to 5; a folder of their own says that 3 is its first."""
    part = DeviceGroup(layout(), 1, 2)
    DeviceGroup.create(tmp_path / "own", shop, held(*BASKETS[3:]), ANYTHING, 7, first=3)
    DeviceGroup.create(tmp_path / "zero", shop, held(*BASKETS[3:]), ANYTHING, 7)
    replies = [group.answer(query(ask())) for group in (part, DeviceGroup(tmp_path / "own"))]
    assert replies[0].answered
    assert content_of(replies[0]) == content_of(replies[1])
    assert content_of(DeviceGroup(tmp_path / "zero").answer(query(ask()))) != content_of(replies[0])


# Rounds are counted too: ε reserved for one kind of round cannot be spent on another


def rounds_spent(folder: Path) -> list[list[int]]:
    return state_of(folder).rounds.tolist()


MEASURED = {"unit": "shopper", "rounds": 2, "evaluate": True, "evaluation_noise": 1.0, "run": "one"}


def test_the_epsilon_reserved_for_evaluation_cannot_be_spent_on_training(ask, layout, query):
    """All three rounds cost the same and ε = 50 allows many more, but two may train and one may evaluate."""
    folder, settings = layout(), ask(**MEASURED)
    replies = [
        DeviceGroup(folder).answer(query(settings.at(round), 0.1 * n)) for n, round in enumerate((1, 2, 1))
    ]
    assert [reply.answered for reply in replies] == [6, 6, 0]
    assert replies[-1].refused == {Refusal.REPEATED: 6}
    assert steps(folder) == [2] * 6
    assert DeviceGroup(folder).answer(query(settings.at(3))).answered == 6
    assert DeviceGroup(folder).answer(query(settings.at(3), 0.1)).refused == {Refusal.REPEATED: 6}
    assert rounds_spent(folder) == [[2, 0, 1]] * 6


def test_each_release_of_the_linear_model_is_made_once(ask, layout, query):
    folder = layout()
    settings = ask(unit="shopper", model="linear", rounds=2, head_size=3, popularity_share=0.5)
    for round, moved, answered in ((1, 0.0, 6), (1, 0.1, 0), (2, 0.0, 6), (2, 0.1, 0), (1, 0.2, 0)):
        assert DeviceGroup(folder).answer(query(settings.at(round), moved)).answered == answered
    assert rounds_spent(folder) == [[1, 1, 0]] * 6


@pytest.mark.slow
@pytest.mark.parametrize("trust", ["local", "central"])
def test_each_device_counts_the_rounds_that_it_spent(trust, ask, layout, query):
    """Under local trust these are the at most 5 of 7 that its draw chose; under central trust all 7."""
    folder = layout()
    settings = ask(unit="shopper", trust=trust, participation=0.35, rounds=7)
    answered = 0
    for number in range(30):
        reply = DeviceGroup(folder).answer(query(settings, 0.01 * number))
        answered += reply.answered
        assert number < 7 or trust == "local" or reply.answered == 0
    assert rounds_spent(folder) == [[settings.covered, 0, 0]] * 6
    assert settings.covered == (7 if trust == "central" else 5)
    assert answered == 30 if trust == "local" else answered < 30


def test_a_repeated_query_counts_once_and_another_run_counts_anew_within_epsilon(ask, layout, query):
    """Three steps at σ = 1 cost ε = 8.4, and four cost 9.9."""
    folder, settings = layout(), ask(unit="shopper", rounds=2, epsilon=9.0, run="one")
    for _ in range(3):
        assert DeviceGroup(folder).answer(query(settings)).answered == 6
    assert rounds_spent(folder) == [[1, 0, 0]] * 6
    assert DeviceGroup(folder).answer(query(settings, 0.1)).answered == 6
    other = settings.model_copy(update={"run": "two"})
    assert DeviceGroup(folder).answer(query(other)).answered == 6
    assert rounds_spent(folder) == [[1, 0, 0]] * 6
    assert DeviceGroup(folder).answer(query(other, 0.1)).refused == {Refusal.BUDGET: 6}


# Noise stays fresh, whatever a server asks and whatever happens to the state on the device


@pytest.mark.parametrize("moved", [0.1, 0.2])
def test_a_state_from_a_backup_repeats_no_noise(moved, ask, layout, query):
    """The answer after the backup is either to the same query or to another."""
    folder = layout([[1, 4]], seed=None)
    DeviceGroup(folder).answer(query(ask()))
    backup = (folder / "state-0-of-1.safetensors").read_bytes()
    first = DeviceGroup(folder).answer(query(ask(), 0.1))
    (folder / "state-0-of-1.safetensors").write_bytes(backup)
    assert unrelated(first, DeviceGroup(folder).answer(query(ask(), moved)))


@pytest.mark.parametrize("seed", [None, 7])
def test_a_backup_of_a_recorded_query_repeats_no_noise(seed, ask, layout, query, held, monkeypatch):
    """Answer, restore, buy something, answer again: the difference must not be the purchase alone.

    In a seeded device group it is, which shows that this test can detect it.
    """
    folder = layout([[1, 4, 4]], seed)
    asked = query(ask(noise_multiplier=5.0, learning_rate=1.0))
    crash_in_training(folder, asked, monkeypatch)
    backup = (folder / "state-0-of-1.safetensors").read_bytes()
    first = DeviceGroup(folder).answer(asked)
    (folder / "state-0-of-1.safetensors").write_bytes(backup)
    held([1, 4, 4, 2]).save(folder / "events")
    again = DeviceGroup(folder).answer(asked)
    # The noise differs by √2·σ·C = 7 a coordinate; the purchase adds at most 1.
    apart = float((flat(first.update) - flat(again.update)).square().mean().sqrt())
    if seed is None:
        assert unrelated(first, again)
        assert apart > 3.0
    else:
        assert 0.0 < apart < 1.0


def test_a_lost_state_repeats_no_noise(ask, layout, query):
    folder = layout([[1, 4]], seed=None)
    first = DeviceGroup(folder).answer(query(ask()))
    for path in folder.glob("state-*"):  # the lock file too, which otherwise shows that a ledger is missing
        path.unlink()
    assert unrelated(first, DeviceGroup(folder).answer(query(ask())))


def test_two_simultaneous_queries_are_answered_in_turn(ask, layout, query, monkeypatch):
    """Two processes open one device group: both read its state before either records, unless one waits."""
    folder = layout([[1, 4]])
    both_read = threading.Barrier(2)
    real = DeviceGroup.load_state

    def slow(group: DeviceGroup, dim: int) -> DeviceState:
        state = real(group, dim)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_read.wait(timeout=1)
        return state

    monkeypatch.setattr(DeviceGroup, "load_state", slow)
    asked = [query(ask(), moved) for moved in (0.1, 0.2)]
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda request: DeviceGroup(folder).answer(request), asked)
    assert unrelated(one, other)
    assert steps(folder) == [2]


def test_events_are_read_only(layout):
    group = DeviceGroup(layout())
    assert isinstance(group.events, Events)
    assert not group.events.items.flags.writeable

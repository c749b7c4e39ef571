"""A farm: who takes part, what a question costs, and that nothing is ever answered off the books."""

import contextlib
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

import client.farm
from client.events import Events
from client.farm import Farm
from client.state import DeviceState
from models.catalogue import Catalogue
from models.randomness import KEY_BYTES, seeded_key
from models.recommender import Parameters
from models.settings import RoundSettings
from models.update import Refusal, Reply, Request

BASKETS = [[1, 4, 4], [], [6, 0, 2, 3], [7], [5, 5, 1], []]


@pytest.fixture
def layout(tmp_path, shop: Catalogue, held) -> Callable[..., Path]:
    """A fresh farm folder; seeded unless told otherwise."""
    made = iter(range(1_000))

    def create(baskets: list[list[int]] = BASKETS, key: bytes | None = seeded_key(7)) -> Path:
        folder = tmp_path / f"farm-{next(made)}"
        Farm.create(folder, shop, held(*baskets), key)
        return folder

    return create


@pytest.fixture
def question(build, copied) -> Callable[..., Request]:
    """A question with these settings; `moved` moves one shared parameter by a little."""

    def request(settings: RoundSettings, moved: float = 0.0) -> Request:
        parameters = copied(build(settings))
        first = next(iter(parameters.values()))
        first[0, 0] += moved
        return Request(parameters, settings)

    return request


def flat(parameters: Parameters) -> torch.Tensor:
    return torch.cat([parameters[name].reshape(-1) for name in sorted(parameters)])


def steps(folder: Path, partition: int = 0, partitions: int = 1) -> list[int]:
    """Booked steps of each device, over all mechanisms, as the disk has it."""
    state = DeviceState.load(folder / f"state-{partition}-of-{partitions}.safetensors")
    return state.ledger.steps.sum(axis=1).tolist()


# Partitions and coins


@pytest.mark.parametrize("unit", ["interaction", "none"])
@pytest.mark.parametrize("partitions", [2, 3])
def test_partitions_add_up_to_the_whole(unit, partitions, ask, plain, layout, question):
    settings = ask(participation=0.6, steps_per_round=2, sampling_rate=0.7)
    if unit == "none":
        settings = plain(unit="none", trust="none", participation=0.6)
    folder = layout()
    for moved in (0.0, 0.1):  # the second round starts from what the first left
        asked = question(settings, moved)
        whole = Farm(folder).answer(asked)
        parts = [Farm(folder, part, partitions).answer(asked) for part in range(partitions)]
        assert 0 < whole.answered < len(BASKETS)
        assert sum(part.answered for part in parts) == whole.answered
        for name, tensor in whole.update.items():
            total = sum(part.update[name].double() for part in parts if part.answered)
            torch.testing.assert_close(total, tensor.double(), rtol=1e-5, atol=1e-5)


def test_a_part_holds_its_own_devices_and_no_other(layout):
    folder = layout()
    parts = [Farm(folder, part, 4) for part in range(4)]
    assert np.concatenate([part.devices for part in parts]).tolist() == list(range(6))
    items = [part.events.items[part.events.devices == d] for part in parts for d in range(len(part.devices))]
    assert [list(map(int, own)) for own in items] == BASKETS


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_each_device_takes_part_by_its_own_coin(rate, layout):
    """Bounds that all devices and pairs together pass but for one in a million."""
    farm = Farm(layout())
    coins = np.stack([farm.participation(rate, number) for number in range(1, 1_501)]).astype(int)
    together = coins.T @ coins
    checks = [(together[d, d], rate) for d in range(6)]
    checks += [(together[a, b], rate**2) for a in range(6) for b in range(a)]
    edge = 1 - 1e-6 / len(checks)
    for count, chance in checks:
        low, high = binom.interval(edge, 1_500, chance)
        assert low <= count <= high


def test_a_coin_is_the_same_in_any_part(layout):
    folder = layout()
    whole = np.stack([Farm(folder).participation(0.5, number) for number in range(1, 40)])
    for partitions in (2, 3, 6):
        parts = [Farm(folder, part, partitions) for part in range(partitions)]
        coins = [np.stack([part.participation(0.5, n) for n in range(1, 40)]) for part in parts]
        assert np.array_equal(np.concatenate(coins, axis=1), whole)


def test_everybody_takes_part_at_rate_one(layout):
    assert Farm(layout()).participation(1.0, 1).all()


def test_who_takes_part_does_not_depend_on_what_they_hold(layout):
    full, empty = Farm(layout()), Farm(layout([[] for _ in BASKETS]))
    for number in range(1, 30):
        assert np.array_equal(full.participation(0.5, number), empty.participation(0.5, number))


# The same question, and another


def test_the_same_question_gets_the_same_answer_at_no_further_cost(ask, layout, question):
    folder = layout()
    asked = question(ask(steps_per_round=3, sampling_rate=0.5, participation=0.7))
    first = Farm(folder).answer(asked)
    vectors, booked = DeviceState.load(folder / "state-0-of-1.safetensors").vectors, steps(folder)
    again = Farm(folder).answer(asked)
    assert torch.equal(flat(first.update), flat(again.update))
    assert (first.round, first.answered, first.refused) == (again.round, again.answered, again.refused)
    assert steps(folder) == booked == [3 * bool(step) for step in booked]
    assert torch.equal(DeviceState.load(folder / "state-0-of-1.safetensors").vectors, vectors)


@pytest.mark.parametrize(
    "change", [{"round": 2}, {"rounds": 11}, {"negatives": 4}, {"delta": 2e-5}, {"clip": 1.0000001}]
)
def test_any_other_setting_is_another_question(change, ask, layout, question):
    folder = layout([[]])
    first = Farm(folder).answer(question(ask()))
    other = Farm(folder).answer(question(ask(**change)))
    assert steps(folder) == [2]
    assert not (flat(first.update) == flat(other.update)).any()


@pytest.mark.parametrize("moved", [1e-6, 0.1])
def test_other_parameters_get_fresh_noise_and_are_booked(moved, ask, layout, question):
    """The difference of two replies to nearly one question must not be free of noise."""
    folder = layout([[1, 4, 4]])
    settings = ask(noise_multiplier=5.0, learning_rate=1.0)
    first = Farm(folder).answer(question(settings))
    other = Farm(folder).answer(question(settings, moved))
    difference = flat(first.update) - flat(other.update)
    assert steps(folder) == [2]
    assert (difference != 0).all()
    # √2·σ·C = 7 a coordinate, against 1 at most for all of the data together.
    assert float(difference.square().mean().sqrt()) > 3.0


def test_a_question_asked_again_after_another_is_another_release(ask, layout, question):
    folder = layout([[]])
    first = Farm(folder).answer(question(ask()))
    Farm(folder).answer(question(ask(), 0.1))
    again = Farm(folder).answer(question(ask()))
    assert steps(folder) == [3]
    assert not (flat(first.update) == flat(again.update)).any()


def test_another_size_of_vector_keeps_the_ledger_and_draws_afresh(ask, layout, question):
    folder = layout([[2]])
    replies = [Farm(folder).answer(question(ask(dim=dim))) for dim in (3, 2, 3)]
    assert steps(folder) == [3]
    assert not (flat(replies[0].update) == flat(replies[2].update)).any()


def test_a_farm_goes_on_after_a_crash_in_training_with_the_same_draws(ask, layout, question, monkeypatch):
    asked = question(ask(participation=0.6, steps_per_round=2))
    unbroken, broken = layout(), layout()
    expected = Farm(unbroken).answer(asked)
    with monkeypatch.context() as patched:
        patched.setattr(client.farm, "trainer_for", crash)
        with pytest.raises(ZeroDivisionError):
            Farm(broken).answer(asked)
    assert torch.equal(flat(Farm(broken).answer(asked).update), flat(expected.update))
    assert steps(broken) == steps(unbroken)


def crash(*args: object) -> None:
    raise ZeroDivisionError


def test_the_ledger_is_on_disk_before_training_starts(ask, layout, question, monkeypatch):
    folder = layout()
    monkeypatch.setattr(client.farm, "trainer_for", crash)
    with pytest.raises(ZeroDivisionError):
        Farm(folder).answer(question(ask(steps_per_round=4)))
    assert steps(folder) == [4] * 6
    state = DeviceState.load(folder / "state-0-of-1.safetensors")
    assert (state.answered, len(state.question)) == (1, 64)


def test_who_stays_away_pays_nothing_and_keeps_its_vector(ask, layout, question):
    folder = layout()
    reply = Farm(folder).answer(question(ask(participation=0.5)))
    state = DeviceState.load(folder / "state-0-of-1.safetensors")
    assert 0 < reply.answered < 6
    assert [step == 1 for step in steps(folder)] == state.took_part.tolist()
    assert ((state.vectors != 0).any(dim=1).numpy() == state.took_part).all()


# Refusals


@pytest.fixture
def watched(monkeypatch) -> list[object]:
    """Every trainer that is made."""
    made: list[object] = []
    real = client.farm.trainer_for
    monkeypatch.setattr(client.farm, "trainer_for", lambda *rest: (made.append(rest), real(*rest))[1])
    return made


def test_past_the_budget_nothing_is_trained_and_every_refusal_is_counted(ask, layout, question, watched):
    folder = layout()
    settings = ask(epsilon=6.0)  # one step at σ = 1 costs 4.4
    assert Farm(folder).answer(question(settings)).answered == 6
    before = (folder / "state-0-of-1.safetensors").read_bytes()
    reply = Farm(folder).answer(question(settings, 0.1))
    assert (reply.update, reply.answered, reply.refused) == ({}, 0, {Refusal.BUDGET: 6})
    assert len(watched) == 1
    assert steps(folder) == [1] * 6
    assert before != (folder / "state-0-of-1.safetensors").read_bytes()  # the question is remembered
    again = Farm(folder).answer(question(settings, 0.1))
    assert (again.answered, again.refused) == (0, {Refusal.BUDGET: 6})


def test_only_those_whose_budget_is_spent_refuse(ask, layout, question):
    folder = layout()
    Farm(folder).answer(question(ask(participation=0.5)))
    spent = np.array(steps(folder)) > 0
    reply = Farm(folder).answer(question(ask(epsilon=6.0)))
    assert 0 < spent.sum() < 6
    assert reply.refused == {Refusal.BUDGET: int(spent.sum())}
    assert reply.answered == int((~spent).sum())
    assert steps(folder) == [1] * 6


def test_the_ledger_never_passes_the_budget(ask, layout, question):
    folder = layout([[1], [2]])
    settings = ask(epsilon=9.0, participation=0.8)
    for number in range(12):
        Farm(folder).answer(question(settings, 0.01 * number))
        spent = DeviceState.load(folder / "state-0-of-1.safetensors").ledger.epsilon(settings.delta)
        assert (spent <= 9.0).all()
    assert (spent > 6.0).all()


def test_a_device_that_once_trained_without_noise_refuses_every_bounded_question(
    ask, plain, layout, question
):
    folder = layout([[1], [2]])
    assert Farm(folder).answer(question(plain(unit="none", trust="none"))).answered == 2
    reply = Farm(folder).answer(question(ask(epsilon=1e6)))
    assert (reply.answered, reply.refused) == (0, {Refusal.BUDGET: 2})


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
def test_wrong_shapes_are_refused_before_events_are_touched(case, ask, layout, question, watched):
    folder = layout()
    asked = question(ask())
    reply = Farm(folder).answer(Request(broken_shapes(asked.parameters)[case], asked.settings))
    assert reply == Reply(1, {}, 0, {Refusal.MODEL: 6})
    assert not watched
    assert not (folder / "state-0-of-1.safetensors").exists()


# Keys


def test_a_key_is_made_when_none_is_given_and_no_two_are_equal(ask, layout, question):
    folders = [layout(key=None), layout(key=None)]
    assert not any((folder / "key").exists() for folder in folders)
    replies = [Farm(folder).answer(question(ask())) for folder in folders]
    keys = [(folder / "key").read_bytes() for folder in folders]
    assert len(keys[0]) == len(keys[1]) == KEY_BYTES
    assert keys[0] != keys[1]
    assert not (flat(replies[0].update) == flat(replies[1].update)).any()


def test_a_given_key_is_kept(layout):
    assert (layout(key=b"k" * KEY_BYTES) / "key").read_bytes() == b"k" * KEY_BYTES


# What a server or a change on the device must not be able to undo


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a state belongs to a partition, and the key to the folder"
)
def test_another_number_of_partitions_repeats_no_noise(ask, layout, question):
    folder = layout([[1, 4], [2]])
    first = Farm(folder, 0, 1).answer(question(ask()))
    parts = [Farm(folder, part, 2).answer(question(ask(), 0.25)) for part in range(2)]
    difference = flat(first.update) - sum(flat(part.update) for part in parts if part.answered)
    assert float(difference.abs().median()) > 0.01  # else the noise of both is the same


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="a state belongs to a partition")
def test_another_number_of_partitions_keeps_the_ledger(ask, layout, question):
    folder = layout([[1, 4], [2]])
    settings = ask(epsilon=6.0)
    assert Farm(folder, 0, 1).answer(question(settings)).answered == 2
    assert sum(Farm(folder, part, 2).answer(question(settings, 0.1)).answered for part in range(2)) == 0


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the digest of a question does not cover what the device holds"
)
def test_a_question_asked_again_after_a_purchase_does_not_show_the_purchase(ask, layout, question, held):
    folder = layout([[1, 4]])
    first = Farm(folder).answer(question(ask(negative_weight=0.0)))
    held([1, 4, 6]).save(folder / "events")
    again = Farm(folder).answer(question(ask(negative_weight=0.0)))
    difference = flat(first.update) - flat(again.update)
    # Either the old answer word for word, or fresh noise on every coordinate; never the purchase alone.
    assert (difference == 0).all() or (difference != 0).all()


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a question asked again under another key draws unbooked noise"
)
def test_a_lost_key_gives_no_second_look_for_free(ask, layout, question):
    folder = layout([[1, 4]], key=None)
    first = Farm(folder).answer(question(ask()))
    (folder / "key").unlink()
    again = Farm(folder).answer(question(ask()))
    assert torch.equal(flat(first.update), flat(again.update)) or steps(folder) == [2]


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a state from a backup repeats the numbers of its streams"
)
def test_a_state_from_a_backup_repeats_no_noise(ask, layout, question):
    folder = layout([[1, 4]], key=None)
    Farm(folder).answer(question(ask()))
    backup = (folder / "state-0-of-1.safetensors").read_bytes()
    first = Farm(folder).answer(question(ask(), 0.1))
    (folder / "state-0-of-1.safetensors").write_bytes(backup)
    other = Farm(folder).answer(question(ask(), 0.2))
    assert not torch.isclose(flat(first.update), flat(other.update), atol=1e-6).any()


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="nothing checks that the unit and its noise belong together"
)
@pytest.mark.parametrize("model", ["mf", "attributes"])
def test_noise_is_never_booked_where_none_is_added(model, ask, layout, question):
    folder = layout([[1, 4]])
    settings = ask(model=model, unit="none", trust="none")  # least squares: a plain gradient
    reply = Farm(folder).answer(question(settings))
    spent = DeviceState.load(folder / "state-0-of-1.safetensors").ledger.epsilon(1e-5)
    assert reply.answered == 0 or spent[0] == math.inf


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="noise on an infinite clip destroys the vector that is kept"
)
def test_noise_without_a_clip_is_refused(ask, layout, question):
    folder = layout([[1, 4]])
    Farm(folder).answer(question(ask(clip=math.inf)))
    vectors = DeviceState.load(folder / "state-0-of-1.safetensors").vectors
    assert torch.isfinite(vectors).all()


@pytest.mark.xfail(strict=True, raises=IndexError, reason="a part without devices has no last one")
def test_a_part_without_devices_answers(ask, layout, question):
    assert Farm(layout([[1]]), 0, 2).answer(question(ask())).answered == 0


@pytest.mark.xfail(
    strict=True, raises=(AssertionError, OSError), reason="nothing keeps two processes from one state"
)
def test_two_at_a_time_never_share_noise(ask, layout, question, monkeypatch):
    """Two processes that open one farm: both have read its state before either books, unless one waits."""
    folder = layout([[1, 4]])
    both_read = threading.Barrier(2)
    real = Farm.load_state

    def slow(farm: Farm, dim: int) -> DeviceState:
        state = real(farm, dim)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_read.wait(timeout=1)
        return state

    monkeypatch.setattr(Farm, "load_state", slow)
    asked = [question(ask(), moved) for moved in (0.1, 0.2)]
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda request: flat(Farm(folder).answer(request).update), asked)
    assert not torch.isclose(one, other, atol=1e-6).any()
    assert steps(folder) == [2]


def test_events_are_read_only_here(layout):
    farm = Farm(layout())
    assert isinstance(farm.events, Events)
    assert not farm.events.items.flags.writeable

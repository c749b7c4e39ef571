"""Whether something fails must not depend on private events: no answer reveals that memory ran out."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import terrycloth.client.device_group
import terrycloth.client.training.compiled.sgd_draws
import terrycloth.client.training.opacus_trainer
import terrycloth.client.training.sgd_trainer
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.events import Events
from terrycloth.client.policy import Policy
from terrycloth.client.state import DeviceState
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.compiled_trainer import CompiledTrainer
from terrycloth.client.training.opacus_trainer import OpacusTrainer
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.update import Reply, Request
from tests.client.training.cohorts import (
    REFERENCES,
    assert_close,
    cohort_of,
    has_all_noise,
    model_and_parameters,
    ragged,
)

ALLOWED = Policy(most_delta=1.0, unmasked=True)
ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20


# In a process of limited memory


def answers_of_process(queries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return the answers of tests/client/limited_memory.py, and the exit code of the process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.client.limited_memory"],
        cwd=ROOT,
        env=os.environ | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        input="\n".join(map(json.dumps, queries)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


ITEMS = 400


@pytest.fixture(scope="module")
def department_store() -> Catalogue:
    names = [str(item) for item in range(ITEMS)]
    colours = [(f"colour {item % 7}",) for item in range(ITEMS)]
    return Catalogue(pd.DataFrame({"item": names, "title": names, "colour": colours}))


def holding(*counts: int, items: int = ITEMS) -> Events:
    """Return events of devices with the given counts, each going through all items in turn."""
    total = sum(counts)
    places = np.concatenate([np.arange(count) for count in counts] or [np.empty(0)])
    return Events.from_columns(
        np.repeat(np.arange(len(counts)), counts), places % items, places, np.ones(total), len(counts)
    )


PROMISES = {
    "none": {"unit": "none", "trust": "none", "noise_multiplier": 0.0, "clip": math.inf, "epsilon": math.inf},
    "interaction": {"unit": "interaction", "trust": "local"},
    "local": {"unit": "shopper", "trust": "local"},
    "central": {"unit": "shopper", "trust": "central"},
    "distributed": {"unit": "shopper", "trust": "distributed", "secure_aggregation": False},
}
MODELS = {
    "mf": {"model": "mf"},
    "attributes": {"model": "attributes", "own_rows": True},
    "neural-cf": {"model": "neural-cf", "dim": 16},
    "linear": {"model": "linear", "rounds": 2, "round": 2, "head_size": ITEMS},
}
HELD = (0, 18, 19, 2_000)
CASES = [
    pytest.param(model, trainer, promise, id=f"{model}-{trainer}-{promise}")
    for model in MODELS
    for trainer in ("fast", "reference")
    for promise in PROMISES
    if (model, promise) != ("linear", "interaction")
    # For the other combinations the two trainers are the same.
    if trainer == "fast" or (model != "linear" and promise == "interaction") or model == "neural-cf"
]
# MiB; the linear model's matrix is packed.
SPARE = {"mf": 64, "attributes": 64, "neural-cf": 64, "linear": 24}


@pytest.fixture(scope="module")
def answers(tmp_path_factory, ask, department_store) -> Callable[..., list[dict[str, Any]]]:
    """Return the answers of devices that hold HELD events, with all cases answered by one process."""
    folder = tmp_path_factory.mktemp("device groups")
    queries, keys = [], []
    for case in CASES:
        model, trainer, promise = case.values
        changes = {"dim": 64, "negatives": 300} | MODELS[model] | PROMISES[promise]
        settings = ask(**changes).model_dump()
        for held in HELD:
            group = folder / f"{case.id}-{held}"
            DeviceGroup.create(group, department_store, holding(held), ALLOWED)
            asked = {"device-group": str(group), "trainer": trainer, "settings": settings}
            queries += [asked | {"spare": None, "settings": settings | {"run": "first"}}] * (held == 0)
            queries.append(asked | {"spare": SPARE[model] * MIB})
            keys += [None] * (held == 0) + [(*case.values, held)]
    given_answers, _ = answers_of_process(queries)
    found = dict(zip(keys, given_answers, strict=True))
    return lambda *case: [found[(*case, held)] for held in HELD]


@pytest.mark.slow
@pytest.mark.xdist_group("one process answers all queries")
@pytest.mark.parametrize(("model", "trainer", "promise"), CASES)
def test_the_kind_of_an_answer_does_not_depend_on_the_events(model, trainer, promise, answers):
    """Neighbouring counts, none and many: each is answered with the same arrays, noised where promised."""
    given_answers = answers(model, trainer, promise)
    kinds = [
        {name: value for name, value in each.items() if name not in ("sum", "noised")}
        for each in given_answers
    ]
    assert kinds == [kinds[0]] * len(HELD)
    assert kinds[0]["answered"] == 1
    if promise in ("interaction", "local", "distributed"):
        assert all(each["noised"] for each in given_answers)


@pytest.mark.slow
def test_a_device_with_thousands_of_items_takes_no_device_out_of_a_sum(tmp_path, ask):
    """One of 50 devices has 3,000 items: all are in the sum, within the memory of a few of its matrices."""
    items = 3_000
    names = [str(item) for item in range(items)]
    shop = Catalogue(pd.DataFrame({"item": names, "title": names}))
    promise = PROMISES["central"] | {"noise_multiplier": 0.0, "epsilon": math.inf}
    settings = ask(**promise, model="linear", rounds=2, round=2, head_size=items, dim=8).model_dump()
    sums = []
    for largest in (items, 0):
        group = tmp_path / str(largest)
        DeviceGroup.create(group, shop, holding(*[2] * 49, largest, items=items), ALLOWED)
        query = {"device-group": str(group), "trainer": "fast", "settings": settings, "spare": 300 * MIB}
        (given_answers,), _ = answers_of_process([query])
        assert given_answers["answered"] == 50
        sums.append(given_answers["sum"])
    # A device with n items has 1/n on the diagonal and √2/n off it, packed.
    own = (items + math.sqrt(2) * items * (items - 1) / 2) / items
    assert sums == pytest.approx([49 * (1 + math.sqrt(0.5)) + own, 49 * (1 + math.sqrt(0.5))], rel=1e-4)


LARGEST = {"model": "mf", "dim": 4_096, "negatives": 10_000}


@pytest.mark.slow
@pytest.mark.parametrize("promise", ["interaction", "local"])
def test_the_memory_of_the_largest_query_is_bounded(promise, tmp_path, ask):
    """A device that holds as much as it may needs at most 256 MiB beside the parameters, its model and its
    update.

    At interaction level 20 of its events are in the batch; more would take hours.
    """
    items = 3_706
    names = [str(item) for item in range(items)]
    shop = Catalogue(pd.DataFrame({"item": names, "title": names}))
    changes = PROMISES[promise] | {"own_rows": True, "sampling_rate": 2e-4}
    group = tmp_path / "device-group"
    DeviceGroup.create(group, shop, holding(100_000, items=items), ALLOWED)
    queries = [
        {
            "device-group": str(group),
            "trainer": "fast",
            "spare": None,
            "measured": True,
            "settings": settings,
        }
        for settings in (
            ask(**LARGEST | changes | {"dim": 4, "negatives": 4}).model_dump(),
            ask(**LARGEST | changes).model_dump(),
        )
    ]
    (_, given_answers), _ = answers_of_process(queries)
    assert given_answers["answered"] == 1
    assert given_answers["noised"]
    assert given_answers["took"] < 3 * 4 * items * (4_096 + 1) + 256 * MIB


# Killed


@pytest.fixture
def group_of(tmp_path, shop, held) -> Callable[..., Path]:
    """Return a function that creates a new device group's folder."""
    made = iter(range(1_000))

    def create(*baskets: list[int], seed: int | None = None) -> Path:
        folder = tmp_path / f"device group-{next(made)}"
        DeviceGroup.create(folder, shop, held(*baskets), ALLOWED, seed)
        return folder

    return create


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 7])
def test_a_device_killed_during_training_answers_as_if_it_held_nothing(seed, ask, build, copied, group_of):
    """A seeded group is not private and does differ: a killed run ends as an unbroken one would."""
    folder, asked = group_of([1, 4, 4], seed=seed), ask(noise_multiplier=0.0, epsilon=math.inf)
    query = {
        "device-group": str(folder),
        "trainer": "reference",
        "settings": asked.model_dump(),
        "spare": None,
    }
    given_answers, ended = answers_of_process([query | {"killed": True}])
    assert (given_answers, ended) == ([], -signal.SIGKILL)
    ((again,), _) = answers_of_process([query])
    assert again["answered"] == 1
    assert (again["sum"] == 0.0) == (seed is None)


class Stopped(KeyboardInterrupt):
    """What Ctrl-C raises."""


def interrupted(*rest: object) -> None:
    raise Stopped


def test_a_device_stopped_by_its_owner_gives_the_same_answer_afterwards(
    ask, build, copied, group_of, monkeypatch
):
    folder = group_of([1, 4, 4])
    settings = ask(noise_multiplier=0.0, epsilon=math.inf)
    request = Request(copied(build(settings)), settings)
    with monkeypatch.context() as patched:
        patched.setattr(OpacusTrainer, "train", interrupted)
        with pytest.raises(Stopped):
            DeviceGroup(folder, trainer="reference").answer(request)
    assert not state_of(folder).begun
    assert flat(DeviceGroup(folder, trainer="reference").answer(request).update).any()


def test_the_start_of_training_is_on_disk_before_it_begins(ask, build, copied, group_of, monkeypatch):
    folder, settings, noted = group_of([1, 4, 4]), ask(), []
    real = OpacusTrainer.train

    def train(*rest: Any) -> Any:
        noted.append(state_of(folder).begun)
        return real(*rest)

    monkeypatch.setattr(OpacusTrainer, "train", train)
    for number in (1, 2):
        asked = settings.at(number)
        assert (
            DeviceGroup(folder, trainer="reference").answer(Request(copied(build(asked)), asked)).answered
            == 1
        )
    assert noted == [True, True]


# Whatever is raised


def state_of(folder: Path) -> DeviceState:
    return DeviceState.load(folder / "state-0-of-1.safetensors")


def flat(parameters: Parameters) -> torch.Tensor:
    return torch.cat([parameters[name].reshape(-1).double() for name in sorted(parameters)])


class Panic(BaseException):
    """An error as libraries written in Rust raise it, which no `except Exception` catches."""


BAD = 7  # the item on which every trainer fails


def make_training_fail(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every trainer fail from now on for a device that holds the item BAD."""
    real = terrycloth.client.device_group.trainer_for

    class Failing:
        def __init__(self, *rest: Any) -> None:
            self.trainer = real(*rest)

        def train(self, cohort: Cohort, parameters: Parameters) -> Any:
            if BAD in cohort.events.items:
                raise error(f"{BAD}")
            return self.trainer.train(cohort, parameters)

    monkeypatch.setattr(terrycloth.client.device_group, "trainer_for", Failing)


BASKETS = [[1, 4, 4], [], [6, 0, BAD, 3], [5], [5, 5, BAD], [2, 2]]


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, ZeroDivisionError, Panic])
@pytest.mark.parametrize("promise", ["none", "interaction", "local", "distributed"])
def test_a_device_whose_training_fails_answers_as_if_it_held_nothing(
    error, promise, ask, build, copied, group_of, monkeypatch
):
    """The group is seeded, so that answers are equal to the bit, with noise; all others are in the sum."""
    settings = ask(**PROMISES[promise])
    request = Request(copied(build(settings)), settings)
    sound = group_of(*([] if BAD in basket else basket for basket in BASKETS), seed=7)
    expected = DeviceGroup(sound, trainer="reference").answer(request)
    make_training_fail(error, monkeypatch)
    folder = group_of(*BASKETS, seed=7)
    reply = DeviceGroup(folder, trainer="reference").answer(request)
    assert (reply.answered, reply.refused) == (expected.answered, expected.refused) == (6, {})
    assert same_update(reply, expected)
    assert torch.equal(state_of(folder).vectors, state_of(sound).vectors)


def same_update(one: Reply, other: Reply) -> bool:
    """Return whether two updates are equal to the bit."""
    return list(one.update) == list(other.update) and torch.equal(flat(one.update), flat(other.update))


@pytest.mark.parametrize("what", ["events", "targets", "usable"])
def test_unreadable_events_count_as_none(what, ask, build, copied, group_of, monkeypatch):
    settings = ask()
    request = Request(copied(build(settings)), settings)
    expected = DeviceGroup(group_of([], [], seed=7), trainer="reference").answer(request)
    folder = group_of([1], [4, 4], seed=7)
    if what == "events":
        (folder / "events" / "items.npy").write_bytes(b"")
    elif what == "targets":
        (folder / "targets").mkdir()
    else:
        monkeypatch.setattr(terrycloth.client.device_group, "usable", raising(MemoryError))
    assert same_update(DeviceGroup(folder, trainer="reference").answer(request), expected)


def raising(error: type[BaseException]) -> Callable[..., None]:
    def fail(*rest: object) -> None:
        raise error

    return fail


# Chunks do not change the result


@pytest.mark.parametrize("unit", REFERENCES)
@pytest.mark.parametrize("model", ["mf", "neural-cf"])
def test_the_reference_gives_the_same_result_in_chunks(model, unit, ask, shop, monkeypatch):
    promise = PROMISES["none" if unit == "none" else "interaction"] | {"unit": unit}
    settings = ask(model=model, **promise, sampling_rate=0.5, steps_per_round=3, learning_rate=0.01)
    recommender, parameters = model_and_parameters(settings, shop)
    cohort = cohort_of(ragged(counts=(0, 5, 40)))
    whole, vectors = REFERENCES[unit](recommender, settings).train(cohort, parameters)
    monkeypatch.setattr(terrycloth.client.training.sgd_trainer, "CHUNK", 1)
    recommender, _ = model_and_parameters(settings, shop)
    trainer = REFERENCES[unit](recommender, settings)
    assert trainer.chunk == 1
    chunked, their_vectors = trainer.train(cohort, parameters)
    assert_close(chunked, whole, 1e-5)
    assert_close({"x": their_vectors}, {"x": vectors})


def test_the_chunk_of_the_reference_depends_on_public_numbers_only(ask, shop):
    settings = ask(dim=512, negatives=1000)
    model, _ = model_and_parameters(settings, shop)
    trainer = OpacusTrainer(model, settings)
    numbers = 1001 * 512 + 8 * 512 + 8 + 512
    assert trainer.chunk == terrycloth.client.training.sgd_trainer.CHUNK // numbers


@pytest.mark.parametrize("unit", REFERENCES)
def test_the_compiled_trainer_gives_the_same_result_in_chunks(unit, ask, shop, monkeypatch):
    promise = PROMISES["none"] | {"unit": unit, "trust": "none" if unit == "none" else "local"}
    settings = ask(model="attributes", **promise, sampling_rate=0.5, steps_per_round=3, learning_rate=0.01)
    model, parameters = model_and_parameters(settings, shop)
    cohort = cohort_of(ragged(counts=(0, 5, 40)))
    whole, _ = CompiledTrainer(model, settings).train(cohort, parameters)
    # Three interactions and their negatives.
    monkeypatch.setattr(terrycloth.client.training.compiled.sgd_draws, "CANDIDATES", 12)
    chunked, _ = CompiledTrainer(model, settings).train(cohort, parameters)
    assert_close(chunked, whole, 1e-5)


@pytest.mark.slow
def test_a_row_gets_its_noise_once_whichever_chunk_reads_it(ask, shop, monkeypatch):
    monkeypatch.setattr(terrycloth.client.training.compiled.sgd_draws, "CANDIDATES", 12)
    assert has_all_noise(CompiledTrainer, shop, ask, model="attributes", own_rows=True)


# Sums in double precision


def aligned(ask, shop, events: int) -> tuple[OpacusTrainer, Cohort, Parameters]:
    """Build a device whose interactions all have the same gradient, which is clipped."""
    settings = ask(clip=0.1, noise_multiplier=0.0, epsilon=math.inf, negative_weight=0.0, negatives=1)
    model, parameters = model_and_parameters(settings, shop)
    held = Events.from_columns(
        np.zeros(events, int), np.full(events, 3), np.arange(events), np.full(events, 1e6), 1
    )
    return OpacusTrainer(model, settings), cohort_of(held, torch.full((1, 3), 0.7)), parameters


def clipped_sum(trainer: SgdTrainer, cohort: Cohort, parameters: Parameters) -> torch.Tensor:
    """Return the clipped sum of one device in a step of the reference, before noise is added."""
    found: list[torch.Tensor] = []
    optimizer = trainer.optimizer
    real = optimizer.add_noise  # type: ignore[attr-defined]

    def add_noise() -> None:
        found.append(torch.cat([part.summed_grad.reshape(-1).double() for part in optimizer.params]))
        real()

    optimizer.add_noise = add_noise  # type: ignore[attr-defined]
    trainer.train(cohort, parameters)
    return found[0]


@pytest.mark.slow
def test_one_of_ten_thousand_equal_interactions_moves_a_sum_by_the_clip_at_most(ask, shop):
    """In single precision a sum moved by up to 1.00035 times the clip."""
    sums = [clipped_sum(*aligned(ask, shop, events)) for events in (10_000, 10_001)]
    moved = float((sums[1] - sums[0]).norm())
    assert 0.9999 * 0.1 < moved <= 0.1


@pytest.mark.parametrize("model", ["mf", "linear", "neural-cf"])
def test_shopper_level_sums_are_in_double_precision_until_noise_is_added(model, ask, shop, held, gather):
    from terrycloth.client.training.trainers import bounded_trainer

    changes = {"model": model, "unit": "shopper", "trust": "local"}
    if model == "linear":
        changes |= {"rounds": 2, "round": 2, "head_size": 5}
    settings = ask(**changes)
    recommender, parameters = model_and_parameters(settings, shop)
    cohort = gather(held([1, 4, 4], [2, 5]), vectors=torch.zeros(2, settings.vector_length))
    for together in (True, False):
        update, _ = bounded_trainer(recommender, settings, together).train(cohort, parameters)
        assert {part.dtype for part in update.values()} == {torch.float64}
        assert any((part != part.float()).any() for part in update.values())


def equal_shoppers(count: int, held: Callable[..., Events]) -> Events:
    return held(*[[1, 4]] * count)


def norm_of_difference(neighbours: Iterable[Parameters]) -> float:
    one, other = neighbours
    return float((flat(one) - flat(other)).norm())


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mf", "linear"])
def test_one_of_ten_thousand_shoppers_moves_a_sum_by_the_clip_at_most(model, ask, shop, held):
    from terrycloth.client.training.trainers import bounded_trainer

    changes = {"model": model, "unit": "shopper", "trust": "local", "clip": 0.3}
    if model == "linear":
        changes |= {"rounds": 2, "round": 2, "head_size": 5}
    settings = ask(**changes, devices=20_000)
    recommender, parameters = model_and_parameters(settings, shop)
    sums = []
    for count in (10_000, 10_001):
        cohort = cohort_of(equal_shoppers(count, held), torch.zeros(count, settings.vector_length))
        sums.append(bounded_trainer(recommender, settings, True).train(cohort, parameters)[0])
    assert 0.999 * 0.3 < norm_of_difference(sums) <= 0.3

"""Checks of what leaves a device, and broken variants of devices; test_fifteen_rules.py has the table.

A check raises AssertionError where its rule is broken. A variant breaks the real code with a patch.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from scipy.stats import binom, chi2
from torch import Tensor

import terrycloth.client.app
import terrycloth.client.device_group
import terrycloth.client.training.noise
import terrycloth.client.training.opacus_trainer
import terrycloth.client.training.sgd_trainer
import terrycloth.models.privacy.randomness
import terrycloth.server.aggregate
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.state import DeviceState
from terrycloth.client.targets import Targets
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.opacus_trainer import KeyedDPOptimizer, OpacusTrainer
from terrycloth.client.training.sgd_trainer import KeyedPoissonSampler, SgdTrainer
from terrycloth.client.training.trainers import trainer_for
from terrycloth.models.privacy.randomness import Purpose, add_noise
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.secure_aggregation.fixed_point import FixedPoint
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import (
    REPLY_RECORD,
    UPDATE_RECORD,
    Refusal,
    Reply,
    Request,
    pack_request,
    unpack_reply,
)
from terrycloth.server.settings import ServerSettings
from terrycloth.server.strategy import FederatedSum
from tests.client.conftest import DIM, ITEMS
from tests.client.training.test_opacus_trainer import (
    ClipForgetsTheVector,
    NoNoiseOnTheVector,
    NoNoiseOnUntouched,
)
from tests.policies import ANYTHING
from tests.secret import SECRET, SECRETS

ALARM = 1e-7  # probability of a false alarm, over everything that one check looks at
RUNS = 100

Patch = pytest.MonkeyPatch


@dataclass
class Bench:
    """A folder, and the fixtures of tests/client/conftest.py for settings, models, events and cohorts."""

    folder: Path
    shop: Any
    ask: Callable[..., RoundSettings]
    build: Callable[..., Any]
    copied: Callable[..., Parameters]
    held: Callable[..., Any]
    gather: Callable[..., Cohort]
    numbers: Iterator[int] = field(default_factory=count)

    def group(self, *baskets: list[int], seed: int | None = 7, policy: str | None = None) -> Path:
        """Create the folder of a new device group."""
        folder = self.folder / f"device group-{next(self.numbers)}"
        DeviceGroup.create(folder, self.shop, self.held(*baskets), ANYTHING, seed)
        if policy is not None:
            (folder / "policy.toml").write_text(policy)
        return folder

    def request(self, settings: RoundSettings) -> Request:
        return Request(self.copied(self.build(settings)), settings)


def state_of(folder: Path) -> DeviceState:
    return DeviceState.load(folder / "state-0-of-1.safetensors")


def sent_by(folder: Path, content: RecordDict, **run_config: str) -> Message:
    """Return the answer of a device group's app, trained by the reference, which the variants break."""
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=run_config)
    return terrycloth.client.app.make_app(folder, trainer="reference")(Message(content, 1, "train"), context)


def reference(folder: Path) -> DeviceGroup:
    """Return the device group of a folder, trained by the reference trainer."""
    return DeviceGroup(folder, trainer="reference")


def flat(parameters: Parameters) -> Tensor:
    return torch.cat([parameters[name].reshape(-1).double() for name in sorted(parameters)])


def released(bench: Bench, settings: RoundSettings, *baskets: list[int], runs: int = RUNS) -> Tensor:
    """Return all that the observer of the promise sees of each run: [runs, coordinates].

    At interaction level the change of the shopper's vector comes last, because it affects later rounds.
    """
    model = bench.build(settings)
    start, trainer = bench.copied(model), trainer_for(model, settings)
    shown = []
    for query in range(1, runs + 1):
        cohort = bench.gather(bench.held(*baskets), query=query)
        everyone = np.arange(len(baskets))
        cohort = replace(cohort, targets=Targets.from_pairs(everyone, 0 * everyone + 3, len(baskets)))
        update, vectors = trainer.train(cohort, start)
        server = ServerSettings(catalogue=Path("c"), noise_seed=query)
        update = FederatedSum(start, settings, server).released(settings, update)
        moved = (vectors - cohort.vectors).reshape(-1) if settings.unit == "interaction" else torch.empty(0)
        shown.append(torch.cat([flat(update), moved.double()]))
    return torch.stack(shown)


def assert_noise(noise: Tensor, deviation: float) -> None:
    """Check that noise [runs, coordinates] has this deviation in each coordinate, with none correlated."""
    runs, coordinates = noise.shape
    squares = (noise / deviation).square()
    together = (noise / deviation).sum(dim=1).square().sum() / coordinates
    low, high = chi2.interval(1 - ALARM / 3 / coordinates, runs)
    assert ((squares.sum(dim=0) >= low) & (squares.sum(dim=0) <= high)).all()
    for total, freedom in ((squares.sum(), runs * coordinates), (together, runs)):
        low, high = chi2.interval(1 - ALARM / 3, freedom)
        assert low <= float(total) <= high


def assert_count(found: int, trials: int, chance: float, checks: int = 1) -> None:
    """Check that a binomial count is within bounds; over all checks false alarms have chance ALARM."""
    low, high = binom.interval(1 - ALARM / checks, trials, chance)
    assert low <= found <= high


def refusal_of(folder: Path, request: Request) -> Refusal | None:
    """Return why a device group of one refuses, or None if it answers."""
    return next(iter(DeviceGroup(folder).answer(request).refused), None)


# 1: everything that a gradient changes


def vector_is_in_dp_sgd(bench: Bench) -> None:
    """The shopper's vector is noised like any row, and its gradient counts in the norm that is clipped."""
    settings = bench.ask(noise_multiplier=1.7, clip=0.3)
    noise = released(bench, settings, [0, 0, 1])
    silent = settings.model_copy(update={"noise_multiplier": 0.0})
    noise -= released(bench, silent, [0, 0, 1])
    assert_noise(noise[:, -DIM:], settings.learning_rate * 1.7 * 0.3)

    settings = bench.ask(noise_multiplier=0.0, clip=0.05, learning_rate=1.0)
    model = bench.build(settings)
    cohort = bench.gather(bench.held([3], weights=[1e6]))
    update, vectors = OpacusTrainer(model, settings).train(cohort, bench.copied(model))
    change = torch.cat([flat(update), (vectors - cohort.vectors).reshape(-1).double()])
    assert 0.99 * 0.05 < float(change.norm()) <= 0.05 + 1e-6


def optimiser(broken: type) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(terrycloth.client.training.opacus_trainer, "KeyedDPOptimizer", broken)


VECTOR = {
    "a vector trained without noise": optimiser(NoNoiseOnTheVector),
    "a clip that forgets the vector": optimiser(ClipForgetsTheVector),
}


# 2: divisors and numbers of steps are public constants


def gradients_are_summed(bench: Bench) -> None:
    """Three equal events move a device three times as far: nothing is divided by their number."""
    settings = bench.ask(noise_multiplier=0.0, clip=1e6, negative_weight=0.0, learning_rate=0.01)
    model = bench.build(settings)
    start, trainer = bench.copied(model), OpacusTrainer(model, settings)
    once, thrice = (
        flat(trainer.train(bench.gather(bench.held(basket)), start)[0]) for basket in ([4], [4, 4, 4])
    )
    assert once.abs().max() > 1e-3
    assert torch.allclose(thrice, 3 * once, rtol=1e-3, atol=1e-6)


def mean_of_the_batch(patch: Patch) -> None:
    real = SgdTrainer.summed_loss
    patch.setattr(SgdTrainer, "summed_loss", lambda own, items, w: real(own, items, w) / max(1, len(items)))


def opacus_mean_by_own_events(patch: Patch) -> None:
    real = SgdTrainer.train_device

    def train_device(self: OpacusTrainer, cohort: Cohort, device: int, events: Any) -> None:
        self.optimizer.loss_reduction, self.optimizer.expected_batch_size = "mean", max(1, len(events))
        real(self, cohort, device, events)

    patch.setattr(SgdTrainer, "train_device", train_device)


SUMS = {"the mean of the batch": mean_of_the_batch, "Opacus's mean by own events": opacus_mean_by_own_events}


def steps_and_draws_are_constant(bench: Bench) -> None:
    """The number of steps and the sampling draw of each event do not depend on what a device holds."""
    settings = bench.ask(steps_per_round=60, sampling_rate=0.3, clip=0.01)
    for events in (0, 1, 40):
        model = bench.build(settings)
        trainer, batches, steps = OpacusTrainer(model, settings), [0], [0]
        trainer.module.register_forward_pre_hook(lambda _, inputs, to=batches: to.append(len(inputs[0])))
        real = trainer.optimizer.step

        def step(real: Any = real, to: list[int] = steps) -> None:
            to.append(1)
            real()

        trainer.optimizer.step = step  # type: ignore[method-assign]
        trainer.train(bench.gather(bench.held([5] * events)), bench.copied(model))
        assert sum(steps) == 60
        assert_count(sum(batches), 60 * events, 0.3, checks=3)


def steps_by_events(patch: Patch) -> None:
    real = SgdTrainer.train_device

    def train_device(self: SgdTrainer, cohort: Cohort, device: int, events: Any) -> None:
        asked = self.settings
        self.settings = asked.model_copy(update={"steps_per_round": max(1, len(events))})
        real(self, cohort, device, events)
        self.settings = asked

    patch.setattr(SgdTrainer, "train_device", train_device)


def batches_of_one_size(patch: Patch) -> None:
    real = KeyedPoissonSampler.__init__

    def init(self: Any, events: int, rate: float, *rest: Any) -> None:
        real(self, events, min(1.0, 2.0 / events), *rest)

    patch.setattr(KeyedPoissonSampler, "__init__", init)


STEPS_AND_DRAWS = {
    "steps by the number of events": steps_by_events,
    "batches of one size": batches_of_one_size,
}


# 3: negatives


def negatives_are_of_the_whole_catalogue(bench: Bench) -> None:
    """Every item is drawn as a negative as often as any other, including those that the device holds."""
    settings = bench.ask(steps_per_round=200, negatives=5)
    model = bench.build(settings)
    trainer, seen = OpacusTrainer(model, settings), []
    trainer.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 1:].reshape(-1)))
    trainer.train(bench.gather(bench.held([2, 5])), bench.copied(model))
    drawn = torch.cat(seen)
    assert len(drawn) == 200 * 2 * 5
    for item in range(ITEMS):
        assert_count(int((drawn == item).sum()), len(drawn), 1 / ITEMS, checks=ITEMS)


def negatives_that_avoid_positives(patch: Patch) -> None:
    real = Cohort.stream

    def stream(self: Cohort, device: int, step: int, purpose: Purpose) -> Any:
        drawn = real(self, device, step, purpose)
        if purpose == Purpose.NEGATIVES:
            others, draw = np.setdiff1d(np.arange(ITEMS), self.events.items), drawn.integers
            drawn.integers = lambda count, below: others[draw(count, len(others))]
        return drawn

    patch.setattr(Cohort, "stream", stream)


NEGATIVES = {"negatives that avoid what the device holds": negatives_that_avoid_positives}


# 4: every coordinate


DEVICES_AND_NOISE = {  # settings, how many devices, the noise's deviation in what is released
    "interaction": ({"clip": 0.3}, 1, 0.5 * 1.7 * 0.3),
    "local": ({"unit": "shopper", "trust": "local"}, 4, 1.7 * 2.0),
    "central": ({"unit": "shopper", "trust": "central"}, 4, 1.7),
    # With the fewest devices that there may be, their noise shares alone must be enough.
    "distributed": ({"unit": "shopper", "trust": "distributed", "least_devices": 4}, 4, 1.7),
}
EVALUATION = {"round": 11, "evaluate": True, "evaluation_noise": 1.7}


def noise_is_everywhere(promise: str, **changes: Any) -> Callable[[Bench], None]:
    """Noise has the promised size on each coordinate, on rows that events touched and on all others."""
    values, devices, deviation = DEVICES_AND_NOISE[promise]

    def check(bench: Bench) -> None:
        baskets = [[0, 0, 1], [], [1], [0]][:devices]
        # Without the weight on the whole catalogue, rows that no event touched stay at zero.
        settings = bench.ask(**values | {"noise_multiplier": 1.7, "catalogue_weight": 0.0} | changes)
        silent = settings.model_copy(update={"noise_multiplier": 0.0, "evaluation_noise": 0.0})
        clean = released(bench, silent, *baskets)
        if not settings.evaluates:
            assert (clean == 0).any()
        assert (clean != 0).any()
        expected = deviation * 3**0.5 if settings.evaluates else deviation
        assert_noise(released(bench, settings, *baskets) - clean, expected)

    check.__doc__ = noise_is_everywhere.__doc__
    return check


def only_touched_rows(value: Tensor, deviation: float, stream: Any) -> Tensor:
    return torch.where(value != 0, add_noise(value, deviation, stream), value.float())


def all_rows_but_biases(value: Tensor, deviation: float, stream: Any) -> Tensor:
    return value.float() if value.shape == (ITEMS, 1) else add_noise(value, deviation, stream)


def noise_by(module: Any, broken: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(module, "add_noise", broken)


def shares_on_touched_rows_only(patch: Patch) -> None:
    encode, draw, steps = FixedPoint.encode, terrycloth.client.training.noise.discrete_normals, []

    def remember(self: FixedPoint, update: Parameters) -> Tensor:
        steps[:] = [encode(self, update)]
        return steps[0].clone()

    patch.setattr(FixedPoint, "encode", remember)
    patch.setattr(
        terrycloth.client.training.noise,
        "discrete_normals",
        lambda *rest: draw(*rest) * (steps[0] != 0).numpy(),
    )


def shares_of_all_devices(patch: Patch) -> None:
    """The noise is divided by all ten devices, so that the noise of the four that answered is too small."""
    real = terrycloth.client.training.noise.fixed_point

    def fixed_point(settings: RoundSettings, coordinates: int) -> FixedPoint:
        grid = real(settings, coordinates)
        return replace(grid, share=grid.share * (settings.least_devices / settings.devices) ** 0.5)

    patch.setattr(terrycloth.client.training.noise, "fixed_point", fixed_point)


def an_untouched_row_of_dp_sgd(patch: Patch) -> None:
    optimiser(NoNoiseOnUntouched)(patch)


COORDINATES: dict[str, dict[str, Callable[[Patch], None]]] = {
    "interaction": {
        "an untouched row without noise": an_untouched_row_of_dp_sgd,
        "an array without noise": noise_by(terrycloth.client.training.opacus_trainer, all_rows_but_biases),
    },
    "local": {
        "an untouched row without noise": noise_by(terrycloth.client.training.noise, only_touched_rows)
    },
    "central": {"an untouched row without noise": noise_by(terrycloth.server.aggregate, only_touched_rows)},
    "distributed": {
        "an untouched row without noise": shares_on_touched_rows_only,
        "a share of all devices, not of the fewest": shares_of_all_devices,
    },
}


def evaluation_without_noise(owner: type, name: str) -> Callable[[Patch], None]:
    """Only training adds noise, the evaluation does not."""

    def variant(patch: Patch) -> None:
        real = getattr(owner, name)

        def silent(self: Any, *rest: Any) -> Any:
            settings = rest[0] if name == "released" else self.settings
            if settings.evaluates:
                settings = settings.model_copy(update={"evaluation_noise": 0.0})
                if name == "released":
                    return real(self, settings, *rest[1:])
                self.settings = settings
            return real(self, *rest)

        patch.setattr(owner, name, silent)

    return variant


UNNOISED_EVALUATION = {
    "local": {
        "an evaluation without noise": evaluation_without_noise(
            terrycloth.client.training.noise.LocalNoise, "train"
        )
    },
    "distributed": {
        "an evaluation without noise": evaluation_without_noise(
            terrycloth.client.training.noise.SharedNoise, "train"
        )
    },
    "central": {"an evaluation without noise": evaluation_without_noise(FederatedSum, "released")},
}


# 5: a device that holds nothing


def empty_device_looks_like_any_other(bench: Bench) -> None:
    """A device that takes part answers, in as many bytes and with as much noise, whatever it holds."""
    for unit in ("interaction", "shopper"):
        request = bench.request(bench.ask(unit=unit))
        sizes = set()
        for basket in ([], [6], [*range(ITEMS)] * 5):
            reply = sent_by(bench.group(basket), pack_request(request)).content
            assert dict(reply[REPLY_RECORD]) == {"protocol": 1, "round": 1, "answered": 1}
            sizes.add(sum(len(part.deflate()) for part in get_all_nested_objects(reply).values()))
            zeros = [float((array.numpy() == 0).mean()) for array in reply[UPDATE_RECORD].values()]
            assert max(zeros, default=1.0) < 0.2
        assert len(sizes) == 1


def empty_device_stays_silent(patch: Patch) -> None:
    real = DeviceGroup.participation_draws
    patch.setattr(
        DeviceGroup,
        "participation_draws",
        lambda own, query: np.where(own.events.counts > 0, real(own, query), 2.0),
    )


def empty_device_sends_zeros(patch: Patch) -> None:
    real = SgdTrainer.train_device
    patch.setattr(SgdTrainer, "train_device", lambda *rest: real(*rest) if len(rest[-1]) else None)


def empty_device_sends_no_arrays(patch: Patch) -> None:
    real = DeviceGroup.answer

    def answer(self: DeviceGroup, request: Request) -> Reply:
        reply = real(self, request)
        return reply if len(self.events) else replace(reply, update={})

    patch.setattr(DeviceGroup, "answer", answer)


EMPTY = {
    "an empty device that does not answer": empty_device_stays_silent,
    "an empty device that sends zeros": empty_device_sends_zeros,
    "an empty device that sends no arrays": empty_device_sends_no_arrays,
}


# 7: nothing but the update and public facts


def reply_is_public(bench: Bench) -> None:
    """A reply holds the model's arrays, the round and how many took part, and the server accepts it."""
    request = bench.request(bench.ask(participation=0.5))
    folder = bench.group([1, 4, 4], [], [6], [2, 2, 2], [5])
    coins = int((DeviceGroup(folder).participation_draws(1) < 0.5).sum())
    reply = sent_by(folder, pack_request(request)).content
    assert 0 < coins < 5
    assert set(reply) == {UPDATE_RECORD, REPLY_RECORD}
    assert dict(reply[REPLY_RECORD]) == {"protocol": 1, "round": 1, "answered": coins}
    assert set(reply[UPDATE_RECORD]) == set(request.parameters)
    assert unpack_reply(reply, request.parameters, 1).answered == coins


def reply_with(add: Callable[[RecordDict], Any]) -> Callable[[Patch], None]:
    def variant(patch: Patch) -> None:
        real = terrycloth.client.app.pack_reply

        def pack(reply: Reply) -> RecordDict:
            packed = real(reply)
            add(packed)
            return packed

        patch.setattr(terrycloth.client.app, "pack_reply", pack)

    return variant


REPLIES = {
    "an event count as a metric": reply_with(
        lambda reply: reply.update({"metrics": MetricRecord({"num-examples": 8})})
    ),
    "a loss as a fact": reply_with(lambda reply: reply[REPLY_RECORD].update({"train-loss": 0.25})),
    "a count of events in place of devices": reply_with(
        lambda reply: reply[REPLY_RECORD].update({"answered": 8})
    ),
    "seconds of training as a record": reply_with(
        lambda reply: reply.update({"cost": ConfigRecord({"s": 0.7})})
    ),
    "the shopper's vector as an array": reply_with(
        lambda reply: reply[UPDATE_RECORD].update({"shopper.weight": Array(np.ones((1, DIM), np.float32))})
    ),
}


# 11: randomness


def each_training_has_its_own_key(bench: Bench) -> None:
    """Each training has a key from the operating system, and no two answers share noise."""
    given, used = [], []
    real, train = terrycloth.models.privacy.randomness.secrets.token_bytes, OpacusTrainer.train

    def token_bytes(length: int) -> bytes:
        given.append(real(length))
        return given[-1]

    def training(self: OpacusTrainer, cohort: Cohort, parameters: Parameters) -> Any:
        used.append(cohort.key)
        return train(self, cohort, parameters)

    with Patch.context() as patch:
        patch.setattr(terrycloth.models.privacy.randomness.secrets, "token_bytes", token_bytes)
        patch.setattr(OpacusTrainer, "train", training)
        folder = bench.group([1, 4], seed=None)
        replies = [reference(folder).answer(bench.request(bench.ask(round=number))) for number in (1, 2)]
        backup = {path: path.read_bytes() for path in folder.glob("state-*")}
        replies.append(reference(folder).answer(bench.request(bench.ask(round=3))))
        for path, content in backup.items():  # after a restored backup, the same query is sent once more
            path.write_bytes(content)
        replies.append(reference(folder).answer(bench.request(bench.ask(round=3))))
    assert len(set(used)) == 4
    assert set(used) <= set(given)
    for number, reply in enumerate(replies):
        for other in replies[:number]:
            same = torch.isclose(flat(reply.update), flat(other.update), atol=1e-6)
            assert int(same.sum()) <= 4  # of 32; on the grid one of 2,000 agrees by chance


def one_key_for_two_trainings(patch: Patch) -> None:
    real, kept = DeviceGroup.new_key, {}
    patch.setattr(DeviceGroup, "new_key", lambda own: kept.setdefault(own.folder, real(own)))


def keys_of_a_mersenne_twister(patch: Patch) -> None:
    draw = np.random.Generator(np.random.MT19937(3))
    patch.setattr(terrycloth.client.device_group, "new_key", lambda: draw.bytes(32))


KEYS = {
    "one key for two trainings": one_key_for_two_trainings,
    "keys of a Mersenne Twister": keys_of_a_mersenne_twister,
}


def noise_lies_on_a_grid(bench: Bench) -> None:
    """What leaves is a multiple of a public step, which the settings alone determine (Mironov 2012)."""
    for changes, step in (({}, 0.5 * 2.0**-10), ({"unit": "shopper"}, 2.0**-10)):
        settings = bench.ask(**changes)
        model = bench.build(settings)
        zeros = {name: torch.zeros_like(tensor) for name, tensor in bench.copied(model).items()}
        trainer = trainer_for(model, settings)
        for basket in ([], [3], [0, 1, 1, 5]):
            update, _ = trainer.train(bench.gather(bench.held(basket)), zeros)
            multiples = flat(update) / step
            assert torch.equal(multiples.round(), multiples)


def noise_off_the_grid(patch: Patch) -> None:
    for module in (terrycloth.client.training.noise, terrycloth.client.training.opacus_trainer):
        patch.setattr(
            module,
            "add_noise",
            lambda value, deviation, stream: (
                value + (deviation * torch.from_numpy(stream.normals(value.numel()))).view_as(value).float()
            ),
        )


GRID = {"noise in plain floating point": noise_off_the_grid}


# 12: no private value in a text or a file name


class Listener(logging.Handler):
    """Keep what is logged, arguments and tracebacks included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(f"{logging.Formatter().format(record)} {record.__dict__}")


def errors_contain_no_value(bench: Bench) -> None:
    """An error on a device names its type and place, in the device's own log only, and never a value."""
    listener, root = Listener(), logging.getLogger()
    folder = bench.group([1])

    def fail(*rest: Any) -> None:
        raise IndexError(SECRET)

    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    try:
        with Patch.context() as patch:
            patch.setattr(DeviceGroup, "train_once", fail)
            reply = sent_by(folder, pack_request(bench.request(bench.ask())))
    finally:
        root.removeHandler(listener)
        root.setLevel(level)
    assert reply.has_error()
    texts = [reply.error.reason, *listener.logged, *(str(path) for path in folder.rglob("*"))]
    assert texts[0] == "this node cannot answer"
    assert any("IndexError" in text for text in texts[1:])
    assert not [text for text in texts if any(part in text for part in SECRETS)]


def text_is_passed_on(patch: Patch) -> None:
    patch.setattr(terrycloth.client.app, "own_frames", str)


def traceback_is_logged(patch: Patch) -> None:
    real = terrycloth.client.app.logger.error
    patch.setattr(terrycloth.client.app.logger, "error", lambda *rest: real(*rest, exc_info=True))


def type_is_sent(patch: Patch) -> None:
    patch.setattr(
        terrycloth.client.app,
        "Error",
        lambda code, reason: Error(code=code, reason=f"{reason}: {sys.exc_info()[1]!r:.10}"),
    )


def file_of_a_shopper(patch: Patch) -> None:
    real = DeviceGroup.train

    def train(self: DeviceGroup, *rest: Any) -> None:
        (self.folder / f"{SECRET}.log").touch()
        real(self, *rest)

    patch.setattr(DeviceGroup, "train", train)


TEXTS = {
    "an exception text that holds a value": text_is_passed_on,
    "a traceback in the log": traceback_is_logged,
    "the type of an error in its reply": type_is_sent,
    "a file named by a value": file_of_a_shopper,
}


# 13: failures and memory do not depend on what a device holds


def failed_device_answers_as_if_empty(bench: Bench) -> None:
    """If training raises any error, the device is in the sum as if it held nothing, and so are all others."""
    request = bench.request(bench.ask())
    expected = reference(bench.group([1, 4], [], [6])).answer(request)
    real = OpacusTrainer.train

    def train(self: OpacusTrainer, cohort: Cohort, parameters: Parameters) -> Any:
        if 7 in cohort.events.items:
            raise MemoryError
        return real(self, cohort, parameters)

    with Patch.context() as patch:
        patch.setattr(OpacusTrainer, "train", train)
        reply = sent_by(bench.group([1, 4], [7, 2, 7], [6]), pack_request(request))
    assert not reply.has_error()
    answer = unpack_reply(reply.content, request.parameters, 1)
    assert answer.answered == expected.answered == 3
    assert torch.equal(flat(answer.update), flat(expected.update))


def errors_leave_the_device(patch: Patch) -> None:
    patch.setattr(terrycloth.client.device_group, "attempt", lambda make: make())


def only_exceptions_are_caught(patch: Patch) -> None:
    def attempt(make: Callable[[], Any]) -> Any:
        try:
            return make()
        except ValueError:
            return None

    patch.setattr(terrycloth.client.device_group, "attempt", attempt)


def all_hold_nothing(patch: Patch) -> None:
    patch.setattr(
        DeviceGroup, "sound", lambda own, cohort, request: np.zeros(len(cohort.devices), dtype=np.bool_)
    )


def failed_device_is_left_out(patch: Patch) -> None:
    real = Cohort.holding_if
    patch.setattr(Cohort, "holding_if", lambda own, kept: real(own.take(np.flatnonzero(kept)), kept[kept]))


FAILURES = {
    "an error that leaves the device": errors_leave_the_device,
    "an error that is no Exception": only_exceptions_are_caught,
    "a failure that takes all others out of the sum": all_hold_nothing,
    "a failed device that is left out of the sum": failed_device_is_left_out,
}


def memory_depends_on_public_numbers(bench: Bench) -> None:
    """The number of interactions processed at a time depends on public numbers only, for any device."""
    settings = bench.ask(negatives=500, steps_per_round=2)
    most = []
    for events in (1, 3_000):
        model = bench.build(settings)
        trainer, batches = OpacusTrainer(model, settings), [0]
        trainer.module.register_forward_pre_hook(lambda _, inputs, to=batches: to.append(len(inputs[0])))
        trainer.train(bench.gather(bench.held([5] * events)), bench.copied(model))
        most.append(max(batches) * trainer.numbers_of_example)
    assert max(most) <= 2**22


def whole_batches(patch: Patch) -> None:
    patch.setattr(terrycloth.client.training.sgd_trainer, "CHUNK", 2**62)


def chunks_that_forget_the_parameters(patch: Patch) -> None:
    patch.setattr(OpacusTrainer, "chunk", 3_000)


MEMORY = {"whole batches": whole_batches, "chunks of some events": chunks_that_forget_the_parameters}


def killed_device_answers_as_if_empty(bench: Bench) -> None:
    """If training was begun but never answered, all devices answer as if they held nothing."""
    settings = bench.ask(noise_multiplier=0.0, epsilon=inf)
    folder, request = bench.group([1, 4, 4], seed=None), bench.request(settings)
    with Patch.context() as patch:
        patch.setattr(DeviceGroup, "trained", out_of_memory)
        with pytest.raises(MemoryError):  # this stands for a process that ends
            reference(folder).answer(request)
    assert not state_of(folder).replied
    answer = reference(folder).answer(request)
    assert answer.answered == 1
    assert not flat(answer.update).any()


def out_of_memory(*rest: Any) -> None:
    raise MemoryError


def begun_is_not_recorded(patch: Patch) -> None:
    patch.setattr(DeviceGroup, "begin", lambda own, state: nullcontext(True))


def begun_is_recorded_too_late(patch: Patch) -> None:
    real = DeviceState.save
    patch.setattr(DeviceState, "save", lambda own, path: real(replace(own, begun=False), path))


KILLED = {
    "training that is not recorded": begun_is_not_recorded,
    "a record that never reaches the disk": begun_is_recorded_too_late,
}


def sums_move_by_the_clip(bench: Bench) -> None:
    """One of thousands of equal interactions moves their sum by no more than the clip."""
    settings = bench.ask(noise_multiplier=0.0, clip=0.1, negative_weight=0.0, negatives=1)
    sums: list[Tensor] = []
    real = KeyedDPOptimizer.add_noise

    def add_noise(self: KeyedDPOptimizer) -> None:
        sums.append(torch.cat([part.summed_grad.reshape(-1).double() for part in self.params]))
        real(self)

    with Patch.context() as patch:
        patch.setattr(KeyedDPOptimizer, "add_noise", add_noise)
        for events in (9_000, 9_001):
            held = bench.held([3] * events, weights=[1e6] * events)
            model = bench.build(settings)
            OpacusTrainer(model, settings).train(bench.gather(held), bench.copied(model))
    assert 0.999 * 0.1 < float((sums[1] - sums[0]).norm()) <= 0.1


def sums_in_single_precision(patch: Patch) -> None:
    real = KeyedDPOptimizer.clip_and_accumulate

    def clip_and_accumulate(self: KeyedDPOptimizer) -> None:
        real(self)
        for part in self.params:
            part.summed_grad = part.summed_grad.float()

    patch.setattr(KeyedDPOptimizer, "clip_and_accumulate", clip_and_accumulate)


PRECISION = {"a sum in single precision": sums_in_single_precision}


# 14: the owner decides, not the server


def only_the_owner_decides(bench: Bench) -> None:
    """The run config, which comes with a query, cannot name another policy or another device group."""
    folder, other = bench.group([1, 4], policy="units = ['shopper']"), bench.group([2], [3])
    free = bench.folder / "free.toml"
    free.write_text("")
    request = bench.request(bench.ask())
    reply = sent_by(folder, pack_request(request), policy=str(free), group=str(other)).content
    assert dict(reply[REPLY_RECORD]).get(f"refused.{Refusal.UNIT}") == 1
    assert not list(folder.glob("state-*"))


def run_config_is_believed(patch: Patch) -> None:
    patch.setattr(
        terrycloth.client.app,
        "owned",
        lambda context, name: Path(context.run_config[name]) if name in context.run_config else None,
    )


OWNERS = {"a policy that comes with the query": run_config_is_believed}

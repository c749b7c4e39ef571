"""A device group: the devices behind one Flower node. One in a deployment, thousands in a simulation.

The folder of a device group stands for its devices' own disks:

    catalogue.parquet            public
    events/*.npy                 what the devices hold
    targets/*.npy                purchases of each that training never sees, to measure by; may be absent
    state-K-of-N.safetensors     their vectors, ledgers and last answer
    *.lock                       keep two processes from the same state, and tell a lost one from a new device
    group policy.toml                  what the devices allow, unless their owner named another file seed
    only where a run must be repeatable: in place of keys from the system
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from math import inf
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.ledger import Integers, Ledger, Mask
from terrycloth.client.policy import Policy, PolicyUnreadable, policy_of
from terrycloth.client.state import CorruptState, DeviceState
from terrycloth.client.targets import Targets
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.trainers import trainer_for
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.durable import locked, owner_only
from terrycloth.models.privacy.randomness import Purpose, Stream, new_key, seeded_key
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.recommender import Parameters, Recommender, shapes
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import Refusal, Reply, Request, digest, expected_update, plain

TARGETS_FOLDER = "targets"

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

# For the owner of a device, in its own log.
CORRUPT = (
    "every query is refused, because %s in the device group's folder is missing, damaged, or belongs to other"
    " devices: restore it from a backup that is not older than the last answer; if there is none, what was"
    " spent is not known, so retire the devices by removing the device group's whole folder (never delete"
    " only the ledger)"
)
NO_POLICY = (
    "every query is refused, for the devices' policy cannot be used: %s; say what they allow in"
    " policy.toml in the device group's folder, a line a rule, such as most_epsilon = 8.0, or in another"
    " file, named to the node as its policy"
)


FAILED = "training failed (%s): whoever fails answers as if it held nothing"


class Declined(Exception):
    """Every device of the device group refuses a query."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(str(reason))
        self.reason = reason


class DeviceGroup:
    """The devices of partition `partition` out of `partitions`, opened from a folder.

    policy: the file of the devices' policy, absolute, where it is not in the folder. trainer: `fast` trains
    all devices in one computation; `reference` trains one after another, by Opacus.
    torch_device: where neural CF is trained together, as torch names it. clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        partition: int = 0,
        partitions: int = 1,
        *,
        policy: Path | None = None,
        trainer: str = "fast",
        torch_device: str = "cpu",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 <= partition < partitions:
            raise ValueError("partitions are numbered from 0")
        devices = Events.count_devices(folder / "events")
        start, stop = (devices * edge // partitions for edge in (partition, partition + 1))
        self.folder = folder
        self.span = start, stop
        self.devices = np.arange(start, stop)
        self.partition = partition
        self.partitions = partitions
        self.state_path = self.own_path("state", ".safetensors")
        self.lock_path = self.state_path.with_suffix(".lock")
        self.policy_path = policy
        self.torch_device = torch_device
        self.together = trainer == "fast"
        self.clock = clock

    def own_path(self, name: str, suffix: str = "") -> Path:
        """A file of this partition alone."""
        return self.folder / f"{name}-{self.partition}-of-{self.partitions}{suffix}"

    @cached_property
    def events(self) -> Events:
        """What this partition's devices hold. Not opened before a query is allowed and booked."""
        return Events.load(self.folder / "events").span(*self.span)

    @property
    def catalogue(self) -> Catalogue:
        """What is on sale; public."""
        return _catalogue(self.folder / "catalogue.parquet")

    @cached_property
    def targets(self) -> Targets:
        """The items that each device keeps back to measure by."""
        path = self.folder / TARGETS_FOLDER
        return Targets.load(path).span(*self.span) if path.exists() else Targets.none(len(self.devices))

    @staticmethod
    @owner_only()
    def create(
        folder: Path,
        catalogue: Catalogue,
        events: Events,
        policy: Policy,
        seed: int | None = None,
        targets: Targets | None = None,
    ) -> None:
        """Lay out a device group's folder. With a seed, anyone can repeat its draws: it is not private.

        policy: what the devices allow; of their events they store the newest `most_events`. targets: the
        items that each device keeps back to measure by.
        """
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        catalogue.save(folder / "catalogue.parquet")
        events.newest(policy.most_events).save(folder / "events")
        if targets is not None:
            targets.save(folder / TARGETS_FOLDER)
        policy.save(folder)
        if seed is not None:
            (folder / "seed").write_text(str(seed))

    def answer(self, request: Request) -> Reply:
        """Train the devices that take part, and add up their updates.

        A query has one answer. It is booked in the ledgers, on disk, before training starts; the answer is
        on disk before it leaves. Asked again word for word, the devices repeat the answer they stored; any
        other query is booked as a further release. Each training draws from a key of its own, which is
        kept nowhere. So no crash, replay, restored backup or second server makes two answers share noise.
        """
        settings = request.settings
        try:
            policy = self.allow(settings)
            if settings.trust_model.secure_aggregation and not policy.unmasked:
                raise Declined(Refusal.MASKS)  # this answer is read by whoever asks
            names = list(self.expected(request, policy))
            with self.booked(settings, digest(request).hex(), policy) as state:
                if not state.replied:
                    self.train(state, request)
                    state.save(self.state_path)
        except Declined as declined:
            return self.refuse(settings.round, declined.reason)
        # In the order of the query: a stored answer must not look different from a fresh one.
        update = {name: state.update[name] for name in names if name in state.update}
        return Reply(settings.round, update, int(state.took_part.sum()), state.refused)

    def allow(self, settings: RoundSettings) -> Policy:
        """The devices' own policy, where it has nothing against these settings. Raises Declined."""
        try:
            policy = policy_of(self.folder, self.policy_path)
        except PolicyUnreadable as reason:
            logger.error(NO_POLICY, reason)
            raise Declined(Refusal.POLICY) from None
        if objection := policy.objection(settings):
            raise Declined(objection)
        return policy

    def expected(self, request: Request, policy: Policy) -> Parameters:
        """`expected_update` of a request whose parameters fit the model, and whose size is allowed.

        Raises Declined.
        """
        shared = self.load_model(request.settings).shared_parameters()
        if not fits(request.parameters, shared):
            raise Declined(Refusal.MODEL)
        return self.allowed_update(request.settings, policy, shared)

    def allowed_update(self, settings: RoundSettings, policy: Policy, shared: Parameters) -> Parameters:
        """`expected_update`, where the policy has nothing against its size. Raises Declined."""
        update = expected_update(settings, shared)
        if objection := policy.size_objection(settings, len(self.catalogue), update):
            raise Declined(objection)
        return update

    @contextmanager
    def opened(self, settings: RoundSettings) -> Iterator[DeviceState]:
        """The devices' state as it is on disk; nobody else's until the block is left. Raises Declined."""
        if not self.claim(settings.vector_length):
            raise Declined(Refusal.PARTITION)
        with locked(self.lock_path):
            state = self.load_state(settings.vector_length)
            if state.promise not in ("", promise_of(settings)):
                raise Declined(Refusal.PROMISE)
            yield state

    @contextmanager
    def booked(self, settings: RoundSettings, query: str, policy: Policy) -> Iterator[DeviceState]:
        """The devices' state, on disk, with a query in its ledgers; nobody else's until the block is left.

        query: what tells it from every other. Raises Declined.
        """
        with self.opened(settings) as state:
            if query != state.query:
                state = self.book(state, settings, query, policy)
                state.save(self.state_path)
            yield state

    def train(self, state: DeviceState, request: Request) -> None:
        """Put the answer to the booked query, and the vectors it leads to, into the state.

        From here on a failure must not show: it may be of what a device holds. Nor may it show that training
        was killed, for its memory perhaps: where it was begun before, all answer as if they held nothing.
        """
        chosen = np.flatnonzero(state.took_part)
        if len(chosen):
            cohort = Cohort(
                devices=self.devices[chosen],
                events=Events.none(len(chosen)),
                vectors=state.vectors[chosen],
                key=self.new_key(),
                query=state.asked,
                targets=Targets.none(len(chosen)),
            )
            with self.begin(state) as first:
                trained = self.trained(cohort, chosen, request) if first else self.train_once(cohort, request)
                update, vectors = trained
                state.update = {name: plain(tensor) for name, tensor in update.items()}
                state.vectors = state.vectors.index_copy(0, torch.from_numpy(chosen), vectors)
        state.replied = True

    @contextmanager
    def begin(self, state: DeviceState) -> Iterator[bool]:
        """Note on disk that training is begun; gives whether it is for the first time.

        Who stops the process by Ctrl-C may go on later as if nothing had been: that tells nothing. A seeded
        device group notes nothing: it is not private, and a run that was killed has to end as the unbroken
        one would.
        """
        first = not state.begun
        if self.seeded or not first:
            yield first
            return
        state.begun = True
        state.save(self.state_path)
        try:
            yield True
        except (KeyboardInterrupt, SystemExit):
            booked = DeviceState.load(self.state_path)
            booked.begun = False
            booked.save(self.state_path)
            raise

    def trained(
        self, cohort: Cohort, places: npt.NDArray[np.int64], request: Request
    ) -> tuple[Parameters, Tensor]:
        """`train_once` of a cohort that holds nothing yet, with all that the devices at these places hold.

        A failure does not say whose events made it. So those that can be trained are looked for, and trained
        among all the others, which then hold nothing. Whatever failed, the answer comes from one training of
        the whole cohort: its size, its noise and the grid that it lies on are those of any other answer.
        """
        held = attempt(partial(self.holding, cohort, places))
        if held is None:
            return self.train_once(cohort, request)
        answer = attempt(partial(self.train_once, held, request))
        if answer is None and len(places) > 1:
            sound = self.sound(held, request)
            answer = attempt(partial(self.train_once, held.holding_if(sound), request))
        return answer or self.train_once(cohort, request)

    def sound(self, cohort: Cohort, request: Request) -> npt.NDArray[np.bool_]:
        """Which devices of a cohort that cannot be trained together can be trained, found by halves."""
        sound = np.zeros(len(cohort.devices), dtype=np.bool_)
        for half in np.array_split(np.arange(len(sound)), min(2, len(sound))):
            part = cohort.take(half)
            if attempt(partial(self.train_once, part, request)) is not None:
                sound[half] = True
            elif len(half) > 1:
                sound[half] = self.sound(part, request)
        return sound

    def holding(self, cohort: Cohort, places: npt.NDArray[np.int64]) -> Cohort:
        """The cohort with what the devices at these places hold."""
        items = len(self.catalogue)
        events = usable(self.events.take(places), items)
        return replace(cohort, events=events, targets=usable_targets(self.targets, items).take(places))

    def train_once(self, cohort: Cohort, request: Request) -> tuple[Parameters, Tensor]:
        """By a model of its own: one whose training failed may be in any state."""
        model = self.load_model(request.settings)
        trainer = trainer_for(model, request.settings, self.together, self.torch_device)
        return trainer.train(cohort, request.parameters)

    def book(self, state: DeviceState, settings: RoundSettings, query: str, policy: Policy) -> DeviceState:
        """The state with a new query in its ledgers."""
        asked = state.asked + 1
        sampled = self.coins(asked) < settings.participation
        today = datetime.fromtimestamp(self.clock(), UTC).date().isoformat()
        # A clock that goes back gives no fresh day.
        day_start = state.ledger.steps if today > state.day else state.day_start
        rounds = state.rounds.copy() if settings.run == state.run else np.zeros_like(state.rounds)
        promised = rounds[:, settings.kind] < settings.most_of_kind
        took_part, booked, refused = afford(state.ledger, day_start, promised, sampled, settings, policy)
        rounds[:, settings.kind] += booked
        return DeviceState(
            vectors=state.vectors,
            took_part=took_part,
            ledger=state.ledger.after(booked, *settings.mechanism),
            day_start=day_start,
            rounds=rounds,
            asked=asked,
            query=query,
            promise=promise_of(settings),
            run=settings.run,
            refused=refused,
            day=max(today, state.day),
        )

    @property
    def seeded(self) -> bool:
        """Whether the device group's draws can be repeated by anyone: it is not private."""
        return (self.folder / "seed").exists()

    def new_key(self) -> bytes:
        """A fresh secret key. A seeded group always has the same one, and numbers its streams by query."""
        return seeded_key(int((self.folder / "seed").read_text())) if self.seeded else new_key()

    def coins(self, query: int) -> npt.NDArray[np.float64]:
        """Each device's draw in (0, 1), to take part or not: [devices]. Device d reads place d."""
        last = int(self.devices[-1]) + 1 if len(self.devices) else 0
        stream = Stream(self.new_key(), round=query, purpose=Purpose.PARTICIPATION)
        return stream.uniforms(last)[self.devices]

    def refuse(self, round: int, reason: Refusal) -> Reply:
        """Every device of the device group refuses, before it touches its events."""
        return Reply(round, {}, 0, {reason: len(self.devices)})

    def claim(self, dim: int) -> bool:
        """Make a new device group's state, unless the folder's ledgers are kept under another division.

        Where there is a lock there was a state: if that was lost, what it had booked was spent all the same.
        """
        with locked(self.folder / "device group.lock"):
            kept = [*self.folder.glob("state-*-of-*.safetensors"), *self.folder.glob("state-*-of-*.lock")]
            if any(not path.stem.endswith(f"-of-{self.partitions}") for path in kept):
                return False
            if not self.state_path.exists() and not self.lock_path.exists():
                DeviceState.new(len(self.devices), dim).save(self.state_path)
        return True

    def load_model(self, settings: RoundSettings) -> Recommender:
        """The recommender that the settings name, over this device group's catalogue."""
        return recommender_for(settings, self.catalogue)

    def load_state(self, dim: int) -> DeviceState:
        """State from disk. Vectors of another size start again at zero; the ledger always stays.

        Raises Declined where what these devices have spent cannot be read.
        """
        try:
            state = DeviceState.load(self.state_path)
            if len(state.vectors) != len(self.devices):
                raise CorruptState  # kept for other devices than the device group's
        except CorruptState:
            logger.error(CORRUPT, self.state_path.name)
            raise Declined(Refusal.LEDGER) from None
        if state.vectors.shape[1] != dim:
            state.vectors = torch.zeros(len(self.devices), dim)
            state.query = ""  # it was asked of other vectors
        return state


def promise_of(settings: RoundSettings) -> str:
    """Unit and trust: a ledger adds up one of them, and a vector may start from no training under another."""
    return f"{settings.unit}, {settings.trust}"


def afford(
    ledger: Ledger,
    day_start: Integers,
    promised: Mask,
    sampled: Mask,
    settings: RoundSettings,
    policy: Policy,
) -> tuple[Mask, Mask, dict[Refusal, int]]:
    """Which of the willing devices [devices] take part, and which are to be booked for this round.

    And how many refuse, by what they would pass: the run's or their own ε, the number of rounds promised, or
    their own ε of a day, which began at the steps day_start. promised: which devices are still within that
    number. ε alone would let what is set aside for one kind of round be spent on another.
    """
    # A round that amplifies by its coins has cost a device something whichever way its own coin fell.
    exposed = np.ones_like(sampled) if settings.trust_model.amplified_by_participation else sampled
    after = ledger.after(exposed, *settings.mechanism)
    in_all = after.epsilon(settings.delta, only_renyi=settings.only_renyi) <= min(
        settings.epsilon, policy.most_epsilon
    )
    today = np.ones_like(sampled)
    if policy.most_epsilon_a_day < inf:
        booked_today = after.since(day_start)
        spent_today = booked_today.epsilon(settings.delta, only_renyi=settings.only_renyi)
        today = spent_today <= policy.most_epsilon_a_day
    counts = {
        Refusal.BUDGET: int((sampled & ~in_all).sum()),
        Refusal.REPEATED: int((sampled & in_all & ~promised).sum()),
        Refusal.DAILY_BUDGET: int((sampled & in_all & promised & ~today).sum()),
    }
    refused = {reason: devices for reason, devices in counts.items() if devices}
    allowed = in_all & promised & today
    return sampled & allowed, exposed & allowed, refused


def attempt(make: Callable[[], Made]) -> Made | None:
    """What `make` gives, or None where it fails in any way but that the process is to end."""
    try:
        return make()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a library may raise what is no Exception
        logger.error(FAILED, type(error).__name__)
        return None


def usable(events: Events, num_items: int) -> Events:
    """Without events that cannot be trained on (an item that left the catalogue, a weight that is no number).

    Dropped in silence: an error would tell the server that a device holds one.
    """
    valid = (events.items >= 0) & (events.items < num_items) & (events.weights > 0)
    return events.keep(valid & np.isfinite(events.weights))


def usable_targets(targets: Targets, num_items: int) -> Targets:
    """Without those that are no item of the catalogue, dropped in silence too."""
    return targets.keep((targets.items >= 0) & (targets.items < num_items))


def fits(parameters: Parameters, shared: Parameters) -> bool:
    """Whether parameters have the names and shapes of `shared`, in single precision, and are finite."""
    return shapes(parameters) == shapes(shared) and all(
        tensor.dtype == torch.float32 and bool(torch.isfinite(tensor).all()) for tensor in parameters.values()
    )


@lru_cache(maxsize=4)
def _catalogue(path: Path) -> Catalogue:
    return Catalogue.load(path)

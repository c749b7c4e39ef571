"""A device group: the devices behind one Flower node. One in a deployment, thousands in a simulation.

The folder of a device group stands for its devices' own disks:

    catalogue.parquet            the public catalogue
    policy.toml                  what the devices allow, unless their owner names another file
    seed                         only for a repeatable run: replaces the random keys from the system, and may
                                 name the number of the first device, if other folders hold the ones before
    device.db                    the store of one device (`store.py`), or else for any number of devices:
    events/*.npy                 the interactions that the devices hold
    targets/*.npy                the devices' held-out items, for evaluation only; may be absent
    state-K-of-N.safetensors     the devices' vectors, ledgers and last reply
    *.lock                       keep two processes from using one state, and show that a state was lost
    tasks/                       the list of published tasks; may be absent, see `task_list`
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
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
from terrycloth.client.policy import Policy, PolicyUnreadable, bytes_of, policy_of
from terrycloth.client.state import CorruptState, DeviceState
from terrycloth.client.storage import (
    EVENTS_FOLDER,
    SEED_FILE,
    TARGETS_FOLDER,
    ArrayStorage,
    Declined,
    Storage,
    read_seed,
    write_seed,
)
from terrycloth.client.store import STORE_FILES, DeviceStore
from terrycloth.client.targets import Targets
from terrycloth.client.task_list import Listed, TaskList, TaskRefused
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.trainers import trainer_for
from terrycloth.models.catalogue import ITEM, Catalogue
from terrycloth.models.durable import owner_only
from terrycloth.models.privacy.randomness import Purpose, Stream, new_key, seeded_key
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.recommender import Parameters, Recommender, shapes
from terrycloth.models.settings import RoundSettings
from terrycloth.models.tasks.published import UnusableList
from terrycloth.models.times import moment
from terrycloth.models.update import Refusal, Reply, Request, digest, expected_update, plain

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

# Messages for the owner of the devices, in the node's own log.
NO_POLICY = (
    "every query is refused, because the devices' policy cannot be used: %s; write what they allow into"
    " policy.toml in the device group's folder, one line per rule, such as most_epsilon = 8.0, or into a file"
    " that the node's config names as its policy"
)

CORRUPT = "every query is refused, because %s"
FAR_AHEAD = timedelta(days=7)  # a clock that was further ahead was wrong
NOT_PUBLISHED = (
    "every query is refused that belongs to no published task, as least_task_age in the policy asks: %s"
)

FAILED = "training failed (%s): devices that cannot be trained answer as if they held no events"


class DeviceGroup:
    """The devices of partition `partition` out of `partitions`, opened from a folder.

    policy: absolute path of the devices' policy; by default policy.toml in the folder. trainer: `fast` trains
    all devices in one computation; `reference` trains one device after another with Opacus. torch_device:
    torch's name of the hardware on which `fast` trains neural CF, such as `cuda`. clock: returns seconds
    since 1970. Raises ValueError if `partition` is not in 0 … partitions − 1.
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
            raise ValueError("partition must be from 0 to partitions - 1")
        self.folder = folder
        self.storage = open_storage(folder, partition, partitions, clock)
        self.devices = self.storage.devices + self.seed_and_first[1]
        self.partition = partition
        self.partitions = partitions
        self.policy_path = policy
        self.torch_device = torch_device
        self.together = trainer == "fast"
        self.clock = clock
        self.listed: Listed | None = None  # the published task of the last query, for its receipt

    @property
    def task(self) -> str:
        """The published task of the last query, for its receipt; empty if the policy asks for none."""
        return "" if self.listed is None else str(self.listed)

    def own_path(self, name: str, suffix: str = "") -> Path:
        """The path of a file that belongs to this partition alone."""
        return self.folder / f"{name}-{self.partition}-of-{self.partitions}{suffix}"

    @cached_property
    def events(self) -> Events:
        """The events of this partition's devices. They are read only after a query is allowed and charged."""
        return self.storage.events(self.catalogue.table[ITEM])

    @property
    def catalogue(self) -> Catalogue:
        """The public catalogue."""
        return _catalogue(self.folder / "catalogue.parquet")

    @cached_property
    def targets(self) -> Targets:
        """The held-out items of this partition's devices."""
        return self.storage.targets()

    @staticmethod
    @owner_only()
    def create(
        folder: Path,
        catalogue: Catalogue,
        events: Events,
        policy: Policy,
        seed: int | None = None,
        targets: Targets | None = None,
        first: int = 0,
    ) -> None:
        """Write a device group's folder.

        policy: what the devices allow; each device stores its newest `policy.most_events` events. seed: makes
        all draws repeatable by anyone, so a seeded device group is not private. targets: the devices'
        held-out items. first: number of the first device of a repeatable run whose devices lie in several
        folders.
        """
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        catalogue.save(folder / "catalogue.parquet")
        events.newest(policy.most_events).save(folder / EVENTS_FOLDER)
        if targets is not None:
            targets.save(folder / TARGETS_FOLDER)
        policy.save(folder)
        if seed is not None:
            write_seed(folder, seed, first)

    def answer(self, request: Request) -> Reply:
        """Train the devices that take part, and return the sum of their updates, or a refusal.

        A query has one reply. `begin` charges the query to the ledgers, on disk, before an event is read, and
        the reply is on disk before it leaves. If exactly the same query comes again, the devices repeat the
        stored reply; any other query is charged as a further release. Each training draws from its own key,
        which is stored nowhere. So no crash, replay, restored backup or second server makes two replies share
        noise.
        """
        settings = request.settings
        try:
            policy = self.allow(settings)
            if settings.trust_model.secure_aggregation and not policy.unmasked:
                raise Declined(Refusal.MASKS)  # the server can read this reply
            names = list(self.expected(request, policy))
            query = digest(request).hex()
            with self.opened(settings) as state:
                if query != state.query:
                    state = self.book(state, settings, query, policy)
                if not state.replied:
                    self.train(state, request)
                    self.storage.conclude(state, settings, bytes_of(state.update), self.task)
        except Declined as declined:
            return self.refuse(settings.round, declined.reason)
        # In the order of the query, so that a stored reply looks the same as a fresh one.
        update = {name: state.update[name] for name in names if name in state.update}
        return Reply(settings.round, update, int(state.took_part.sum()), state.refused)

    def allow(self, settings: RoundSettings) -> Policy:
        """Return the devices' policy. Raises Declined if it is unusable or refuses these settings."""
        try:
            policy = policy_of(self.folder, self.policy_path)
        except PolicyUnreadable as reason:
            logger.error(NO_POLICY, reason)
            raise Declined(Refusal.POLICY) from None
        if objection := policy.objection(settings):
            raise Declined(objection)
        self.listed = self.published(settings, policy)
        return policy

    def published(self, settings: RoundSettings, policy: Policy) -> Listed | None:
        """Return the published task that allows the settings, if the policy asks for one, else None.

        Raises Declined if there is none.
        """
        if policy.least_task_age is None:
            return None
        try:
            tasks = TaskList.open(self.folder)
            return tasks.check(settings, self.catalogue, policy.least_task_age, self.clock())
        except UnusableList as error:
            logger.error(NOT_PUBLISHED, error)
            raise Declined(Refusal.TASK_LIST) from None
        except TaskRefused as refused:
            logger.error(NOT_PUBLISHED, refused.reason)
            raise Declined(refused.reason) from None

    def expected(self, request: Request, policy: Policy) -> Parameters:
        """Return the `expected_update` of a request.

        Raises Declined if the request's parameters do not fit the model, or the policy refuses its size.
        """
        shared = self.load_model(request.settings).shared_parameters()
        if not fits(request.parameters, shared):
            raise Declined(Refusal.MODEL)
        return self.allowed_update(request.settings, policy, shared)

    def allowed_update(self, settings: RoundSettings, policy: Policy, shared: Parameters) -> Parameters:
        """Return the `expected_update`. Raises Declined if the policy refuses its size."""
        update = expected_update(settings, shared)
        if objection := policy.size_objection(settings, len(self.catalogue), update):
            raise Declined(objection)
        return update

    @contextmanager
    def opened(self, settings: RoundSettings) -> Iterator[DeviceState]:
        """Lock the devices' state for the block, and give it as it is on disk.

        Raises Declined if the folder is divided into other partitions, the ledger cannot be read, the state
        is kept under another promise, or a device with a store has no consent to train.
        """
        with self.storage.answering(settings.vector_length):
            state = self.load_state(settings.vector_length)
            if state.promise not in ("", promise_of(settings)):
                raise Declined(Refusal.PROMISE)
            yield state

    @contextmanager
    def booked(self, settings: RoundSettings, query: str, policy: Policy) -> Iterator[DeviceState]:
        """Lock the devices' state for the block, and give it with a query charged to its ledgers, on disk.

        query: identifies the query; the last one is not charged again. Raises Declined as `opened` does.
        """
        with self.opened(settings) as state:
            if query != state.query:
                state = self.book(state, settings, query, policy)
                self.storage.save(state)
            yield state

    def train(self, state: DeviceState, request: Request) -> None:
        """Train for the charged query, and put the update and the new vectors into the state.

        From here on, a failure must not show, because private data may have caused it. Nor may it show that
        training was killed, perhaps for its use of memory: if training had begun before, all devices answer
        as if they held no events.
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
        """Put on disk, in one step, the charge for the query and that its training has begun.

        Gives whether this is the first time for this query. An owner who stops the process with Ctrl-C may
        continue later as if nothing had happened, since that reveals nothing. A seeded device group does not
        record that it has begun: it is not private, and a run that was killed must end exactly as an
        uninterrupted one.
        """
        first = not state.begun
        if not first:
            yield False
            return
        charged = dataclasses.replace(state)
        state.begun = not self.seeded
        self.storage.save(state)
        try:
            yield True
        except (KeyboardInterrupt, SystemExit):
            self.storage.save(charged)
            raise

    def trained(
        self, cohort: Cohort, places: npt.NDArray[np.int64], request: Request
    ) -> tuple[Parameters, Tensor]:
        """Fill an empty cohort with the events of the devices at these places, and train it.

        A failure does not show which device's events caused it. So this method finds the devices that can be
        trained, and trains the whole cohort with the events of only those. Whatever failed, the result comes
        from one training of the whole cohort: its size, its noise and its rounding grid are those of any
        other.
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
        """Find by bisection the devices that can be trained, in a cohort that cannot: bool [devices]."""
        sound = np.zeros(len(cohort.devices), dtype=np.bool_)
        for half in np.array_split(np.arange(len(sound)), min(2, len(sound))):
            part = cohort.take(half)
            if attempt(partial(self.train_once, part, request)) is not None:
                sound[half] = True
            elif len(half) > 1:
                sound[half] = self.sound(part, request)
        return sound

    def holding(self, cohort: Cohort, places: npt.NDArray[np.int64]) -> Cohort:
        """Return the cohort with the usable events and targets of the devices at these places."""
        items = len(self.catalogue)
        events = usable(self.events.take(places), items)
        return dataclasses.replace(
            cohort, events=events, targets=usable_targets(self.targets, items).take(places)
        )

    def train_once(self, cohort: Cohort, request: Request) -> tuple[Parameters, Tensor]:
        """Train with a new model, because a model whose training failed may be in any state."""
        model = self.load_model(request.settings)
        trainer = trainer_for(model, request.settings, self.together, self.torch_device)
        return trainer.train(cohort, request.parameters)

    def book(self, state: DeviceState, settings: RoundSettings, query: str, policy: Policy) -> DeviceState:
        """Return the state with a new query charged to its ledgers."""
        number = state.asked + 1
        sampled = self.participation_draws(number) < settings.participation
        day, begins = day_of(self.clock(), state.day)
        day_start = state.ledger.steps if begins else state.day_start
        rounds = state.rounds.copy() if settings.run == state.run else np.zeros_like(state.rounds)
        promised = rounds[:, settings.kind] < settings.most_of_kind
        took_part, charged, refused = afford(state.ledger, day_start, promised, sampled, settings, policy)
        rounds[:, settings.kind] += charged
        return DeviceState(
            vectors=state.vectors,
            took_part=took_part,
            ledger=state.ledger.after(charged, *settings.mechanism),
            day_start=day_start,
            rounds=rounds,
            asked=number,
            query=query,
            promise=promise_of(settings),
            run=settings.run,
            refused=refused,
            day=day,
        )

    @property
    def seeded(self) -> bool:
        """Whether the device group has a seed. Anyone can then repeat its draws, so it is not private."""
        return (self.folder / SEED_FILE).exists()

    def new_key(self) -> bytes:
        """Return a fresh secret key. A seeded group reuses one key, and numbers its streams by query."""
        return seeded_key(self.seed_and_first[0]) if self.seeded else new_key()

    @cached_property
    def seed_and_first(self) -> tuple[int, int]:
        """The seed, and the number of the first device; both 0 without a seed."""
        return read_seed(self.folder) if self.seeded else (0, 0)

    def participation_draws(self, query: int) -> npt.NDArray[np.float64]:
        """Participation draws in (0, 1) for the query of this number: [devices]. Device d reads place d."""
        last = int(self.devices[-1]) + 1 if len(self.devices) else 0
        stream = Stream(self.new_key(), round=query, purpose=Purpose.PARTICIPATION)
        return stream.uniforms(last)[self.devices]

    def refuse(self, round: int, reason: Refusal) -> Reply:
        """Return the reply in which every device refuses, without reading its events."""
        logger.info("every device refuses: %s", reason)
        return Reply(round, {}, 0, {reason: len(self.devices)})

    def load_model(self, settings: RoundSettings) -> Recommender:
        """Build the recommender that the settings name, over this device group's catalogue."""
        return recommender_for(settings, self.catalogue)

    def load_state(self, dim: int) -> DeviceState:
        """Read the state from disk. Vectors of another length are reset to zero; the ledger always stays.

        Raises Declined if the state cannot be read, so that it is unknown what the devices have spent.
        """
        try:
            state = self.storage.load()
        except CorruptState as remedy:
            logger.error(CORRUPT, remedy)
            raise Declined(Refusal.LEDGER) from None
        if state.vectors.shape[1] != dim:
            state.vectors = torch.zeros(len(self.devices), dim)
            state.query = ""  # the last query was about other vectors
        return state


def day_of(now: float, latest: str) -> tuple[str, bool]:
    """Return the UTC day, ISO, that a query is charged to, and whether that day begins with it.

    now: seconds since 1970. latest: the day that the last query was charged to, or "". A clock that is set
    back begins no new day. If it was far ahead before, days are counted anew from today: the next one begins
    with the next midnight, not when the day comes that the clock once showed.
    """
    today = moment(now).date()
    if latest and timedelta(0) <= date.fromisoformat(latest) - today <= FAR_AHEAD:
        return latest, False
    return today.isoformat(), today.isoformat() > latest


def promise_of(settings: RoundSettings) -> str:
    """The unit and trust as text: a ledger and its vectors are kept under one such pair only."""
    return f"{settings.unit}, {settings.trust}"


def afford(
    ledger: Ledger,
    day_start: Integers,
    promised: Mask,
    sampled: Mask,
    settings: RoundSettings,
    policy: Policy,
) -> tuple[Mask, Mask, dict[Refusal, int]]:
    """Decide which of the sampled devices can afford this round.

    day_start: the ledger's steps at the start of the day. promised: bool [devices], devices not yet
    charged for all promised rounds of this kind. A limit on ε alone would let the budget for one kind
    of round be spent on another kind. sampled: bool [devices], devices whose participation draw selects them.

    Returns the devices that take part, bool [devices]; the devices that the round is charged to, bool
    [devices]; and how many sampled devices refuse, by the limit that they would exceed: the ε of the run or
    of the policy, the number of promised rounds, or the policy's ε per day.
    """
    # Where ε is amplified by participation, a round costs every device, whatever its own draw was.
    exposed = np.ones_like(sampled) if settings.trust_model.amplified_by_participation else sampled
    after = ledger.after(exposed, *settings.mechanism)
    within_total = after.epsilon(settings.delta, only_renyi=settings.only_renyi) <= min(
        settings.epsilon, policy.most_epsilon
    )
    within_day = np.ones_like(sampled)
    if policy.most_epsilon_a_day < inf:
        charged_today = after.since(day_start)
        spent_today = charged_today.epsilon(settings.delta, only_renyi=settings.only_renyi)
        within_day = spent_today <= policy.most_epsilon_a_day
    counts = {
        Refusal.BUDGET: int((sampled & ~within_total).sum()),
        Refusal.REPEATED: int((sampled & within_total & ~promised).sum()),
        Refusal.DAILY_BUDGET: int((sampled & within_total & promised & ~within_day).sum()),
    }
    refused = {reason: devices for reason, devices in counts.items() if devices}
    allowed = within_total & promised & within_day
    return sampled & allowed, exposed & allowed, refused


def attempt(make: Callable[[], Made]) -> Made | None:
    """Return what `make` returns, or None if it fails. Interrupts and exits are raised again."""
    try:
        return make()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # libraries may raise other classes than Exception
        logger.error(FAILED, type(error).__name__)
        return None


def usable(events: Events, num_items: int) -> Events:
    """Drop events that cannot be trained on: an item outside the catalogue, or an invalid weight.

    They are dropped silently, because an error would tell the server that a device holds such an event.
    """
    valid = (events.items >= 0) & (events.items < num_items) & (events.weights > 0)
    return events.keep(valid & np.isfinite(events.weights))


def usable_targets(targets: Targets, num_items: int) -> Targets:
    """Drop targets that are not in the catalogue, silently as well."""
    return targets.keep((targets.items >= 0) & (targets.items < num_items))


def fits(parameters: Parameters, shared: Parameters) -> bool:
    """Whether parameters are finite, in single precision, and have the names and shapes of `shared`."""
    return shapes(parameters) == shapes(shared) and all(
        tensor.dtype == torch.float32 and bool(torch.isfinite(tensor).all()) for tensor in parameters.values()
    )


def open_storage(folder: Path, partition: int, partitions: int, clock: Callable[[], float]) -> Storage:
    """Open what a folder holds: the store of one device, or the arrays of many.

    Raises ValueError if a store is divided.
    """
    if not any((folder / name).exists() for name in STORE_FILES):
        return ArrayStorage(folder, partition, partitions)
    if partitions != 1:
        raise ValueError("a store is of one device: partitions must be 1")
    return DeviceStore(folder, clock)


@lru_cache(maxsize=4)
def _catalogue(path: Path) -> Catalogue:
    return Catalogue.load(path)

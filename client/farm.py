"""A farm: the devices behind one Flower node. One in a deployment, thousands in a simulation.

The folder of a farm stands for its devices' own disks:

    catalogue.parquet     public
    events/*.npy          what the devices hold
    key                   secret of their random streams
    state-K-of-N.safetensors   their vectors and ledgers
"""

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from client.events import Events
from client.state import DeviceState, device_key, write_key
from client.trainer import Cohort, trainer_for
from models.build import build_model
from models.catalogue import Catalogue
from models.randomness import Purpose, Stream
from models.recommender import Parameters, Recommender
from models.settings import RoundSettings
from models.update import Refusal, Reply, Request


class Farm:
    """The devices of partition `partition` out of `partitions`, opened from a folder."""

    def __init__(self, folder: Path, partition: int = 0, partitions: int = 1) -> None:
        events = Events.load(folder / "events")
        start, stop = (events.num_devices * edge // partitions for edge in (partition, partition + 1))
        self.folder = folder
        self.events = events.span(start, stop)
        self.devices = np.arange(start, stop)
        self.state_path = folder / f"state-{partition}-of-{partitions}.safetensors"

    @staticmethod
    def create(folder: Path, catalogue: Catalogue, events: Events, key: bytes | None) -> None:
        """Lay out a farm's folder. With no key given, the devices make a secret one when first asked."""
        folder.mkdir(parents=True, exist_ok=True)
        catalogue.save(folder / "catalogue.parquet")
        events.save(folder / "events")
        if key is not None:
            write_key(folder / "key", key)

    def answer(self, request: Request) -> Reply:
        """Train the devices that take part, and add up their updates.

        A question is answered once: asked again word for word, the devices give the same answer from the same
        draws, at no further cost; any other question gets fresh draws and is booked as a further release. The
        ledger is on disk before training starts, so a crash can only over-count.
        """
        settings = request.settings
        model = self.load_model(settings)
        if shapes(request.parameters) != shapes(model.shared_parameters()):
            return self.refuse(settings.round, Refusal.MODEL)
        state, refused = self.book(self.load_state(settings.dim), request)
        state.save(self.state_path)
        chosen = np.flatnonzero(state.took_part)
        update: Parameters = {}
        if len(chosen):
            cohort = Cohort(
                devices=self.devices[chosen],
                events=self.events.take(chosen),
                vectors=state.before[chosen],
                key=device_key(self.folder / "key"),
                question=state.answered,
            )
            update, vectors = trainer_for(model, settings).train(cohort, request.parameters)
            state.vectors = state.before.index_copy(0, torch.from_numpy(chosen), vectors)
            state.save(self.state_path)
        return Reply(settings.round, update, len(chosen), {Refusal.BUDGET: refused} if refused else {})

    def book(self, state: DeviceState, request: Request) -> tuple[DeviceState, int]:
        """The state with this question in its ledger, and how many devices refuse it for their budget."""
        question = digest(request)
        settings = request.settings
        if question == state.question:
            return state, state.refused
        answered = state.answered + 1
        willing = self.participation(settings.participation, answered)
        mechanism = (settings.noise_multiplier, settings.sampling_rate, settings.steps_per_round)
        spent = state.ledger.after(willing, *mechanism).epsilon(settings.delta)
        took_part = willing & (spent <= settings.epsilon)
        refused = int((willing & ~took_part).sum())
        booked = DeviceState(
            vectors=state.vectors,
            before=state.vectors,
            took_part=took_part,
            ledger=state.ledger.after(took_part, *mechanism),
            answered=answered,
            question=question,
            refused=refused,
        )
        return booked, refused

    def participation(self, rate: float, question: int) -> npt.NDArray[np.bool_]:
        """Each device's coin: bool [devices]. Device d reads place d of one stream, in any farm."""
        stream = Stream(device_key(self.folder / "key"), round=question, purpose=Purpose.PARTICIPATION)
        coins: npt.NDArray[np.bool_] = stream.uniforms(int(self.devices[-1]) + 1)[self.devices] < rate
        return coins

    def refuse(self, round: int, reason: Refusal) -> Reply:
        """Every device of the farm refuses, before it touches its events."""
        return Reply(round, {}, 0, {reason: len(self.devices)})

    def load_model(self, settings: RoundSettings) -> Recommender:
        """The recommender that the settings name, over this farm's catalogue."""
        return build_model(
            settings.model,
            _catalogue(self.folder / "catalogue.parquet"),
            dim=settings.dim,
            own_rows=settings.own_rows,
            item_bias=settings.item_bias,
        )

    def load_state(self, dim: int) -> DeviceState:
        """State from disk. Vectors of another size start again at zero; the ledger always stays."""
        if not self.state_path.exists():
            return DeviceState.new(len(self.devices), dim)
        state = DeviceState.load(self.state_path)
        if state.vectors.shape[1] != dim:
            fresh = DeviceState.new(len(self.devices), dim)
            return replace(fresh, ledger=state.ledger, answered=state.answered)
        return state


def shapes(parameters: Parameters) -> dict[str, torch.Size]:
    """Name → shape."""
    return {name: tensor.shape for name, tensor in parameters.items()}


def digest(request: Request) -> str:
    """SHA-256 of a question, every bit of it."""
    hashed = hashlib.sha256(request.settings.model_dump_json().encode())
    for name, tensor in sorted(request.parameters.items()):
        hashed.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return hashed.hexdigest()


@lru_cache(maxsize=4)
def _catalogue(path: Path) -> Catalogue:
    return Catalogue.load(path)

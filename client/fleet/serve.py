"""A process that serves one device group or several, for as long as it runs.

Each device group has a thread of its own, which asks the server for messages and answers them in order. One
message is answered at a time, by the ClientApp that is installed here. Nothing that a message says changes
what code runs: a bundle is never fetched, and what the ClientApp does not know it refuses. One more thread
does what is due by the clock, see `maintenance.py`.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from flwr.app import Context, Message, RecordDict

from terrycloth.client.app import FAILED, TRAINING_FAILED
from terrycloth.client.fleet.connection import Place
from terrycloth.client.fleet.flower import (
    Fleet,
    Heart,
    NotAllowed,
    Received,
    Unusable,
    of_tls,
    refusal,
)
from terrycloth.client.fleet.maintenance import Maintenance, maintain
from terrycloth.client.secure.identity import Identity

IDLE, BUSY, SLOWER = 1.0, 0.2, 1.5  # seconds between questions: after a message, and how they grow to idle
RETURN = 5.0  # seconds between attempts to return; the server refuses until it has noticed the absence
GIVE_UP = 90.0  # seconds of refusal after which a device is not only early, but unknown
UNKNOWN_KEY = "the server does not accept this device's key"
OTHER_SERVER = "the server is not the one that connection.toml names"
UNKNOWN_TYPE = "refused: a message of a kind that this app does not know"

logger = logging.getLogger(__name__)

App = Callable[[Message, Context], Message]


@dataclass(frozen=True)
class Device:
    """What the loop needs of a device group: its place, and the app that answers for it."""

    place: Place
    app: App

    @property
    def name(self) -> str:
        """The name of its folder, for the log."""
        return self.place.folder.name


def serve(devices: Sequence[Device], stop: threading.Event, give_up: float = GIVE_UP) -> dict[str, str]:
    """Answer messages until `stop` is set, and return the device groups that were kept out, with the reason.

    give_up: seconds of refusal in a row after which a device group is given up. Raises UserError if a key or
    an authority's file cannot be read.
    """
    one_at_a_time = threading.Lock()
    loops = [Loop(device, one_at_a_time, stop, give_up) for device in devices]
    threads = [threading.Thread(target=loop.run, name=loop.device.name, daemon=True) for loop in loops]
    due = [Maintenance(device.place.folder, device.place.connection.task_list) for device in devices]
    keeper = threading.Thread(target=maintain, args=(due, stop), name="maintenance", daemon=True)
    for thread in [*threads, keeper]:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(0.2)
    return {loop.device.name: loop.refused for loop in loops if loop.given_up}


class Loop:
    """The conversation of one device group with its server."""

    def __init__(
        self, device: Device, one_at_a_time: threading.Lock, stop: threading.Event, give_up: float
    ) -> None:
        self.device = device
        self.lock = one_at_a_time
        self.stop = stop
        self.give_up = give_up
        self.given_up = False
        self.refused = ""  # why the device is kept out at present
        key = Identity.load(device.place.key).key
        self.fleet = Fleet(device.place.connection.server, device.place.tls(), key)
        self.pause = IDLE

    def run(self) -> None:
        """Connect, answer, and connect again whenever the server has lost the device."""
        try:
            while not self.stop.is_set() and self.connect():
                with Heart(self.fleet) as heart:
                    self.converse(heart)
        finally:
            self.fleet.close()

    def connect(self) -> bool:
        """Announce the device until the server accepts it. Returns False if it was stopped or given up."""
        said, since = "", time.monotonic()
        while not self.stop.is_set():
            try:
                number = self.fleet.activate()
            except NotAllowed:
                self.refused = why = UNKNOWN_KEY
            except (httpx.HTTPError, Unusable) as error:
                self.refused = why = OTHER_SERVER if of_tls(error) else ""
                why = why or f"the server cannot be reached: {type(error).__name__}"
            else:
                self.refused = ""
                logger.info("%s: connected as %d", self.device.name, number)
                return True
            if why != said:  # once for as long as it stays the same
                logger.warning("%s: %s; trying again every %g seconds", self.device.name, why, RETURN)
                said = why
            since = since if self.refused else time.monotonic()
            if self.refused and time.monotonic() - since > self.give_up:
                self.given_up = True
                return False
            self.stop.wait(RETURN)
        return False

    def converse(self, heart: Heart) -> None:
        """Answer messages until the device is stopped or lost."""
        node = int(self.fleet.node.node_id)
        while not self.stop.is_set() and not heart.lost.is_set():
            try:
                if (received := self.fleet.next_message()) is None:
                    self.stop.wait(self.pause)
                    self.pause = min(IDLE, SLOWER * self.pause)
                    continue
                self.pause = BUSY
                self.handle(received, node)
            except NotAllowed:
                logger.warning("%s: the server no longer knows this device", self.device.name)
                return
            except Unusable as reason:
                logger.warning("%s: dropped a message: %s", self.device.name, reason)
            except httpx.HTTPError as error:
                logger.warning("%s: the server cannot be reached: %s", self.device.name, type(error).__name__)
                self.stop.wait(IDLE)
        if self.stop.is_set():
            try:
                self.fleet.deactivate()
            except (NotAllowed, Unusable, httpx.HTTPError):
                logger.info("%s: the server is not there to be told of the end", self.device.name)

    def handle(self, received: Received, node: int) -> None:
        """Answer one message, unless nobody waits for it any more. Raises Unusable if it must be dropped."""
        if received.deadline <= time.time():
            raise Unusable("its deadline has passed")
        message = self.fleet.fetch(received)
        with self.lock:
            if received.deadline <= time.time():  # while another device group was answering
                raise Unusable("its deadline has passed")
            reply = self.reply(message, node)
        self.fleet.answer(reply)
        logger.info("%s: answered message of run %d", self.device.name, received.run)

    def reply(self, message: Message, node: int) -> Message:
        """Return the app's reply. A message that the app does not know is answered by an error."""
        # The device's key is also its identity in secure aggregation. What the server configured is left out.
        context = Context(
            run_id=message.metadata.run_id,
            node_id=node,
            node_config={"identity": str(self.device.place.key)},
            state=RecordDict(),
            run_config={},
        )
        try:
            return self.device.app(message, context)
        except ValueError:  # of Flower, for a type of message without a function
            logger.warning("%s: %s", self.device.name, UNKNOWN_TYPE)
            return refusal(message, TRAINING_FAILED, FAILED)


def devices_at(folders: Sequence[Path], make_app: Callable[[Path], App]) -> list[Device]:
    """Return the device groups in these folders. Raises UserError if one has no usable connection."""
    return [Device(Place.open(folder.resolve()), make_app(folder.resolve())) for folder in folders]

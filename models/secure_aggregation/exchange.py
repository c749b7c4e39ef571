"""How a session's messages travel by Flower: one record with the stage, and one with the message.

Besides the arrays and facts of `models/update.py`, only what is named here may cross. Both sides check.
"""

from dataclasses import asdict, dataclass
from typing import TypeVar

from flwr.app import ConfigRecord, RecordDict

from terrycloth.models.secure_aggregation.messages import Message, ProtocolError
from terrycloth.models.secure_aggregation.thresholds import Floors
from terrycloth.models.settings import RoundSettings

EXCHANGE_RECORD = "exchange"
MESSAGE_RECORD = "message"

ADVERTISE, SHARE, MASK, CONFIRM, UNMASK = STAGES = (1, 2, 3, 4, 5)

AnyMessage = TypeVar("AnyMessage", bound=Message)


@dataclass(frozen=True)
class Exchange:
    """The stage and session that a message belongs to.

    session: fresh random bytes, from the server.
    """

    stage: int
    session: bytes
    round: int


def floors_of(settings: RoundSettings, least_nodes: int = 3) -> Floors:
    """Return the floors of a round. Devices and server both read them from the settings.

    least_nodes: a device's own floor.
    """
    return Floors(max(2, settings.least_devices), least_nodes, settings.agreement)


def pack_exchange(exchange: Exchange, message: Message | None = None) -> RecordDict:
    """Return the content of a Flower message, without a `message` if the stage has none."""
    content = RecordDict({EXCHANGE_RECORD: ConfigRecord(asdict(exchange))})
    if message is not None:
        content[MESSAGE_RECORD] = ConfigRecord(message.to_dict())  # type: ignore[arg-type]
    return content


def unpack_exchange(content: RecordDict) -> Exchange:
    """Read an exchange. Raises ProtocolError on anything but a stage, a session and a round."""
    record = content.get(EXCHANGE_RECORD)
    if not isinstance(record, ConfigRecord) or set(record) != {"stage", "session", "round"}:
        raise ProtocolError("malformed exchange")
    stage, session, round = record["stage"], record["session"], record["round"]
    if type(stage) is not int or stage not in STAGES or type(session) is not bytes or type(round) is not int:
        raise ProtocolError("malformed exchange")
    return Exchange(stage, session, round)


def unpack_message(content: RecordDict, kind: type[AnyMessage]) -> AnyMessage:
    """Return the stage's message. Raises ProtocolError if it is missing or of another kind."""
    record = content.get(MESSAGE_RECORD)
    if not isinstance(record, ConfigRecord):
        raise ProtocolError(f"malformed {kind.__name__}")
    return kind.from_dict(dict(record))

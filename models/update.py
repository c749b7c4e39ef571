"""What may cross between a device and the server, and nothing else. Both sides check against this file.

Down: the shared parameters and `RoundSettings`. Up: the arrays that `expected_update` names, which are the
sum of the updates of the node's devices, and three facts: the round, how many devices took part (their own
participation draws at a public rate decide it) and how many refused, by reason. No loss, no metric, no count
of events and no time may cross. What secure aggregation sends in addition is in `models/secure_aggregation`.
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from scipy.special import chdtri
from torch import Tensor

from terrycloth.models.limits import MOST_EVENTS
from terrycloth.models.privacy.trust import NoiseSource
from terrycloth.models.recommenders.kinds import Solver
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.settings import PROTOCOL, RoundSettings

# Flower's own keys for a strategy's records, so that its FedAvg can build the messages.
PARAMETERS_RECORD = "arrays"
SETTINGS_RECORD = "config"
UPDATE_RECORD = "update"
REPLY_RECORD = "reply"
QUERY_RECORD = "query"  # the digest of a request that will follow

BELOW_CLIP = "below-clip"  # Σ ±β/2: whether an update's norm was below the clip
STEPS = "steps"  # under distributed trust: the whole update as one vector of integers
EVALUATION = ("tested", "hits", "gains")  # devices tested, devices that hit, the sum of their gains


class Refusal(StrEnum):
    """Why a device did not train. The server counts by this text, and rounds.csv shows it."""

    SETTINGS = "settings-unknown"
    BUDGET = "budget-passed"
    REPEATED = "more-rounds-than-promised"
    MODEL = "model-mismatch"
    PARTITION = "device-group-divided-differently"
    PROMISE = "kept-under-another-promise"
    LEDGER = "ledger-corrupt"
    MASKS = "masks-required"
    UNSOUND = "secure-aggregation-unsound"

    CONSENT = "no-consent"

    # By the device's own policy.
    POLICY = "no-usable-policy"
    MODEL_NAME = "model-not-allowed"
    UNIT = "unit-not-allowed"
    TRUST = "trust-not-allowed"
    ROUNDS = "too-many-rounds"
    NOISE = "noise-below-floor"
    DELTA = "delta-above-limit"
    SUM = "sum-below-floor"
    DIM = "vectors-too-long"
    NEGATIVES = "too-many-negatives"
    STEPS = "too-many-steps"
    ITEMS = "too-many-items"
    BYTES = "reply-too-large"
    DAILY_BUDGET = "daily-budget-passed"

    # By the list of published tasks, where the policy asks for one.
    TASK_LIST = "no-usable-task-list"
    TASK_LIST_EXPIRED = "task-list-expired"
    TASK_UNLISTED = "task-not-published"
    TASK_YOUNG = "task-published-too-recently"
    TASK_RUNS = "more-runs-than-published"


@dataclass(frozen=True)
class Request:
    """The query of one round."""

    parameters: Parameters
    settings: RoundSettings


@dataclass(frozen=True)
class Reply:
    """One node's answer.

    `update` is the sum over its devices that took part, or {} if none did.
    """

    round: int
    update: Parameters
    answered: int
    refused: dict[Refusal, int] = field(default_factory=dict)


class InvalidReply(ValueError):
    """A reply that must not be added. The text is a reason fit for a log."""


def released_update(settings: RoundSettings, shared: Parameters) -> Parameters:
    """Return zeros with the names and shapes of all that a round releases, before noise and encoding."""
    if settings.evaluates:
        return {name: torch.zeros(1) for name in EVALUATION}
    chosen = shared if settings.released is None else {settings.released: shared[settings.released]}
    update = {name: torch.zeros_like(tensor) for name, tensor in chosen.items()}
    return update | ({BELOW_CLIP: torch.zeros(1)} if settings.adapts_clip else {})


def expected_update(settings: RoundSettings, shared: Parameters) -> Parameters:
    """Return zeros with the names, shapes and types of what a node sends."""
    update = released_update(settings, shared)
    if not settings.trust_model.secure_aggregation:
        return update
    coordinates = sum(tensor.numel() for tensor in update.values())
    grid = fixed_point(settings, coordinates)
    return {STEPS: grid.wrapped(torch.zeros(coordinates, dtype=torch.int64))}


def to_arrays(parameters: Parameters) -> ArrayRecord:
    """Return tensors as a Flower record: integers as they are, all others in single precision."""
    return ArrayRecord({name: Array(plain(tensor).cpu().numpy()) for name, tensor in parameters.items()})


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor as it leaves a device: integers as they are, all others in single precision."""
    return tensor.float() if tensor.is_floating_point() else tensor


def from_arrays(arrays: ArrayRecord) -> Parameters:
    """Return a Flower record as tensors that own their memory, in row-major order."""
    return {name: torch.from_numpy(np.array(array.numpy(), order="C")) for name, array in arrays.items()}


def digest(request: Request) -> bytes:
    """Return the SHA-256 of a query, every bit of it."""
    hashed = hashlib.sha256(request.settings.model_dump_json().encode())
    for name, tensor in sorted(request.parameters.items()):
        hashed.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return hashed.digest()


def pack_query(request: Request) -> RecordDict:
    """Return a request's settings, and the digest that fixes all of it."""
    return RecordDict(
        {
            SETTINGS_RECORD: request.settings.to_record(),
            QUERY_RECORD: ConfigRecord({"digest": digest(request)}),
        }
    )


def unpack_query(content: RecordDict) -> tuple[RoundSettings, bytes]:
    """Return a request's settings and the digest that it will have. Raises ValueError or KeyError."""
    settings, query = content[SETTINGS_RECORD], content[QUERY_RECORD]
    if not isinstance(settings, ConfigRecord) or not isinstance(query, ConfigRecord):
        raise ValueError("a query must hold two config records")
    fixed = query["digest"]
    if not isinstance(fixed, bytes):
        raise ValueError("a digest must be bytes")
    return RoundSettings.from_record(settings), fixed


def pack_request(request: Request) -> RecordDict:
    """Return the one message with which the server requests a round."""
    return RecordDict(
        {PARAMETERS_RECORD: to_arrays(request.parameters), SETTINGS_RECORD: request.settings.to_record()}
    )


def unpack_request(content: RecordDict) -> Request:
    """Read a request. Raises ValueError or KeyError on a message of another protocol."""
    arrays, settings = content[PARAMETERS_RECORD], content[SETTINGS_RECORD]
    if not isinstance(arrays, ArrayRecord) or not isinstance(settings, ConfigRecord):
        raise ValueError("a request must hold one array record and one config record")
    return Request(from_arrays(arrays), RoundSettings.from_record(settings))


def pack_reply(reply: Reply) -> RecordDict:
    """Return an answer as a message; this is the only place that does so."""
    facts = ConfigRecord({"protocol": PROTOCOL, "round": reply.round, "answered": reply.answered})
    for reason, devices in reply.refused.items():
        facts[f"refused.{reason}"] = devices
    return RecordDict({UPDATE_RECORD: to_arrays(reply.update), REPLY_RECORD: facts})


def unpack_reply(content: RecordDict, expected: Parameters, round: int) -> Reply:
    """Check a reply against `expected_update`. Raises InvalidReply, with a reason and no value."""
    if set(content) != {UPDATE_RECORD, REPLY_RECORD}:
        raise InvalidReply("unknown record")
    arrays, facts = content[UPDATE_RECORD], content[REPLY_RECORD]
    if not isinstance(arrays, ArrayRecord) or not isinstance(facts, ConfigRecord):
        raise InvalidReply("unknown record")
    answered, refused = unpack_facts(facts, round)
    return Reply(round, checked_update(arrays, expected if answered else {}), answered, refused)


def unpack_facts(facts: ConfigRecord, round: int) -> tuple[int, dict[Refusal, int]]:
    """Return how many devices answered, and how many refused, by reason. Raises InvalidReply."""
    counts = {name: value for name, value in facts.items() if name not in ("protocol", "round", "answered")}
    refusals = {f"refused.{reason}": reason for reason in Refusal}
    if not _is_count(facts.get("protocol")) or facts["protocol"] != PROTOCOL:
        raise InvalidReply("another protocol")
    if not _is_count(facts.get("round")) or facts["round"] != round:
        raise InvalidReply("stale round")
    answered = facts.get("answered")
    if (
        not _is_count(answered)
        or not set(counts) <= set(refusals)
        or not all(map(_is_count, counts.values()))
    ):
        raise InvalidReply("unknown facts")
    refused = {refusals[name]: int(value) for name, value in counts.items()}  # type: ignore[arg-type]
    return int(answered), refused  # type: ignore[arg-type]


# No promise rests on these limits. They keep one broken device from spoiling the sum of all the others.
MOST_GRADIENT = 10.0  # norm of what one interaction adds to a step's gradient, if nothing is clipped
FALSE_ALARMS = 1e-9  # probability that the server refuses honest devices' reply for its noise


def check_size(
    reply: Reply, settings: RoundSettings, most_devices: int, most_events: int = MOST_EVENTS
) -> None:
    """Raise InvalidReply if more devices answer than a node has, or their sum is larger than possible.

    most_devices: the most devices behind one node. It is public, since what a node says of itself bounds
    nothing. most_events: the most events that one device stores, also public. What secure aggregation hides
    has no size.
    """
    if reply.answered > most_devices:
        raise InvalidReply("more devices than a node has")
    if settings.trust_model.secure_aggregation:
        return
    coordinates = sum(tensor.numel() for tensor in reply.update.values())
    bound = largest_norm(settings, reply.answered, coordinates, most_events)
    squares = [float(tensor.double().square().sum()) for tensor in reply.update.values()]
    if sum(squares) ** 0.5 > bound * (1.0 + 1e-4):  # sums have rounding errors
        raise InvalidReply("norm above the bound")


def largest_norm(settings: RoundSettings, devices: int, coordinates: int, most_events: int) -> float:
    """Return a bound on the norm of the sum that so many devices send: what they learned plus noise.

    The noise exceeds its part with probability FALSE_ALARMS. What n devices learned is at most n times what
    one device can. Their noise is independent: in the sum it has the deviation √n·s in each of D coordinates,
    and its squared norm is n·s² times a χ² of D degrees of freedom.
    """
    noise = devices**0.5 * noise_of_a_device(settings) * chdtri(coordinates, FALSE_ALARMS) ** 0.5
    return float(devices * largest_without_noise(settings, most_events) + noise)


def largest_without_noise(settings: RoundSettings, most_events: int) -> float:
    """Return a bound on the norm of one device's update without noise.

    It is known if a whole update is clipped, and otherwise follows from the steps. The linear model's update
    has norm 1. If nothing is clipped, the bound is the gradient of a sum over interactions, times the
    learning rate if devices take SGD steps, and by itself if they solve for their vectors.
    """
    if settings.evaluates or settings.unit == "shopper":
        return settings.sensitivity
    solver = settings.model_kind.solver
    if solver is Solver.STATISTICS:
        return 1.0
    steps = settings.steps_per_round * settings.learning_rate
    if settings.unit == "interaction":
        return steps * settings.clip * most_events
    return (steps if solver is Solver.GRADIENT else 1.0) * MOST_GRADIENT * most_events


def noise_of_a_device(settings: RoundSettings) -> float:
    """Return the noise deviation in each coordinate of one device's update; 0 if it adds none."""
    if settings.trust_model.source is not NoiseSource.DEVICE:
        return 0.0
    deviation = settings.noise * settings.sensitivity
    if settings.unit == "interaction" and not settings.evaluates:  # DP-SGD adds noise in each of its steps
        deviation *= settings.learning_rate * settings.steps_per_round**0.5
    return deviation


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def checked_update(arrays: ArrayRecord, expected: Parameters) -> Parameters:
    """Return arrays with the expected names, shapes and types, all finite. Raises InvalidReply."""
    if unknown := set(arrays) - set(expected):
        raise InvalidReply(
            "unknown array" if expected else f"{len(unknown)} arrays where no device took part"
        )
    if set(expected) - set(arrays):
        raise InvalidReply("missing array")
    try:
        update = from_arrays(arrays)
    except Exception:  # numpy.load fails in many ways on bytes that are not an array
        raise InvalidReply("unreadable array") from None
    for name, array in to_arrays(expected).items():
        if len(arrays[name].data) != len(array.data):  # nothing may be appended to the numbers
            raise InvalidReply("wrong size")
    for name, tensor in expected.items():
        if update[name].shape != tensor.shape or update[name].dtype != tensor.dtype:
            raise InvalidReply("wrong shape or type")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in update.values()):
        raise InvalidReply("not finite")
    return update

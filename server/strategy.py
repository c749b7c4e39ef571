"""The Flower strategy: send each node a query, check the replies, add them up, step, record the round."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import nn

from terrycloth.models.errors import UserError
from terrycloth.models.privacy.randomness import new_key, seeded_key
from terrycloth.models.privacy.trust import NoiseSource
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.secure_aggregation.exchange import floors_of
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.secure_aggregation.roster import Roster
from terrycloth.models.secure_aggregation.thresholds import honest, plan_for
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import (
    BELOW_CLIP,
    EVALUATION,
    PARAMETERS_RECORD,
    SETTINGS_RECORD,
    STEPS,
    InvalidReply,
    Reply,
    Request,
    check_size,
    expected_update,
    released_update,
    to_arrays,
    unpack_reply,
)
from terrycloth.server.accountant import RunAccountant
from terrycloth.server.aggregate import (
    adapted_clip,
    add_central_noise,
    make_optimizer,
    pseudo_gradient,
    sum_updates,
)
from terrycloth.server.checkpoint import Progress, RoundRecord, load_checkpoint, save_checkpoint
from terrycloth.server.newest import check_newest, note_newest
from terrycloth.server.replies import first_replies, refuse
from terrycloth.server.secure.secure_exchange import SecureExchange
from terrycloth.server.settings import ServerSettings

logger = logging.getLogger(__name__)

LATE = "no reply in time"
TOO_FEW_SHARES = "too few devices for the noise"
LEFT_OUT = "left out for an earlier reply"
MOST_FAILED = 3  # rounds of secure aggregation in a row without a sum; each costs the devices privacy budget
STOPPED = "stopped within the round"

RoundObserver = Callable[[RoundRecord, Parameters], None]


class FederatedSum(FedAvg):
    """FedAvg's messages, but a sum over a public constant in place of an average over the replies.

    The server sends every node a query in every round. The devices' own participation draws decide which of
    them take part.
    """

    def __init__(
        self,
        parameters: Parameters,
        settings: RoundSettings,
        server: ServerSettings,
        on_round: RoundObserver | None = None,
    ) -> None:
        super().__init__(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=server.nodes,
            min_available_nodes=server.nodes,
            arrayrecord_key=PARAMETERS_RECORD,
            configrecord_key=SETTINGS_RECORD,
        )
        self.settings = settings
        self.server = server
        self.on_round = on_round
        self.parameters = {name: nn.Parameter(tensor.clone()) for name, tensor in parameters.items()}
        self.optimizer = make_optimizer(list(self.parameters.values()), server)
        self.accountant = None if settings.unit == "none" else RunAccountant(settings)
        self.progress = Progress()
        if server.resume and server.folder is not None:
            self.progress = load_checkpoint(server.folder, settings, self.parameters, self.optimizer)
            if self.progress != Progress():
                check_newest(server.folder, settings.run, self.progress.number)
        if self.accountant is not None and self.progress.accountant is not None:
            self.accountant.load_state_dict(self.progress.accountant)
        self.roster = None if server.roster is None else Roster.load(server.roster)
        if (
            self.roster is not None
            and settings.trust_model.secure_aggregation
            and settings.secure_aggregation
        ):
            check_reach(settings, self.roster)
        self.secure: SecureExchange | None = None  # this round's, under distributed trust
        self.asked: set[int] = set()  # this round's nodes, without secure aggregation
        self.left_out: set[int] = set()  # nodes at fault in secure aggregation since this start
        self.failed = 0  # rounds in a row in which secure aggregation gave no sum
        self.started = time.monotonic()

    def run(self, grid: Grid) -> Parameters:
        """Run all rounds that remain, and return the final shared parameters."""
        self.note()
        if not self.progress.records:
            self.keep()  # saves the run's name before any device charges for it
        remaining = self.settings.last_round - self.progress.rounds_done
        if self.progress.records and self.on_round is not None:
            # The run may have stopped between a checkpoint and its report.
            self.on_round(self.progress.records[-1], self.shared())
        if self.progress.opened > self.progress.rounds_done:
            self.lose_round()
            remaining -= 1
        if remaining > 0:
            self.start(grid, to_arrays(self.shared()), num_rounds=remaining, timeout=self.server.timeout)
        return self.shared()

    def lose_round(self) -> None:
        """Record the round in which the run was stopped, and give it up.

        Its devices charged for it when its session began, and their masked sums may already have left them.
        To them, a second session would be a new query: they would charge for that as well, and then refuse
        the last round.
        """
        stopped = Counter({STOPPED: self.server.nodes})
        self.finish(self.book(self.round_settings(), [], Counter(), stopped))

    def finish(self, record: RoundRecord) -> None:
        """Save a finished round, and report it."""
        self.progress.records.append(record)
        self.keep()
        if self.on_round is not None:
            self.on_round(record, self.shared())

    def keep(self) -> None:
        """Write the progress to the run folder, if there is one, before anybody sees it."""
        if self.server.folder is not None:
            self.progress.number += 1
            save_checkpoint(self.server.folder, self.settings, self.parameters, self.optimizer, self.progress)
            self.note()

    def note(self) -> None:
        """Rule out any older checkpoint from here on."""
        if self.server.folder is not None:
            note_newest(self.server.folder, self.settings.run, self.progress.number)

    def shared(self) -> Parameters:
        """Return a copy of the current shared parameters."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def round_settings(self) -> RoundSettings:
        """Return the settings of the current round.

        Flower counts rounds from where it was started, so its number is not used.
        """
        changes: dict[str, Any] = {"round": self.progress.rounds_done + 1}
        if self.settings.adapts_clip:
            changes["clip"] = self.progress.clip or self.settings.clip
        return self.settings.model_copy(update=changes)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages that send every node the parameters and this round's settings."""
        self.started = time.monotonic()
        settings = self.round_settings()
        if self.progress.rounds_done:
            self.min_train_nodes = self.min_available_nodes = self.server.least_nodes
        messages = list(super().configure_train(settings.round, arrays, settings.to_record(), grid))
        for message in messages:
            message.metadata.ttl = self.server.timeout  # a device drops what nobody waits for any more
        self.asked = {message.metadata.dst_node_id for message in messages}
        self.secure = None
        if settings.trust_model.secure_aggregation and settings.secure_aggregation:
            nodes = {message.metadata.dst_node_id for message in messages} - self.left_out
            request = Request(self.shared(), settings)
            most_devices = self.server.most_devices(settings.devices)
            self.secure = SecureExchange(grid, nodes, request, self.server.timeout, self.roster, most_devices)
            self.progress.opened = settings.round
            self.keep()  # before any device gets the query
            messages = self.secure.open()
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add up the valid replies and step.

        The accountant records the round whatever the replies. Raises UserError after MOST_FAILED rounds in
        a row in which secure aggregation gave no sum.
        """
        settings = self.round_settings()
        if self.secure is None:
            answers, refused, invalid = self.check(settings, replies)
        else:
            answers = self.secure.close(replies)
            refused, invalid = self.secure.refused, self.secure.invalid
            if self.left_out:
                invalid[LEFT_OUT] = len(self.left_out)
            self.leave_out(self.secure.at_fault)
            self.failed = 0 if answers else self.failed + 1
        updates = [answer.update for answer in answers if answer.answered]
        # If participation is hidden, a round in which nobody took part must look like any other.
        if not updates and settings.trust_model.amplified_by_participation:
            updates = [released_update(settings, self.shared())]
        evaluation = None
        if updates:
            released = self.released(settings, sum_updates(updates))
            if settings.evaluates:
                evaluation = {name: float(released[name]) for name in EVALUATION}
            else:
                self.step(released, settings)
        record = replace(self.book(settings, answers, refused, invalid), evaluation=evaluation)
        self.finish(record)
        if self.failed == MOST_FAILED:
            reasons = record.refused | record.invalid
            raise UserError(
                f"secure aggregation gave no sum {MOST_FAILED} rounds in a row, the last because of "
                f"{reasons}: read the nodes' logs, fix the cause, and resume the run"
            )
        return to_arrays(self.shared()), None

    def leave_out(self, at_fault: Mapping[int, str]) -> None:
        """Send no more queries to these nodes: each would make the coming rounds fail for the others."""
        for node, reason in at_fault.items():
            logger.warning("node %d is left out of all further rounds: %s", node, reason)
        self.left_out |= at_fault.keys()

    def released(self, settings: RoundSettings, total: Parameters) -> Parameters:
        """Decode the sum, and add the noise first if the server is trusted to do so."""
        if settings.trust_model.secure_aggregation:
            update = released_update(settings, self.shared())
            return fixed_point(settings, total[STEPS].numel()).decode(total[STEPS], update)
        if settings.trust_model.source is NoiseSource.SERVER and settings.noise > 0:
            seed = self.server.noise_seed
            key = new_key() if seed is None else seeded_key(seed)
            # Nodes send their sums in single precision. Rounding moves two neighbouring sums of norm at most
            # N·C apart by at most 2⁻²³·N·C, which the noise covers too.
            sensitivity = settings.sensitivity * (1.0 + 2.0**-23 * settings.devices)
            return add_central_noise(total, settings.noise * sensitivity, key, settings.round)
        return total

    def step(self, total: Parameters, settings: RoundSettings) -> None:
        """Take one step of the optimiser, and of the clip if it is adapted: both are post-processing."""
        expected = settings.participation * settings.devices
        if settings.adapts_clip:
            below = 0.5 + float(total.pop(BELOW_CLIP)) / settings.indicator / expected
            self.progress.clip = adapted_clip(settings.clip, below, settings.clip_quantile, self.server)
        gradient = pseudo_gradient(total, expected)
        for name, parameter in self.parameters.items():
            parameter.grad = gradient.get(name)  # None, so no step, for what this round did not release
        self.optimizer.step()

    def check(
        self, settings: RoundSettings, replies: Iterable[Message]
    ) -> tuple[list[Reply], Counter[str], Counter[str]]:
        """Return the replies to add, the counts of refusals, and those of invalid replies, by reason."""
        replies_to_add: list[Reply] = []
        refused: Counter[str] = Counter()
        invalid: Counter[str] = Counter()
        expected = expected_update(settings, self.shared())
        most_devices = self.server.most_devices(settings.devices)
        replies = list(replies)
        silent = self.asked - {message.metadata.src_node_id for message in replies}
        if silent and len(replies) < len(self.asked):
            invalid[LATE] += len(self.asked) - len(replies)
            logger.warning("no reply in time from %s", ", ".join(map(str, sorted(silent))))
        for node, message in first_replies(replies, self.asked, invalid):
            try:
                reply = unpack_reply(message.content, expected, settings.round)
                check_size(reply, settings, most_devices, self.server.most_events)
            except InvalidReply as reason:
                refuse(node, str(reason), invalid)
            else:
                replies_to_add.append(reply)
                refused.update(reply.refused)
        shares = sum(answer.answered for answer in replies_to_add)
        if replies_to_add and settings.trust_model.secure_aggregation and shares < settings.least_devices:
            invalid[TOO_FEW_SHARES] += len(replies_to_add)
            replies_to_add = [replace(answer, update={}, answered=0) for answer in replies_to_add]
        return replies_to_add, refused, invalid

    def book(
        self,
        settings: RoundSettings,
        answers: list[Reply],
        refused: Counter[str],
        invalid: Counter[str],
    ) -> RoundRecord:
        """Record the round with the accountant, and return its record.

        ε is that of a device that took part whenever it could: the worst case of the promise.
        """
        epsilon = None if self.accountant is None else self.accountant.book(settings)
        self.progress.accountant = None if self.accountant is None else self.accountant.state_dict()
        shared = self.shared()
        return RoundRecord(
            round=settings.round,
            asked=settings.devices,
            answered=sum(answer.answered for answer in answers),
            refused={str(reason): devices for reason, devices in refused.items()},
            invalid=dict(invalid),
            epsilon=epsilon,
            bytes_down=self.busiest("bytes_down") or message_bytes(shared),
            bytes_up=self.busiest("bytes_up") or message_bytes(expected_update(settings, shared)),
            seconds=time.monotonic() - self.started,
        )

    def busiest(self, way: str) -> int:
        """Return the bytes of the busiest node over all stages of secure aggregation; 0 without it."""
        return 0 if self.secure is None else max(getattr(self.secure, way).values(), default=0)


def check_reach(settings: RoundSettings, roster: Roster) -> None:
    """Raise UserError if nodes would refuse every sum, even with the whole roster in it."""
    nodes, minimum = len(roster.devices), floors_of(settings).least_devices
    tolerated = plan_for(nodes, settings.agreement).tolerated
    if (left := honest(roster.devices.values(), tolerated)) < minimum:
        raise UserError(
            f"least_devices = {minimum} is out of reach: if {tolerated} of the roster's {nodes} nodes "
            f"collude, only {left} devices are left: lower it, or spread the devices over more nodes"
        )


def message_bytes(parameters: Parameters) -> int:
    """Return the number of bytes that the arrays take in a message."""
    return sum(len(array.data) for array in to_arrays(parameters).values())

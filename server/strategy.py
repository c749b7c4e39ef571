"""The Flower strategy: ask every node, check what comes back, add it up, step, book the round."""

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
from terrycloth.server.secure.secure_exchange import NODE_FAILED, SecureExchange
from terrycloth.server.settings import ServerSettings

logger = logging.getLogger(__name__)

TOO_FEW_SHARES = "too few devices for the noise"
LEFT_OUT = "left out for an earlier answer"
MOST_FAILED = 3  # rounds of secure aggregation in a row without a sum, each of which costs the devices
STOPPED = "stopped within the round"

RoundObserver = Callable[[RoundRecord, Parameters], None]


class FederatedSum(FedAvg):
    """FedAvg's messages, but a sum over a public constant in place of an average over who came.

    Every node is asked every round: which of its devices take part is for their own coins to say.
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
        self.left_out: set[int] = set()  # nodes that secure aggregation found at fault since this start
        self.failed = 0  # rounds in a row in which it gave no sum
        self.started = time.monotonic()

    def run(self, grid: Grid) -> Parameters:
        """All rounds that are still to do; returns the final shared parameters."""
        self.note()
        if not self.progress.records:
            self.keep()  # the run's name, before any device books for it
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
        """Book the round in which the run was stopped, and leave it.

        Its devices booked it when its session began, and their masked sums may have left them. A second
        session is a new query to them, which they would book as well, and then refuse the last round.
        """
        stopped = Counter({STOPPED: self.server.nodes})
        self.finish(self.book(self.round_settings(), [], Counter(), stopped))

    def finish(self, record: RoundRecord) -> None:
        """Keep a round that is done, and report it."""
        self.progress.records.append(record)
        self.keep()
        if self.on_round is not None:
            self.on_round(record, self.shared())

    def keep(self) -> None:
        """Put where the run is on disk, if it has a folder, before anybody sees it."""
        if self.server.folder is not None:
            self.progress.number += 1
            save_checkpoint(self.server.folder, self.settings, self.parameters, self.optimizer, self.progress)
            self.note()

    def note(self) -> None:
        """From here on no older checkpoint will do."""
        if self.server.folder is not None:
            note_newest(self.server.folder, self.settings.run, self.progress.number)

    def shared(self) -> Parameters:
        """The current shared parameters."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def round_settings(self) -> RoundSettings:
        """What the round under way asks of a device. Flower counts rounds from where it started."""
        changes: dict[str, Any] = {"round": self.progress.rounds_done + 1}
        if self.settings.adapts_clip:
            changes["clip"] = self.progress.clip or self.settings.clip
        return self.settings.model_copy(update=changes)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Every node gets the parameters and this round's settings."""
        self.started = time.monotonic()
        asked = self.round_settings()
        if self.progress.rounds_done:
            self.min_train_nodes = self.min_available_nodes = self.server.least_nodes
        messages = super().configure_train(asked.round, arrays, asked.to_record(), grid)
        self.secure = None
        if asked.trust_model.secure_aggregation and asked.secure_aggregation:
            nodes = {message.metadata.dst_node_id for message in messages} - self.left_out
            request = Request(self.shared(), asked)
            most = self.server.most_devices(asked.devices)
            self.secure = SecureExchange(grid, nodes, request, self.server.timeout, self.roster, most)
            self.progress.opened = asked.round
            self.keep()  # before any device is asked
            messages = self.secure.open()
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add up the valid replies and step. The round is booked whoever came."""
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
        # Where it is hidden who took part, a round in which nobody did must look like any other.
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
                f"secure aggregation gave no sum {MOST_FAILED} rounds in a row, the last for {reasons}: see "
                "what the nodes' logs say, mend it, and resume the run"
            )
        return to_arrays(self.shared()), None

    def leave_out(self, at_fault: Mapping[int, str]) -> None:
        """Ask these nodes no more: each would fail the rounds to come for the others."""
        for node, reason in at_fault.items():
            logger.warning("node %d is left out of the rounds to come: %s", node, reason)
        self.left_out |= at_fault.keys()

    def released(self, settings: RoundSettings, total: Parameters) -> Parameters:
        """The sum as numbers, noised first where the server is trusted to do it."""
        if settings.trust_model.secure_aggregation:
            update = released_update(settings, self.shared())
            return fixed_point(settings, total[STEPS].numel()).decode(total[STEPS], update)
        if settings.trust_model.source is NoiseSource.SERVER and settings.noise > 0:
            seed = self.server.noise_seed
            key = new_key() if seed is None else seeded_key(seed)
            # Nodes send their sums in single precision: two neighbouring sums of norm N·C at most are rounded
            # apart by 2⁻²³·N·C at most, which the noise covers too.
            sensitivity = settings.sensitivity * (1.0 + 2.0**-23 * settings.devices)
            return add_central_noise(total, settings.noise * sensitivity, key, settings.round)
        return total

    def step(self, total: Parameters, settings: RoundSettings) -> None:
        """Post-processing: one step of the optimiser, and of the clip where it is adapted."""
        expected = settings.participation * settings.devices
        if settings.adapts_clip:
            below = 0.5 + float(total.pop(BELOW_CLIP)) / settings.indicator / expected
            self.progress.clip = adapted_clip(settings.clip, below, settings.clip_quantile, self.server)
        gradient = pseudo_gradient(total, expected)
        for name, parameter in self.parameters.items():
            parameter.grad = gradient.get(name)  # of what this round did not release: none, and no step
        self.optimizer.step()

    def check(
        self, settings: RoundSettings, replies: Iterable[Message]
    ) -> tuple[list[Reply], Counter[str], Counter[str]]:
        """The replies that may be added, devices that refused, and replies that may not, both by reason."""
        answers: list[Reply] = []
        refused: Counter[str] = Counter()
        invalid: Counter[str] = Counter()
        expected = expected_update(settings, self.shared())
        most_devices = self.server.most_devices(settings.devices)
        for message in replies:
            if message.has_error():
                invalid[NODE_FAILED] += 1
                logger.warning("a node failed: %s", message.error.reason)
                continue
            try:
                reply = unpack_reply(message.content, expected, settings.round)
                check_size(reply, settings, most_devices, self.server.most_events)
                answers.append(reply)
                refused.update(reply.refused)
            except InvalidReply as reason:
                invalid[str(reason)] += 1
        shares = sum(answer.answered for answer in answers)
        if answers and settings.trust_model.secure_aggregation and shares < settings.least_devices:
            invalid[TOO_FEW_SHARES] += len(answers)
            answers = [replace(answer, update={}, answered=0) for answer in answers]
        return answers, refused, invalid

    def book(
        self,
        settings: RoundSettings,
        answers: list[Reply],
        refused: Counter[str],
        invalid: Counter[str],
    ) -> RoundRecord:
        """The round's record. ε is of a device that took part whenever it could: the promise's worst case."""
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
        """Bytes over all stages of secure aggregation, of the node that had most; 0 without it."""
        return 0 if self.secure is None else max(getattr(self.secure, way).values(), default=0)


def check_reach(settings: RoundSettings, roster: Roster) -> None:
    """Raise UserError where nodes would refuse every sum, even with all of the roster in it."""
    nodes, least = len(roster.devices), floors_of(settings).least_devices
    tolerated = plan_for(nodes, settings.agreement).tolerated
    if (left := honest(roster.devices.values(), tolerated)) < least:
        raise UserError(
            f"least_devices = {least} is out of reach: should {tolerated} of the roster's {nodes} nodes "
            f"collude, {left} devices are left: lower it, or spread the devices over more nodes"
        )


def message_bytes(parameters: Parameters) -> int:
    """How long arrays are in a message."""
    return sum(len(array.data) for array in to_arrays(parameters).values())

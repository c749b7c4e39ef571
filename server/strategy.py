"""The Flower strategy: ask every node, check what comes back, add it up, step, book the round."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import nn

from models.accounting import epsilon_spent
from models.randomness import new_key, seeded_key
from models.recommender import Parameters
from models.settings import RoundSettings
from models.update import (
    PARAMETERS_RECORD,
    SETTINGS_RECORD,
    InvalidReply,
    Reply,
    check_size,
    to_arrays,
    unpack_reply,
)
from server.aggregate import add_central_noise, make_optimizer, pseudo_gradient, sum_updates
from server.checkpoint import Progress, RoundRecord, load_checkpoint, save_checkpoint
from server.settings import ServerSettings

logger = logging.getLogger(__name__)

NODE_FAILED = "node failed"

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
        self.progress = Progress()
        if server.resume and server.folder is not None:
            self.progress = load_checkpoint(server.folder, settings, self.parameters, self.optimizer)
        self.started = time.monotonic()

    def run(self, grid: Grid) -> Parameters:
        """All rounds that are still to do; returns the final shared parameters."""
        remaining = self.settings.rounds - self.progress.rounds_done
        if self.progress.records and self.on_round is not None:
            # The run may have stopped between a checkpoint and its report.
            self.on_round(self.progress.records[-1], self.shared())
        if remaining > 0:
            self.start(grid, to_arrays(self.shared()), num_rounds=remaining, timeout=self.server.timeout)
        return self.shared()

    def shared(self) -> Parameters:
        """The current shared parameters."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Every node gets the parameters and this round's settings. Flower counts from where it started."""
        self.started = time.monotonic()
        round = self.progress.rounds_done + 1
        asked = self.settings.model_copy(update={"round": round}).to_record()
        return super().configure_train(round, arrays, asked, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add up the valid replies and step. The round is booked whoever came."""
        round = self.progress.rounds_done + 1
        answers, invalid = self.check(round, replies)
        updates = [answer.update for answer in answers if answer.answered]
        # Central trust hides who took part, so a round in which nobody did must look like any other.
        if not updates and self.settings.trust == "central":
            updates = [{name: torch.zeros_like(tensor) for name, tensor in self.shared().items()}]
        if updates:
            self.step(sum_updates(updates), round)
        record = self.book(round, answers, invalid)
        self.progress.records.append(record)
        if self.server.folder is not None:
            save_checkpoint(self.server.folder, self.settings, self.parameters, self.optimizer, self.progress)
        if self.on_round is not None:
            self.on_round(record, self.shared())
        return to_arrays(self.shared()), None

    def step(self, total: Parameters, round: int) -> None:
        """One step of the optimiser on the sum, noised first where the server is trusted to do it."""
        settings = self.settings
        if settings.trust == "central" and settings.noise_multiplier > 0:
            seed = self.server.noise_seed
            key = new_key() if seed is None else seeded_key(seed)
            # Nodes send their sums in single precision: two neighbouring sums of norm N·C at most are rounded
            # apart by 2⁻²³·N·C at most, which the noise covers too.
            sensitivity = settings.clip * (1.0 + 2.0**-23 * self.server.devices)
            total = add_central_noise(total, settings.noise_multiplier * sensitivity, key, round)
        gradient = pseudo_gradient(total, settings.participation, self.server.devices)
        for name, parameter in self.parameters.items():
            parameter.grad = gradient[name]
        self.optimizer.step()

    def check(self, round: int, replies: Iterable[Message]) -> tuple[list[Reply], Counter[str]]:
        """The replies that may be added, and a count of the others by reason."""
        answers: list[Reply] = []
        invalid: Counter[str] = Counter()
        shared = self.shared()
        for message in replies:
            if message.has_error():
                invalid[NODE_FAILED] += 1
                logger.warning("a node failed: %s", message.error.reason)
                continue
            try:
                reply = unpack_reply(message.content, shared, round)
                check_size(reply, self.settings, self.server.devices)
                answers.append(reply)
            except InvalidReply as reason:
                invalid[str(reason)] += 1
        return answers, invalid

    def book(self, round: int, answers: list[Reply], invalid: Counter[str]) -> RoundRecord:
        """The round's record. ε is of a device that took part in every round: the promise's worst case."""
        settings = self.settings
        refused: Counter[str] = Counter()
        for answer in answers:
            refused.update({str(reason): devices for reason, devices in answer.refused.items()})
        noise_multiplier, rate, steps = settings.mechanism
        spent = epsilon_spent(noise_multiplier, rate, round * steps, settings.delta)
        size = sum(len(array.data) for array in to_arrays(self.shared()).values())
        return RoundRecord(
            round=round,
            asked=self.server.devices,
            answered=sum(answer.answered for answer in answers),
            refused=dict(refused),
            invalid=dict(invalid),
            epsilon=None if settings.unit == "none" else spent.epsilon,
            bytes_down=size,
            bytes_up=size,
            seconds=time.monotonic() - self.started,
        )

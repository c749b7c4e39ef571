"""Flower's simulation engine on Ray, with one ClientApp per device and Opacus in each.

It follows Flower's own example (adap/flower, examples/opacus). At each message a client reads its own events,
builds its model, wraps it with `PrivacyEngine.make_private`, takes its steps and replies with its parameters,
which FedAvg averages. The model, the expected batch size and the noise are those of the other contenders: the
loader samples at the workload's rate for the workload's number of steps, and losses are summed. There is no
evaluation.

A round is one round of `FedAvg.start` over clients that have replied before. This is what a long run pays for
each round, without the cost of starting Ray, which it pays once. Everything runs in a separate process on the
loopback interface. Between rounds, with 200 clients, this process uses about 4% of a core.
"""

import logging
import queue
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from opacus import PrivacyEngine
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch.utils.data import DataLoader, TensorDataset

from terrycloth.client.events import Events
from terrycloth.experiments.bench.plain_model import PlainFactorisation, with_negatives
from terrycloth.experiments.bench.workers import Round, Workers
from terrycloth.experiments.bench.workload import Workload
from terrycloth.experiments.engines.ray import loopback_only
from terrycloth.models.settings import RoundSettings

ARRAYS, METRICS, CLIENTS = "arrays", "metrics", "clients"


class Clients(NamedTuple):
    """The arguments of the clients.

    folder: where the clients' events are stored. number: how many clients there are. items: the number of
    items in the catalogue. settings: those of the round.
    """

    folder: Path
    number: int
    items: int
    settings: RoundSettings


def missing() -> str | None:
    """Return why this contender cannot run on this machine, or None."""
    if find_spec("ray") is None:
        return 'Ray is not installed: run pip install "terrycloth[ray]"'
    return None


class FlowerOnRay(Workers):
    """The contender that runs all clients of a workload and the server in one process."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="terry-bench-"))
        workload.cohort.events.save(self.folder)
        clients = Clients(self.folder, workload.devices, workload.num_items, workload.settings)
        super().__init__(name, workload.devices, simulation, [clients])

    def stop(self) -> None:
        """Stop the process, which stops Ray, and delete the clients' events."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def simulation(clients: Clients) -> Iterator[Round]:
    """Run Flower's engine while the context is open. A round returns nothing: the server runs there too."""
    loopback_only()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    from flwr.simulation import run_simulation

    requests: queue.Queue[bool] = queue.Queue()  # True requests one more round, False the end
    answers: queue.Queue[BaseException | None] = queue.Queue()

    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        model = PlainFactorisation(clients.items, clients.settings.dim, clients.settings.negative_weight)
        initial = ArrayRecord(model.state_dict())
        answers.put(None)
        while requests.get():
            strategy = FedAvg(
                fraction_evaluate=0.0, min_available_nodes=clients.number, train_metrics_aggr_fn=count
            )
            result = strategy.start(grid=grid, initial_arrays=initial, num_rounds=1)
            answered = result.train_metrics_clientapp[1][CLIENTS]
            if answered != clients.number:
                raise RuntimeError(f"only {answered} of {clients.number} clients replied")
            answers.put(None)

    def run() -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                run_simulation(
                    server_app=server,
                    client_app=make_client_app(clients),
                    num_supernodes=clients.number,
                    backend_config={
                        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                        "init_args": {"log_to_driver": False, "logging_level": logging.ERROR},
                    },
                )
        finally:
            answers.put(RuntimeError("Flower's simulation has ended"))

    def answer() -> None:
        error = answers.get()
        if error is not None:
            raise error

    def round() -> None:
        requests.put(True)
        answer()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        answer()
        yield round
    finally:
        requests.put(False)
        thread.join()


def count(replies: list[RecordDict], weight: str) -> MetricRecord:
    """Return how many clients replied without an error."""
    return MetricRecord({CLIENTS: len(replies)})


def make_client_app(clients: Clients) -> ClientApp:
    """Build the app of one device, which its node's partition number identifies."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        device = int(context.node_config["partition-id"])
        events = Events.load(clients.folder).span(device, device + 1)
        settings = clients.settings
        model = PlainFactorisation(clients.items, settings.dim, settings.negative_weight)
        model.load_state_dict(message.content.array_records[ARRAYS].to_torch_state_dict())
        train_privately(model, events, settings)
        reply = RecordDict()
        reply[ARRAYS] = ArrayRecord(model.state_dict())
        reply[METRICS] = MetricRecord({"num-examples": len(events)})
        return Message(content=reply, reply_to=message)

    return app


def train_privately(model: PlainFactorisation, events: Events, settings: RoundSettings) -> None:
    """Take the steps of one device on its model, with Opacus."""
    warnings.filterwarnings("ignore", category=UserWarning)  # Opacus warns about its generator and its hooks
    held = TensorDataset(
        torch.from_numpy(events.items.astype("int64")), torch.log2(1.0 + torch.tensor(events.weights))
    )
    sampler = UniformWithReplacementSampler(
        num_samples=len(held), sample_rate=settings.sampling_rate, steps=settings.steps_per_round
    )
    private, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=settings.learning_rate),
        data_loader=DataLoader(held, batch_sampler=sampler),
        noise_multiplier=settings.noise_multiplier,
        max_grad_norm=settings.clip,
        loss_reduction="sum",
        poisson_sampling=False,  # the sampler draws Poisson samples, at the rate of the other contenders
    )
    batch: Any
    for batch in loader:
        items, weights = batch
        optimizer.zero_grad()
        candidates = with_negatives(items, settings.negatives, model.table.num_embeddings)
        model.summed_loss(private(candidates), weights).backward()
        optimizer.step()

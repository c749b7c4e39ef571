"""Flower's simulation engine on Ray, one ClientApp a device, Opacus in each: as Flower's own example does it.

(Read: adap/flower, examples/opacus.) At each message a client reads its own events, builds its model, wraps
it by `PrivacyEngine.make_private`, takes its steps and replies with its parameters, which FedAvg averages.
The model, the batches expected and the noise are those of the other contenders: so the loader samples at the
workload's rate for the workload's steps, and losses are summed. There is no evaluation.

A round is `FedAvg.start` for one round, over clients that have answered before: what a long run pays for each
round, without what it pays once for starting Ray. All of it is in a process of its own, on loopback; between
its rounds, with 200 clients, it takes some 4% of a core.
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
from terrycloth.experiments.runs.engines.ray import loopback_only
from terrycloth.models.settings import RoundSettings

ARRAYS, METRICS, CLIENTS = "arrays", "metrics", "clients"


class Clients(NamedTuple):
    """What the clients are told of, beside what is on their disks."""

    folder: Path
    number: int
    items: int
    settings: RoundSettings


def missing() -> str | None:
    """Why it cannot run here, or None."""
    if find_spec("ray") is None:
        return 'Ray is not installed: pip install "terrycloth[ray]"'
    return None


class FlowerOnRay(Workers):
    """All clients of a workload, behind one process that runs the server."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="terry-bench-"))
        workload.cohort.events.save(self.folder)
        clients = Clients(self.folder, workload.devices, workload.num_items, workload.settings)
        super().__init__(name, workload.devices, simulation, [clients])

    def stop(self) -> None:
        """End the process, which ends Ray, and take the clients' events away."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def simulation(clients: Clients) -> Iterator[Round]:
    """Flower's engine, up until it is left; a round gives nothing back, for the server is there too."""
    loopback_only()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    from flwr.simulation import run_simulation

    asked: queue.Queue[bool] = queue.Queue()  # for one more round, or for none any more
    answers: queue.Queue[BaseException | None] = queue.Queue()

    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        model = PlainFactorisation(clients.items, clients.settings.dim, clients.settings.negative_weight)
        initial = ArrayRecord(model.state_dict())
        answers.put(None)
        while asked.get():
            strategy = FedAvg(
                fraction_evaluate=0.0, min_available_nodes=clients.number, train_metrics_aggr_fn=count
            )
            result = strategy.start(grid=grid, initial_arrays=initial, num_rounds=1)
            answered = result.train_metrics_clientapp[1][CLIENTS]
            if answered != clients.number:
                raise RuntimeError(f"{answered} of {clients.number} clients answered")
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
        asked.put(True)
        answer()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        answer()
        yield round
    finally:
        asked.put(False)
        thread.join()


def count(replies: list[RecordDict], weight: str) -> MetricRecord:
    """How many clients answered without an error."""
    return MetricRecord({CLIENTS: len(replies)})


def make_client_app(clients: Clients) -> ClientApp:
    """One device, which its partition's number names."""
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
    """The steps of one device, on its model."""
    warnings.filterwarnings("ignore", category=UserWarning)  # Opacus's, of its generator and of its hooks
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
        poisson_sampling=False,  # the sampler does it, at the rate of the other contenders
    )
    batch: Any
    for batch in loader:
        items, weights = batch
        optimizer.zero_grad()
        candidates = with_negatives(items, settings.negatives, model.table.num_embeddings)
        model.summed_loss(private(candidates), weights).backward()
        optimizer.step()

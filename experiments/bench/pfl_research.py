"""A shopper-level round by pfl-research (Granqvist et al. 2024), the fastest published simulator.

It runs in as many processes as cores. Each process trains its share of the users, and torch.distributed adds
up their sums, which is pfl's own way to use several processes. Users train one after the other, with the same
steps, expected batch sizes and negatives as the other contenders, drawn by torch's generator. Their updates
are clipped, and the central Gaussian mechanism adds noise to the sum. pfl sends every parameter that has a
gradient, so the update also contains the shopper's vector: dim numbers in addition to items · (dim + 1). All
users start from the same vector, which the central optimizer does not change. There is no evaluation.

pfl 0.6 needs dp-accounting below 0.6 and this project needs 0.6, so pip refuses to install both. The parts of
pfl that are used here work with 0.6, so `make install-bench` installs pfl without its dependencies.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from terrycloth.experiments.bench.plain_model import PlainFactorisation, interactions, with_negatives
from terrycloth.experiments.bench.workers import Round, Workers, cores
from terrycloth.experiments.bench.workload import Workload
from terrycloth.experiments.federation.ports import LOOPBACK, free_ports

ROUNDS_MOST = sys.maxsize


def missing() -> str | None:
    """Return why this contender cannot run on this machine, or None."""
    needed = ("pfl", "prv_accountant", "multiprocess")
    absent = [name for name in needed if find_spec(name) is None]
    return f"{absent[0]} is not installed: run make install-bench" if absent else None


class PflResearch(Workers):
    """The contender that trains the users of a workload with pfl.

    Every process holds all users, and pfl distributes them among the processes.
    """

    def __init__(self, name: str, workload: Workload) -> None:
        processes = min(cores(), workload.devices)
        addresses = ",".join(f"{LOOPBACK}:{port}" for port in free_ports(*[None] * processes))

        def environment(place: int) -> dict[str, str]:
            common = {"GLOO_SOCKET_IFNAME": "lo", "PFL_PYTORCH_DEVICE": "cpu"}
            if processes == 1:
                return common
            return common | {"PFL_WORKER_ADDRESSES": addresses, "PFL_WORKER_RANK": str(place)}

        super().__init__(name, workload.devices, simulation, [workload] * processes, environment)


@contextmanager
def simulation(workload: Workload) -> Iterator[Round]:
    """Set up pfl in one process. A round returns nothing, because pfl adds up the sums itself."""
    warnings.filterwarnings("ignore")  # torch warns that pfl uses deprecated names and calls
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.metrics import Weighted
    from pfl.model.pytorch import PyTorchModel
    from pfl.privacy import CentrallyAppliedPrivacyMechanism, GaussianMechanism

    settings, users = workload.settings, workload.devices

    class Steps(Dataset):  # type: ignore[misc]
        """A user's batches: a Poisson sample of the interactions for each step."""

        def iter(self, batch_size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
            """Candidates [batch, 1 + negatives] and weights [batch] of each step."""
            items, weights = self.raw_data
            for _ in range(settings.steps_per_round):
                batch = torch.rand(len(items)) < settings.sampling_rate
                yield with_negatives(items[batch], settings.negatives, workload.num_items), weights[batch]

    class Model(PlainFactorisation):
        """The plain model with the methods that pfl calls."""

        def loss(self, candidates: Tensor, weights: Tensor) -> Tensor:
            """Return the loss summed over the batch."""
            return self.summed_loss(self(candidates), weights)

        def metrics(self, candidates: Tensor, weights: Tensor) -> dict[str, Any]:
            """Return a placeholder: pfl evaluates only in the first round, which is not measured."""
            return {"nothing": Weighted(0.0, 1)}

    # Sparse gradients make pfl a fifth faster; Opacus does not support them.
    model = Model(workload.num_items, settings.dim, settings.negative_weight, sparse=True)
    model.load(workload.parameters, workload.cohort.vectors[0])
    held = [interactions(workload, place) for place in range(users)]
    backend = SimulatedBackend(
        training_data=FederatedDataset(
            lambda user: Steps(held[user]), get_user_sampler("minimize_reuse", range(users))
        ),
        val_data=None,
        postprocessors=[
            CentrallyAppliedPrivacyMechanism(GaussianMechanism(settings.clip, settings.noise_multiplier))
        ],
    )
    trained = PyTorchModel(
        model=model,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD([model.table.weight, model.bias.weight], lr=1.0),
    )
    algorithm = FederatedAveraging()
    local = NNTrainHyperParams(
        local_num_epochs=1,
        local_learning_rate=settings.learning_rate,
        local_batch_size=None,
    )

    def round() -> None:
        algorithm.run(
            NNAlgorithmParams(
                central_num_iterations=algorithm._current_central_iteration + 1,  # one more round
                evaluation_frequency=ROUNDS_MOST,
                train_cohort_size=users,
                val_cohort_size=0,
            ),
            backend,
            trained,
            local,
            send_metrics_to_platform=False,
        )

    yield round

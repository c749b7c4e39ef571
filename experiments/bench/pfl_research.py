"""pfl-research (Granqvist et al. 2024), the fastest published simulator: a shopper-level round.

In as many processes as cores, each training its share of the users, their sums added up by torch.distributed:
pfl's own way to use more than one process. Users train one after the other, on the same steps, batches and
negatives by torch's generator; their updates are clipped, and the central Gaussian mechanism noises the sum.
pfl sends every parameter that has a gradient, so the shopper's vector is in its update too: dim numbers
beside items · (dim + 1). All users start from one vector; the central optimizer leaves it alone. There is no
evaluation.

pfl 0.6 asks for a dp-accounting below 0.6 and this project for 0.6, so that pip refuses to install both. What
pfl uses here runs with 0.6: `make install-bench` installs pfl without what it asks for.
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
from terrycloth.experiments.runs.flower_run import free_port

ROUNDS_MOST = sys.maxsize


def missing() -> str | None:
    """Why it cannot run here, or None."""
    needed = ("pfl", "prv_accountant", "multiprocess")
    absent = [name for name in needed if find_spec(name) is None]
    return f"{absent[0]} is not installed: make install-bench" if absent else None


class PflResearch(Workers):
    """All users of a workload, which each process holds and pfl deals out."""

    def __init__(self, name: str, workload: Workload) -> None:
        processes = min(cores(), workload.devices)
        addresses = ",".join(f"127.0.0.1:{free_port()}" for _ in range(processes))

        def environment(place: int) -> dict[str, str]:
            common = {"GLOO_SOCKET_IFNAME": "lo", "PFL_PYTORCH_DEVICE": "cpu"}
            if processes == 1:
                return common
            return common | {"PFL_WORKER_ADDRESSES": addresses, "PFL_WORKER_RANK": str(place)}

        super().__init__(name, workload.devices, simulation, [workload] * processes, environment)


@contextmanager
def simulation(workload: Workload) -> Iterator[Round]:
    """pfl in one process; a round gives nothing back, for pfl has added the sums up."""
    warnings.filterwarnings("ignore")  # of torch, that pfl uses names and calls of its past
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
        """With the names that pfl calls."""

        def loss(self, candidates: Tensor, weights: Tensor) -> Tensor:
            """Summed over the batch."""
            return self.summed_loss(self(candidates), weights)

        def metrics(self, candidates: Tensor, weights: Tensor) -> dict[str, Any]:
            """pfl evaluates in the first round, which is not measured."""
            return {"nothing": Weighted(0.0, 1)}

    # Sparse gradients make pfl faster by a fifth; Opacus has none.
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
                central_num_iterations=algorithm._current_central_iteration + 1,  # one more
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

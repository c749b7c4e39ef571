"""Contenders that train one device after the other with Opacus, with a share of the devices in each process.

`plain_opacus` is the fastest use of Opacus: one wrapped model for all devices of a process, and Opacus's own
sampler, clipping and noise, from torch's own generator. `reference` is this project's `OpacusTrainer`. It is
slower because it adds keyed noise on a grid and checks that gradients are finite.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.utils.uniform_sampler import UniformWithReplacementSampler

from terrycloth.client.training.trainers import trainer_for
from terrycloth.experiments.bench.plain_model import interactions, plain_model, with_negatives
from terrycloth.experiments.bench.workers import Round
from terrycloth.experiments.bench.workload import Workload
from terrycloth.models.recommenders.recommender import Parameters


@contextmanager
def plain_opacus(workload: Workload) -> Iterator[Round]:
    """Prepare rounds that return the sum of the devices' updates."""
    # The first layer's inputs are indices, which have no gradient, so torch would warn at every step.
    warnings.filterwarnings("ignore", "Full backward hook is firing")
    settings, parameters = workload.settings, workload.parameters
    model = plain_model(workload)
    module = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=settings.learning_rate),
        noise_multiplier=settings.noise_multiplier,
        max_grad_norm=settings.clip,
        expected_batch_size=None,
        loss_reduction="sum",
    )

    def train(place: int) -> None:
        model.load(parameters, workload.cohort.vectors[place])
        items, weights = interactions(workload, place)
        sampler = UniformWithReplacementSampler(
            num_samples=len(items), sample_rate=settings.sampling_rate, steps=settings.steps_per_round
        )
        for batch in sampler:
            optimizer.zero_grad()
            candidates = with_negatives(items[batch], settings.negatives, workload.num_items)
            model.summed_loss(module(candidates), weights[batch]).backward()
            optimizer.step()

    def round() -> Parameters:
        table, bias = torch.zeros_like(model.table.weight), torch.zeros_like(model.bias.weight)
        for place in range(workload.devices):
            train(place)
            with torch.no_grad():
                table += model.table.weight - parameters["table.weight"]
                bias += model.bias.weight - parameters["bias.weight"]
        return {"table.weight": table, "bias.weight": bias}

    yield round


@contextmanager
def reference(workload: Workload) -> Iterator[Round]:
    """Prepare rounds that return the sum of the devices' updates."""
    trainer = trainer_for(workload.model(), workload.settings)

    def round() -> Parameters:
        update, _ = trainer.train(workload.cohort, workload.parameters)
        return update

    yield round

"""The reference: DP-SGD on one device after the other, by Opacus (Abadi et al. 2016, algorithm 1).

The gradient of an example, the shopper's vector included, is clipped to norm C, and Gaussian noise of
standard deviation σ·C covers every coordinate. Noise 0 and an infinite clip give `SgdTrainer` back.

Opacus brings the per-sample gradients, the clip, the optimizer and (in `SgdTrainer`) the Poisson sampler; the
source of their randomness alone is replaced, by the device's keyed streams.
"""

import warnings

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor
from torch.linalg import vector_norm

from client.sgd_trainer import SgdTrainer
from models.randomness import Stream, add_noise
from models.recommender import Recommender
from models.settings import ROUNDING, RoundSettings

LEAST_RIGHT = 1.0 - 1e-6  # of a norm in single precision; ROUNDING allows ten times the rest


class KeyedDPOptimizer(DPOptimizer):
    """Opacus's optimizer with noise from a device's stream: of standard deviation `deviation`."""

    deviation: float
    noise: Stream

    def clip_and_accumulate(self) -> None:
        """Leave out examples whose gradient is not finite, then clip as Opacus does.

        Opacus scales an infinite gradient by 0, and 0 · ∞ is NaN, which no noise hides: a server that sends
        absurd parameters could read from it which rows a device touched. And it takes norms in single
        precision, in which that of very many alike numbers comes out too short: such examples are shortened
        to the clip before.
        """
        samples = [sample.flatten(1) for sample in self.grad_samples]
        norms = torch.stack([vector_norm(sample, dim=1, dtype=torch.float64) for sample in samples]).norm(
            dim=0
        )
        single = torch.stack([vector_norm(sample, dim=1) for sample in samples]).norm(dim=0)
        finite = torch.isfinite(single.square())
        short = finite & (single < norms * LEAST_RIGHT)
        if not finite.all() or short.any():
            factor = torch.where(short, (self.max_grad_norm / norms).clamp(max=1.0), 1.0).float()
            for parameter in self.params:
                shape = -1, *[1] * parameter.dim()
                scaled = parameter.grad_sample * factor.view(shape)
                parameter.grad_sample = torch.where(finite.view(shape), scaled, 0.0)
        super().clip_and_accumulate()

    def add_noise(self) -> None:
        """Noise σ·C on every coordinate of every parameter, touched or not, rounded to a public grid."""
        for parameter in self.params:
            summed = parameter.summed_grad
            if self.deviation > 0:
                summed = add_noise(summed, self.deviation, self.noise)
            parameter.grad = summed.view_as(parameter)


class OpacusTrainer(SgdTrainer):
    """SgdTrainer with a clip for each example and noise for each step."""

    optimizer: KeyedDPOptimizer

    def __init__(self, model: Recommender, settings: RoundSettings) -> None:
        super().__init__(model, settings)
        self.module = GradSampleModule(model, loss_reduction="sum")
        self.optimizer = KeyedDPOptimizer(
            torch.optim.SGD(self.module.parameters(), lr=settings.learning_rate),
            noise_multiplier=settings.noise_multiplier,
            max_grad_norm=ROUNDING * settings.clip,  # below C, whatever single precision does to the factor
            expected_batch_size=None,
            loss_reduction="sum",
        )
        self.optimizer.deviation = settings.noise * settings.clip if settings.noise > 0 else 0.0

    def step(self, candidates: Tensor, weights: Tensor, noise: Stream) -> None:
        """An empty batch steps too, on noise alone: silence would tell that it was empty."""
        self.optimizer.noise = noise
        if len(candidates):
            with warnings.catch_warnings():
                # The first layer reads indices, which have no gradient: torch warns of it at every step.
                warnings.filterwarnings("ignore", "Full backward hook is firing")
                super().step(candidates, weights, noise)
            return
        self.optimizer.zero_grad(set_to_none=True)
        for parameter in self.optimizer.params:
            parameter.grad_sample = torch.zeros(0, *parameter.shape)
        self.optimizer.step()

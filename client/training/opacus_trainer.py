"""The reference: DP-SGD on one device after the other, with Opacus (Abadi et al. 2016, algorithm 1).

The gradient of an example, which includes the shopper's vector, is clipped to norm C. Gaussian noise of
standard deviation σ·C is added to every coordinate. With noise 0 and an infinite clipping norm, this trainer
equals `SgdTrainer`.

Opacus provides the per-sample gradients, the optimizer and (in `SgdTrainer`) the Poisson sampler. Here, their
randomness comes from the device's keyed streams instead. Clipping is computed again in double precision: in
single precision, one more example changes the rounding errors of a sum of ten thousand by more than the
margin of the clip.

Opacus sees a parameter's gradient only inside a layer. A model that does not promise `looks_up_rows` may use
parameters outside, so its per-sample gradients are found by torch, one example after the other.
"""

import warnings

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor
from torch.linalg import vector_norm

from terrycloth.client.training.compiled.sgd_kernel import OPACUS_MARGIN
from terrycloth.client.training.sgd_trainer import Batch, SgdTrainer
from terrycloth.models.privacy.randomness import Stream, add_noise
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import ROUNDING, RoundSettings


class KeyedDPOptimizer(DPOptimizer):
    """Opacus's optimizer with noise of standard deviation `deviation` from a device's stream."""

    deviation: float
    noise: Stream

    def clip_and_accumulate(self) -> None:
        """Clip each example as Opacus does, and sum the clipped gradients, all in double precision.

        An example whose gradient is not finite is left out. Opacus scales it by 0, but 0 · ∞ is NaN, which no
        noise hides: a server that sends extreme parameters could read from it which rows a device touched.
        """
        samples = [sample.flatten(1) for sample in self.grad_samples]
        norms = torch.stack([vector_norm(sample, dim=1, dtype=torch.float64) for sample in samples]).norm(
            dim=0
        )
        finite = torch.isfinite(norms)
        factor = torch.where(finite, (self.max_grad_norm / (norms + OPACUS_MARGIN)).clamp(max=1.0), 0.0)
        for parameter in self.params:
            sample = parameter.grad_sample
            if not finite.all():
                sample = torch.where(finite.view(-1, *[1] * parameter.dim()), sample, 0.0)
            clipped = torch.einsum("i,i...->...", factor, sample.double())
            before = parameter.summed_grad
            parameter.summed_grad = clipped if before is None else before.add_(clipped)

    def add_noise(self) -> None:
        """Add noise σ·C to every coordinate of every parameter, used or not, rounded to a public grid."""
        for parameter in self.params:
            summed = parameter.summed_grad
            if self.deviation > 0:
                summed = add_noise(summed, self.deviation, self.noise)
            parameter.grad = summed.float().view_as(parameter)


class OpacusTrainer(SgdTrainer):
    """SgdTrainer with clipping per example and noise per step."""

    optimizer: KeyedDPOptimizer

    def __init__(self, model: Recommender, settings: RoundSettings) -> None:
        super().__init__(model, settings)
        if model.looks_up_rows:
            self.module = GradSampleModule(model, loss_reduction="sum")
        self.optimizer = KeyedDPOptimizer(
            torch.optim.SGD(self.module.parameters(), lr=settings.learning_rate),
            noise_multiplier=settings.noise_multiplier,
            max_grad_norm=ROUNDING * settings.clip,  # at most C, even after single-precision rounding
            expected_batch_size=None,
            loss_reduction="sum",
        )
        self.optimizer.deviation = settings.noise * settings.clip if settings.noise > 0 else 0.0

    @property
    def numbers_of_example(self) -> int:
        """About how many numbers the arrays hold per interaction: its candidates and its own gradient."""
        return super().numbers_of_example + sum(int(part.numel()) for part in self.optimizer.params)

    def step(self, batch: Batch, noise: Stream) -> None:
        """Take one step on a batch. An empty batch also takes a step, on noise, to hide that it is empty."""
        self.optimizer.noise = noise
        self.optimizer.zero_grad(set_to_none=True)
        for candidates, weights in batch:
            self.find_gradients(candidates, weights)
            self.optimizer.clip_and_accumulate()
            for parameter in self.optimizer.params:
                parameter.grad_sample = parameter.grad = None
        for parameter in self.optimizer.params:
            parameter.grad_sample = torch.zeros(0, *parameter.shape)
        self.optimizer.step()

    def find_gradients(self, candidates: Tensor, weights: Tensor) -> None:
        """Set `grad_sample` of each parameter, [examples, …], to the gradients of the examples' losses."""
        if self.model.looks_up_rows:
            with warnings.catch_warnings():
                # The first layer reads indices, which have no gradient, so torch warns at every step.
                warnings.filterwarnings("ignore", "Full backward hook is firing")
                self.summed_loss(candidates, weights).backward()
            return
        parameters = self.optimizer.params
        gradients = [
            torch.autograd.grad(self.summed_loss(*example), parameters, materialize_grads=True)
            for example in zip(candidates.split(1), weights.split(1), strict=True)
        ]
        for parameter, of_examples in zip(parameters, zip(*gradients, strict=True), strict=True):
            parameter.grad_sample = torch.stack(of_examples)

"""The reference: DP-SGD on one device after the other, by Opacus (Abadi et al. 2016, algorithm 1).

The gradient of an example, the shopper's vector included, is clipped to norm C, and Gaussian noise of
standard deviation σ·C covers every coordinate. Noise 0 and an infinite clip give `SgdTrainer` back.

Opacus brings the per-sample gradients, the optimizer and (in `SgdTrainer`) the Poisson sampler; the source of
their randomness is replaced, by the device's keyed streams. Its clip is worked out anew in double precision:
in single, one example more changes the roundings of a sum of ten thousand by more than a clip's margin.
"""

import warnings

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch.linalg import vector_norm

from terrycloth.client.training.compiled.sgd_kernel import OPACUS_MARGIN
from terrycloth.client.training.sgd_trainer import Batch, SgdTrainer
from terrycloth.models.privacy.randomness import Stream, add_noise
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import ROUNDING, RoundSettings


class KeyedDPOptimizer(DPOptimizer):
    """Opacus's optimizer with noise from a device's stream: of standard deviation `deviation`."""

    deviation: float
    noise: Stream

    def clip_and_accumulate(self) -> None:
        """Clip each example as Opacus does, and add up what is left of them; all in double precision.

        An example whose gradient is not finite is left out. Opacus scales it by 0, and 0 · ∞ is NaN, which no
        noise hides: a server that sends absurd parameters could read from it which rows a device touched.
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
        """Noise σ·C on every coordinate of every parameter, touched or not, rounded to a public grid."""
        for parameter in self.params:
            summed = parameter.summed_grad
            if self.deviation > 0:
                summed = add_noise(summed, self.deviation, self.noise)
            parameter.grad = summed.float().view_as(parameter)


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

    @property
    def numbers_of_example(self) -> int:
        """Of its candidates, and of its own gradient in every parameter."""
        return super().numbers_of_example + sum(int(part.numel()) for part in self.optimizer.params)

    def step(self, batch: Batch, noise: Stream) -> None:
        """Every batch ends like an empty one, with a step on noise: silence would tell that it was empty."""
        self.optimizer.noise = noise
        self.optimizer.zero_grad(set_to_none=True)
        for candidates, weights in batch:
            with warnings.catch_warnings():
                # The first layer reads indices, which have no gradient: torch warns of it at every step.
                warnings.filterwarnings("ignore", "Full backward hook is firing")
                self.summed_loss(candidates, weights).backward()
            self.optimizer.clip_and_accumulate()
            for parameter in self.optimizer.params:
                parameter.grad_sample = parameter.grad = None
        for parameter in self.optimizer.params:
            parameter.grad_sample = torch.zeros(0, *parameter.shape)
        self.optimizer.step()

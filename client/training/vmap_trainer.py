"""SGD and DP-SGD of any model for many devices at once, with `torch.func`.

Each device has its own parameters, along one more axis, and `vmap` processes all devices together. Where each
interaction is clipped separately, a second `vmap` runs over the interactions. A device has copies of only
those rows of a table that it reads, or of whole tables if the model does not promise `looks_up_rows`. The
references are `OpacusTrainer`, `ClippedSgdTrainer` and `SgdTrainer`, depending on the unit. Sampling draws,
batches and negatives are the same as theirs, draw by draw, and so are the updates without noise.

The noise at interaction level has the distribution of DP-SGD (Abadi et al. 2016, algorithm 1). A device draws
it for the rows it reads, in every step but the last. The noise that no step reads is drawn once for the
cohort's sum. A device keeps its change D separate from the public θ: if D were rounded into θ + D, a server
that sends an enormous θ could make a step change by more than the clipping norm. D is in double precision, so
that the rounding errors which one more interaction causes in a long sum are far below the margin of the clip.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.compiled.batch_draws import (
    Reads,
    Sampling,
    draw_batches,
    draw_chunk,
    draw_noise,
    draw_reads,
)
from terrycloth.client.training.compiled.compiled_streams import key_words
from terrycloth.client.training.compiled.sgd_kernel import OPACUS_MARGIN, Histories, histories_of
from terrycloth.client.training.exact_sum import grid_step, noised, step_deviation
from terrycloth.client.training.shopper_level import clip_factor, indicators
from terrycloth.models.recommenders.recommender import SHOPPER, Parameters, Recommender, interaction_loss
from terrycloth.models.settings import ROUNDING, RoundSettings
from terrycloth.models.update import BELOW_CLIP

CHUNK_BYTES = 2**24  # approximate size of the largest array for the devices that are trained at a time
VECTOR = f"{SHOPPER}.weight"


class Examples(NamedTuple):
    """Some interactions of one step, for each device; `batch_draws.Chunk` explains the integers.

    slots, first: int64 [devices, examples, 1 + negatives]. weights: float32 [devices, examples]. present:
    bool [devices, examples], false in the padding of a device that has fewer examples. Where tables are
    whole, both slots and first are item numbers, and padding repeats the device's first example.
    """

    slots: Tensor
    first: Tensor
    weights: Tensor
    present: Tensor


class VmapTrainer:
    """Trains a cohort in chunks of devices; `trainer.Trainer` documents the shapes.

    torch_device: torch's name of the hardware that computes, such as `cuda`. Memory there does not grow with
    the cohort.
    """

    def __init__(self, model: Recommender, settings: RoundSettings, torch_device: str = "cpu") -> None:
        self.model = model
        self.settings = settings
        self.torch_device = torch.device(torch_device)
        self.tables = {
            f"{name}.weight"
            for name, module in model.named_modules()
            if model.looks_up_rows and isinstance(module, nn.Embedding) and name != SHOPPER
        }

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """As `Trainer.train`. Devices with similar numbers of events share a chunk, to limit padding."""
        settings = self.settings
        start = {name: self.padded(name, tensor.to(self.torch_device)) for name, tensor in parameters.items()}
        total = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in start.items()}
        holders = np.zeros(1 + self.model.num_items, dtype=np.int64)  # devices that have a slot for each row
        below = torch.zeros(1, dtype=torch.float64)
        vectors = torch.empty_like(cohort.vectors)
        for places in self.chunks(cohort.events.counts):
            histories = histories_of(cohort.devices[places], cohort.events.take(places))
            reads = draw_reads(histories, self.sampling(cohort))
            rows = torch.from_numpy(reads.rows.astype(np.int64)).to(self.torch_device)
            own = {VECTOR: cohort.vectors[places].to(self.torch_device).unsqueeze(1)}
            # Tables come last, so that the number of slots does not shift the noise of other parameters.
            for name in sorted(start, key=self.tables.__contains__):
                part = start[name]
                own[name] = part[rows] if name in self.tables else part.expand(len(places), *part.shape)
            change = self.train_chunk(cohort, histories, own, reads)
            vectors[places] = (own[VECTOR] + change.pop(VECTOR)).squeeze(1).float().cpu()
            update, indicator = self.released(change)
            below += indicator.cpu()
            for name, units in update.items():
                if name in self.tables:
                    total[name].index_add_(0, rows.flatten(), units.flatten(0, 1))
                else:
                    total[name] += units.sum(dim=0)
            holders += np.bincount(reads.rows.ravel(), minlength=len(holders))
        drawn = settings.steps_per_round - 1  # steps whose noise is in a device's change
        released = {}
        for number, (name, units) in enumerate(total.items()):
            summed, copies = units.cpu().numpy(), np.array(len(cohort.devices))
            if name in self.tables:
                summed, copies = summed[1:], holders[1:, None]
            released[name] = self.noised(cohort, summed, drawn * copies, number)
        return released | ({BELOW_CLIP: below} if settings.adapts_clip else {}), vectors

    def noised(
        self, cohort: Cohort, units: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64], part: int
    ) -> Tensor:
        """As `exact_sum.noised`."""
        return noised(units, drawn, part, cohort, self.settings)

    def padded(self, name: str, tensor: Tensor) -> Tensor:
        """Put a row of zeros before a table, for slots without an item; return other parameters unchanged."""
        return torch.cat([torch.zeros_like(tensor[:1]), tensor]) if name in self.tables else tensor

    def chunks(self, counts: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the places in the cohort of each chunk's devices: int64. counts: events of each device."""
        order = np.argsort(-counts, kind="stable")
        start = 0
        while start < len(order):
            size = max(1, CHUNK_BYTES // (4 * self.numbers_of(int(counts[order[start]]))))
            yield order[start : start + size]
            start += size

    def numbers_of(self, events: int) -> int:
        """About how many numbers the largest array holds for a device with `events` events."""
        settings = self.settings
        examples = 1.0 + events * settings.sampling_rate
        reads = examples * settings.steps_per_round * (1 + settings.negatives)
        parameters = min(reads, self.model.num_items) * self.model.dim
        if not self.model.looks_up_rows:
            parameters = sum(part.numel() for part in self.model.shared_parameters().values())
        return int(max(parameters, examples * self.numbers_of_example))

    @cached_property
    def numbers_of_example(self) -> int:
        """About how many numbers an array holds for one interaction: its rows, or its own gradient."""
        sizes = [(1 + self.settings.negatives) * self.model.dim]
        if self.settings.unit == "interaction":
            shared = self.model.shared_parameters()
            sizes += [part.numel() for name, part in shared.items() if name not in self.tables]
        return max(sizes)

    def sampling(self, cohort: Cohort) -> Sampling:
        """The parameters of this query's sampling."""
        settings = self.settings
        return Sampling(
            key_words(cohort.key),
            cohort.query,
            settings.steps_per_round,
            settings.sampling_rate,
            settings.negatives,
            self.model.num_items,
        )

    def train_chunk(
        self, cohort: Cohort, histories: Histories, start: Parameters, reads: Reads
    ) -> Parameters:
        """Take all steps; return the change D of each parameter of `start`: float64 [devices, …]."""
        settings = self.settings
        descend = self.descend_clipped if settings.unit == "interaction" else self.descend
        deviation = settings.learning_rate * step_deviation(settings)
        change = {name: torch.zeros_like(part, dtype=torch.float64) for name, part in start.items()}
        for step in range(settings.steps_per_round):
            current = {name: (part + change[name]).float() for name, part in start.items()}
            for examples in self.examples(cohort, histories, reads, step):
                descend(change, current, examples)
            if deviation > 0:
                last = step == settings.steps_per_round - 1
                noisy = [change[VECTOR]] if last else list(change.values())
                sizes = [part[0].numel() for part in noisy]
                drawn_by, query = histories.devices, cohort.query
                noise = draw_noise(key_words(cohort.key), query, step, drawn_by, sum(sizes))
                drawn = torch.from_numpy(noise).to(self.torch_device).split(sizes, dim=1)
                for part, normals in zip(noisy, drawn, strict=True):
                    part.add_(normals.view_as(part), alpha=deviation)
        return change

    def examples(self, cohort: Cohort, histories: Histories, reads: Reads, step: int) -> Iterator[Examples]:
        """Yield a step's batches, with a number of examples per device at a time that limits memory."""
        devices, sampling = len(reads.rows), self.sampling(cohort)
        batches = draw_batches(histories, sampling, step)
        most = int(reads.sizes[:, step].max())
        size = max(1, CHUNK_BYTES // (4 * devices * self.numbers_of_example))
        for start in range(0, most, size):
            part = slice(start, min(start + size, most))
            places = np.arange(part.start, part.stop)
            chunk = draw_chunk(histories, sampling, reads, step, batches, part)
            present = places < reads.sizes[:, step, None]
            slots, first = chunk.slots.astype(np.int64), chunk.first.astype(np.int64)
            if not self.model.looks_up_rows:
                slots = first = items_of(slots, reads, present)
            yield Examples(
                *(
                    torch.from_numpy(array).to(self.torch_device)
                    for array in (slots, first, chunk.weights, present)
                )
            )

    def descend(self, change: Parameters, current: Parameters, examples: Examples) -> None:
        """Update `change` against the gradient of each device's summed loss at `current`."""

        def loss(parameters: Parameters, slots: Tensor, weights: Tensor, present: Tensor) -> Tensor:
            return torch.where(present, self.losses(parameters, slots, weights), 0.0).sum()

        gradient = vmap(grad(loss))(current, examples.slots, examples.weights, examples.present)
        for name, part in gradient.items():
            if not self.model.looks_up_rows:
                # A device without examples reads item 0 in its padding: 0 times an infinite number is NaN.
                trained = examples.present.any(dim=1).view(-1, *[1] * (part.dim() - 1))
                part = torch.where(trained, part, 0.0)
            change[name].sub_(part, alpha=self.settings.learning_rate)

    def descend_clipped(self, change: Parameters, current: Parameters, examples: Examples) -> None:
        """As `descend`, with the gradient of each interaction clipped, or left out if it is not finite.

        Each interaction reads its own table of 1 + negatives rows. An item that occurs twice in an
        interaction is read from its first place only, because it is one coordinate of the gradient. Where
        tables are whole, each interaction reads all parameters of its device.
        """

        def loss(rows: Parameters, rest: Parameters, first: Tensor, weight: Tensor) -> Tensor:
            return self.losses(rows | rest, first.unsqueeze(0), weight.unsqueeze(0)).sum()

        devices, slots = current[VECTOR].shape[0], examples.slots
        rest = {name: part for name, part in current.items() if name not in self.tables}
        rows = {}
        for name in self.tables:
            table = current[name]
            offsets = table.shape[1] * torch.arange(devices, device=table.device)
            flat = (slots + offsets.view(-1, 1, 1)).flatten()
            rows[name] = table.flatten(0, 1).index_select(0, flat).view(*slots.shape, -1)
        of_example = vmap(grad(loss, argnums=(0, 1)), in_dims=(0, None, 0, 0))
        by_rows, by_rest = vmap(of_example)(rows, rest, examples.first, examples.weights)
        gradients = {name: part.flatten(2) for name, part in (by_rows | by_rest).items()}
        # In single precision, rounding can make the norm of 256 × 512 equal numbers too small for ROUNDING.
        by_part = [torch.linalg.vector_norm(part, dim=2, dtype=torch.float64) for part in gradients.values()]
        norms = torch.stack(by_part).norm(dim=0)  # [devices, examples]
        factor = (ROUNDING * self.settings.clip / (norms + float(OPACUS_MARGIN))).clamp(max=1.0)
        finite = torch.isfinite(norms)
        factor = torch.where(finite & examples.present, factor, 0.0)
        if not finite.all():  # 0 times a number that is not finite is NaN
            gradients = {
                name: torch.where(finite.unsqueeze(2), part, 0.0) for name, part in gradients.items()
            }
        for name, part in gradients.items():
            if name in self.tables:
                moves = (factor.unsqueeze(2) * part).view(flat.numel(), -1)
                change[name].flatten(0, 1).index_add_(0, flat, moves, alpha=-self.settings.learning_rate)
            else:
                summed = torch.bmm(factor.unsqueeze(1), part.double())  # [devices, 1, numbers]
                change[name].sub_(summed.view_as(change[name]), alpha=self.settings.learning_rate)

    def losses(self, parameters: Parameters, slots: Tensor, weights: Tensor) -> Tensor:
        """Losses [examples] of interactions whose items are the rows `slots` of one device's tables."""
        scores = functional_call(self.model, parameters, (slots,))
        return interaction_loss(scores, weights, self.settings.negative_weight, self.model.loss)

    def released(self, change: Parameters) -> tuple[Parameters, Tensor]:
        """Return the part of each device's change that goes into the sum, and the sum of the indicators.

        The first is in whole units, float64 [devices, …]. At shopper level each change is clipped, and a
        change that diverged adds nothing. The second is the sum of the devices' indicators, [1].
        """
        unit = grid_step(self.settings)
        units = {name: part / unit for name, part in change.items()}
        if self.settings.unit != "shopper":
            return {name: part.round_() for name, part in units.items()}, torch.zeros(1)
        norms = [torch.linalg.vector_norm(part.flatten(1), dim=1) for part in units.values()]
        squares = (unit * torch.stack(norms)).square().sum(dim=0)
        factor = clip_factor(squares, self.settings.clip)
        for part in units.values():
            if not factor.all():
                part[factor == 0] = 0.0
            part.mul_(factor.view(-1, *[1] * (part.dim() - 1))).round_()
        return units, indicators(factor, squares > 0, self.settings).sum().reshape(1)


def items_of(
    slots: npt.NDArray[np.int64], reads: Reads, present: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Item numbers of `slots`, of the same shape, for a model that reads whole tables.

    Slot 0, which has no item, becomes item 0. Padding repeats the device's first example: if padding read an
    item that the device does not read, a server's infinite parameter there would spoil the gradient of only
    those devices that are trained next to a longer one, so that one device would change another's update.
    """
    devices = np.arange(len(slots)).reshape(-1, 1, 1)
    items = np.maximum(reads.rows[devices, slots].astype(np.int64) - 1, 0)
    return np.where(present[:, :, None], items, items[:, :1])

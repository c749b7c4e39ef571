"""The batched trainer gives the same results as the references, device by device."""

import math

import numpy as np
import pytest
import torch

import terrycloth.client.training.opacus_trainer
import terrycloth.client.training.vmap_trainer
from terrycloth.client.training.compiled.batch_draws import draw_noise
from terrycloth.client.training.compiled.compiled_streams import key_words
from terrycloth.client.training.exact_sum import grid_step
from terrycloth.client.training.opacus_trainer import OpacusTrainer
from terrycloth.client.training.trainers import bounded_trainer
from terrycloth.client.training.vmap_trainer import VmapTrainer
from terrycloth.models.privacy.randomness import seeded_key
from tests.client.training.cohorts import (
    DIM,
    REFERENCES,
    NoiseTwice,
    NoNoiseWhereRead,
    ReadNoiseIsNotReleased,
    assert_close,
    cohort_of,
    has_all_noise,
    model_and_parameters,
    ragged,
    runs,
    same_distribution,
)


def asked(ask, unit: str = "interaction", **changes):
    """Return settings of neural CF without noise, except for what the caller changes."""
    values = {"model": "neural-cf", "unit": unit, "noise_multiplier": 0.0, "epsilon": math.inf}
    if unit == "none":
        values |= {"trust": "none", "clip": math.inf}
    return ask(**values | changes)


def vectors_of(events, seed: int = 2):
    return 0.3 * torch.randn(events.num_devices, DIM, generator=torch.Generator().manual_seed(seed))


def both(settings, shop, cohort, change=lambda parameters: None):
    """Return update and vectors by the batched trainer and by the reference, each with its own model."""
    answers = []
    for trainer in (VmapTrainer, REFERENCES[settings.unit]):
        model, parameters = model_and_parameters(settings, shop)
        change(parameters)
        update, vectors = trainer(model, settings).train(cohort, parameters)
        answers.append(update | {"x": vectors})
    return answers


# Without noise both trainers give the same numbers


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    ("unit", "clip"),
    [("interaction", 0.5), ("interaction", 1e4), ("shopper", 0.3), ("shopper", 1e4), ("none", math.inf)],
)
def test_updates_and_vectors_equal_the_references(shop, ask, unit, clip, steps):
    settings = asked(ask, unit, clip=clip, sampling_rate=0.4, steps_per_round=steps, learning_rate=0.004)
    events = ragged()
    ours, theirs = both(settings, shop, cohort_of(events, vectors_of(events)))
    assert all(float(part.norm()) > 0 for part in theirs.values())
    assert_close(ours, theirs)


@pytest.mark.parametrize("unit", REFERENCES)
def test_an_item_that_occurs_twice_in_an_interaction_is_one_coordinate(shop, ask, unit):
    """With more negatives than items, every interaction repeats some items, its own among them."""
    settings = asked(ask, unit, negatives=40, **({} if unit == "none" else {"clip": 0.3}))
    cohort = cohort_of(ragged(counts=(1, 3)), torch.tensor([[0.5, -1.0, 2.0], [-0.3, 0.1, 1.0]]))
    ours, theirs = both(settings, shop, cohort)
    assert_close(ours, theirs)


def test_at_shopper_level_updates_below_the_clip_are_counted(shop, ask):
    """A device that holds nothing is not counted at all."""
    settings = asked(ask, "shopper", clip_quantile=0.5, clip=0.3, learning_rate=0.01)
    ours, theirs = both(settings, shop, cohort_of(ragged(), vectors_of(ragged())))
    assert_close(ours, theirs)


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30, 3e38])
@pytest.mark.parametrize("name", ["items.weight", "hidden.weight", "out.bias"])
@pytest.mark.parametrize("unit", ["interaction", "shopper"])
def test_absurd_parameters_change_a_sum_by_no_more_than_the_clip(shop, ask, unit, name, value):
    settings = asked(ask, unit, clip=1.0, learning_rate=1.0)
    model, parameters = model_and_parameters(settings, shop)
    parameters[name].view(-1)[:2] = value
    cohort = cohort_of(ragged(counts=(1, 0)), torch.ones(2, DIM))
    update, vectors = VmapTrainer(model, settings).train(cohort, parameters)
    released = list(update.values())
    if unit == "interaction":
        released.append(vectors - 1.0)
    assert float(torch.cat([part.reshape(-1) for part in released]).double().norm()) <= 1.0


@pytest.mark.parametrize("unit", ["interaction", "shopper"])
def test_enormous_parameters_do_not_round_a_step_beyond_the_clip(shop, ask, unit):
    """In single precision the numbers next to 10⁸ are 8 apart: a step of 0.5 must not become one of 8."""
    settings = asked(ask, unit, clip=1.0, learning_rate=1.0)
    model, parameters = model_and_parameters(settings, shop)
    for part in parameters.values():
        part[:] = 1e8
    update, _ = VmapTrainer(model, settings).train(cohort_of(ragged(counts=(1,))), parameters)
    assert 0.0 < float(torch.cat([part.reshape(-1) for part in update.values()]).norm()) <= 1.0


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.55, 0.7])
def test_the_norm_of_a_large_layer_is_not_rounded_down(shop, ask, value):
    """With 131,072 equal numbers, which a server can send, a norm in single precision is 8e-5 too small."""
    settings = asked(ask, dim=256, clip=1.0, learning_rate=1.0)
    model, parameters = model_and_parameters(settings, shop)
    for part in parameters.values():
        part[:] = 0.0
    parameters["items.weight"][:] = 1.0
    parameters["hidden.bias"][:] = 1.0
    parameters["out.weight"][:, 256:] = value
    cohort = cohort_of(ragged(counts=(1,)), torch.ones(1, 256))
    update, vectors = VmapTrainer(model, settings).train(cohort, parameters)
    moved = torch.cat([part.reshape(-1) for part in update.values()] + [(vectors - 1.0).reshape(-1)])
    assert 0.9999 < float(moved.double().norm()) <= 1.0


# A device's draws do not depend on the devices beside it


def test_long_sums_of_clipped_gradients_are_in_double_precision(shop, ask):
    """Otherwise one more interaction changes how thousands are rounded, by more than the clip's margin."""
    settings = asked(ask, clip=0.01, learning_rate=1.0, sampling_rate=1.0, steps_per_round=1, negatives=1)
    model, parameters = model_and_parameters(settings, shop)
    trainer = Unrounded(model, settings)
    trainer.train(cohort_of(ragged(counts=(4000,))), parameters)
    for part in trainer.sums:
        assert np.abs(part - part.astype(np.float32)).max() > 100 * grid_step(settings)


class Unrounded(VmapTrainer):
    """A trainer that keeps the sums in double precision, before noise is added and they are rounded."""

    def noised(self, cohort, units, drawn, part):
        self.sums = [*getattr(self, "sums", []), units * grid_step(self.settings)]
        return super().noised(cohort, units, drawn, part)


@pytest.mark.parametrize("unit", REFERENCES)
def test_chunks_do_not_change_the_result(shop, ask, monkeypatch, unit):
    """Neither chunks of devices nor chunks of one device's examples change the result."""
    settings = asked(ask, unit, steps_per_round=3, sampling_rate=0.5, learning_rate=0.001)
    model, parameters = model_and_parameters(settings, shop)
    cohort, trainer = cohort_of(ragged(), vectors_of(ragged())), VmapTrainer(model, settings)
    whole, vectors = trainer.train(cohort, parameters)
    assert len(list(trainer.chunks(cohort.events.counts))) == 1
    monkeypatch.setattr(terrycloth.client.training.vmap_trainer, "CHUNK_BYTES", 2**12)
    assert len(list(trainer.chunks(cohort.events.counts))) > 2
    parts, again = trainer.train(cohort, parameters)
    assert_close(parts | {"x": again}, whole | {"x": vectors}, 5e-6)


def test_chunks_do_not_change_the_noise(shop, ask, monkeypatch):
    settings = asked(
        ask, steps_per_round=3, sampling_rate=0.5, learning_rate=0.001, noise_multiplier=1.0, epsilon=50.0
    )
    model, parameters = model_and_parameters(settings, shop)
    trainer, cohort = VmapTrainer(model, settings), cohort_of(ragged(counts=(0, 1, 2, 40, 7)))
    whole, vectors = trainer.train(cohort, parameters)
    monkeypatch.setattr(terrycloth.client.training.vmap_trainer, "CHUNK_BYTES", 1)
    parts, again = trainer.train(cohort, parameters)
    assert_close(parts | {"x": again}, whole | {"x": vectors}, 1e-3)  # the noise of the sum is on a grid


def test_the_size_of_a_chunk_bounds_memory(shop, ask):
    """However many devices there are."""
    settings = asked(ask, dim=32)
    trainer = VmapTrainer(model_and_parameters(settings, shop)[0], settings)
    counts = np.full(100_000, 100)
    sizes = [len(places) for places in trainer.chunks(counts)]
    assert sum(sizes) == len(counts)
    # A hidden layer for each example.
    assert max(sizes) * 100 * 32 * 64 * 4 <= terrycloth.client.training.vmap_trainer.CHUNK_BYTES


def test_every_coordinate_of_every_device_and_step_has_its_own_draw():
    """There are more coordinates than one block of the streams has."""
    key, devices = key_words(seeded_key(1)), np.array([5, 6])
    drawn = [draw_noise(key, query, step, devices, 700) for query in (1, 2) for step in (0, 1)]
    assert len(np.unique(np.concatenate(drawn))) == 4 * 2 * 700
    assert np.array_equal(draw_noise(key, 1, 0, devices[1:], 10), drawn[0][1:, :10])


# With noise both trainers have the same distribution


class NoiseOnly(VmapTrainer):
    """A trainer that adds noise only."""

    def descend_clipped(self, change, current, examples) -> None:
        pass


@pytest.mark.slow
def test_every_coordinate_has_the_noise_of_every_device_and_step(shop, ask):
    assert has_all_noise(NoiseOnly, shop, ask, 2500, model="neural-cf")


@pytest.mark.slow
@pytest.mark.parametrize("broken", [NoiseTwice, NoNoiseWhereRead])
def test_the_check_of_noise_detects_a_broken_trainer(broken, shop, ask):
    class Broken(broken, NoiseOnly):
        pass

    assert not has_all_noise(Broken, shop, ask, 1000, model="neural-cf")


def noisy_case(shop, ask, held):
    """A step's gradient depends on the noise of the steps before."""
    settings = asked(
        ask,
        epsilon=50.0,
        noise_multiplier=0.1,
        clip=5.0,
        steps_per_round=3,
        sampling_rate=0.9,
        learning_rate=0.1,
        negatives=2,
    )
    events = held([2] * 12, weights=[8.0] * 12)
    return settings, *model_and_parameters(settings, shop), events, torch.ones(1, DIM)


RUNS = 250


@pytest.fixture(scope="module")
def reference_runs(shop, ask, held):
    settings, model, *case = noisy_case(shop, ask, held)
    return runs(OpacusTrainer(model, settings), *case, RUNS)


@pytest.mark.slow
def test_sums_and_vectors_have_the_distribution_of_the_references(shop, ask, held, reference_runs):
    settings, model, *case = noisy_case(shop, ask, held)
    assert same_distribution(runs(VmapTrainer(model, settings), *case, RUNS), reference_runs)


@pytest.mark.slow
def test_the_comparison_detects_released_noise_that_differs_from_the_noise_read(
    shop, ask, held, reference_runs
):
    class Broken(ReadNoiseIsNotReleased, VmapTrainer):
        pass

    settings, model, *case = noisy_case(shop, ask, held)
    assert not same_distribution(runs(Broken(model, settings), *case, RUNS), reference_runs)


# Where the batched trainer is used


@pytest.mark.parametrize("unit", REFERENCES)
def test_several_devices_are_trained_in_batches_and_one_by_the_reference(shop, ask, unit):
    settings = asked(ask, unit)
    model, _ = model_and_parameters(settings, shop)
    assert isinstance(bounded_trainer(model, settings, together=True), VmapTrainer)
    assert type(bounded_trainer(model, settings)) is REFERENCES[unit]

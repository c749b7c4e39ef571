"""A model that reads whole tables is trained in batches, with the updates and promises of the references."""

import math

import numpy as np
import pytest
import torch

import terrycloth.client.training.vmap_trainer
from terrycloth.client.training.trainers import bounded_trainer
from terrycloth.client.training.vmap_trainer import VmapTrainer
from terrycloth.models.recommenders import plug_ins
from tests.client.training.cohorts import (
    DIM,
    ITEMS,
    REFERENCES,
    NoiseTwice,
    assert_close,
    cohort_of,
    has_all_noise,
    ragged,
)
from tests.client.training.test_vmap_trainer import NoiseOnly, asked, vectors_of
from tests.models.recommenders.own_models import AboveTheMean, Gated, WholeProduct

MEAN = plug_ins.register("tests.models.recommenders.own_models:AboveTheMean")


class FalselyDeclaresRows(AboveTheMean):
    """A model that declares that it looks up rows only, which is not true."""

    looks_up_rows = True


class GatedOnWholeTables(Gated):
    """A model that does not use the declaration of its base class."""

    looks_up_rows = False


def started(model_class, seed: int = 1):
    """Return a model of eight items, and shared parameters to train it from."""
    model = model_class(ITEMS, DIM)
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        name: tensor + 0.2 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in model.shared_parameters().items()
    }
    return model, parameters


def trained(trainer, model_class, settings, cohort, change=lambda parameters: None):
    """Return update and vectors."""
    model, parameters = started(model_class)
    change(parameters)
    update, vectors = trainer(model, settings).train(cohort, parameters)
    return update | {"x": vectors}


CASES = [("interaction", 0.5), ("interaction", 1e3), ("shopper", 0.3), ("shopper", 1e3), ("none", math.inf)]


@pytest.mark.parametrize("model_class", [AboveTheMean, WholeProduct, GatedOnWholeTables])
@pytest.mark.parametrize(("unit", "clip"), CASES)
def test_updates_and_vectors_equal_the_references(ask, model_class, unit, clip):
    settings = asked(ask, unit, clip=clip, sampling_rate=0.4, steps_per_round=3, learning_rate=0.05)
    events = ragged(counts=(0, 1, 2, 60, 7, 0, 30))
    cohort = cohort_of(events, vectors_of(events))
    ours = trained(VmapTrainer, model_class, settings, cohort)
    theirs = trained(REFERENCES[unit], model_class, settings, cohort)
    assert all(float(part.norm()) > 0 for part in theirs.values())
    assert_close(ours, theirs)


@pytest.mark.parametrize("unit", REFERENCES)
def test_whole_tables_and_rows_give_the_same_update(ask, unit):
    settings = asked(ask, unit, sampling_rate=0.4, steps_per_round=3, learning_rate=0.05)
    events = ragged(counts=(0, 1, 2, 60, 7))
    cohort = cohort_of(events, vectors_of(events))
    whole = trained(VmapTrainer, GatedOnWholeTables, settings, cohort)
    assert_close(whole, trained(VmapTrainer, Gated, settings, cohort))


@pytest.mark.parametrize("unit", REFERENCES)
def test_a_false_declaration_of_rows_gives_another_update(ask, unit):
    settings = asked(ask, unit, learning_rate=0.05)
    cohort = cohort_of(ragged(counts=(0, 1, 2)), torch.ones(3, DIM))
    ours = trained(VmapTrainer, FalselyDeclaresRows, settings, cohort)
    theirs = trained(REFERENCES[unit], AboveTheMean, settings, cohort)
    with pytest.raises(AssertionError):
        assert_close(ours, theirs)


@pytest.mark.parametrize("unit", REFERENCES)
def test_chunks_do_not_change_the_result(ask, monkeypatch, unit):
    settings = asked(ask, unit, steps_per_round=3, sampling_rate=0.5, learning_rate=0.001)
    events = ragged(counts=(0, 1, 2, 60, 7))
    cohort = cohort_of(events, vectors_of(events))
    whole = trained(VmapTrainer, AboveTheMean, settings, cohort)
    monkeypatch.setattr(terrycloth.client.training.vmap_trainer, "CHUNK_BYTES", 2**9)
    assert len(list(VmapTrainer(started(AboveTheMean)[0], settings).chunks(events.counts))) > 2
    assert_close(trained(VmapTrainer, AboveTheMean, settings, cohort), whole, 5e-6)


def test_the_size_of_a_chunk_bounds_memory(ask):
    """A device has a copy of every parameter, however few events it has."""
    settings = asked(ask, "shopper")
    trainer = VmapTrainer(AboveTheMean(1_000_000, DIM), settings)
    assert [len(places) for places in trainer.chunks(np.ones(3, dtype=np.int64))] == [1, 1, 1]


@pytest.mark.parametrize("held_first", [[3], []])
@pytest.mark.parametrize("unit", ["interaction", "shopper"])
def test_padding_does_not_expose_a_device_to_broken_rows_it_does_not_read(ask, held, unit, held_first):
    """A device is padded only beside one with more events, which must not change its update."""

    def broken(parameters):
        parameters["items.weight"][0] = math.nan

    settings = asked(ask, unit, clip=0.3, negatives=1)
    own_is_finite = []
    for key in range(20):
        alone, padded = (
            trained(VmapTrainer, GatedOnWholeTables, settings, cohort_of(events, start, key), broken)
            for events, start in (
                (held(held_first), torch.ones(1, DIM)),
                (held(held_first, [1, 2, 4, 5, 6]), torch.ones(2, DIM)),
            )
        )
        torch.testing.assert_close(alone["x"][0], padded["x"][0], equal_nan=True)
        own_is_finite.append(bool(torch.isfinite(alone["x"][0]).all()))
    assert any(own_is_finite)


@pytest.mark.parametrize("unit", REFERENCES)
def test_several_devices_are_trained_in_batches_and_one_by_the_reference(ask, unit):
    settings = asked(ask, unit)
    model, _ = started(AboveTheMean)
    assert isinstance(bounded_trainer(model, settings, together=True), VmapTrainer)
    assert type(bounded_trainer(model, settings)) is REFERENCES[unit]


@pytest.mark.slow
def test_every_coordinate_has_the_noise_of_every_device_and_step(shop, ask):
    assert has_all_noise(NoiseOnly, shop, ask, 2500, model=MEAN)


@pytest.mark.slow
def test_the_check_of_noise_detects_a_broken_trainer(shop, ask):
    class Broken(NoiseTwice, NoiseOnly):
        pass

    assert not has_all_noise(Broken, shop, ask, 1000, model=MEAN)

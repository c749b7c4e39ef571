"""The compiled trainer gives the same results as the reference, device by device."""

import math

import numba
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

import terrycloth.client.training.compiled.threads
from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.compiled_trainer import CompiledTrainer
from terrycloth.client.training.opacus_trainer import OpacusTrainer
from terrycloth.client.training.shopper_level import ClippedSgdTrainer
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.build import recommender_for
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

MODELS = {
    "mf": {"model": "mf"},
    "mf-no-bias": {"model": "mf", "item_bias": False},
    "attributes": {"model": "attributes", "own_rows": False},
    "attributes-and-own-rows": {"model": "attributes", "own_rows": True},
}


# Without noise both trainers give the same numbers


@pytest.mark.parametrize("model_settings", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("unit", REFERENCES)
@pytest.mark.parametrize("clip", [0.5, 1e4], ids=["clipped", "within the clip"])
@pytest.mark.parametrize("steps", [1, 3])
def test_updates_and_vectors_equal_the_references(shop, ask, model_settings, unit, clip, steps):
    promise = {"unit": unit, "trust": "local", "clip": clip, "epsilon": math.inf}
    if unit == "none":
        promise |= {"trust": "none", "clip": math.inf}
    settings = ask(
        **model_settings,
        **promise,
        noise_multiplier=0.0,
        sampling_rate=0.4,
        steps_per_round=steps,
        learning_rate=0.001,
    )
    events = ragged()
    model, parameters = model_and_parameters(settings, shop)
    cohort = cohort_of(
        events, 0.3 * torch.randn(events.num_devices, DIM, generator=torch.Generator().manual_seed(2))
    )
    theirs, their_vectors = REFERENCES[unit](model, settings).train(cohort, parameters)
    ours, our_vectors = CompiledTrainer(model, settings).train(cohort, parameters)
    assert all(float(part.norm()) > 0 for part in theirs.values())
    assert_close(ours, theirs)
    assert_close({"x": our_vectors}, {"x": their_vectors})


def test_an_item_that_occurs_twice_in_an_interaction_is_one_coordinate(shop, ask):
    """With more negatives than items, every interaction repeats some items, its own among them."""
    settings = ask(model="attributes", noise_multiplier=0.0, epsilon=math.inf, clip=0.3, negatives=40)
    model, parameters = model_and_parameters(settings, shop)
    cohort = cohort_of(ragged(counts=(1, 3)), torch.tensor([[0.5, -1.0, 2.0], [-0.3, 0.1, 1.0]]))
    theirs, _ = OpacusTrainer(model, settings).train(cohort, parameters)
    ours, _ = CompiledTrainer(model, settings).train(cohort, parameters)
    assert_close(ours, theirs)


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30, 3e38])
def test_absurd_parameters_change_a_step_by_no_more_than_the_clip(shop, ask, value):
    settings = ask(noise_multiplier=0.0, epsilon=math.inf, clip=1.0, learning_rate=1.0)
    model, parameters = model_and_parameters(settings, shop)
    parameters["table.weight"][2] = value
    parameters["bias.weight"][4] = -value
    cohort = cohort_of(ragged(counts=(1,)), torch.ones(1, DIM))
    update, vectors = CompiledTrainer(model, settings).train(cohort, parameters)
    moved = torch.cat([part.reshape(-1) for part in update.values()] + [(vectors - 1.0).reshape(-1)])
    assert float(moved.double().norm()) <= 1.0


def test_an_enormous_table_does_not_round_a_step_beyond_the_clip(shop, ask):
    """In single precision the numbers next to 10⁸ are 8 apart: a step of 0.5 must not become one of 8."""
    settings = ask(noise_multiplier=0.0, epsilon=math.inf, clip=1.0, learning_rate=1.0)
    model, parameters = model_and_parameters(settings, shop)
    parameters["table.weight"][:] = 1e8
    update, _ = CompiledTrainer(model, settings).train(cohort_of(ragged(counts=(1,))), parameters)
    assert float(torch.cat([part.reshape(-1) for part in update.values()]).norm()) <= 1.0


@pytest.mark.parametrize("weight", [16.589293490077566, 1e6])
def test_terms_that_cancel_do_not_hide_a_gradient_from_the_clip(department_store, ask, weight):
    """The only item is its own negative: its bias gets 2·w·(b − 1) + 2·n·b, which a server can make small."""
    names = ["0"]
    shop = Catalogue(pd.DataFrame({"item": names, "title": names}))
    settings = ask(
        noise_multiplier=0.0,
        epsilon=math.inf,
        clip=1e-6,
        learning_rate=1.0,
        negatives=18,
        negative_weight=weight,
    )
    model = recommender_for(settings, shop)
    parameters = {name: torch.zeros_like(part) for name, part in model.shared_parameters().items()}
    event = Events(np.array([0, 1]), np.array([0]), np.array([0]), np.ones(1, np.float32))
    for bias in (0.056826990097761154, 1 / (1 + weight), np.nextafter(np.float32(1 / (1 + weight)), 1)):
        parameters["bias.weight"][:] = float(bias)
        cohort = Cohort(np.array([3]), event, torch.zeros(1, DIM), seeded_key(7), query=3)
        update, _ = CompiledTrainer(model, settings).train(cohort, parameters)
        assert float(update["bias.weight"].abs().max()) <= 1e-6


def test_a_norm_does_not_vanish_in_single_precision(shop, ask):
    """A gradient of 10⁻²⁶ times a vector of 10¹⁸ is 10⁻⁸ or more; its square would underflow to 0."""
    settings = ask(
        item_bias=False,
        noise_multiplier=0.0,
        epsilon=math.inf,
        clip=1e-6,
        learning_rate=1.0,
        negative_weight=1e-24,
    )
    model, parameters = model_and_parameters(settings, shop)
    event = Events(np.array([0, 1]), np.array([3]), np.array([0]), np.full(1, 1e-9, np.float32))
    cohort = Cohort(np.array([3]), event, torch.full((1, DIM), 3e18), seeded_key(7), query=3)
    update, _ = CompiledTrainer(model, settings).train(cohort, parameters)
    assert 0 < float(update["table.weight"].double().norm()) <= 1e-6


def test_a_step_of_the_vector_is_rounded_with_its_noise(shop, ask):
    """In single precision the numbers next to 10⁸ are 8 apart: a step alone must not choose among them."""
    settings = ask(dim=1, item_bias=False, noise_multiplier=1.0, clip=1.0, learning_rate=1.0)
    model, parameters = model_and_parameters(settings, shop)
    parameters["table.weight"][:] = 3e8
    after = set()
    for query in range(1, 60):
        events = Events(np.array([0, 5]), np.arange(5), np.arange(5), np.full(5, 2.4e-7, np.float32))
        cohort = Cohort(np.array([3]), events, torch.full((1, 1), 1e8), seeded_key(7), query)
        _, vectors = CompiledTrainer(model, settings).train(cohort, parameters)
        after.add(float(vectors[0, 0]))
    assert len(after) > 1


def test_at_shopper_level_updates_below_the_clip_are_counted(shop, ask):
    settings = ask(unit="shopper", clip_quantile=0.5, clip=0.05, noise_multiplier=0.0, epsilon=math.inf)
    model, parameters = model_and_parameters(settings, shop)
    cohort = cohort_of(ragged())
    theirs, _ = ClippedSgdTrainer(model, settings).train(cohort, parameters)
    ours, _ = CompiledTrainer(model, settings).train(cohort, parameters)
    assert_close(ours, theirs)


def test_a_vector_that_diverged_adds_nothing_to_the_sum(shop, ask):
    """Its interactions add nothing, although 0 times infinity is NaN."""
    settings = ask(noise_multiplier=0.0, epsilon=math.inf, steps_per_round=2)
    model, parameters = model_and_parameters(settings, shop)
    cohort = cohort_of(ragged(counts=(5,)), torch.full((1, DIM), math.inf))
    update, _ = CompiledTrainer(model, settings).train(cohort, parameters)
    assert all(bool((part == 0).all()) for part in update.values())


# A device's draws do not depend on the devices beside it


@pytest.mark.parametrize("threads", [1, 2])
def test_devices_one_by_one_add_up_to_the_cohort(shop, ask, monkeypatch, threads):
    settings = ask(noise_multiplier=0.0, epsilon=math.inf, clip=0.5, steps_per_round=3, sampling_rate=0.5)
    model, parameters = model_and_parameters(settings, shop)
    events = ragged()
    trainer = CompiledTrainer(model, settings)
    monkeypatch.setattr(terrycloth.client.training.compiled.threads, "LEAST_DEVICES", 1)
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        whole, vectors = trainer.train(cohort_of(events), parameters)
    finally:
        numba.set_num_threads(before)
    summed = {name: torch.zeros_like(part, dtype=torch.float64) for name, part in whole.items()}
    for device in range(events.num_devices):
        alone, own = trainer.train(cohort_of(events.span(device, device + 1), first=5 + device), parameters)
        assert_array_equal(own, vectors[device : device + 1])
        for name, part in alone.items():
            summed[name] += part.double()
    assert_close({name: part.float() for name, part in summed.items()}, whole, 1e-6)


def test_the_number_of_threads_does_not_change_the_result(shop, ask, monkeypatch):
    """Results are equal to the bit, noise included."""
    monkeypatch.setattr(terrycloth.client.training.compiled.threads, "LEAST_DEVICES", 1)
    settings = ask(steps_per_round=3, sampling_rate=0.5)
    model, parameters = model_and_parameters(settings, shop)
    before = numba.get_num_threads()
    answers = []
    for threads in sorted({1, before}):
        numba.set_num_threads(threads)
        answers.append(CompiledTrainer(model, settings).train(cohort_of(ragged()), parameters))
    numba.set_num_threads(before)
    for update, vectors in answers[1:]:
        assert torch.equal(vectors, answers[0][1])
        assert all(torch.equal(part, answers[0][0][name]) for name, part in update.items())


# With noise both trainers have the same distribution


def noisy_case(shop, ask):
    """A step's gradient depends on the noise of the steps before: of rows, of biases and of the vector."""
    settings = ask(
        noise_multiplier=0.06, clip=5.0, steps_per_round=3, sampling_rate=0.9, learning_rate=0.3, negatives=2
    )
    model, parameters = model_and_parameters(settings, shop)
    vectors = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]])
    return settings, model, parameters, ragged(counts=(2, 1)), vectors


@pytest.fixture(scope="module")
def reference_runs(shop, ask):
    settings, model, parameters, events, vectors = noisy_case(shop, ask)
    return runs(OpacusTrainer(model, settings), parameters, events, vectors, 600)


@pytest.mark.slow
def test_sums_and_vectors_have_the_distribution_of_the_references(shop, ask, reference_runs):
    settings, model, parameters, events, vectors = noisy_case(shop, ask)
    ours = runs(CompiledTrainer(model, settings), parameters, events, vectors, 600)
    assert same_distribution(ours, reference_runs)


@pytest.mark.slow
def test_the_comparison_detects_released_noise_that_differs_from_the_noise_read(shop, ask, reference_runs):
    settings, model, parameters, events, vectors = noisy_case(shop, ask)

    class Broken(ReadNoiseIsNotReleased, CompiledTrainer):
        pass

    broken = Broken(model, settings)
    assert not same_distribution(runs(broken, parameters, events, vectors, 600), reference_runs)


@pytest.mark.slow
@pytest.mark.parametrize("model_settings", MODELS.values(), ids=MODELS)
def test_every_coordinate_has_the_noise_of_every_device_and_step(shop, ask, model_settings):
    assert has_all_noise(CompiledTrainer, shop, ask, **model_settings)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [NoiseTwice, NoNoiseWhereRead])
def test_the_check_of_noise_detects_a_broken_trainer(broken, shop, ask):
    class Broken(broken, CompiledTrainer):
        pass

    assert not has_all_noise(Broken, shop, ask, **MODELS["mf"])


@pytest.fixture(scope="module")
def department_store() -> Catalogue:
    names = [str(item) for item in range(400)]
    return Catalogue(pd.DataFrame({"item": names, "title": names}))


@pytest.mark.parametrize("dim", [1, 24, 300])
def test_no_noise_is_used_twice(department_store, ask, dim):
    """This covers rows, biases and the vector, even if a step reads more than is drawn at a time."""
    # There is one interaction, clipped to almost nothing, whose negatives are most of the catalogue.
    promise = {"noise_multiplier": 1e6, "clip": 1e-6, "learning_rate": 1.0, "steps_per_round": 3}
    settings = ask(dim=dim, negatives=2000, **promise)
    model, parameters = model_and_parameters(settings, department_store)
    events = Events(np.array([0, 1]), np.array([7]), np.array([0]), np.ones(1, np.float32))
    cohort = Cohort(np.array([3]), events, torch.zeros(1, dim), seeded_key(7), query=3)
    trainer = RecordsOwnNoise(model, settings)
    _, vectors = trainer.train(cohort, parameters)
    table, bias = (part.reshape(len(part), -1) for part in trainer.drawn)
    drawn = np.concatenate([table.reshape(-1), bias.reshape(-1), vectors.double().numpy().reshape(-1)])
    assert len(np.unique(np.abs(drawn).round(7))) > 0.97 * len(drawn)  # some are this close by chance
    rows = np.concatenate([table, vectors.double().numpy()])
    if dim > 1:
        same_distribution = np.corrcoef(rows) if dim > 100 else np.corrcoef(rows.T)
        np.fill_diagonal(same_distribution, 0.0)
        assert abs(same_distribution).max() < 6.5 / min(rows.shape[0] if dim <= 100 else dim, 400) ** 0.5


class RecordsOwnNoise(CompiledTrainer):
    """A trainer that records the noise drawn by the devices themselves, and for how many steps."""

    def noised(self, cohort, units, drawn, part):
        self.drawn = [*getattr(self, "drawn", []), units * self.schedule.unit]
        self.steps = [*getattr(self, "steps", []), drawn]
        return super().noised(cohort, units, drawn, part)


def test_a_row_that_is_read_has_the_noise_of_all_earlier_steps(department_store, ask):
    """A step may read it for the first time, or after a step that did not; false alarm below 1e-6."""
    # There is one interaction, clipped to almost nothing; each step does not read a third of the catalogue.
    promise = {"noise_multiplier": 1e6, "clip": 1e-6, "learning_rate": 1.0, "steps_per_round": 4}
    settings = ask(dim=DIM, negatives=400, **promise)
    model, parameters = model_and_parameters(settings, department_store)
    events = Events(np.array([0, 1]), np.array([7]), np.array([0]), np.ones(1, np.float32))
    squares = {(part, steps): [] for part in (0, 1) for steps in (1, 2, 3)}
    for query in range(40):
        trainer = RecordsOwnNoise(model, settings)
        trainer.train(Cohort(np.array([3]), events, torch.zeros(1, DIM), seeded_key(7), query), parameters)
        for (part, steps), found in squares.items():
            found.append(trainer.drawn[part][trainer.steps[part].reshape(-1) == steps].reshape(-1) ** 2)
    for (_, steps), found in squares.items():
        one = np.concatenate(found) / steps  # the noise of one step has deviation 1
        assert len(one) > 200
        assert abs(one.mean() - 1) < 5.3 * (2 / len(one)) ** 0.5


@pytest.mark.parametrize("devices", [1, 4, 5])
def test_a_sum_is_on_a_public_grid(shop, ask, devices):
    """The step is the power of two below 1/1024 of the noise of each coordinate, whatever was drawn."""
    settings = ask(noise_multiplier=0.7, clip=0.9, learning_rate=0.3, steps_per_round=2, sampling_rate=0.8)
    model, parameters = model_and_parameters(settings, shop)
    update, _ = CompiledTrainer(model, settings).train(cohort_of(ragged(counts=(3,) * devices)), parameters)
    step = 2.0 ** (math.floor(math.log2(0.3 * 0.7 * 0.9 * devices**0.5)) - 10)
    for part in update.values():
        multiples = part.double() / step
        assert torch.equal(multiples.round(), multiples)
    assert any((part.double() / step % 2 == 1).any() for part in update.values())  # and on no coarser grid

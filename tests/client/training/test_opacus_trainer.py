"""DP-SGD on one device: plain SGD without noise, noise of the right size, and a clip without gaps.

Statistical checks have fixed keys and a false-alarm rate below 1e-6 each.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opacus.optimizers import DPOptimizer
from scipy.stats import binom, chi2
from torch import Tensor

import terrycloth.client.training.opacus_trainer
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.opacus_trainer import KeyedDPOptimizer, OpacusTrainer
from terrycloth.client.training.sgd_trainer import KeyedPoissonSampler, SgdTrainer
from terrycloth.models.privacy.randomness import Purpose, Stream, on_grid, seeded_key
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import RoundSettings

ALARM = 1e-6  # probability of a false alarm, over everything that one check looks at
MODELS = [
    {"model": "mf"},
    {"model": "mf", "item_bias": False},
    {"model": "attributes", "own_rows": True},
    {"model": "neural-cf"},
]
NAMES = ["mf", "mf-no-bias", "attributes", "neural-cf"]
DIM = 3
ITEMS = 8


def flat(parameters: Parameters) -> Tensor:
    """Return all coordinates in one vector, in order of the parameters' names."""
    return torch.cat([parameters[name].reshape(-1) for name in sorted(parameters)])


def draws(device: int, query: int, step: int, purpose: Purpose) -> Stream:
    """Return the stream from which a device must draw."""
    return Stream(seeded_key(7), device=device, round=query, step=step, purpose=purpose)


# Plain SGD, written without vectorisation


def plain_scores(model, shared: Parameters, vector: Tensor, items: list[int]) -> list[Tensor]:
    """Return the scores of items, one at a time, from the formula in each model's docstring."""
    scores = []
    for item in items:
        if isinstance(model, Factorisation):
            rows = [row for row in model.bag.rows[item].tolist() if row >= 0]
            score = sum((vector * shared["table.weight"][row]).sum() for row in rows)
            if "bias.weight" in shared:
                score = score + shared["bias.weight"][item, 0]
        else:
            own = shared["items.weight"][item]
            hidden = shared["hidden.weight"] @ torch.cat([vector, own]) + shared["hidden.bias"]
            ends = torch.cat([vector * own, hidden.clamp(min=0)])
            score = (shared["out.weight"][0] * ends).sum() + shared["out.bias"][0]
        scores.append(score)
    return scores


def plain_loss(model, scores: list[Tensor], weight: float, negative_weight: float) -> Tensor:
    if isinstance(model, Factorisation):
        positive, negatives = (1 - scores[0]) ** 2, [score**2 for score in scores[1:]]
    else:
        positive = torch.log(1 + torch.exp(-scores[0]))
        negatives = [torch.log(1 + torch.exp(score)) for score in scores[1:]]
    return weight * positive + negative_weight * sum(negatives) / len(negatives)


def plain_sgd(
    model, settings: RoundSettings, cohort: Cohort, parameters: Parameters
) -> tuple[Tensor, Tensor]:
    """Return the update and vector of a cohort of one device, event by event, in double precision."""
    device, query, events = int(cohort.devices[0]), cohort.query, cohort.events
    shared = {name: tensor.double().clone().requires_grad_() for name, tensor in parameters.items()}
    vector = cohort.vectors[0].double().clone().requires_grad_()
    for step in range(settings.steps_per_round):
        coins = draws(device, query, step, Purpose.BATCH).uniforms(len(events))
        batch = [event for event in range(len(events)) if coins[event] < settings.sampling_rate]
        negatives = draws(device, query, step, Purpose.NEGATIVES).integers(
            len(batch) * settings.negatives, ITEMS
        )
        losses = [torch.zeros((), dtype=torch.float64)]
        for place, event in enumerate(batch):
            own = negatives[place * settings.negatives : (place + 1) * settings.negatives].tolist()
            scores = plain_scores(model, shared, vector, [int(events.items[event]), *own])
            weight = math.log2(1 + float(events.weights[event]))
            losses.append(plain_loss(model, scores, weight, settings.negative_weight))
        leaves = [*shared.values(), vector]
        gradients = torch.autograd.grad(sum(losses), leaves, allow_unused=True)
        with torch.no_grad():
            for leaf, gradient in zip(leaves, gradients, strict=True):
                if gradient is not None:
                    leaf -= settings.learning_rate * gradient
    return flat({name: (shared[name] - parameters[name]).detach() for name in shared}), vector.detach()


@pytest.mark.parametrize("trainer", [SgdTrainer, OpacusTrainer])
@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_without_noise_and_clip_training_is_plain_sgd(trainer, model, plain, build, copied, held, gather):
    settings = plain(**model, steps_per_round=3, sampling_rate=0.6, learning_rate=0.05, negative_weight=0.7)
    recommender = build(settings)
    parameters = copied(recommender)
    events = held([4, 0, 1, 1, 6, 2], weights=[1.0, 2.0, 1.0, 5.0, 1.0, 0.5])
    cohort = gather(events, devices=[5], query=3)
    update, vectors = trainer(recommender, settings).train(cohort, parameters)
    expected, vector = plain_sgd(recommender, settings, cohort, parameters)
    assert float(expected.abs().max()) > 0.01
    torch.testing.assert_close(flat(update).double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(vectors[0].double(), vector, rtol=1e-5, atol=1e-6)


# Noise


def runs(trainer: OpacusTrainer, parameters: Parameters, cohorts: list[Cohort]) -> Tensor:
    """Return the changes of all coordinates, the vector last: [runs, coordinates]; one device a cohort."""
    changes = []
    for cohort in cohorts:
        update, vectors = trainer.train(cohort, parameters)
        changes.append(torch.cat([flat(update), (vectors - cohort.vectors).reshape(-1)]))
    return torch.stack(changes).double()


def noise_is(noise: Tensor, variance: float) -> bool:
    """Return whether noise [runs, coordinates] is independent, with this variance in every coordinate."""
    count, coordinates = noise.shape

    def within(squares: Tensor, freedom: int, checks: int) -> bool:
        edge = ALARM / 4 / (2 * checks)
        low, high = chi2.ppf(edge, freedom), chi2.isf(edge, freedom)
        return bool(((squares >= low) & (squares <= high)).all())

    scaled = noise / math.sqrt(variance)
    return (
        within(scaled.square().sum(dim=0), count, coordinates)  # in each coordinate
        and within(scaled.square().sum().reshape(1), count * coordinates, 1)  # in all coordinates together
        # Coordinates are uncorrelated.
        and within(scaled.sum(dim=1).square().sum().reshape(1) / coordinates, count, 1)
        # Runs are uncorrelated.
        and within(scaled.sum(dim=0).square().sum().reshape(1) / count, coordinates, 1)
    )


def noisy(ask: Callable[..., RoundSettings], model: dict, **changes) -> tuple[RoundSettings, float]:
    """Return settings with noise, and the variance that one step's noise must add to an update."""
    settings = ask(**{**model, "noise_multiplier": 1.7, "clip": 0.3, "learning_rate": 0.5} | changes)
    return settings, (settings.learning_rate * settings.noise_multiplier * settings.clip) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_an_empty_device_sends_noise_of_the_right_size_on_every_coordinate(
    model, ask, build, copied, held, gather
):
    settings, variance = noisy(ask, model, steps_per_round=2)
    recommender = build(settings)
    parameters = copied(recommender)
    cohorts = [gather(held([]), query=query) for query in range(1, 301)]
    noise = runs(OpacusTrainer(recommender, settings), parameters, cohorts)
    assert noise_is(noise, settings.steps_per_round * variance)
    # One draw for all steps would have this variance.
    assert not noise_is(noise, settings.steps_per_round**2 * variance)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_a_device_with_events_adds_the_same_noise_to_touched_and_untouched_rows(
    model, ask, build, copied, held, gather
):
    settings, variance = noisy(ask, model)
    recommender = build(settings)
    parameters = copied(recommender)
    cohorts = [gather(held([0, 0, 1]), query=query) for query in range(1, 301)]
    noisy_runs = runs(OpacusTrainer(recommender, settings), parameters, cohorts)
    silent = settings.model_copy(update={"noise_multiplier": 0.0})
    clean_runs = runs(OpacusTrainer(build(silent), silent), parameters, cohorts)
    assert (clean_runs == 0).any()  # some row is not touched in every run
    assert (clean_runs != 0).any()
    noise = noisy_runs - clean_runs
    assert noise_is(noise, variance)
    untouched = clean_runs == 0
    squares = float(noise[untouched].square().sum()) / variance
    low, high = chi2.ppf([ALARM / 2, 1 - ALARM / 2], int(untouched.sum()))
    assert low < squares < high


def test_noise_is_added_in_double_and_rounded_to_the_grid(ask, build, held, gather):
    """From zero at rate 1, the update is minus the draws themselves, in the order of the parameters."""
    settings, _ = noisy(ask, MODELS[0], learning_rate=1.0)
    recommender = build(settings)
    parameters = {name: torch.zeros_like(t) for name, t in recommender.shared_parameters().items()}
    cohort = gather(held([]), query=4, vectors=torch.zeros(1, DIM))
    update, vectors = OpacusTrainer(recommender, settings).train(cohort, parameters)
    order = {name: update.get(name, vectors) for name, _ in recommender.named_parameters()}
    drawn = draws(0, 4, 0, Purpose.NOISE).normals(sum(tensor.numel() for tensor in order.values()))
    steps = np.rint(1.7 * 0.3 * drawn * 2**11)  # 2⁻¹¹ is the power of two below σC/1024
    expected = torch.from_numpy(-steps * 2.0**-11)
    assert torch.equal(torch.cat([tensor.reshape(-1) for tensor in order.values()]).double(), expected)


# The grid


# In this range a logarithm in double precision can tell 1 from 1 − 2⁻²⁴.
scales = st.floats(2.0**-20, 2.0**20, width=32)


def grid_step(deviation: float) -> float:
    """Return the largest power of two that is at most deviation / 1024."""
    return 2.0 ** (math.frexp(deviation)[1] - 11)


@pytest.mark.parametrize(
    ("deviation", "value", "rounded"),
    [
        (1.0, 2.0**-10, 2.0**-10),
        (1.0, 1.4 * 2.0**-10, 2.0**-10),
        (1.0, -1.6 * 2.0**-10, -(2.0**-9)),
        (1.0, 0.4 * 2.0**-10, 0.0),
        (0.75, 0.9 * 2.0**-11, 2.0**-11),
        (1.999, 0.9 * 2.0**-10, 2.0**-10),
        (2.0, 1.1 * 2.0**-10, 2.0**-9),
    ],
)
def test_the_grid_by_hand(deviation, value, rounded):
    assert on_grid(torch.tensor([value], dtype=torch.float64), deviation).tolist() == [rounded]


@given(deviation=scales, sizes=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_rounding_to_the_grid_gives_the_nearest_multiple_of_its_step(deviation, sizes):
    step = grid_step(deviation)
    values = deviation * torch.tensor(sizes, dtype=torch.float64)
    rounded = on_grid(values, deviation)
    assert torch.equal(torch.round(rounded / step), rounded / step)
    assert float((rounded - values).abs().max()) <= step / 2
    assert torch.equal(on_grid(rounded, deviation), rounded)
    assert torch.equal(on_grid(-values, deviation), -rounded)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.parametrize(("noise", "clip"), [(1.7, 0.3), (0.51, 1.0), (51.0, 0.01)])
def test_the_grid_of_an_update_depends_only_on_the_deviation(model, noise, clip, ask, build, held, gather):
    """Whatever a device holds and however σ and C divide it, an update from zero is on one grid."""
    settings = ask(**model, noise_multiplier=noise, clip=clip, learning_rate=1.0)
    recommender = build(settings)
    parameters = {name: torch.zeros_like(t) for name, t in recommender.shared_parameters().items()}
    trainer = OpacusTrainer(recommender, settings)
    for basket, weights in (([], None), ([3], None), ([0, 1, 1, 5], [0.01, 300.0, 1.0, 7.0])):
        update, _ = trainer.train(gather(held(basket, weights=weights)), parameters)
        multiples = flat(update).double() * 2**11
        assert torch.equal(multiples.round(), multiples)
        assert (multiples % 2 == 1).any()  # and on no coarser grid


class NoNoiseOnUntouched(KeyedDPOptimizer):
    """A broken variant: rows without a gradient get no noise, which reveals what was not bought."""

    def add_noise(self) -> None:
        touched = [parameter.summed_grad != 0 for parameter in self.params]
        super().add_noise()
        for parameter, mask in zip(self.params, touched, strict=True):
            parameter.grad = parameter.grad * mask


class NoNoiseOnTheVector(KeyedDPOptimizer):
    """A broken variant: the shopper's vector trains without noise and leaks through the items' gradients."""

    def add_noise(self) -> None:
        super().add_noise()
        for parameter in self.params:
            if parameter.shape == (1, DIM):
                parameter.grad = parameter.summed_grad.float()


class SameNoiseEverywhere(KeyedDPOptimizer):
    """A broken variant: every coordinate gets the same draw."""

    def add_noise(self) -> None:
        super().add_noise()
        for parameter in self.params:
            parameter.grad = parameter.grad.reshape(-1)[0].expand_as(parameter).clone()


class NoiseForgetsTheClip(KeyedDPOptimizer):
    """A broken variant: the deviation is σ instead of σ·C."""

    def add_noise(self) -> None:
        self.deviation = self.noise_multiplier
        super().add_noise()


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken", [NoNoiseOnUntouched, NoNoiseOnTheVector, SameNoiseEverywhere, NoiseForgetsTheClip]
)
def test_the_check_of_noise_detects_a_broken_trainer(broken, monkeypatch, ask, build, copied, held, gather):
    monkeypatch.setattr(terrycloth.client.training.opacus_trainer, "KeyedDPOptimizer", broken)
    settings, variance = noisy(ask, MODELS[0])
    recommender = build(settings)
    parameters = copied(recommender)
    cohorts = [gather(held([]), query=query) for query in range(1, 301)]
    assert not noise_is(runs(OpacusTrainer(recommender, settings), parameters, cohorts), variance)


# The clip


def step_change(build, copied, settings: RoundSettings, cohort: Cohort, seed: int = 0) -> Tensor:
    """Return the summed gradient of one step without noise: every shared coordinate, then the vector."""
    recommender = build(settings, seed)
    trainer = OpacusTrainer(recommender, settings)
    parameters = copied(recommender)
    update, vectors = trainer.train(cohort, parameters)
    return torch.cat([flat(update), (vectors - cohort.vectors).reshape(-1)]).double()


def one_step(ask, model: dict, clip: float) -> RoundSettings:
    return ask(**model, noise_multiplier=0.0, epsilon=math.inf, clip=clip, learning_rate=1.0)


ROUNDING = 1e-6  # rounding error of parameters of size 1 in single precision


def contribution(build, copied, held, gather, settings: RoundSettings) -> float:
    """Return the L2 norm of the contribution of one event of large weight, the shopper's vector included."""
    cohort = gather(held([3], weights=[1e6]))
    return float(step_change(build, copied, settings, cohort).norm())


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.parametrize("clip", [0.05, 0.8])
def test_one_event_moves_all_parameters_together_by_the_clip_at_most(
    model, clip, ask, build, copied, held, gather
):
    norm = contribution(build, copied, held, gather, one_step(ask, model, clip))
    assert norm <= clip + ROUNDING
    assert norm > 0.999 * clip  # the event has a large weight, so that the bound is reached


def add(parameter, clipped: Tensor) -> None:
    """Add clipped gradients to the sum of a step."""
    before = parameter.summed_grad
    parameter.summed_grad = clipped if before is None else before + clipped


class ClipsEachParameter(KeyedDPOptimizer):
    """A broken variant: each parameter is clipped to C, so all k together to √k·C."""

    def clip_and_accumulate(self) -> None:
        for parameter in self.params:
            samples = parameter.grad_sample
            norms = samples.flatten(1).norm(dim=1)
            factors = (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
            add(parameter, torch.einsum("i,i...", factors, samples))


class ClipForgetsTheVector(KeyedDPOptimizer):
    """A broken variant: the vector's gradient is neither in the norm nor clipped by its own norm."""

    def clip_and_accumulate(self) -> None:
        samples = [p.grad_sample for p in self.params if p.shape != (1, DIM)]
        norms = torch.stack([s.flatten(1).norm(dim=1) for s in samples], dim=1).norm(dim=1)
        factors = (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
        for parameter in self.params:
            add(parameter, torch.einsum("i,i...", factors, parameter.grad_sample))


class ClipsTheSum(KeyedDPOptimizer):
    """A broken variant: the batch's sum is clipped, so an event is bounded only together with the others."""

    def clip_and_accumulate(self) -> None:
        sums = [parameter.grad_sample.sum(dim=0) for parameter in self.params]
        norm = torch.stack([total.norm() for total in sums]).norm()
        for parameter, total in zip(self.params, sums, strict=True):
            add(parameter, total * (self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))


@pytest.mark.parametrize("broken", [ClipsEachParameter, ClipForgetsTheVector])
def test_the_check_of_the_clip_detects_a_broken_trainer(
    broken, monkeypatch, ask, build, copied, held, gather
):
    monkeypatch.setattr(terrycloth.client.training.opacus_trainer, "KeyedDPOptimizer", broken)
    norm = contribution(build, copied, held, gather, one_step(ask, MODELS[0], 0.05))
    assert norm > 0.05 + ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@given(
    basket=st.lists(st.integers(0, ITEMS - 1), max_size=6),
    newest=st.integers(0, ITEMS - 1),
    weight=st.sampled_from([0.01, 1.0, 300.0]),
    clip=st.sampled_from([0.02, 0.5]),
    rate=st.sampled_from([0.5, 1.0]),
)
@hypothesis_settings(max_examples=15, deadline=None, derandomize=True)
def test_one_more_event_changes_a_step_by_the_clip_at_most(
    model, basket, newest, weight, clip, rate, ask, build, copied, held, gather
):
    """The newest event has its own draws, after those of the others, which do not change."""
    settings = one_step(ask, model, clip).model_copy(update={"sampling_rate": rate})
    without = gather(held(basket))
    more = gather(held([*basket, newest], weights=[1.0] * len(basket) + [weight]))
    change = step_change(build, copied, settings, more) - step_change(build, copied, settings, without)
    assert float(change.norm()) <= clip + ROUNDING


def test_the_check_of_one_more_event_detects_a_clipped_sum(monkeypatch, ask, build, copied, held, gather):
    monkeypatch.setattr(terrycloth.client.training.opacus_trainer, "KeyedDPOptimizer", ClipsTheSum)
    settings = one_step(ask, MODELS[0], 0.5)
    without, more = gather(held([3])), gather(held([3, 5], weights=[1.0, 1e6]))
    change = step_change(build, copied, settings, more) - step_change(build, copied, settings, without)
    assert float(change.norm()) > 0.5 + ROUNDING


@pytest.mark.parametrize("poison", [math.inf, math.nan, 3e38])
def test_whether_a_coordinate_is_finite_does_not_depend_on_events(poison, ask, build, copied, held, gather):
    """A server that sends absurd parameters must not learn from NaN which rows a device touched."""
    finite = []
    for model in MODELS:
        settings = ask(**model)
        recommender = build(settings)
        parameters = copied(recommender)
        table = next(name for name in parameters if name in ("table.weight", "items.weight"))
        parameters[table][0] = poison
        trainer = OpacusTrainer(recommender, settings)
        for basket in ([], [0, 0]):
            update, vectors = trainer.train(gather(held(basket)), parameters)
            finite.append(torch.isfinite(torch.cat([flat(update), vectors.reshape(-1)])))
    for empty, with_events in zip(finite[::2], finite[1::2], strict=True):
        assert torch.equal(empty, with_events)


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("place", [0, -1], ids=["first-parameter", "last-parameter"])
def test_an_example_without_a_finite_gradient_is_left_out_completely(place, poison, ask, build):
    """An example with one bad number in one parameter adds nothing to any; the others are unchanged."""
    settings = ask(model="neural-cf")
    generator = torch.Generator().manual_seed(3)
    optimizer = OpacusTrainer(build(settings), settings).optimizer
    samples = [torch.randn(3, *parameter.shape, generator=generator) for parameter in optimizer.params]

    def summed(rows: list[int], poisoned: bool) -> list[Tensor]:
        optimizer.zero_grad(set_to_none=True)
        for parameter, sample in zip(optimizer.params, samples, strict=True):
            parameter.grad_sample = sample[rows].clone()
        if poisoned:
            optimizer.params[place].grad_sample.view(3, -1)[1, 0] = poison
        optimizer.clip_and_accumulate()
        return [parameter.summed_grad for parameter in optimizer.params]

    for got, expected in zip(summed([0, 1, 2], True), summed([0, 2], False), strict=True):
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.55, 0.7])
def test_the_norm_of_a_large_layer_is_not_rounded_down(value, ask, build):
    """With 131,072 equal numbers, a norm in single precision is up to 8e-5 too small."""
    settings = ask(model="neural-cf", dim=256, clip=1.0)
    optimizer = OpacusTrainer(build(settings), settings).optimizer
    for parameter in optimizer.params:
        alike = value if parameter.shape == (256, 512) else 0.0
        parameter.grad_sample = torch.full((1, *parameter.shape), alike)
    optimizer.clip_and_accumulate()
    norms = [parameter.summed_grad.double().norm() for parameter in optimizer.params]
    assert 0.999 < float(torch.stack(norms).norm()) <= 1.0


# Poisson batches and a constant number of steps


def batches(trainer: OpacusTrainer) -> list[Tensor]:
    """Collect the items that the module scores: one [batch, 1 + negatives] for each step with a batch."""
    seen: list[Tensor] = []
    trainer.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    return seen


def between(count: int, trials: int, chance: float, checks: int = 1) -> bool:
    """Return whether a binomial count is within bounds; over all checks false alarms have chance ALARM."""
    low, high = binom.interval(1 - ALARM / checks, trials, chance)
    return bool(low <= count <= high)


def test_each_event_is_in_a_batch_by_its_own_sampling_draw(held, gather):
    steps, rate, count = 4_000, 0.3, 12
    cohort = gather(held([0] * count))
    sampler = KeyedPoissonSampler(count, rate, steps, cohort, 0)
    included = np.zeros((steps, count), dtype=bool)
    for step, batch in enumerate(sampler):
        included[step, batch] = True
    assert all(between(int(column.sum()), steps, rate, count) for column in included.T)
    # The draws are independent: a pair is in a batch together at rate², and batches differ in size.
    together = included.astype(int).T @ included.astype(int)
    pairs = [(a, b) for a in range(count) for b in range(a)]
    assert all(between(int(together[a, b]), steps, rate**2, len(pairs)) for a, b in pairs)
    # Draws are fresh in each step: an event of one step is in the next at rate².
    again = (included[1:] & included[:-1]).sum()
    assert between(int(again), (steps - 1) * count, rate**2)


def test_the_trainer_takes_its_batches_from_the_sampler(plain, build, copied, held, gather):
    settings = plain(sampling_rate=0.3, steps_per_round=400, learning_rate=1e-6)
    trainer = OpacusTrainer(build(settings), settings)
    seen = batches(trainer)
    trainer.train(gather(held([2, 5, 5, 7])), copied(trainer.model))
    positives = torch.cat([candidates[:, 0] for candidates in seen])
    for item, copies in ((2, 1), (5, 2), (7, 1)):
        assert between(int((positives == item).sum()), 400 * copies, 0.3, 3)
    assert len(positives) == sum(int((positives == item).sum()) for item in (2, 5, 7))


@pytest.mark.parametrize("count", [0, 1, 2, 1_000])
@pytest.mark.parametrize("rate", [1e-6, 0.01, 1.0])
def test_the_number_of_steps_does_not_depend_on_the_events(
    count, rate, monkeypatch, ask, build, copied, held, gather
):
    steps = []
    plain_step = DPOptimizer.step
    monkeypatch.setattr(
        DPOptimizer, "step", lambda self, *rest: (steps.append(1), plain_step(self, *rest))[1]
    )
    noises = []
    monkeypatch.setattr(
        KeyedDPOptimizer,
        "add_noise",
        lambda self, own=KeyedDPOptimizer.add_noise: (noises.append(1), own(self))[1],
    )
    settings = ask(sampling_rate=rate, steps_per_round=5)
    recommender = build(settings)
    OpacusTrainer(recommender, settings).train(gather(held([1] * count)), copied(recommender))
    assert len(steps) == len(noises) == 5


@pytest.mark.slow
def test_negatives_come_from_the_whole_catalogue(plain, build, copied, held, gather):
    """Purchased items are drawn as negatives as often as any other item."""
    settings = plain(steps_per_round=500, negatives=4, learning_rate=1e-6)
    trainer = OpacusTrainer(build(settings), settings)
    seen = batches(trainer)
    trainer.train(gather(held([2, 5, 5])), copied(trainer.model))
    negatives = torch.cat([candidates[:, 1:].flatten() for candidates in seen])
    assert len(negatives) == 500 * 3 * 4
    counts = torch.bincount(negatives, minlength=ITEMS).tolist()
    assert all(between(count, len(negatives), 1 / ITEMS, ITEMS) for count in counts)


# Sums over devices


@pytest.fixture
def three(held) -> list[list[int]]:
    return [[1, 4, 4], [], [6, 0, 2, 3]]


def each_alone(three, held, gather, settings, build, copied) -> Iterator[tuple[Parameters, Tensor]]:
    for device, basket in enumerate(three):
        recommender = build(settings)
        cohort = gather(held(basket), devices=[device])
        yield OpacusTrainer(recommender, settings).train(cohort, copied(recommender))


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_an_update_is_the_sum_of_the_updates_of_single_devices(
    model, three, ask, build, copied, held, gather
):
    settings = ask(**model, steps_per_round=2, sampling_rate=0.7)
    recommender = build(settings)
    together, vectors = OpacusTrainer(recommender, settings).train(gather(held(*three)), copied(recommender))
    alone = list(each_alone(three, held, gather, settings, build, copied))
    for name, tensor in together.items():
        total = sum(update[name].double() for update, _ in alone)
        torch.testing.assert_close(tensor.double(), total, rtol=1e-6, atol=1e-6)
    # Equal to the bit: a device draws and trains the same, whatever devices are beside it.
    assert torch.equal(vectors, torch.cat([vector for _, vector in alone]))


def unrelated(one: Parameters, other: Parameters) -> bool:
    """Return whether two updates share no noise.

    On the grid one coordinate in some 2,000 agrees by chance.
    """
    return int((flat(one) == flat(other)).sum()) <= 3


def test_devices_draw_different_noise(ask, build, copied, held, gather):
    settings = ask()
    recommender = build(settings)
    trainer, parameters = OpacusTrainer(recommender, settings), copied(recommender)
    first, _ = trainer.train(gather(held([]), devices=[0]), parameters)
    second, _ = trainer.train(gather(held([]), devices=[1]), parameters)
    later, _ = trainer.train(gather(held([]), devices=[0], query=2), parameters)
    assert unrelated(first, second)
    assert unrelated(first, later)


def test_no_two_streams_of_a_device_share_a_draw():
    """Batches, negatives and noise of every step, and participation draws, have different stream names."""
    words = [
        draws(device, query, step, purpose).words(4).tolist()
        for device in (0, 1)
        for query in (1, 2)
        for step in (0, 1)
        for purpose in Purpose
    ]
    drawn = {word for stream in words for word in stream}
    assert len(drawn) == 4 * len(words)


def test_the_order_of_devices_does_not_change_the_update(three, ask, build, copied, held, gather):
    settings = ask()
    recommender = build(settings)
    trainer, parameters = OpacusTrainer(recommender, settings), copied(recommender)
    forward, _ = trainer.train(gather(held(*three), devices=[0, 1, 2]), parameters)
    backward, _ = trainer.train(gather(held(*reversed(three)), devices=[2, 1, 0]), parameters)
    assert torch.equal(flat(forward), flat(backward))


# A device without events in a batch cannot be told from any other


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_a_device_without_events_and_one_without_sampled_events_send_the_same_noise(
    model, ask, build, copied, held, gather
):
    settings = ask(**model, sampling_rate=1e-12, steps_per_round=3)
    recommender = build(settings)
    trainer, parameters = OpacusTrainer(recommender, settings), copied(recommender)
    empty, empty_vector = trainer.train(gather(held([])), parameters)
    unlucky, unlucky_vector = trainer.train(gather(held([1, 2, 3])), parameters)
    assert list(empty) == list(unlucky) == list(parameters)
    for name, tensor in parameters.items():
        assert empty[name].shape == unlucky[name].shape == tensor.shape
        assert empty[name].dtype == unlucky[name].dtype == torch.float32
    assert int((flat(empty) == 0).sum()) <= 3  # a draw may round to zero
    assert torch.equal(flat(empty), flat(unlucky))
    assert torch.equal(empty_vector, unlucky_vector)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_a_batch_is_summed_and_never_averaged(model, plain, build, copied, held, gather):
    """Four equal events give four times the update; a mean would divide by a private count."""
    settings = plain(**model, negative_weight=0.0, learning_rate=0.01)
    one = step_change(build, copied, settings, gather(held([3])))
    four = step_change(build, copied, settings, gather(held([3] * 4)))
    assert float(one.norm()) > 1e-4
    torch.testing.assert_close(four, 4 * one, rtol=1e-4, atol=1e-6)


def test_training_uses_no_global_generator(ask, build, copied, held, gather):
    settings = ask(sampling_rate=0.5, steps_per_round=2)
    recommender = build(settings)
    trainer, parameters = OpacusTrainer(recommender, settings), copied(recommender)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global generator is what the test checks)
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, _ = trainer.train(gather(held([1, 2, 3])), parameters)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    torch.manual_seed(1)
    second, _ = trainer.train(gather(held([1, 2, 3])), parameters)
    assert torch.equal(flat(first), flat(second))

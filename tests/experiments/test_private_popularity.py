"""Private popularity: the noise it has, the ε it books, and that one unit changes it by 1 at most."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from client.events import Events
from client.trainer import Cohort
from experiments.config import RunConfig
from experiments.planning import make_promise, resolve
from experiments.private_popularity import POPULARITY, Counting, one_release, private_popularity, release
from models.accounting import epsilon_composed

ITEMS = 4000
DEVICES = 50
ALARM = 1e-7  # of a false alarm, in each test of a deviation
PROMISES = [
    ("shopper", "central"),
    ("shopper", "local"),
    ("shopper", "distributed"),
    ("interaction", "local"),
]


def one_item(num: int) -> Events:
    """Every device has item 0, twice."""
    devices = np.repeat(np.arange(num), 2)
    return Events.from_columns(devices, np.zeros(2 * num), np.tile(np.arange(2), num), np.ones(2 * num), num)


def planned(unit: str, trust: str, **changes):
    said = {"unit": unit, "trust": trust, "epsilon": 2.0, "delta": 1e-5, "model": "mf", "seed": 3}
    config = resolve(RunConfig.model_validate(said | changes), DEVICES, ITEMS)
    return config, make_promise(config)


@pytest.mark.parametrize(("unit", "trust"), PROMISES)
def test_the_noise_is_that_of_one_release_at_the_promise(unit: str, trust: str) -> None:
    """Items that nobody has hold noise alone. Its deviation is z, and √N times that where every device adds
    it all, and √(N / least) times where shares do; by a chi-squared interval.
    """
    config, promise = planned(unit, trust, tolerated_dropout=0.2)
    asked = one_release(config, promise)
    noise = release(asked.settings, one_item(DEVICES), ITEMS, seed=1)[1:].double()
    times = {"central": 1.0, "local": DEVICES, "distributed": DEVICES / asked.settings.least_devices}[trust]
    assert trust != "distributed" or asked.settings.least_devices == 40
    squares = float(noise.square().sum()) / (asked.noise_multiplier**2 * times)
    low, high = chi2.interval(1 - ALARM, len(noise))
    slack = 1.05 if trust == "distributed" else 1.001  # a grid's rounding is covered by a little more noise
    assert low / slack < squares < high * slack


@pytest.mark.parametrize(("unit", "trust"), PROMISES)
def test_what_is_booked_is_what_is_released(unit: str, trust: str) -> None:
    """One Gaussian of the noise that is added, and the run's ε but for what a search leaves."""
    config, promise = planned(unit, trust, rounds=7)
    _, own = private_popularity(config, promise, one_item(DEVICES), ITEMS)
    renyi = trust == "distributed"
    spent = epsilon_composed(((own.noise_multiplier, 1.0, 1),), 1e-5, only_renyi=renyi)
    assert own.epsilon == spent.epsilon
    assert promise.epsilon is not None
    assert 0.998 * promise.epsilon < spent.epsilon <= promise.epsilon
    assert (own.unit, own.trust, own.delta, own.rounds) == (unit, trust, 1e-5, 1)


def test_the_analytic_gaussian_at_a_known_point() -> None:
    """ε = 2, δ = 1e-5, sensitivity 1: σ = 1.9938 (Balle & Wang 2018, algorithm 1, worked out apart)."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    def delta_at(sigma: float) -> float:
        return norm.cdf(0.5 / sigma - 2.0 * sigma) - math.exp(2.0) * norm.cdf(-0.5 / sigma - 2.0 * sigma)

    sigma = brentq(lambda sigma: delta_at(sigma) - 1e-5, 0.5, 10.0, xtol=1e-12)
    config, promise = planned("shopper", "central")
    assert promise.epsilon is not None
    asked = one_release(config, promise.model_copy(update={"epsilon": 2.0}))
    assert asked.noise_multiplier == pytest.approx(sigma, rel=1e-6)


def counted(unit: str, events: Events) -> torch.Tensor:
    config, promise = planned(unit, "local")
    cohort = Cohort(np.arange(events.num_devices), events, torch.zeros(events.num_devices, 0), bytes(32), 1)
    return Counting(one_release(config, promise).settings, 6).train(cohort, {})[0][POPULARITY]


def test_a_shopper_counts_for_one_in_norm_and_an_item_once(events: Events) -> None:
    """Device 0 has t0 (twice) and t1, device 1 t2 and t3, device 3 t4; device 2 nothing."""
    half = 0.5**0.5
    expected = torch.tensor([half, half, half, half, 1.0, 0.0])
    assert torch.allclose(counted("shopper", events), expected, atol=2e-5)
    assert counted("interaction", events).tolist() == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("unit", ["shopper", "interaction"])
def test_one_unit_less_changes_the_sum_by_one_at_most(unit: str) -> None:
    drawn = np.random.default_rng(0)
    devices, items = drawn.integers(0, 8, 60), drawn.integers(0, 6, 60)
    events = Events.from_columns(devices, items, np.arange(60), np.ones(60), 8)
    whole = counted(unit, events)
    for one in range(8 if unit == "shopper" else 60):
        left = events.devices != one if unit == "shopper" else np.arange(60) != one
        assert float((whole - counted(unit, events.keep(left))).norm()) <= 1.0 + 1e-6


def test_seeds_repeat_and_differ_and_no_seed_is_fresh() -> None:
    config, promise = planned("shopper", "central")
    settings = one_release(config, promise).settings
    first, again, other, *fresh = (release(settings, one_item(5), 20, seed) for seed in (1, 1, 2, None, None))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(*fresh)


def test_a_seed_gives_it_noise_that_the_run_does_not_draw() -> None:
    from models.randomness import seeded_key
    from server.aggregate import add_central_noise

    config, promise = planned("shopper", "central")
    asked = one_release(config, promise)
    released = release(asked.settings, one_item(0), ITEMS, seed=1)
    of_the_run = add_central_noise(
        {POPULARITY: torch.zeros(ITEMS)}, asked.noise_multiplier, seeded_key(1), round=1
    )[POPULARITY]
    correlation = float(torch.corrcoef(torch.stack([released, of_the_run]))[0, 1])
    assert abs(correlation) < 6 / ITEMS**0.5  # six deviations: a false alarm in 5e8


def test_all_shoppers_get_the_same_scores() -> None:
    config, promise = planned("shopper", "central")
    scorer, _ = private_popularity(config, promise, one_item(DEVICES), ITEMS)
    scores = scorer(one_item(3))
    assert scores.shape == (3, ITEMS)
    assert torch.equal(scores[0], scores[2])
    assert int(scores[0].argmax()) == 0

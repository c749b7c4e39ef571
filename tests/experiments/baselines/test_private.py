"""Private popularity: its noise, its ε, and that one unit changes it by 1 at most."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.experiments.baselines.popularity import WINDOW
from terrycloth.experiments.baselines.private import (
    COUNTS,
    NORM,
    PLAIN,
    PRIVATE_BASELINES,
    Counting,
    chosen_under_noise,
    one_release,
    private_popularity,
    release,
)
from terrycloth.experiments.baselines.row import TRIALS
from terrycloth.experiments.evaluation.split import Rule, split_events, validation_split
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import make_promise, resolve
from terrycloth.models.privacy.accounting import epsilon_composed
from terrycloth.models.times import DAY
from tests.experiments.baselines.shop import bought, catalogue_of, context_of

ITEMS = 4000
DEVICES = 50
ALARM = 1e-7  # chance of a false alarm in each test of a deviation
PROMISES = [
    ("shopper", "central"),
    ("shopper", "local"),
    ("shopper", "distributed"),
    ("interaction", "local"),
]


def one_item(num: int) -> Events:
    """Return events in which every device has item 0, twice."""
    devices = np.repeat(np.arange(num), 2)
    return Events.from_columns(devices, np.zeros(2 * num), np.tile(np.arange(2), num), np.ones(2 * num), num)


def shop(num: int):
    return context_of(one_item(num), ITEMS)


def planned(unit: str, trust: str, **changes):
    settings = {"unit": unit, "trust": trust, "epsilon": 2.0, "delta": 1e-5, "model": "mf", "seed": 3}
    config = resolve(RunConfig.model_validate(settings | changes), DEVICES, ITEMS)
    return config, make_promise(config)


@pytest.mark.parametrize(("unit", "trust"), PROMISES)
def test_the_noise_is_that_of_one_release_under_the_promise(unit: str, trust: str) -> None:
    """Items that nobody has show noise only, of deviation z, tested by a χ² interval.

    It is √N times z if every device adds all of the noise, and √(N / least) times z with shares.
    """
    config, promise = planned(unit, trust, tolerated_dropout=0.2)
    asked = one_release(config, promise)
    noise = release(asked.settings, shop(DEVICES), PLAIN, seed=1)[1:].double()
    times = {"central": 1.0, "local": DEVICES, "distributed": DEVICES / asked.settings.least_devices}[trust]
    assert trust != "distributed" or asked.settings.least_devices == 40
    squares = float(noise.square().sum()) / (asked.noise_multiplier**2 * times)
    low, high = chi2.interval(1 - ALARM, len(noise))
    slack = 1.05 if trust == "distributed" else 1.001  # slightly more noise covers the rounding to a grid
    assert low / slack < squares < high * slack


@pytest.mark.parametrize(("unit", "trust"), PROMISES)
def test_the_accounted_mechanism_is_the_released_one(unit: str, trust: str) -> None:
    """The release is one Gaussian of the added noise, at the run's ε up to the tolerance of a search."""
    config, promise = planned(unit, trust, rounds=7)
    _, own = private_popularity(config, promise, shop(DEVICES))
    renyi = trust == "distributed"
    spent = epsilon_composed(((own.noise_multiplier, 1.0, 1),), 1e-5, only_renyi=renyi)
    assert own.epsilon == spent.epsilon
    assert promise.epsilon is not None
    assert 0.998 * promise.epsilon < spent.epsilon <= promise.epsilon
    assert (own.unit, own.trust, own.delta, own.rounds) == (unit, trust, 1e-5, 1)


def test_the_noise_multiplier_at_a_known_point() -> None:
    """ε = 2, δ = 1e-5 and sensitivity 1 need σ = 1.9938 (Balle & Wang 2018, algorithm 1)."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    def delta_at(sigma: float) -> float:
        return norm.cdf(0.5 / sigma - 2.0 * sigma) - math.exp(2.0) * norm.cdf(-0.5 / sigma - 2.0 * sigma)

    sigma = brentq(lambda sigma: delta_at(sigma) - 1e-5, 0.5, 10.0, xtol=1e-12)
    config, promise = planned("shopper", "central")
    assert promise.epsilon is not None
    asked = one_release(config, promise.model_copy(update={"epsilon": 2.0}))
    assert asked.noise_multiplier == pytest.approx(sigma, rel=1e-6)


NOW = 100  # in days
RECENT = {WINDOW: 7.0, NORM: 1.0}


def counted(unit: str, events: Events, public: dict[str, float] = PLAIN, num_items: int = 6) -> torch.Tensor:
    config, promise = planned(unit, "local")
    cohort = Cohort(np.arange(events.num_devices), events, torch.zeros(events.num_devices, 0), bytes(32), 1)
    counting = Counting(one_release(config, promise).settings, num_items, NOW * DAY, public)
    return counting.train(cohort, {})[0][COUNTS]


def test_a_shopper_has_norm_one_and_counts_an_item_once(events: Events) -> None:
    """Device 0 has t0 (twice) and t1, device 1 t2 and t3, device 3 t4, and device 2 nothing."""
    half = 0.5**0.5
    expected = torch.tensor([half, half, half, half, 1.0, 0.0])
    assert torch.allclose(counted("shopper", events), expected, atol=2e-5)
    assert counted("interaction", events).tolist() == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_a_row_of_recency_by_hand() -> None:
    """With h = 7 days, device 0 last bought item 0 14 days ago: 1/4, which is below the norm and not changed.

    Device 1 bought four items just now, a row of norm 2 that is halved; a purchase after now counts 1.
    """
    events = bought([(0, 0, 80), (0, 0, 86), *((1, item, 100) for item in (0, 1, 2)), (1, 3, 150)], 2)
    assert torch.allclose(
        counted("shopper", events, RECENT), torch.tensor([0.75, 0.5, 0.5, 0.5, 0, 0]), atol=2e-5
    )
    assert counted("interaction", events, RECENT).tolist() == [1.25, 1.0, 1.0, 1.0, 0.0, 0.0]
    double = counted("shopper", events, {WINDOW: 7.0, NORM: 4.0})  # divided by 4, the allowed norm
    assert torch.allclose(double, torch.tensor([1.25, 1, 1, 1, 0, 0]) / 4, atol=2e-5)


def histories() -> list[tuple[str, list[tuple[int, int, int]]]]:
    """Return histories that could move the sum most: many or few items, new or old, repeated or after now."""
    drawn = np.random.default_rng(0)
    return [
        ("everything now", [(0, item, NOW) for item in range(6)]),
        ("everything long ago", [(0, item, 1) for item in range(6)]),
        ("one thing now", [(0, 3, NOW)]),
        ("one thing a thousand times", [(0, 3, day % 100) for day in range(1000)]),
        ("after now", [(0, item, NOW + 500) for item in range(6)]),
        ("bought again on other days", [(0, 2, 1), (0, 2, 50), (0, 2, NOW)]),
        ("many and few, old and new", [(0, int(i), int(t)) for i, t in drawn.integers(0, [6, 120], (40, 2))]),
    ]


@pytest.mark.parametrize("public", [PLAIN, RECENT, {WINDOW: 0.5, NORM: 1e-3}, {WINDOW: 0.0, NORM: 3.0}])
def test_a_shopper_changes_the_sum_by_one_at_most(public: dict[str, float]) -> None:
    """The device is present or absent, with any history, and the bound is reached."""
    moved = [float(counted("shopper", bought(rows, 1), public).norm()) for _, rows in histories()]
    assert max(moved) <= 1.0
    assert max(moved) > 0.79  # with NORM 3, six items now have a norm of √6


@pytest.mark.slow
@pytest.mark.parametrize("public", [PLAIN, RECENT, {WINDOW: 0.5, NORM: 1e-3}])
def test_an_interaction_changes_the_sum_by_one_at_most(public: dict[str, float]) -> None:
    """One event is added or removed; moving an event in time would be two changes."""
    moved = []
    for _, rows in histories():
        whole = counted("interaction", bought(rows, 1), public)
        for one in range(0, len(rows), max(1, len(rows) // 40)):
            left = rows[:one] + rows[one + 1 :]
            without = counted("interaction", bought(left, 1), public) if left else torch.zeros(6)
            moved.append(float((whole - without).norm()))
    assert max(moved) == 1.0


def test_settings_are_chosen_under_the_noise_of_the_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All settings are scored with one draw of z on each item, on validation's training events."""
    rows = [
        (device, item, 10 * visit + device % 3)
        for device in range(50)
        for visit, item in enumerate((0, 1, 2))
    ]
    split = split_events(bought(rows, 50), ITEMS, Rule("next-visit"), 0, 0)
    validation = validation_split(split, ITEMS)
    config, promise = planned("shopper", "central")
    asked, scored = one_release(config, promise), []

    def hits(scorer, holdout, num_items, repeats, sample):
        scored.append(scorer(holdout.history)[0])
        return [0.1, 0.3, 0.2][len(scored) - 1]

    monkeypatch.setattr("terrycloth.experiments.baselines.private.hit_rate", hits)
    grid = (PLAIN, RECENT, {WINDOW: 1.0, NORM: 0.0})
    assert chosen_under_noise(grid, asked, validation, catalogue_of(ITEMS)) == RECENT
    noises = [
        scores - Counting(asked.settings, ITEMS, validation.now, public).total(validation.train)
        for scores, public in zip(scored, grid, strict=True)
    ]
    assert torch.allclose(noises[0], noises[1], atol=1e-5)
    assert torch.allclose(noises[0], noises[2], atol=1e-5)
    # Five standard errors over 4,000 draws.
    assert float(noises[0].std()) == pytest.approx(asked.noise_multiplier, rel=0.06)
    assert chosen_under_noise((PLAIN,), asked, validation, catalogue_of(ITEMS)) == PLAIN
    assert len(scored) == 3, "a grid of one setting needs no scoring"


def test_private_recent_popularity_has_as_many_trials_as_other_baselines() -> None:
    assert PRIVATE_BASELINES["private_popularity"].grid == (PLAIN,)
    grid = PRIVATE_BASELINES["private_recent_popularity"].grid
    assert len(grid) == len({tuple(one.items()) for one in grid}) == TRIALS


def test_a_recent_release_is_the_sum_of_noise_and_rows() -> None:
    """A seed gives both the same noise, so that they differ by the devices' sum divided by the norm."""
    config, promise = planned("shopper", "central")
    settings = one_release(config, promise).settings
    context = context_of(bought([(0, 0, 93), (0, 1, 100)], 1), 50, NOW)
    noised = [release(settings, context, public, seed=1) for public in (PLAIN, {WINDOW: 7.0, NORM: 2.0})]
    expected = torch.zeros(50)
    expected[:2] = torch.tensor([0.25 - 0.5**0.5, 0.5 - 0.5**0.5])
    assert torch.allclose(noised[1] - noised[0], expected, atol=1e-4)


def test_a_seed_repeats_a_release_and_without_one_it_is_fresh() -> None:
    config, promise = planned("shopper", "central")
    settings = one_release(config, promise).settings
    first, again, other, *fresh = (release(settings, shop(5), PLAIN, seed) for seed in (1, 1, 2, None, None))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(*fresh)


def test_the_noise_of_a_seed_is_independent_of_the_runs() -> None:
    from terrycloth.models.privacy.randomness import seeded_key
    from terrycloth.server.aggregate import add_central_noise

    config, promise = planned("shopper", "central")
    asked = one_release(config, promise)
    released = release(asked.settings, shop(0), PLAIN, seed=1)
    of_the_run = add_central_noise(
        {COUNTS: torch.zeros(ITEMS)}, asked.noise_multiplier, seeded_key(1), round=1
    )[COUNTS]
    correlation = float(torch.corrcoef(torch.stack([released, of_the_run]))[0, 1])
    assert abs(correlation) < 6 / ITEMS**0.5  # six deviations: a false alarm in 5e8 runs


def test_all_shoppers_get_the_same_scores() -> None:
    config, promise = planned("shopper", "central")
    scorer, _ = private_popularity(config, promise, shop(DEVICES))
    scores = scorer(one_item(3))
    assert scores.shape == (3, ITEMS)
    assert torch.equal(scores[0], scores[2])
    assert int(scores[0].argmax()) == 0

"""The synthetic towel shop draws what its docstring says, and its ceilings are what they claim to be.

Statistical tests have fixed seeds. Had its seed been drawn afresh, one comparison would fail on a correct
program with probability `RARE` (as two-sided normal deviations: `SIGMAS`), a whole test with less than 1e-6.
"""

import itertools
import time
import tracemalloc
from functools import partial

import numpy as np
import pytest
from scipy import stats

from client.events import Events
from experiments.datasets import load as load_named
from experiments.datasets import towel_ceiling, towels
from experiments.datasets.dataset import DataOptions, Dataset

RARE = 1e-8
SIGMAS = 5.73
SHOPPERS = 6_000


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return towels.load(DataOptions(devices=SHOPPERS, data_seed=7))


@pytest.fixture(scope="module")
def tastes() -> np.ndarray:
    blocks = range(SHOPPERS // towels.SHOPPERS_A_BLOCK)
    return np.concatenate([towels.draw_block(7, block, towels.SHOPPERS_A_BLOCK).tastes for block in blocks])


def inside(dataset: Dataset) -> tuple[towel_ceiling.ChoiceModel, np.ndarray]:
    """The choice model and tastes that a shop's ceiling is computed from."""
    assert isinstance(dataset.ceiling, partial)
    model, tastes = dataset.ceiling.args
    return model, tastes


def group_codes(dataset: Dataset) -> np.ndarray:
    assert dataset.groups is not None
    return dataset.groups["group"].cat.codes.to_numpy()


def histories(events: Events) -> list[np.ndarray]:
    return [events.items[a:b] for a, b in itertools.pairwise(events.offsets)]


def first_bought(items: np.ndarray) -> list[int]:
    """Distinct items in the order first bought; the plain way."""
    return list(dict.fromkeys(items.tolist()))


def hold_out(events: Events) -> tuple[Events, np.ndarray]:
    """The project's protocol in a plain loop: the last new item is the test, what follows it is dropped."""
    keep = np.ones(len(events), dtype=bool)
    test_items = np.full(events.num_devices, -1)
    for device, items in enumerate(histories(events)):
        order = first_bought(items)
        if len(order) > 1:
            test_items[device] = order[-1]
            keep[events.offsets[device] + items.tolist().index(order[-1]) : events.offsets[device + 1]] = (
                False
            )
    return events.keep(keep), test_items


def assert_within_chance(observed: np.ndarray, expected: np.ndarray) -> None:
    """Shoppers are independent and observed has the mean expected, so the sum of differences is normal."""
    difference = observed - expected
    error = np.sqrt((difference**2).sum())
    assert abs(difference.sum()) < SIGMAS * error


# The catalogue


def test_catalogue_holds_300_different_towels() -> None:
    table = towels.catalogue().table
    made_of = ["size", "colour", "composition", "weave", "weight"]
    assert len(table) == 300
    assert not table[made_of].duplicated().any()
    assert not table["title"].duplicated().any()
    assert towels.catalogue().attributes == [*made_of, "price"]
    assert table["item"].iloc[[0, -1]].tolist() == ["T001", "T300"]


def test_every_attribute_value_is_for_sale_and_named_in_the_title() -> None:
    table = towels.catalogue().table
    for name, values in {
        "size": towels.SIZES,
        "colour": towels.COLOURS,
        "composition": towels.COMPOSITIONS,
        "weave": towels.WEAVES,
        "weight": towels.WEIGHTS,
        "price": towels.PRICES,
    }.items():
        assert {cell for (cell,) in table[name]} == set(values)
    for row in table.to_dict("records"):
        (colour,), (weave,), (size,), (composition,) = (
            row[name] for name in ("colour", "weave", "size", "composition")
        )
        assert row["title"].lower().startswith(f"{colour} {weave} {size}, {composition}, ")
        assert row["weight"][0] in towels.WEAVES[weave]


def test_price_by_hand() -> None:
    # 2 + 0.91 · 14 · 450/450 = 14.74 and 2 + 1.5 · 30 · 650/450 = 67
    assert towels.price_band("bath towel", "cotton", "400–499 gsm") == "£10–£19"
    assert towels.price_band("bath sheet", "linen", "600+ gsm") == "£35 and over"


def test_the_public_shop_is_the_same_for_every_seed() -> None:
    one, other = (towels.load(DataOptions(devices=5, data_seed=seed)) for seed in (1, 2))
    towels.catalogue.cache_clear()
    towels.choice_model.cache_clear()
    again = towels.load(DataOptions(devices=5, data_seed=3))
    assert one.catalogue.table.equals(other.catalogue.table)
    assert one.catalogue.table.equals(again.catalogue.table)
    for public in ("appeal", "loadings"):
        before, after = (getattr(inside(each)[0], public) for each in (one, again))
        np.testing.assert_array_equal(before, after)


def test_popularity_follows_zipf_and_attributes() -> None:
    appeal = towels.choice_model().appeal
    expected = -towels.ZIPF_EXPONENT * np.log(np.arange(1, 301))
    np.testing.assert_allclose(np.sort(appeal)[::-1], expected, rtol=1e-5)


def test_loadings_are_sums_over_attribute_values() -> None:
    """One-hot attributes explain every item's loadings exactly: an attribute factorisation can learn them."""
    table = towels.catalogue().table
    values = sorted({(name, *cell) for name in table.columns[2:] for cell in table[name]})
    one_hot = np.array([[row[name][0] == value for name, value in values] for _, row in table.iterrows()])
    loadings = towels.choice_model().loadings
    fitted = one_hot @ np.linalg.lstsq(one_hot.astype(float), loadings, rcond=None)[0]
    np.testing.assert_allclose(fitted, loadings, atol=1e-5)
    assert loadings.std(axis=0).min() > 0.2


# Repeatability


def test_same_seed_same_shop_other_seed_other_shop() -> None:
    one, same, other = (towels.load(DataOptions(devices=50, data_seed=seed)) for seed in (3, 3, 4))
    for name in ("offsets", "items", "times", "weights"):
        np.testing.assert_array_equal(getattr(one.events, name), getattr(same.events, name))
    np.testing.assert_array_equal(group_codes(one), group_codes(same))
    assert not np.array_equal(one.events.offsets, other.events.offsets)


@pytest.mark.parametrize("devices", [1, 10, 2_000, 2_001])
def test_a_smaller_shop_is_the_beginning_of_a_larger_one(shop: Dataset, devices: int) -> None:
    smaller = towels.load(DataOptions(devices=devices, data_seed=7))
    beginning = shop.events.span(0, devices)
    for name in ("offsets", "items", "times", "weights"):
        np.testing.assert_array_equal(getattr(smaller.events, name), getattr(beginning, name))
    np.testing.assert_array_equal(group_codes(smaller), group_codes(shop)[:devices])
    np.testing.assert_array_equal(inside(smaller)[1], inside(shop)[1][:devices])


def test_blocks_differ(shop: Dataset) -> None:
    block = towels.SHOPPERS_A_BLOCK
    first, second = shop.events.span(0, block), shop.events.span(block, 2 * block)
    assert not np.array_equal(first.offsets, second.offsets)


# Orders


def test_orders_are_plackett_luce() -> None:
    """All 60 ordered triples of 5 items, against their exact probabilities."""
    chances = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    draws = 200_000
    orders = towels.draw_orders(np.random.default_rng(11), np.tile(chances.astype(np.float32), (draws, 1)), 3)
    triples = list(itertools.permutations(range(5), 3))
    expected = [
        chances[a] * chances[b] / (1 - chances[a]) * chances[c] / (1 - chances[a] - chances[b])
        for a, b, c in triples
    ]
    observed = np.zeros((5, 5, 5))
    np.add.at(observed, tuple(orders.T), 1)
    assert sum(observed[triple] for triple in triples) == draws  # no item twice
    counts = np.array([observed[triple] for triple in triples])
    assert stats.chisquare(counts, draws * np.array(expected)).pvalue > RARE


def test_orders_equal_a_full_sort() -> None:
    """The selected few against a sort of all arrivals; 2,000 items, as small selections come out sorted."""
    chances = np.random.default_rng(9).dirichlet(np.ones(2_000), size=20).astype(np.float32)
    arrivals = np.random.default_rng(10).standard_exponential(chances.shape, dtype=np.float32) / chances
    orders = towels.draw_orders(np.random.default_rng(10), chances, 1_000)
    np.testing.assert_array_equal(orders, np.argsort(arrivals, axis=1)[:, :1_000])


def test_first_items_come_from_each_shoppers_own_choice_probabilities(
    shop: Dataset, tastes: np.ndarray
) -> None:
    first = shop.events.items[shop.events.offsets[:-1]]
    chances = towels.choice_model().probabilities(tastes).astype(float)
    # A cell's variance is Σp(1−p), below that of a multinomial's: the test is conservative.
    expected = chances.sum(axis=0)
    counts = np.bincount(first, minlength=300)
    assert stats.chisquare(counts, expected * SHOPPERS / expected.sum()).pvalue > RARE
    # And shopper by shopper: the log-probability of the choice has the mean that its distribution says.
    log_chances = np.log(chances)
    surprise = log_chances[np.arange(SHOPPERS), first] - (chances * log_chances).sum(axis=1)
    variance = (chances * log_chances**2).sum(axis=1) - (chances * log_chances).sum(axis=1) ** 2
    assert abs(surprise.sum()) < SIGMAS * np.sqrt(variance.sum())


def test_the_ceiling_keeps_the_tastes_that_were_drawn(shop: Dataset, tastes: np.ndarray) -> None:
    np.testing.assert_array_equal(inside(shop)[1], tastes)
    assert stats.kstest(tastes.ravel(), "norm").pvalue > RARE


# Events


def test_events_keep_the_order_of_first_purchases_and_only_repeat_what_was_bought() -> None:
    generator = np.random.default_rng(5)
    orders = np.array([generator.permutation(300)[:30] for _ in range(500)])
    distinct = generator.integers(1, 31, 500)
    repeats = generator.integers(0, 15, 500)
    events = towels.draw_events(generator, orders, distinct, repeats)
    np.testing.assert_array_equal(events.counts, distinct + repeats)
    for items, order, number in zip(histories(events), orders, distinct, strict=True):
        assert first_bought(items) == order[:number].tolist()


def test_repeats_are_uniform_over_places_and_items() -> None:
    """Two items and one repeat: 0 0 1 half the time, 0 1 0 and 0 1 1 a quarter each."""
    draws = 40_000
    ones = np.ones(draws, dtype=int)
    events = towels.draw_events(np.random.default_rng(6), np.tile([0, 1], (draws, 1)), 2 * ones, ones)
    sequences, counts = np.unique(events.items.reshape(draws, 3), axis=0, return_counts=True)
    assert sequences.tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert stats.chisquare(counts, [draws / 2, draws / 4, draws / 4]).pvalue > RARE


def test_times_rise_strictly_and_fill_the_year(shop: Dataset) -> None:
    events = shop.events
    same_device = np.diff(events.devices) == 0
    assert (np.diff(events.times)[same_device] > 0).all()
    year = np.array(["2025-01-01", "2026-01-01"], dtype="datetime64[s]").astype(np.int64)
    assert events.times.min() >= year[0]
    assert events.times.max() < year[1]
    counts, _ = np.histogram(events.times, bins=12, range=tuple(year))
    assert stats.chisquare(counts).pvalue > RARE


def test_times_are_distinct_even_when_seconds_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towels, "YEAR_SECONDS", 40)
    ones = np.ones(200, dtype=int)
    orders = np.tile(np.arange(30), (200, 1))
    events = towels.draw_events(np.random.default_rng(8), orders, 30 * ones, 8 * ones)
    for start, stop in itertools.pairwise(events.offsets):
        times = events.times[start:stop] - towels.YEAR_START
        assert (np.diff(times) > 0).all()
        assert 0 <= times[0] <= times[-1] < 40


def test_how_many_events_a_shopper_holds(shop: Dataset) -> None:
    counts = shop.events.counts
    distinct = np.array([len(first_bought(items)) for items in histories(shop.events)])
    assert (counts.min(), distinct.min()) == (1, 1)
    assert distinct.max() == 30
    assert counts.mean() == pytest.approx(12, abs=0.7)  # its standard error is 0.12
    # P(D = 1) = P(N = 0) of a gamma mixture of Poissons = (1 + mean/shape)^−shape
    alone = (1 + towels.DISTINCT_MEAN / towels.DISTINCT_SHAPE) ** -towels.DISTINCT_SHAPE
    assert stats.binomtest(int((distinct == 1).sum()), SHOPPERS, alone).pvalue > RARE
    # R is Poisson, so R − ρD has mean 0 and variance ρD.
    excess = counts - distinct - towels.REPEATS_A_DISTINCT * distinct
    assert abs(excess.sum()) < SIGMAS * np.sqrt(towels.REPEATS_A_DISTINCT * distinct.sum())
    assert (shop.events.weights == 1).all()
    assert [getattr(shop.events, name).dtype for name in ("offsets", "items", "times", "weights")] == [
        np.int64,
        np.int32,
        np.int64,
        np.float32,
    ]


def test_groups_are_independent_of_what_shoppers_do(shop: Dataset, tastes: np.ndarray) -> None:
    group = group_codes(shop)
    expected = SHOPPERS * np.array(list(towels.GROUPS.values()))
    assert stats.chisquare(np.bincount(group), expected).pvalue > RARE
    members = [group == code for code in range(len(towels.GROUPS))]
    assert stats.kruskal(*(shop.events.counts[chosen] for chosen in members)).pvalue > RARE
    for dimension in range(tastes.shape[1]):
        assert stats.kruskal(*(tastes[chosen, dimension] for chosen in members)).pvalue > RARE
    bought = shop.events.items[shop.events.offsets[:-1]]
    for attribute in shop.catalogue.attributes:
        value = shop.catalogue.table[attribute].str[0].astype("category").cat.codes.to_numpy()[bought]
        table = np.zeros((value.max() + 1, len(members)))
        np.add.at(table, (value, group), 1)
        assert stats.chi2_contingency(table[table.sum(axis=1) > 0]).pvalue > RARE


# The posterior


def test_posterior_predictive_by_hand() -> None:
    """Two equally likely tastes over three items, and item 0 bought.

    P(0 | first) = 1/2 and P(0 | second) = 1/4, so the posterior is 2/3, 1/3. Of what is left the first taste
    picks item 1 with 1/2, the second with 2/3: the predictive is 2/3·1/2 + 1/3·2/3 = 5/9.
    """
    choices = np.array([[1 / 2, 1 / 4], [1 / 4, 1 / 2], [1 / 4, 1 / 4]], dtype=np.float32)
    scores, effective = towel_ceiling.history_scores(choices, [np.array([0])])
    np.testing.assert_allclose(scores, [[0, 5 / 9, 4 / 9]], rtol=1e-6)
    np.testing.assert_allclose(effective, [1 / (4 / 9 + 1 / 9)], rtol=1e-6)


def test_posterior_predictive_equals_plain_loops() -> None:
    """The matrix products against Bayes' rule written out, over a discrete prior of 40 tastes."""
    generator = np.random.default_rng(12)
    choices = generator.dirichlet(np.ones(7), size=40).T.astype(np.float32)  # [items, tastes]
    bought = [
        generator.permutation(7)[: generator.integers(1, 6)]
        for _ in range(towel_ceiling.SHOPPERS_AT_ONCE + 20)
    ]
    scores, effective = towel_ceiling.history_scores(choices, bought)
    for shopper, history in enumerate(bought):
        posterior = np.zeros(40)
        predictive = np.zeros(7)
        for taste in range(40):
            likelihood, left = 1.0, 1.0
            for item in history:
                likelihood *= float(choices[item, taste]) / left
                left -= float(choices[item, taste])
            posterior[taste] = likelihood
            for item in set(range(7)) - set(history.tolist()):
                predictive[item] += likelihood * float(choices[item, taste]) / left
        np.testing.assert_allclose(scores[shopper], predictive / posterior.sum(), rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(effective[shopper], posterior.sum() ** 2 / (posterior**2).sum(), rtol=2e-3)


def test_importance_sampling_agrees_with_quadrature() -> None:
    """One dimension of taste: 40,000 prior samples against Gauss–Hermite quadrature."""
    model = towel_ceiling.ChoiceModel(
        appeal=np.array([0, 0.5, -0.5, 1, 0, -1], dtype=np.float32),
        loadings=np.array([[1], [-1], [0.5], [-0.5], [1.5], [0]], dtype=np.float32),
    )
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(60)
    history = np.array([4, 0])
    chances = model.probabilities(nodes[:, None].astype(np.float32)).astype(float)
    likelihood = chances[:, 4] * chances[:, 0] / (1 - chances[:, 4]) * node_weights
    left = 1 - chances[:, 4] - chances[:, 0]
    exact = ((likelihood / left)[:, None] * chances).sum(axis=0) / likelihood.sum()
    exact[history] = 0
    prior = np.random.default_rng(13).standard_normal((40_000, 1), dtype=np.float32)
    scores, effective = towel_ceiling.history_scores(model.probabilities(prior).T, [history])
    # A self-normalised average of values in [0, 1] has a standard error below 1 / (2 √effective).
    np.testing.assert_allclose(scores[0], exact, atol=SIGMAS / (2 * np.sqrt(effective[0])))
    assert effective[0] > 10_000


def test_distinct_items_keep_the_order_of_first_purchase() -> None:
    assert towel_ceiling.distinct_in_order(np.array([5, 2, 5, 9, 2])).tolist() == [5, 2, 9]


def test_prior_choices_repeat_and_cover_the_prior() -> None:
    """With loadings 1 and −1 the log-odds of two items are 2z, so half of them are standard normal."""
    model = towel_ceiling.ChoiceModel(np.zeros(2, np.float32), np.array([[1], [-1]], np.float32))
    choices = towel_ceiling.prior_choices(model, 20_000)
    np.testing.assert_array_equal(choices, towel_ceiling.prior_choices(model, 20_000))
    assert stats.kstest(np.log(choices[0] / choices[1]) / 2, "norm").pvalue > RARE


def test_ranks_and_metrics_by_hand() -> None:
    scores = np.array([[0.9, 0.5, 0.5, 0.5, 0.1], [0.9, 0.5, 0.4, 0.3, 0.2]])
    bought = [np.array([0]), np.array([1, 2])]
    ranks = towel_ceiling.rank_of(scores, np.array([2, 4]), bought)
    assert ranks.tolist() == [2.0, 3.0]  # tied with two others after one exclusion: 1 + 2/2; third of three
    metrics = towel_ceiling.ranking_metrics(np.array([1.0, 3.0, 10.0, 10.5]))
    assert metrics["hr@10"] == 0.75
    assert metrics["ndcg@10"] == pytest.approx((1 + 0.5 + 1 / np.log2(11)) / 4)


# The ceilings


def test_oracle_beats_history_beats_popularity(shop: Dataset) -> None:
    """Hit rates .06 and .11 apart; over 2,000 shoppers the standard errors are below .01 and .013."""
    train, test_items = hold_out(shop.events)
    limits = towel_ceiling.ceilings(*inside(shop), train, test_items, samples=10_000)
    measured = towel_ceiling.measured_shoppers(train, test_items)
    bought = [np.array(first_bought(items)) for items in histories(train.take(measured))]
    holders = np.zeros(300)
    for items in histories(train):
        holders[first_bought(items)] += 1
    ranks = towel_ceiling.rank_of(np.tile(holders, (len(measured), 1)), test_items[measured], bought)
    popularity = towel_ceiling.ranking_metrics(ranks)
    assert 0.08 < popularity["hr@10"] < 0.15
    for metric in ("hr@10", "ndcg@10"):
        assert popularity[metric] < limits["history"][metric] < limits["oracle"][metric]


def test_ceilings_are_calibrated(shop: Dataset) -> None:
    """Who predicts rightly hits as often as they expect to: the mass on their ten best is their hit rate.

    And the mean log-probability of what happened is the mean log-probability of what they expected. Both hold
    exactly for the true posterior, and fail for a wrong prior, likelihood or pairing of tastes and shoppers.
    """
    train, test_items = hold_out(shop.events)
    model, tastes = inside(shop)
    measured = towel_ceiling.measured_shoppers(train, test_items)
    bought = [np.array(first_bought(items)) for items in histories(train.take(measured))]
    rows, wanted = np.arange(len(measured)), test_items[measured]
    predicted, effective = towel_ceiling.history_scores(towel_ceiling.prior_choices(model, 20_000), bought)
    assert np.median(effective) > 300
    for scores in (predicted, towel_ceiling.oracle_scores(model, tastes[measured], bought)):
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-4)
        expected = np.sort(scores, axis=1)[:, -10:].sum(axis=1)
        hits = towel_ceiling.rank_of(scores, wanted, bought) <= 10
        assert_within_chance(hits.astype(float), expected)
        log_scores = np.log(scores, out=np.zeros_like(scores), where=scores > 0)
        assert_within_chance(log_scores[rows, wanted], (scores * log_scores).sum(axis=1))


@pytest.mark.slow
def test_more_samples_do_not_move_the_history_ceiling(shop: Dataset) -> None:
    train, test_items = hold_out(shop.events)
    model, tastes = inside(shop)
    once, twice = (
        towel_ceiling.ceilings(model, tastes, train, test_items, samples=samples)["history"]["hr@10"]
        for samples in (towel_ceiling.PRIOR_SAMPLES, 2 * towel_ceiling.PRIOR_SAMPLES)
    )
    assert once == pytest.approx(twice, abs=0.005)


def test_a_ceiling_repeats_itself() -> None:
    small = towels.load(DataOptions(devices=20, data_seed=1))
    assert small.ceiling is not None
    train, test_items = hold_out(small.events)
    assert small.ceiling(train, test_items) == small.ceiling(train, test_items)


def test_a_ceiling_measures_the_same_2000_of_those_tested(shop: Dataset) -> None:
    train, test_items = hold_out(shop.events)
    measured = towel_ceiling.measured_shoppers(train, test_items)
    assert len(np.unique(measured)) == 2_000
    assert (test_items[measured] >= 0).all()
    np.testing.assert_array_equal(measured, towel_ceiling.measured_shoppers(train, test_items))
    # A random sample, not the first: its mean index is that of all, 6,000 / √12 / √2,000 ≈ 39 apart at most.
    assert measured.mean() == pytest.approx(SHOPPERS / 2, abs=SIGMAS * 39)


def test_a_ceiling_refuses_what_it_cannot_measure() -> None:
    small = towels.load(DataOptions(devices=20, data_seed=1))
    assert small.ceiling is not None
    train, test_items = hold_out(small.events)
    with pytest.raises(ValueError, match="20 tastes, 19 devices"):
        small.ceiling(train.span(0, 19), test_items[:19])
    device = int(np.flatnonzero(test_items >= 0)[0])
    seen = test_items.copy()
    seen[device] = train.items[train.offsets[device]]
    with pytest.raises(ValueError, match="among the training items"):
        small.ceiling(train, seen)
    nobody = small.ceiling(train, np.full(20, -1))
    assert np.isnan(nobody["history"]["hr@10"])


# Loading


def test_loading_by_name_says_it_is_synthetic() -> None:
    dataset = load_named("towels", DataOptions())
    assert dataset.events.num_devices == towels.DEFAULT_SHOPPERS
    assert dataset.name == "towels"
    assert "synthetic" in dataset.report.source
    assert dataset.report.rows_read == dataset.report.rows_kept == len(dataset.events)
    assert len(group_codes(dataset)) == dataset.events.num_devices


@pytest.mark.slow
def test_a_hundred_thousand_shoppers_take_a_tenth_of_the_minute_and_memory_of_a_million() -> None:
    tracemalloc.start()
    started = time.perf_counter()
    dataset = towels.load(DataOptions(devices=100_000))
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.events.num_devices == 100_000
    assert seconds < 6
    assert peak < 0.8 * 2**30

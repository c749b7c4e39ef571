"""The synthetic towel shop follows the distributions that its docstring states.

Statistical tests have fixed seeds. With a fresh seed, one comparison would fail on a correct program with
probability `RARE` (as two-sided normal deviations: `SIGMAS`), and a whole test with less than 1e-6.
"""

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from terrycloth.client.events import Events
from terrycloth.experiments.datasets import load as load_named
from terrycloth.experiments.datasets import towels
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.evaluation.split import SplitName, make_split, rule_for

RARE = 1e-8
SIGMAS = 5.73
SHOPPERS = 6_000


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return towels.load(DataOptions(devices=SHOPPERS, data_seed=7))


@pytest.fixture(scope="module")
def tastes() -> np.ndarray:
    blocks = range(SHOPPERS // towels.SHOPPERS_PER_BLOCK)
    return np.concatenate([towels.draw_block(7, block, towels.SHOPPERS_PER_BLOCK).tastes for block in blocks])


def group_codes(dataset: Dataset) -> np.ndarray:
    assert dataset.groups is not None
    return dataset.groups["group"].cat.codes.to_numpy()


def in_visits(events: Events) -> list[list[list[int]]]:
    """Return the items of each shopper's visits, by a plain loop."""
    shoppers = []
    for start, stop in itertools.pairwise(events.offsets):
        visits: dict[int, list[int]] = {}
        for item, instant in zip(events.items[start:stop], events.times[start:stop], strict=True):
            visits.setdefault(int(instant), []).append(int(item))
        shoppers.append(list(visits.values()))
    return shoppers


def distinct_items(events: Events) -> np.ndarray:
    """Return how many different items each shopper bought."""
    return np.array([len(set(itertools.chain(*visits))) for visits in in_visits(events)])


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
    before = towels.choice_model()
    towels.catalogue.cache_clear()
    towels.choice_model.cache_clear()
    again = towels.load(DataOptions(devices=5, data_seed=3))
    assert one.catalogue.table.equals(other.catalogue.table)
    assert one.catalogue.table.equals(again.catalogue.table)
    assert towels.choice_model() is not before
    for public in ("appeal", "loadings"):
        np.testing.assert_array_equal(getattr(before, public), getattr(towels.choice_model(), public))


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


def test_blocks_differ(shop: Dataset) -> None:
    block = towels.SHOPPERS_PER_BLOCK
    first, second = shop.events.span(0, block), shop.events.span(block, 2 * block)
    assert not np.array_equal(first.offsets, second.offsets)


# Orders


def test_orders_follow_plackett_luce() -> None:
    """All 60 ordered triples of 5 items are compared with their exact probabilities."""
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
    assert sum(observed[triple] for triple in triples) == draws  # no item occurs twice
    counts = np.array([observed[triple] for triple in triples])
    assert stats.chisquare(counts, draws * np.array(expected)).pvalue > RARE


def test_orders_equal_a_full_sort() -> None:
    """The selected items equal those of a full sort of 2,000 arrivals, of which few are selected."""
    chances = np.random.default_rng(9).dirichlet(np.ones(2_000), size=20).astype(np.float32)
    arrivals = np.random.default_rng(10).standard_exponential(chances.shape, dtype=np.float32) / chances
    orders = towels.draw_orders(np.random.default_rng(10), chances, 1_000)
    np.testing.assert_array_equal(orders, np.argsort(arrivals, axis=1)[:, :1_000])


def test_first_items_come_from_each_shoppers_own_choice_probabilities(
    shop: Dataset, tastes: np.ndarray
) -> None:
    """Shoppers whose first visit has one item are counted; a visit's size does not depend on items."""
    begun = shop.events.keep(shop.events.visits == 0)
    alone = begun.counts == 1
    first, shoppers = begun.items[begun.offsets[:-1][alone]], int(alone.sum())
    chances = towels.choice_model().probabilities(tastes[alone]).astype(float)
    # A cell's variance Σp(1−p) is below that of a multinomial, so the test is conservative.
    expected = chances.sum(axis=0)
    counts = np.bincount(first, minlength=300)
    assert stats.chisquare(counts, expected * shoppers / expected.sum()).pvalue > RARE
    # For each shopper, the log-probability of the choice has the mean of its distribution.
    log_chances = np.log(chances)
    surprise = log_chances[np.arange(shoppers), first] - (chances * log_chances).sum(axis=1)
    variance = (chances * log_chances**2).sum(axis=1) - (chances * log_chances).sum(axis=1) ** 2
    assert abs(surprise.sum()) < SIGMAS * np.sqrt(variance.sum())


def test_tastes_are_normal_and_the_ceiling_uses_them(shop: Dataset, tastes: np.ndarray) -> None:
    assert stats.kstest(tastes.ravel(), "norm").pvalue > RARE
    assert shop.ceiling is not None
    known = shop.ceiling(shop.events)["oracle"](np.arange(SHOPPERS))
    np.testing.assert_array_equal(known.numpy(), towels.choice_model().probabilities(tastes))


# Events


def test_visits_divide_the_order_into_sets_and_repeat_only_earlier_items() -> None:
    generator = np.random.default_rng(5)
    orders = np.array([generator.permutation(300)[:30] for _ in range(500)])
    distinct, repeats = generator.integers(1, 31, 500), generator.integers(0, 15, 500)
    events = towels.draw_events(generator, orders, distinct, repeats)
    assert (distinct + repeats - events.counts).min() >= 0, "no shopper may buy more than was drawn"
    repeated = 0
    for visits, order, number in zip(in_visits(events), orders.tolist(), distinct, strict=True):
        bought: set[int] = set()
        for items in visits:
            assert items == sorted(set(items)), "a visit lists each item once, by number"
            repeated += len(bought & set(items))
            bought |= set(items)
            assert bought == set(order[: len(bought)])
        assert len(bought) == number
    assert repeated > 2_000


def test_visits_and_repeats_by_hand() -> None:
    """Two items and one repeat at q = 0.4: every outcome with its probability.

    In the order new, new, repeat (½), the second begins a visit (q), and then the repeat does too (q, of
    either item) or not (of the first, the only one bought earlier); or the second does not begin a visit, and
    the repeat must begin one. In the order new, repeat, new (½), the repeat must begin a visit, and the
    second new item does (q) or not.
    """
    draws, q = 40_000, 0.4
    assert q == towels.NEW_VISIT
    ones = np.ones(draws, dtype=int)
    events = towels.draw_events(np.random.default_rng(6), np.tile([0, 1], (draws, 1)), 2 * ones, ones)
    expected = {
        "[[0], [1], [0]]": q * q / 4,
        "[[0], [1], [1]]": q * q / 4,
        "[[0], [0, 1]]": q * (1 - q) / 2 + (1 - q) / 2,
        "[[0, 1], [0]]": (1 - q) / 4,
        "[[0, 1], [1]]": (1 - q) / 4,
        "[[0], [0], [1]]": q / 2,
    }
    observed = Counter(map(str, in_visits(events)))
    assert set(observed) == set(expected)
    counts = [observed[outcome] for outcome in expected]
    assert stats.chisquare(counts, draws * np.array(list(expected.values()))).pvalue > RARE


def test_an_item_drawn_twice_in_a_visit_is_bought_once() -> None:
    """Of an item and two repeats, the second is part of the first one's visit unless it begins one."""
    draws = 20_000
    ones = np.ones(draws, dtype=int)
    events = towels.draw_events(np.random.default_rng(7), np.tile([0, 1], (draws, 1)), ones, 2 * ones)
    assert set(events.counts.tolist()) == {2, 3}
    assert stats.binomtest(int((events.counts == 3).sum()), draws, towels.NEW_VISIT).pvalue > RARE


def test_sizes_of_visits_are_geometric_if_not_cut_short() -> None:
    draws, q = 20_000, towels.NEW_VISIT
    ones = np.ones(draws, dtype=int)
    orders = np.tile(np.arange(30), (draws, 1))
    events = towels.draw_events(np.random.default_rng(8), orders, 30 * ones, 0 * ones)
    sizes = events.keep(events.visits == 0).counts
    chances = q * (1 - q) ** np.arange(10)
    counts = np.bincount(np.minimum(sizes, 11), minlength=12)[1:]
    assert stats.chisquare(counts, draws * np.append(chances, 1 - chances.sum())).pvalue > RARE
    visits = events.visits[events.offsets[1:] - 1]  # of the last item: Binomial(29, q)
    assert abs(visits.sum() - 29 * q * draws) < SIGMAS * np.sqrt(29 * q * (1 - q) * draws)


def test_a_visit_of_the_shop_has_two_items_on_average(shop: Dataset) -> None:
    sizes = [len(items) for visits in in_visits(shop.events) for items in visits]
    assert np.mean(sizes) == pytest.approx(2.04, abs=0.06)  # the standard error is 0.008
    assert max(sizes) > 8


def test_a_visit_has_one_time_and_visits_cover_the_year(shop: Dataset) -> None:
    events = shop.events
    begins = np.append(True, (np.diff(events.devices) > 0) | (np.diff(events.visits) > 0))
    instants, owners = events.times[begins], events.devices[begins]
    assert (np.diff(instants)[np.diff(owners) == 0] > 0).all()
    year = np.array(["2025-01-01", "2026-01-01"], dtype="datetime64[s]").astype(np.int64)
    assert events.times.min() >= year[0]
    assert events.times.max() < year[1]
    counts, _ = np.histogram(instants, bins=12, range=tuple(year))
    assert stats.chisquare(counts).pvalue > RARE


def test_times_of_visits_differ_even_if_seconds_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towels, "YEAR_SECONDS", 40)
    monkeypatch.setattr(towels, "NEW_VISIT", 1.0)
    ones = np.ones(200, dtype=int)
    orders = np.tile(np.arange(30), (200, 1))
    events = towels.draw_events(np.random.default_rng(8), orders, 30 * ones, 8 * ones)
    assert (events.counts == 38).all()
    for start, stop in itertools.pairwise(events.offsets):
        times = events.times[start:stop] - towels.YEAR_START
        assert (np.diff(times) > 0).all()
        assert 0 <= times[0] <= times[-1] < 40


def test_events_have_the_order_and_types_of_the_package(shop: Dataset) -> None:
    events = shop.events
    columns = events.devices, events.items, events.times, events.weights
    again = Events.from_columns(*(column[::-1] for column in columns), num_devices=SHOPPERS)
    for name in ("offsets", "items", "times", "weights"):
        np.testing.assert_array_equal(getattr(events, name), getattr(again, name))
        assert getattr(events, name).dtype == getattr(again, name).dtype


def test_the_distribution_of_items_a_shopper_buys(shop: Dataset) -> None:
    distinct = distinct_items(shop.events)
    assert (shop.events.counts.min(), distinct.min(), distinct.max()) == (1, 1, 30)
    assert shop.events.counts.mean() == pytest.approx(11.6, abs=0.7)  # the standard error is 0.12
    # P(D = 1) = P(N = 0) of a gamma mixture of Poissons = (1 + mean/shape)^−shape
    alone = (1 + towels.DISTINCT_MEAN / towels.DISTINCT_SHAPE) ** -towels.DISTINCT_SHAPE
    assert stats.binomtest(int((distinct == 1).sum()), SHOPPERS, alone).pvalue > RARE
    assert (shop.events.weights == 1).all()


def test_the_distribution_of_repeated_purchases(monkeypatch: pytest.MonkeyPatch) -> None:
    """R is Poisson, so R − ρD has mean 0 and variance ρD; each repeat is a visit here."""
    monkeypatch.setattr(towels, "NEW_VISIT", 1.0)
    events = towels.draw_block(7, 0, towels.SHOPPERS_PER_BLOCK).events
    distinct = distinct_items(events)
    excess = events.counts - distinct - towels.REPEATS_PER_DISTINCT * distinct
    assert abs(excess.sum()) < SIGMAS * np.sqrt(towels.REPEATS_PER_DISTINCT * distinct.sum())


@pytest.mark.parametrize(
    ("name", "tested", "targets"),
    [("date", 0.53, 3.0), ("next-visit", 0.88, 1.87), ("basket", 0.90, 1.0), ("last-item", 0.94, 1.0)],
)
def test_every_split_has_shoppers_to_test(
    shop: Dataset, name: SplitName, tested: float, targets: float
) -> None:
    """Standard errors are below .007 for the share and below .05 for the mean."""
    counts = make_split(shop, rule_for(shop, name), most=1).test.targets.counts
    assert (counts > 0).mean() == pytest.approx(tested, abs=0.03)
    assert counts[counts > 0].mean() == pytest.approx(targets, abs=0.2)


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


# Loading


def test_loading_by_name_reports_that_the_data_are_synthetic() -> None:
    dataset = load_named("towels", DataOptions())
    assert dataset.events.num_devices == towels.DEFAULT_SHOPPERS
    assert dataset.name == "towels"
    assert "synthetic" in dataset.report.source
    assert dataset.report.rows_read == dataset.report.rows_kept == len(dataset.events)
    assert len(group_codes(dataset)) == dataset.events.num_devices


@pytest.mark.slow
def test_the_memory_of_a_hundred_thousand_shoppers_is_bounded() -> None:
    tracemalloc.start()
    dataset = towels.load(DataOptions(devices=100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.events.num_devices == 100_000
    assert peak < 0.8 * 2**30

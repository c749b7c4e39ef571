"""Floors computed by hand: popularity, recent popularity, own frequency, and nothing released."""

from math import log, sqrt

import numpy as np
import pytest
import torch

from terrycloth.client.events import Events
from terrycloth.client.training.profiles import profiles
from terrycloth.experiments.baselines.nothing_released import (
    ATTRIBUTES,
    CODES,
    SCALE,
    attribute_values,
    fit_nothing_released,
    near_codes,
    tf_idf,
    title_words,
    why_unusable,
)
from terrycloth.experiments.baselines.own_frequency import BESIDE, fit_own_frequency
from terrycloth.experiments.baselines.popularity import WINDOW, fit_popularity, fit_recent_popularity
from terrycloth.experiments.baselines.row import HALF_LIFE
from tests.experiments.baselines.shop import bought, catalogue_of, context_of


def test_a_profile_counts_an_item_once_by_its_last_purchase() -> None:
    """Shopper 0 has items 0 and 1 in visit 0, 0 again in visit 1, and 2 in visit 3; shopper 1 has none."""
    events = bought([(0, 0, 1), (0, 1, 1), (0, 0, 2), (0, 3, 3), (0, 2, 4), (0, 2, 4)], 2)
    assert profiles(events, 4).toarray().tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
    assert profiles(events, 4, 1.0).toarray().tolist() == [[0.25, 0.125, 1, 0.5], [0, 0, 0, 0]]


def test_popularity_counts_shoppers_and_not_events() -> None:
    """One shopper bought item 0 five times in thousands; two shoppers bought item 1 once."""
    train = Events.from_columns(
        devices=np.array([0, 0, 0, 0, 0, 1, 2, 2]),
        items=np.array([0, 0, 0, 0, 0, 1, 1, 3]),
        times=np.arange(8),
        weights=np.array([1000.0] * 5 + [1.0] * 3),
        num_devices=4,
    )
    scores = fit_popularity(context_of(train, 6), {})({})(train.span(1, 4))
    assert scores.tolist() == [[1.0, 2.0, 0.0, 1.0, 0.0, 0.0]] * 3


def test_recent_popularity_counts_a_last_purchase_by_its_age() -> None:
    """At day 10, h = 2 days: item 0 was last bought on days 8 and 4, item 1 on day 10 and a day later."""
    train = bought([(0, 0, 2), (0, 0, 8), (1, 0, 4), (1, 1, 10), (2, 1, 11)], 3)
    fitted = fit_recent_popularity(context_of(train, 3, 10), {WINDOW: 2.0})
    assert fitted({})(train.span(0, 2)).tolist() == [[0.5 + 0.125, 2.0, 0.0]] * 2
    always = fit_recent_popularity(context_of(train, 3, 10), {WINDOW: 0.0})({})(train.span(0, 1))
    assert always.tolist() == [[2.0, 2.0, 0.0]]


def test_own_frequency_counts_visits_and_breaks_ties_by_recent_popularity() -> None:
    """Shopper 0 has item 0 twice in visit 0 and once in visit 2, and item 1 in visit 1.

    Item 2 was bought by others, and is the most popular of the last 30 days by two to one.
    """
    train = bought(
        [(0, 0, 1000), (0, 0, 1000), (0, 1, 1001), (0, 0, 1002), (1, 2, 1005), (2, 2, 1005), (2, 3, 1005)], 3
    )
    fitted = fit_own_frequency(context_of(train, 4, 1005, repeats=True), {WINDOW: 30.0, BESIDE: 0.01})
    own = train.span(0, 1)
    beside = torch.tensor([2 ** (-3 / 30), 2 ** (-4 / 30), 2.0, 1.0]) * 0.005
    assert torch.allclose(fitted({HALF_LIFE: 0.0})(own)[0], torch.tensor([2.0, 1, 0, 0]) + beside)
    assert torch.allclose(fitted({HALF_LIFE: 1.0})(own)[0], torch.tensor([1.25, 0.5, 0, 0]) + beside)


TITLES = ["red lamp", "Red-lamp", "red mug", "blue mug!", "sofa", "sofa sofa red"]


def test_tf_idf_of_words_in_two_titles_or_more() -> None:
    """Red is in 4 of 6 titles, lamp, mug and sofa are in 2, and blue is in one, which relates nothing."""
    matrix = tf_idf(title_words(catalogue_of(6, titles=TITLES)))
    red, other = log(6 / 4), log(6 / 2)
    norm = sqrt(red**2 + other**2)
    assert matrix.shape == (6, 4)  # lamp, mug, red, sofa
    expected = [
        [other / norm, 0, red / norm, 0],
        [other / norm, 0, red / norm, 0],
        [0, other / norm, red / norm, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 1],
        [0, 0, red / norm, other / norm],
    ]
    assert np.allclose(matrix.toarray(), expected)


def test_nothing_released_by_hand() -> None:
    """Words have weight 1, attributes .25 and codes .5; item 0 was bought, and item 2 a visit later."""
    catalogue = catalogue_of(
        4,
        titles=["big owl", "big cat", "owl", "cat"],
        items=["100A", "100B", "103", "110"],
        colour=[("red",), ("red",), (), ("blue",)],
    )
    words = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]]) / np.array([[2**0.5], [2**0.5], [1], [1]])
    colour = np.array([[1.0], [1.0], [0.0], [0.0]])
    gaps = np.abs(np.subtract.outer([100, 100, 103, 110], [100, 100, 103, 110]))
    codes = np.where(gaps < 30, 2.0 ** (-gaps / 3), 0) * (1 - np.eye(4))
    likeness = words @ words.T + 0.25 * colour @ colour.T + 0.5 * codes
    settings = {ATTRIBUTES: 0.25, CODES: 0.5, SCALE: 3.0}
    events = bought([(0, 0, 1), (0, 2, 2)], 2)
    scores = fit_nothing_released(context_of(events, catalogue), settings)({HALF_LIFE: 1.0})(events)
    assert scores.dtype == torch.float32
    assert np.allclose(scores[0].numpy(), 0.5 * likeness[0] + likeness[2], atol=1e-6)
    assert scores[1].tolist() == [0.0] * 4  # nothing is known, so all items are equal


def test_nothing_released_puts_own_items_first_where_repeats_count() -> None:
    """Item 3 was bought in two visits and item 0 in one; of the others, item 1 is as similar as can be."""
    catalogue = catalogue_of(4, titles=["red owl", "red owl", "red cat", "a hat"])
    events = bought([(0, 3, 1), (0, 0, 2), (0, 3, 3)], 1)
    settings = {ATTRIBUTES: 0.0, CODES: 0.0, SCALE: 5.0}
    fitted = fit_nothing_released(context_of(events, catalogue, repeats=True), settings)
    scores = fitted({HALF_LIFE: 0.0})(events)[0]
    assert scores.argsort(descending=True).tolist() == [3, 0, 1, 2]
    assert [round(float(score), 2) for score in scores[[3, 0]]] == [2.0, 1.0]
    assert 0.0 < float(scores[2]) < float(scores[1]) < 0.0011


def test_codes_are_numbers_at_the_start_of_every_identifier() -> None:
    near = near_codes(catalogue_of(3, items=["20A", "9", "20B"]), 1.0).toarray()
    assert near[0, 2] == near[2, 0] == 1.0
    assert near[0, 1] == 0.0  # the numbers are eleven scales apart
    assert near_codes(catalogue_of(2, items=["20A", "B21"]), 100.0).nnz == 0


def test_nothing_released_reads_nothing_of_other_shoppers() -> None:
    """Whatever other shoppers bought, and whoever they are, a device's scores are equal to the last bit."""
    drawn = np.random.default_rng(0).integers(0, 6, (60, 2))
    catalogue = catalogue_of(6, titles=TITLES, colour=[("red",)] * 3 + [("blue",)] * 3)
    train = bought([(int(d), int(i)) for d, i in drawn], 6)
    settings = {ATTRIBUTES: 0.5, CODES: 1.0, SCALE: 5.0}
    scored = [
        fit_nothing_released(context_of(others, catalogue), settings)({HALF_LIFE: 5.0})(train.span(0, 1))
        for others in (train, train.span(0, 1), bought([(0, 5)] * 50, 3))
    ]
    assert torch.equal(scored[0], scored[1])
    assert torch.equal(scored[0], scored[2])
    together = fit_nothing_released(context_of(train, catalogue), settings)({HALF_LIFE: 5.0})(train)
    assert torch.equal(together[:1], scored[0])


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({}, "no two items of this catalogue are similar"),
        ({"titles": ["red a", "red b", "c"]}, None),
        # A value that all items have distinguishes none.
        (
            {"titles": ["a red", "b red", "c red"]},
            "no two items of this catalogue are similar",
        ),
        ({"colour": [("red",), ("red",), ()]}, None),
        ({"items": ["1", "2", "90"]}, None),
    ],
)
def test_an_uninformative_catalogue_is_unusable_for_a_reason(known: dict, why: str | None) -> None:
    assert why_unusable(catalogue_of(3, **known), repeats=True) is None
    message = why_unusable(catalogue_of(3, **known), repeats=False)
    assert message is None if why is None else why in (message or "")


def test_a_term_names_its_attribute_and_an_empty_cell_gives_none() -> None:
    """Red as a colour is another term than red as a print."""
    catalogue = catalogue_of(2, colour=[("red",), ()], print=[(), ("red",)])
    assert attribute_values(catalogue) == [{"colour red"}, {"print red"}]

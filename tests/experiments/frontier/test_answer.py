"""The first screen of the page: the point it shows, the answer, and its four numbers."""

import math

import pytest

from terrycloth.experiments.frontier.answer import CHOSEN, answer, headline, question, tiles, worth_it
from terrycloth.experiments.frontier.page import make_page
from terrycloth.experiments.frontier.points import make_federations
from terrycloth.experiments.frontier.table import Row
from tests.experiments.frontier.made_rows import BASE, made


def answer_of(*rows: Row) -> str:
    return answer(list(rows), make_federations(list(rows)))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [made(0.191), made(0.2, math.inf)],
            "Yes: at ε = 1, 19.1 of 100 next purchases of shoppers are among ten recommendations, compared "
            "with 20.0 with the best model without privacy and 6.0 with recent best sellers.",
        ),
        (
            [made(0.189, central=0.2)],
            "Yes, at a price: at ε = 1, 18.9 of 100 next purchases of shoppers are among "
            "ten recommendations, compared with 20.0 with the best model without privacy and 6.0 with recent "
            "best sellers.",
        ),
        (
            [made(0.09)],
            "No: at ε = 1, 9.0 of 100 next purchases of shoppers are among ten recommendations, "
            "fewer than the 10.0 that each device reaches alone, without any other shopper's data.",
        ),
        (
            [made(0.12, popularity=0.13)],
            "No: at ε = 1, 12.0 of 100 next purchases of shoppers are among ten recommendations, "
            "fewer than the 13.0 that best sellers reach, the same for everyone.",
        ),
        (
            [made(0.12, private_popularity=0.119)],
            "Not clearly: at ε = 1, 12.0 of 100 next purchases of shoppers are among ten recommendations, "
            "too close to tell apart from the 11.9 that best sellers reach, counted under the same promise "
            "(28 shoppers were tested).",
        ),
        (
            [made(0.18, math.inf)],
            "It is unknown, because no run made a promise of privacy; without one, 18.0 of 100 next "
            "purchases of shoppers are among ten recommendations.",
        ),
        (
            [BASE | {"status": "failed", "reason": "the promise cannot be kept"}],
            "There is no answer yet, because no run finished: the promise cannot be kept.",
        ),
        (
            [made(0.18, math.inf) | {"negative_sampling": "leaky"}],
            "These runs measure a leak of published code, and none of them keeps a promise.",
        ),
    ],
)  # fmt: skip
def test_the_answer_is_one_sentence_that_follows_the_figures(rows: list[Row], sentence: str) -> None:
    assert answer_of(*rows) == sentence


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ({1.0: 0.15, 2.0: 0.191, 8.0: 0.2}, 2.0),  # .191 is within 5% of .2
        ({1.0: 0.15, 2.0: 0.189, 8.0: 0.2}, 8.0),
        ({1.0: 0.09, 8.0: 0.08}, 1.0),  # no ε is worth it, so the best is shown
        ({1.0: 0.15, 2.0: 0.101, 8.0: 0.15}, 8.0),  # .101 ends the comparisons, so ε = 1 is not compared
        ({1.0: 0.101, 8.0: 0.104}, 8.0),  # only the second is clearly above the floor of .1
    ],
)
def test_the_smallest_epsilon_within_five_percent_of_the_best_is_shown(
    accuracies: dict[float, float], chosen: float
) -> None:
    one = headline(make_federations([made(own, epsilon) for epsilon, own in accuracies.items()]))
    assert one is not None
    assert one.point.epsilon == chosen


def test_the_level_is_divided_among_the_series() -> None:
    """One series is compared by 2 standard errors; each of five by 2.6, the level of 2 divided by five."""
    point = made(0.1)
    error = math.hypot(point["hr@10_error"], point["nothing_released_hr@10_error"])
    models = ["linear", "mf", "attributes", "neural-cf", "auto"]
    rows = [made(0.1 + 2.3 * error) | {"model": model} for model in models]
    (alone,) = make_federations(rows[:1])
    (together,) = make_federations(rows)
    assert len(worth_it(alone)) == 1
    assert worth_it(together) == []


def test_the_least_trust_and_the_largest_size_are_shown_at_equal_epsilon() -> None:
    rows = [made(0.2), made(0.2) | {"trust": "distributed"}, made(0.3) | {"devices": 20}]
    one = headline(make_federations(rows))
    assert one is not None
    assert (one.point.of("trust"), one.federation.devices) == ("distributed", 30)


def test_a_size_without_a_promise_is_not_shown_as_the_answer() -> None:
    one = headline(make_federations([made(0.18), made(0.2, math.inf) | {"devices": 60}]))
    assert one is not None
    assert one.federation.devices == 30


def test_the_four_numbers_of_the_first_screen() -> None:
    """The attacker's number is the larger of two seeds: of 7.9% and 7.91%."""
    rows = [made(0.18), made(0.18) | {"seed": 1, "caught": 0.0791}]
    found = tiles(make_federations(rows))
    assert [(tile.value, tile.label) for tile in found] == [
        ("18.0 of 100", "next purchases are among ten recommendations"),
        ("6.0 of 100", "are among ten recent best sellers"),
        ("7.91 of 100", "shoppers can be told to be in the data, at most"),
        ("30", "shoppers took part"),
    ]
    assert found[2].note == "by an attacker who wrongly says so of 1 in 100 others"
    assert [tile.value for tile in tiles(make_federations([made(0.18, math.inf)]))] == [
        "18.0 of 100", "6.0 of 100", "30",
    ]  # fmt: skip
    assert tiles([]) == []


def test_the_page_begins_with_the_answer_its_promise_and_points_below_their_floor() -> None:
    rows = [made(0.09), made(0.18, 8.0)]
    page = make_page(rows, make_federations(rows), [], ["a reason"])
    assert page.question == question(rows) == "Are private recommendations worth it on towels?"
    assert page.answer.startswith("Yes: at ε = 8, 18.0 of 100")
    (alert,) = page.alert
    assert "hits 9.0 of 100 at ε = 1, while its floor “nothing released” reaches 10.0." in alert
    promise, *_ = page.sections
    assert promise.parts == [
        "The server can hardly tell.",
        "A real run draws its noise from the operating system, and keeps its promise.",
        CHOSEN,
    ]
    assert "Missing comparison: a reason." in page.sections[1].parts

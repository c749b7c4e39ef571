"""The chosen promise has the smallest ε, then the least trust, within 5% of the best figure."""

import pytest

from terrycloth.experiments.assessment.choice import Choice, choose
from terrycloth.experiments.assessment.private_models import Asked

TRUSTS = ("local", "distributed", "central")


def chosen(figures: dict[tuple[str, float], float], best: float = 1.0) -> Choice:
    """Choose among ε = 4, 2 and 1; a promise that is not in `figures` has a figure of 0."""
    return choose(lambda asked: figures.get((asked.trust, asked.epsilon), 0.0), best, TRUSTS, (4.0, 2.0, 1.0))


def test_the_smallest_epsilon_comes_before_the_least_trust() -> None:
    figures = {("central", 4.0): 0.99, ("central", 2.0): 0.96, ("distributed", 4.0): 0.98}
    assert chosen(figures).asked == Asked("central", 2.0)


def test_the_least_trust_is_chosen_among_equal_epsilons() -> None:
    figures = {
        ("central", 4.0): 0.99,
        ("distributed", 4.0): 0.98,
        ("central", 2.0): 0.97,
        ("distributed", 2.0): 0.96,
    }
    assert chosen(figures).asked == Asked("distributed", 2.0)


@pytest.mark.parametrize(("figure", "near"), [(0.95, True), (0.949, False)])
def test_near_means_within_five_per_cent(figure: float, near: bool) -> None:
    choice = chosen({("central", 4.0): figure})
    assert choice.near is near
    assert choice.asked == Asked("central", 4.0)


def test_the_most_accurate_is_chosen_if_none_is_near() -> None:
    choice = chosen({("central", 4.0): 0.7, ("distributed", 4.0): 0.8, ("local", 4.0): 0.1})
    assert (choice.asked, choice.near) == (Asked("distributed", 4.0), False)


def test_a_stronger_promise_is_not_tried_if_a_weaker_one_is_too_inaccurate() -> None:
    choice = chosen({("central", 4.0): 0.99, ("central", 2.0): 0.5})
    assert set(choice.tried) == {
        Asked("central", 4.0),
        Asked("central", 2.0),
        Asked("distributed", 4.0),
        Asked("local", 4.0),
    }

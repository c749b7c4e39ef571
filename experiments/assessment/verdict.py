"""The answer of an assessment in one sentence, which follows from the figures and from nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from terrycloth.experiments.assessment.period import Measured
from terrycloth.experiments.evaluation.bootstrap import Difference, paired_bootstrap


class Answer(Enum):
    """The possible answers to "can we protect privacy while we personalise?"."""

    YES = "yes"
    AT_A_COST = "yes, at a cost"
    WITH_MORE_SHOPPERS = "not yet"
    NO = "no"
    NOT_PERSONAL = "show the best sellers"


@dataclass(frozen=True)
class Verdict:
    """The answer, and the differences that it rests on.

    against: by the label of each floor, the difference of the private model to it, in shoppers of 100.
    """

    answer: Answer
    sentence: str
    against: dict[str, Difference]


def difference(one: Measured, other: Measured) -> Difference:
    """Return how many more of 100 shoppers find something with `one` than with `other`, paired by shopper."""
    return paired_bootstrap(100.0 * (one.found - other.found))


def verdict(
    floors: Mapping[str, Measured],
    unprotected: Measured,
    private: Measured,
    near: bool,
    promise: str,
    with_more: Mapping[int, Measured],
) -> Verdict:
    """Return the answer for a shop.

    floors: by label, the recommenders that learn nothing about how items go together. unprotected: the best
    model without privacy. private: the model under the chosen promise; near: whether that promise kept within
    5% of the best when it was chosen. promise: the promise in words. with_more: the private model's estimate
    at 10 times as many shoppers, and so on.

    A model is above a floor only if the whole interval of the paired difference is above zero.
    """
    label, floor = max(floors.items(), key=lambda row: row[1].found.mean())
    figures = (
        f"{per_100(private)} of 100 shoppers find something among ten, against {per_100(floor)} with {label}"
    )
    enough = next((times for times, measured in with_more.items() if above_all(measured, floors)), None)
    if not above_all(unprotected, floors):
        answer = Answer.NOT_PERSONAL
        sentence = (
            f"Show the same to everyone: even without privacy the best model helps {per_100(unprotected)} of "
            f"100 shoppers, which is not clearly more than the {per_100(floor)} of {label}."
        )
    elif above_all(private, floors) and (near or difference(unprotected, private).low <= 0):
        answer, sentence = Answer.YES, f"Yes: under {promise}, {figures}."
    elif above_all(private, floors):
        answer = Answer.AT_A_COST
        sentence = (
            f"Yes, at a cost: under {promise}, {figures}; without privacy it would be {per_100(unprotected)}."
        )
    elif enough is not None:
        answer = Answer.WITH_MORE_SHOPPERS
        sentence = (
            f"Not with this many shoppers: under {promise}, {figures}. With {enough} times as many like "
            f"these it would be {per_100(with_more[enough])}."
        )
    else:
        answer = Answer.NO
        sentence = (
            f"No: under {promise}, {figures}, which is not clearly more, although a model without privacy "
            f"reaches {per_100(unprotected)}."
        )
    against = {name: difference(private, measured) for name, measured in floors.items()}
    return Verdict(answer, sentence + by_purchase(floors, private, answer), against)


def by_purchase(floors: Mapping[str, Measured], private: Measured, answer: Answer) -> str:
    """Return what counting purchases instead of shoppers says, if the answer is not yes although it is above.

    A shopper who buys a lot finds something in almost any list, so the two counts can differ.
    """
    above = all(paired_bootstrap(private.shares - floor.shares).low > 0 for floor in floors.values())
    if answer in (Answer.YES, Answer.AT_A_COST) or not above:
        return ""
    label, floor = max(floors.items(), key=lambda row: row[1].hit_rate)
    return (
        f" Counted by purchases, the private model is above all of these: it lists "
        f"{100 * private.hit_rate:.1f}% of what a shopper then buys, and {label} "
        f"{100 * floor.hit_rate:.1f}%."
    )


def above_all(measured: Measured, floors: Mapping[str, Measured]) -> bool:
    """Whether a recommender is above every floor by more than chance explains."""
    return all(difference(measured, floor).low > 0 for floor in floors.values())


def per_100(measured: Measured) -> str:
    """Return a figure for a sentence, as in 12.3."""
    return f"{measured.per_100:.1f}"

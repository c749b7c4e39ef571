"""Choose a promise: the smallest ε, and then the least trust, that keeps within 5% of the best accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from terrycloth.experiments.assessment.private_models import Asked
from terrycloth.experiments.evaluation.near_best import is_near
from terrycloth.models.privacy.trust import AnyTrust, trusts_of

EPSILONS = (8.0, 4.0, 2.0, 1.0, 0.5)  # from the weakest promise to the strongest
LEAST_TRUST_FIRST = trusts_of("shopper")


@dataclass(frozen=True)
class Choice:
    """A chosen promise.

    near: whether it keeps within 5% of the best. best: how many of 100 shoppers the best model without a
    promise helps. tried: the same for each promise.
    """

    asked: Asked
    near: bool
    best: float
    tried: dict[Asked, float]


def choose(
    reach: Callable[[Asked], float],
    best: float,
    trusts: Sequence[AnyTrust] = LEAST_TRUST_FIRST,
    epsilons: Sequence[float] = EPSILONS,
) -> Choice:
    """Return the promise with the smallest ε, and among those the one with the least trust, near the best.

    reach: measures a promise on the earlier period. best: the best figure there without a promise. If a
    promise is not near the best, no stronger one with the same trust is tried, because more noise does not
    help. If none is near, the choice is the promise with the greatest figure, which takes the most trust.
    """
    tried: dict[Asked, float] = {}
    for trust in reversed(trusts):
        for epsilon in epsilons:
            asked = Asked(trust, epsilon)
            tried[asked] = reach(asked)
            if not is_near(tried[asked], best):
                break
    near = [asked for asked, figure in tried.items() if is_near(figure, best)]
    if not near:
        return Choice(max(tried, key=lambda asked: tried[asked]), False, best, tried)
    return Choice(min(near, key=lambda asked: (asked.epsilon, trusts.index(asked.trust))), True, best, tried)

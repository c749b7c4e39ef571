"""The first screen of the page: the question, its answer in one sentence with its number, and key numbers.

The answer is about one point: of the promises that were run on the largest federation, the one with the
smallest ε, then the least trust, whose accuracy is within 5% of the best. A weak result is the answer.

All promises are measured on the same test, so a promise that is chosen by its figure would pass a comparison
more often than the level of the comparison says. `worth_it` therefore compares the promises in a fixed order.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import norm

from terrycloth.experiments.baselines.floors import ALONE, PRIVATE
from terrycloth.experiments.evaluation.near_best import is_near
from terrycloth.experiments.frontier.comparing import HEADLINE, clearly_above, of_100
from terrycloth.experiments.frontier.figure import best_central, popular_name
from terrycloth.experiments.frontier.points import (
    Federation,
    Floor,
    Point,
    families,
    popular_level,
    under,
)
from terrycloth.experiments.frontier.table import Row
from terrycloth.experiments.pages.page import Tile
from terrycloth.experiments.reports.attacker_tile import attacker_tile
from terrycloth.models.privacy.trust import TRUST_MODELS

CHOSEN = (
    "This promise was chosen among those that were run by the figures shown here, so its own figure may be "
    "slightly too good. terry try chooses the promise on an earlier period than the one it is measured on."
)
FOUND = "next purchases of shoppers are among ten recommendations"


@dataclass(frozen=True)
class Headline:
    """The point that the first screen is about, with its federation and its HR@10.

    worth_it: whether it is among the points of `worth_it`.
    """

    federation: Federation
    point: Point
    hits: float
    worth_it: bool = False

    @property
    def popular(self) -> Floor | None:
        """The best sellers that it is compared with."""
        return popular_level(self.federation)

    @property
    def rivals(self) -> list[Floor]:
        """What it has to beat, the best first: its best floor, and best sellers, which keep no promise."""
        return rivals(self.federation, self.point)

    @property
    def without(self) -> float | None:
        """HR@10 of the best model that keeps no promise: federated, central, or a strong baseline."""
        strong, central = self.federation.best_strong(), best_central(self.federation, HEADLINE)
        levels = [
            *(point.mean(HEADLINE) for point in self.federation.points if not point.private),
            None if strong is None else self.federation.level(strong, HEADLINE),
            None if central is None else central.level,
        ]
        return max((level for level in levels if level is not None), default=None)


def headline(federations: list[Federation]) -> Headline | None:
    """Choose the point of the first screen; None if no point was measured.

    Promises that are worth it come first, then all other promises, then runs without one.
    """
    clean = under("clean", federations)
    largest = [sizes[-1] for sizes in families([one for one in clean if promised(one)])]
    for federation in [*largest[:1], *clean[-1:]]:
        shown = worth_it(federation)
        points = [
            Headline(federation, point, hits, any(point is one for one in shown))
            for point in federation.points
            if (hits := point.mean(HEADLINE)) is not None
        ]
        private = [one for one in points if one.point.private]
        if chosen := [one for one in private if one.worth_it] or private or points:
            return smallest_promise(chosen)
    return None


def worth_it(federation: Federation) -> list[Point]:
    """Return the promises that are clearly above all of their rivals, at one level for all promises together.

    In each series the promises are compared from the largest ε downwards, and the comparisons end with the
    first promise that is not clearly above. Such a fixed sequence needs no correction for its length (Maurer,
    Hothorn and Lehmacher, 1995; Westfall and Krishen, 2001). The level is divided by the number of series
    (Bonferroni). For one series, it is that of two standard errors.
    """
    series = [each.private for each in federation.all_series if each.private]
    errors = float(norm.isf(norm.sf(2.0) / max(len(series), 1)))
    found: list[Point] = []
    for private in series:
        for point in reversed(private):
            others = rivals(federation, point)
            if not others or not all(clearly_above(point, rival, errors) for rival in others):
                break
            found.append(point)
    return found


def rivals(federation: Federation, point: Point) -> list[Floor]:
    """Return what a promise has to beat, the best first: its best floor, and best sellers."""
    found: Iterable[Floor | None] = (point.floor(), popular_level(federation))
    return sorted((one for one in found if one is not None), key=lambda one: -one.level)


def promised(federation: Federation) -> bool:
    """Whether a federation has a point with a promise that was measured."""
    return any(point.private and point.mean(HEADLINE) is not None for point in federation.points)


def smallest_promise(points: list[Headline]) -> Headline:
    """Return the smallest ε, then the least trust, within 5% of the best."""
    best = max(one.hits for one in points)
    nearly = [one for one in points if is_near(one.hits, best)]
    return min(nearly, key=lambda one: (one.point.epsilon, trusted(one.point)))


def trusted(point: Point) -> int:
    """Return how much is trusted: the later the noise is added, the more."""
    return int(TRUST_MODELS[point.of("trust") or "none"].source.value)


def question(rows: list[Row]) -> str:
    """Return the question of the page."""
    data = ", ".join(dict.fromkeys(row["data"] for row in rows))
    return f"Are private recommendations worth it on {data}?"


def answer(rows: list[Row], federations: list[Federation]) -> str:
    """Answer the question in one sentence with its number."""
    one = headline(federations)
    if one is None and federations:
        return "These runs measure a leak of published code, and none of them keeps a promise."
    if one is None:
        reasons = dict.fromkeys(row["reason"] for row in rows if row["status"] == "failed")
        return f"There is no answer yet, because no run finished: {next(iter(reasons), 'none was run')}."
    if one.point.private:
        return verdict(one)
    found = f"{of_100(one.hits)} of 100 {FOUND}"
    return f"It is unknown, because no run made a promise of privacy; without one, {found}."


def verdict(one: Headline) -> str:
    """Say whether a promise is worth it, compared with what needs no model and with no privacy."""
    found = f"at ε = {one.point.epsilon:g}, {of_100(one.hits)} of 100 {FOUND}"
    if not one.worth_it:
        rival = next(iter(one.rivals), None)
        if rival is None:
            return f"Unknown, because nothing was run to compare with: {found}."
        level = f"the {of_100(rival.level)} {in_words(rival)}"
        if one.hits < rival.level:
            return f"No: {found}, fewer than {level}."
        tested = f"{one.point.of('tested'):,} shoppers were tested"
        return f"Not clearly: {found}, too close to tell apart from {level} ({tested})."
    parts = [f"{of_100(one.without)} with the best model without privacy"] if one.without is not None else []
    parts += (
        [f"{of_100(one.popular.level)} with {popular_name(one.popular)}"] if one.popular is not None else []
    )
    price = one.without is not None and not is_near(one.hits, one.without)
    return f"Yes{', at a price' if price else ''}: {found}" + (
        f", compared with {' and '.join(parts)}." if parts else "."
    )


def tiles(federations: list[Federation]) -> list[Tile]:
    """Return the key numbers of the first screen."""
    one = headline(federations)
    if one is None:
        return (
            [Tile(f"{max(each.devices for each in federations):,}", "shoppers took part")]
            if federations
            else []
        )
    point, popular = one.point, one.popular
    found = [
        Tile(
            f"{of_100(one.hits)} of 100",
            "next purchases are among ten recommendations",
            promise_in_words(point) if point.private else "without a promise",
        )
    ]
    if popular is not None:
        found.append(
            Tile(
                f"{of_100(popular.level)} of 100",
                f"are among ten {popular_name(popular)}",
                "the same for everyone",
            )
        )
    if point.private and (caught := point.spread("caught")) is not None:
        found.append(attacker_tile(caught.high, point.of("unit")))
    tested = point.of("tested")
    found.append(Tile(f"{one.federation.devices:,}", "shoppers took part", f"{tested:,} were tested"))
    return found


def promise_in_words(point: Point) -> str:
    """Name a promise: “ε = 4, shopper level, central trust”."""
    return f"ε = {point.epsilon:g}, {point.of('unit')} level, {point.of('trust')} trust"


def in_words(rival: Floor) -> str:
    """Say what a rival is, after its number."""
    if rival.name in ALONE:
        return "that each device reaches alone, without any other shopper's data"
    if rival.name in PRIVATE:
        return "that best sellers reach, counted under the same promise"
    return f"that {popular_name(rival)} reach, the same for everyone"

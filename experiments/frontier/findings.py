"""Answers to the four questions of design.md, “Can a brand protect privacy while it personalises?”.

All sentences follow from the results. They are the text of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from terrycloth.experiments.baselines import label_of
from terrycloth.experiments.baselines.floors import ALONE
from terrycloth.experiments.frontier.comparing import HEADLINE, error_between, is_above, of_100
from terrycloth.experiments.frontier.figure import best_central, popular_name
from terrycloth.experiments.frontier.points import (
    Federation,
    Point,
    Series,
    families,
    family_title,
    popular_level,
    series_label,
    under,
)
from terrycloth.experiments.frontier.table import Row

REAL_RUN = "A real run draws its noise from the operating system, and keeps its promise."


@dataclass(frozen=True)
class Finding:
    """One question, and the sentences that answer it from the results."""

    question: str
    sentences: list[str]


def findings(rows: list[Row], federations: list[Federation]) -> list[Finding]:
    """Answer all four questions; without a finished cell, only the last.

    The first three answers use the points with clean negative sampling only.
    """
    clean = under("clean", federations)
    answers = [which_data(clean), what_for(clean), how_securely(clean)] if clean else []
    return [*answers, how_openly(rows)]


def opening_sentences(federations: list[Federation]) -> list[str]:
    """Return one sentence for each series with a point below its best floor, with a promise or without."""
    return [sentence for one in under("clean", federations) for sentence in below_floors(one)]


def which_data(federations: list[Federation]) -> Finding:
    """Say what stays on a device and what leaves it."""
    sizes = [federation.devices for federation in federations]
    sent = [point.of("bytes_up_per_device") for federation in federations for point in federation.points]
    return Finding(
        "Which data do you need, and what for?",
        [
            "Each device keeps its own shopper's purchases (which item, when, how often), and they never "
            "leave the device. The catalogue and its attributes are public. Both are used to learn what to "
            "recommend next.",
            f"{span(sizes)} devices took part. Each device sent updates of the shared parameters and nothing "
            f"else: {span(sent)} bytes if it took part in every round. This number does not depend on what "
            "its shopper did.",
        ],
    )


def what_for(federations: list[Federation]) -> Finding:
    """Say how accurate the baselines, the central models and the ceiling are."""
    new = (
        "" if any(federation.repeats for federation in federations) else " that the shopper does not have yet"
    )
    sentences = [
        f"The system recommends ten items{new}. A hit is a purchase that a shopper then made and that is "
        "among these ten. Every figure counts hits of 100: the mean over the shoppers of the share of their "
        "purchases that are hits (HR@10), times 100. Each purchase is ranked separately from the others."
    ]
    for federation in federations:
        popular, central = popular_level(federation), best_central(federation, HEADLINE)
        levels = [
            *([(popular_name(popular), popular.level)] if popular else []),
            *([(f"{central.label} trained centrally", central.level)] if central else []),
            ("the best possible use of the purchase history", federation.level("ceiling", HEADLINE)),
        ]
        known = [f"{name} {of_100(level)}" for name, level in levels if level is not None]
        tested = f"On {federation.title}. {federation.sentence}"
        sentences.append(f"{tested} Of 100: {', '.join(known)}." if known else tested)
        sentences += unseen(federation)
    return Finding("What do you do with the data?", sentences)


def unseen(federation: Federation) -> list[str]:
    """Say how accurate each series is for shoppers first seen after the date, at its largest ε if any."""
    sentences = []
    for series in federation.all_series:
        point = (series.private or series.points)[-1]
        name = (
            series.label
            if point.private
            else series_label(series.model, point.of("variant"), "none", None, None)
        )
        parts = [
            f"{of_100(rate)} of 100 {where} ({visits:,.0f} visits)"
            for where, name in (
                ("at their first visit, when nothing is known about them yet", "first_visit"),
                ("at later visits, served from their own earlier purchases", "later_visits"),
            )
            if (rate := point.mean(f"unseen_{name}_hr@10")) is not None
            and (visits := point.mean(f"unseen_{name}_visits"))
        ]
        if parts:
            sentences.append(
                f"Shoppers first seen after {federation.at} are not counted in any other figure. For them, "
                f"hits are {' and '.join(parts)}, with {name}"
                + (f", {at_epsilon([point])}." if point.private else ".")
            )
    return sentences


def how_securely(federations: list[Federation]) -> Finding:
    """Say how accurate each promise is, on the largest federation of each data set and split that has one."""
    promised = [
        federation for federation in federations if any(series.private for series in federation.all_series)
    ]
    groups = families(promised)
    largest = [sizes[-1] for sizes in groups]
    sentences = ["The cost of a promise depends on whom it trusts and on how many devices take part."]
    if not promised:
        sentences.append("No run here made a promise, so the cost of a promise is unknown.")
    for federation in largest:
        sentences += [
            sentence for series in federation.all_series if (sentence := cost_of(federation, series))
        ]
    for sizes in groups:
        if len(sizes) > 1:
            sentences += growth(sizes[0], sizes[-1])
    return Finding("Is it held and processed securely, and what does that cost?", sentences)


def how_openly(rows: list[Row]) -> Finding:
    """Say what is shown, what failed, and what these numbers do not promise."""
    failed = sum(row["status"] == "failed" for row in rows)
    counted = sum(bool(row["evaluated"]) for row in rows)
    sentences = [
        "All results are in one table. Each point below comes with its promise in words and the commands "
        "that repeat its runs.",
        f"{len(rows) - failed:,} of {len(rows):,} runs finished"
        + ("." if not failed else f"; the failed runs ({failed:,}) are listed with their reasons."),
        "These runs use fixed seeds, so that anyone can repeat them. Anyone who knows a seed can also "
        f"subtract the noise, so these runs are experiments and not private. {REAL_RUN}",
        "The simulator measures the accuracy, which is not released"
        + ("." if not counted else f", except in {counted:,} runs whose devices counted hits with noise."),
    ]
    if any(row["secure_aggregation_off"] for row in rows):
        sentences.append("Under distributed trust, the sums were simulated without secure aggregation.")
    if any(row["catalogue_from_events"] for row in rows):
        sentences.append(
            "A catalogue that lists what its shoppers chose is nevertheless treated as public: ε does not "
            "cover what it reveals. The promises say where this is the case."
        )
    if any(row["negative_sampling"] == "leaky" for row in rows):
        sentences.append(
            "Rows with leaky negative sampling deliberately repeat a fault of published code: held-out items "
            "are never drawn as negatives. The leak is the amount by which they exceed the clean rows with "
            "the same settings. Published methods use their authors' settings, which were chosen with this "
            "leak."
        )
    return Finding("Are you open about it?", sentences)


def below_floors(federation: Federation) -> list[str]:
    """Say for each series where it is below its best floor, by how much, and whether this may be chance."""
    sentences = []
    for series in federation.all_series:
        parts = [part for point in series.points if (part := below_floor(federation, point))]
        if parts:
            where = f"{federation.data} (split by {federation.split_label}, {federation.devices:,} devices)"
            sentences.append(f"Below its floor: {series.label} on {where} hits {'; '.join(parts)}.")
    return sentences


def below_floor(federation: Federation, point: Point) -> str | None:
    """Say how far one point is below its best floor; None if it is not below."""
    floor, own = point.floor(), point.mean(HEADLINE)
    if floor is None or own is None or own >= floor.level:
        return None
    text = (
        f"{of_100(own)} of 100 {at_epsilon([point])}, while its floor “{floor.label}” reaches "
        f"{of_100(floor.level)}"
    )
    error = error_between(point, "", f"{floor.name}_")
    if error is None or floor.level - own <= 2 * error:
        text += ", too close to tell apart"
    popular = federation.level("popularity", HEADLINE)
    if point.private and popular is not None and popular > own:
        text += f" (“popularity”, which keeps no promise, is also higher: {of_100(popular)})"
    return text


def cost_of(federation: Federation, series: Series) -> str | None:
    """Say how accurate a series is at its smallest and largest ε, and what shoppers' data are worth there."""
    private = [point for point in series.private if point.mean(HEADLINE) is not None]
    if not private:
        return None
    ends = private[:1] + private[1:][-1:]
    parts = [f"{accuracy(series, point)} {at_epsilon([point])}" for point in ends]
    below = [point for point in private if point.below()]
    first = f"Below its floor {at_epsilon(below)}: " if below else ""
    label = series.label if below else series.label[0].upper() + series.label[1:]
    clauses = [
        f"{first}{label} on {federation.data} (split by {federation.split_label}, "
        f"{federation.devices:,} devices): hits of 100 are {' and '.join(parts)}"
    ]
    gains = [
        f"{100 * gain:+.1f} {at_epsilon([point])}"
        for point in ends
        if (gain := point.mean("above_nothing_released")) is not None
    ]
    if gains:
        clauses.append(
            "compared with “nothing released”, which uses no other shopper's data, shoppers' data change it "
            f"by {' and '.join(gains)}"
        )
    return "; ".join([*clauses, *worth(federation, private)]) + "."


def worth(federation: Federation, private: list[Point]) -> list[str]:
    """Say what a promise is worth, compared with the best floor and with baselines that keep no promise."""
    floors = [floor for point in private if (floor := point.floor()) is not None]
    if not floors:
        return []
    above = [point for point in private if is_above(point)]
    names = joined(dict.fromkeys(floor.label for floor in floors))
    if len(above) == len(private):
        clauses = [f"it is clearly above its best floor ({names}) at every ε that was run"]
    elif above:
        clauses = [f"it is clearly above its best floor ({names}) only {at_epsilon(above)}"]
    else:
        clauses = [f"it is not clearly above its best floor ({names}) at any ε that was run"]
    best = max(private, key=lambda point: point.mean(HEADLINE) or 0.0)
    own, floor = best.mean(HEADLINE) or 0.0, best.floor()
    popular = popular_level(federation)
    if popular is not None and popular.level >= own:
        clauses.append(
            f"best sellers win here: “{popular.label}”, which recommends the same items to everyone, reaches "
            f"{of_100(popular.level)}, while the best value under this promise is {of_100(own)}"
        )
    elif floor is not None and floor.name in ALONE and not is_above(best):
        clauses.append(
            "so a device does as well by itself here, and the gain from other shoppers' data is not worth a "
            "release"
        )
    if (strong := federation.best_strong()) is not None:
        level = federation.level(strong, HEADLINE) or 0.0
        where = "above" if own > level else "below" if own < level else "level with"
        clauses.append(
            f"{at_epsilon([best])} it is {where} {label_of(strong)}, the best baseline that keeps no promise "
            f"({of_100(level)})"
        )
    return clauses


def at_epsilon(points: Sequence[Point]) -> str:
    """Name the ε of points: “at ε = 1 and 2”."""
    epsilons = [f"{point.epsilon:g}" for point in points if point.private]
    return f"at ε = {joined(epsilons)}" if epsilons else "without a promise"


def accuracy(series: Series, point: Point) -> str:
    """Return the hits of 100 and, if the same model was run without a promise, the share of its hits."""
    rate = point.mean(HEADLINE)
    assert rate is not None
    whole = series.free.mean(HEADLINE) if series.free is not None else None
    return of_100(rate) + (f" ({rate / whole:.0%} of its value without a promise)" if whole else "")


def growth(small: Federation, large: Federation) -> list[str]:
    """Say how the hits of each series at its smallest shared ε change with more devices."""
    sentences = []
    for series in small.all_series:
        other = next((one for one in large.all_series if one.label == series.label), None)
        pairs = [
            (before, after)
            for before in series.private
            for after in (other.private if other else [])
            if before.epsilon == after.epsilon and None not in (before.mean(HEADLINE), after.mean(HEADLINE))
        ]
        if pairs:
            before, after = pairs[0]
            sentences.append(
                f"From {small.devices:,} to {large.devices:,} devices on {family_title([small, large])}, "
                f"the hits of 100 of {series.label} {at_epsilon([before])} go from "
                f"{of_100(before.mean(HEADLINE) or 0.0)} to {of_100(after.mean(HEADLINE) or 0.0)}."
            )
    return sentences


def joined(parts: Sequence[str] | dict[str, None]) -> str:
    """Join the parts of a list: “1, 2 and 4”."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def span(numbers: list[int]) -> str:
    """Return the range of numbers: “1 to 4”, or one number if all are the same."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"

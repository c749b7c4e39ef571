"""The four questions of design.md, “Can a brand protect privacy while it personalises?”, from the results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.evaluation.floors import ALONE
from terrycloth.experiments.frontier.points import (
    Federation,
    Floor,
    Series,
    Point,
    families,
    family_title,
    series_label,
    under,
)
from terrycloth.experiments.frontier.table import Row

HEADLINE = "hr@10"


@dataclass(frozen=True)
class Finding:
    """One question, and sentences that follow from what was measured."""

    question: str
    sentences: list[str]


def findings(rows: list[Row], found: list[Federation]) -> list[Finding]:
    """All four; without one finished cell, only the last. They tell of the clean protocol."""
    found = under("clean", found)
    said = [which_data(found), what_for(found), how_securely(found)] if found else []
    return [*said, how_openly(rows)]


def opening_sentences(found: list[Federation]) -> list[str]:
    """Of every line with a point below its best floor, under a promise or not: a sentence that says so."""
    return [sentence for one in under("clean", found) for sentence in below_floors(one)]


def which_data(found: list[Federation]) -> Finding:
    """What stays on a device and what leaves it."""
    sizes = [federation.devices for federation in found]
    sent = [point.of("bytes_up_per_device") for federation in found for point in federation.points]
    return Finding(
        "Which data do you need, and what for?",
        [
            "A device keeps its own shopper's purchases (which item, when, how often), and they never leave "
            "it; the catalogue and its attributes are public. They are used to learn what to recommend next.",
            f"{span(sizes)} devices took part. Each sent updates of the shared model and nothing else: "
            f"{span(sent)} bytes where it took part in every round, as many whatever its shopper did.",
        ],
    )


def what_for(found: list[Federation]) -> Finding:
    """How accurate a recommendation can be, and is without a promise."""
    new = "" if any(federation.repeats for federation in found) else " that the shopper does not have"
    said = [
        f"It recommends ten items{new}. HR@10 is the part of a shopper's next purchases that is found among "
        "ten, each looked for alone, and averaged over the shoppers."
    ]
    for federation in found:
        levels = [
            f"{name} {level:.3f}"
            for name, level in (
                *((label_of(name), federation.level(name, HEADLINE)) for name in BASELINES),
                ("the best model of these runs, trained centrally", best_central(federation)),
                ("the best that anyone could do from the history", federation.level("ceiling", HEADLINE)),
            )
            if level is not None
        ]
        tested = f"On {federation.title}. {federation.sentence}"
        said.append(f"{tested} HR@10: {', '.join(levels)}." if levels else tested)
        said += unseen(federation)
    return Finding("What do you do with the data?", said)


def unseen(federation: Federation) -> list[str]:
    """How each line serves shoppers first seen after the date: under its greatest ε, where it has one."""
    said = []
    for series in federation.all_series:
        point = (series.private or series.points)[-1]
        name = (
            series.label if point.private else series_label(series.model, point.of("variant"), "none", None, None)
        )
        parts = [
            f"{rate:.3f} {where} ({visits:,.0f} visits)"
            for where, name in (
                ("at their first visit, of which nothing is known before", "first_visit"),
                ("at later ones, served from their own purchases since", "later_visits"),
            )
            if (rate := point.mean(f"unseen_{name}_hr@10")) is not None
            and (visits := point.mean(f"unseen_{name}_visits"))
        ]
        if parts:
            said.append(
                f"Shoppers first seen after {federation.at} are in no other figure. For them HR@10 is "
                f"{' and '.join(parts)}, by {name}" + (f", {at_epsilon([point])}." if point.private else ".")
            )
    return said


def how_securely(found: list[Federation]) -> Finding:
    """What each promise leaves of that, on the largest federation of each data set and split that has one."""
    promised = [federation for federation in found if any(series.private for series in federation.all_series)]
    groups = families(promised)
    largest = [sizes[-1] for sizes in groups]
    said = ["How much a promise costs depends on whom it trusts and on how many take part."]
    if not promised:
        said.append("No promise was run here, so what one costs is not known.")
    for federation in largest:
        said += [sentence for series in federation.all_series if (sentence := cost_of(federation, series))]
    for sizes in groups:
        if len(sizes) > 1:
            said += growth(sizes[0], sizes[-1])
    return Finding("Is it held and processed securely, and what does that cost?", said)


def how_openly(rows: list[Row]) -> Finding:
    """What is shown, what failed, and what these numbers do not promise."""
    failed = sum(row["status"] == "failed" for row in rows)
    counted = sum(bool(row["evaluated"]) for row in rows)
    said = [
        "Every point below has its promise in words and the command that repeats it, and all results are in "
        "one table.",
        f"{len(rows) - failed:,} of {len(rows):,} runs finished"
        + ("." if not failed else f"; the others are listed with the reason ({failed:,})."),
        "These runs are seeded, so that anyone gets the same numbers again. Whoever knows a seed can "
        "subtract the noise, so they are experiments, not private: a real run draws its noise from the "
        "operating system, and keeps the promise.",
        "Accuracy is measured by the simulator, and is not released"
        + ("." if not counted else f", but for {counted:,} runs whose devices counted hits, with noise."),
    ]
    if any(row["secure_aggregation_off"] for row in rows):
        said.append("Under distributed trust the sums were simulated without secure aggregation.")
    if any(row["catalogue_from_events"] for row in rows):
        said.append(
            "Where a catalogue lists what its shoppers chose, it counts as public all the same: what it "
            "gives away is not in ε. The promises say where that is so."
        )
    if any(row["negative_sampling"] == "leaky" for row in rows):
        said.append(
            "Rows under the leaky protocol repeat a fault of published code, on purpose: what is held out is "
            "never drawn as a negative. What they reach above their clean rows, with the same settings, is "
            "that leak; published methods have their authors' settings, which were chosen under it."
        )
    return Finding("Are you open about it?", said)


def below_floors(federation: Federation) -> list[str]:
    """Of every line that is somewhere below its best floor: where, how far, and whether it may be chance."""
    said = []
    for series in federation.all_series:
        parts = [part for point in series.points if (part := below_floor(federation, point))]
        if parts:
            where = f"{federation.devices:,} devices of {federation.data} by {federation.split_label}"
            said.append(f"Below its floor: {series.label}, with {where}, has an HR@10 of {'; '.join(parts)}.")
    return said


def below_floor(federation: Federation, point: Point) -> str | None:
    """The same of one point; None where it is not."""
    floor, own = point.floor(), point.mean(HEADLINE)
    if floor is None or own is None or own >= floor.level:
        return None
    said = f"{own:.3f} {at_epsilon([point])}, where {floor.label} reaches {floor.level:.3f}"
    error = error_between(point, "", f"{floor.name}_")
    if error is None or floor.level - own <= 2 * error:
        said += ", too close to tell apart"
    popular = federation.level("popularity", HEADLINE)
    if point.private and popular is not None and popular > own:
        said += f" (popularity that keeps no promise is above it too: {popular:.3f})"
    return said


def cost_of(federation: Federation, series: Series) -> str | None:
    """What the smallest and the largest ε leave, what shoppers' data added, and what that is worth."""
    private = [point for point in series.private if point.mean(HEADLINE) is not None]
    if not private:
        return None
    ends = private[:1] + private[1:][-1:]
    parts = [f"{left(series, point)} {at_epsilon([point])}" for point in ends]
    below = [point for point in private if point.below()]
    first = f"Below its floor {at_epsilon(below)}: " if below else ""
    label = series.label if below else series.label[0].upper() + series.label[1:]
    said = [
        f"{first}{label}, with {federation.devices:,} devices of {federation.data} by "
        f"{federation.split_label}: HR@10 is {' and '.join(parts)}"
    ]
    added = [
        f"{gain:+.3f} {at_epsilon([point])}"
        for point in ends
        if (gain := point.mean("above_nothing_released")) is not None
    ]
    if added:
        said.append(
            "above nothing released, which needs nobody else's data, shoppers' data added "
            f"{' and '.join(added)}"
        )
    return "; ".join([*said, *worth(federation, private)]) + "."


def worth(federation: Federation, private: list[Point]) -> list[str]:
    """What personalisation under a promise is worth: against the best floor, and against what keeps none."""
    floors = [floor for point in private if (floor := point.floor()) is not None]
    if not floors:
        return []
    above = [point for point in private if is_above(point)]
    names = joined(dict.fromkeys(floor.label for floor in floors))
    if len(above) == len(private):
        said = [f"it is clearly above its best floor ({names}) at every ε that was run"]
    elif above:
        said = [f"it is clearly above its best floor ({names}) only {at_epsilon(above)}"]
    else:
        said = [f"at no ε that was run is it clearly above its best floor ({names})"]
    best = max(private, key=lambda point: point.mean(HEADLINE) or 0.0)
    own, floor = best.mean(HEADLINE) or 0.0, best.floor()
    popular = popular_level(federation)
    if popular is not None and popular.level >= own:
        said.append(
            f"here best sellers win: {popular.label}, which recommends the same to everyone, reaches "
            f"{popular.level:.3f}, and the most that is reached under this promise is {own:.3f}"
        )
    elif floor is not None and floor.name in ALONE and not is_above(best):
        said.append(
            "so here a device does as well by itself, and what others' data add is not worth a release"
        )
    if (strong := federation.best_strong()) is not None:
        level = federation.level(strong, HEADLINE) or 0.0
        where = "above" if own > level else "below" if own < level else "level with"
        said.append(
            f"{at_epsilon([best])} it is {where} {label_of(strong)}, the best baseline that keeps no promise "
            f"({level:.3f})"
        )
    return said


def popular_level(federation: Federation) -> Floor | None:
    """The best of what recommends the same to everyone, without a promise."""
    found = [
        Floor(name, label_of(name), level)
        for name in BASELINES
        if name.endswith("popularity") and (level := federation.level(name, HEADLINE)) is not None
    ]
    return max(found, key=lambda floor: floor.level, default=None)


def at_epsilon(points: Sequence[Point]) -> str:
    """Where points are: at ε = 1 and 2."""
    epsilons = [f"{point.epsilon:g}" for point in points if point.private]
    return f"at ε = {joined(epsilons)}" if epsilons else "without a promise"


def left(series: Series, point: Point) -> str:
    """HR@10, and its share of the same model's without a promise where that was run."""
    rate = point.mean(HEADLINE)
    assert rate is not None
    whole = series.free.mean(HEADLINE) if series.free is not None else None
    return f"{rate:.3f}" + (f" ({rate / whole:.0%} of what it is without a promise)" if whole else "")


def is_above(point: Point) -> bool:
    """Whether the mean of the seeds is above the best floor by two standard errors of their difference."""
    own, floor = point.mean(HEADLINE), point.floor()
    if own is None or floor is None:
        return False
    error = error_between(point, "", f"{floor.name}_")
    return error is not None and own - floor.level > 2 * error


def error_between(point: Point, one: str, other: str) -> float | None:
    """Standard error of the difference of two HR@10, over shoppers and over seeds.

    one, other: the prefixes of their columns. Shoppers count as if those of one were others than those of the
    other; the noise of seeds is that of the mean over them.
    """
    errors = [point.mean(f"{prefix}hr@10_error") for prefix in (one, other)]
    known = [error for error in errors if error is not None]
    seeds = [point.seed_error(f"{prefix}hr@10") for prefix in (one, other)]
    return math.hypot(*known, *seeds) if len(known) == 2 else None


def growth(small: Federation, large: Federation) -> list[str]:
    """What more devices give each line at its smallest ε."""
    said = []
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
            said.append(
                f"From {small.devices:,} to {large.devices:,} devices of {family_title([small, large])}, "
                f"HR@10 of {series.label} {at_epsilon([before])} goes from {before.mean(HEADLINE):.3f} to "
                f"{after.mean(HEADLINE):.3f}."
            )
    return said


def best_central(federation: Federation) -> float | None:
    """The greatest central level over the models."""
    levels = [federation.level("central", HEADLINE, series.model) for series in federation.all_series]
    return max((level for level in levels if level is not None), default=None)


def joined(parts: Sequence[str] | dict[str, None]) -> str:
    """1, 2 and 4."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def span(numbers: list[int]) -> str:
    """From the least to the greatest."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"

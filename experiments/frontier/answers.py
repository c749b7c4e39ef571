"""The four questions of design.md, “Can a brand protect privacy while it personalises?”, from the results."""

import math
from dataclasses import dataclass

from experiments.frontier.points import Federation, Line, Point, under
from experiments.frontier.table import Row

HEADLINE = "hr@10"


@dataclass(frozen=True)
class Answer:
    """One question, and sentences that follow from what was measured."""

    question: str
    sentences: list[str]


def answers(rows: list[Row], found: list[Federation]) -> list[Answer]:
    """All four; without one finished cell, only the last. They tell of the clean protocol."""
    found = under("clean", found)
    said = [which_data(found), what_for(found), how_securely(found)] if found else []
    return [*said, how_openly(rows)]


def which_data(found: list[Federation]) -> Answer:
    """What stays on a device and what leaves it."""
    sizes = [federation.devices for federation in found]
    sent = [point.of("bytes_up_per_device") for federation in found for point in federation.points]
    return Answer(
        "Which data do you need, and what for?",
        [
            "A device keeps its own shopper's purchases (which item, when, how often), and they never leave "
            "it; the catalogue and its attributes are public. They are used to learn what to recommend next.",
            f"{span(sizes)} devices took part. Each sent updates of the shared model and nothing else: "
            f"{span(sent)} bytes where it took part in every round, as many whatever its shopper did.",
        ],
    )


def what_for(found: list[Federation]) -> Answer:
    """How accurate a recommendation can be, and is without a promise."""
    said = ["It recommends ten items a shopper does not have; a hit is when the next new one is among them."]
    for federation in found:
        levels = [
            f"{name} {level:.3f}"
            for name, level in (
                ("of the most popular items alone", federation.level("popularity", HEADLINE)),
                ("of the best model trained centrally", best_central(federation)),
                ("of EASE, trained centrally", federation.level("ease", HEADLINE)),
                ("of iALS, trained centrally", federation.level("ials", HEADLINE)),
                ("of the best anyone could do from the history", federation.level("ceiling", HEADLINE)),
            )
            if level is not None
        ]
        if levels:
            said.append(f"On {federation.title}, the rate of hits is {', '.join(levels)}.")
    return Answer("What do you do with the data?", said)


def how_securely(found: list[Federation]) -> Answer:
    """What each promise leaves of that, on the largest federation of each data set that has one."""
    said = ["How much a promise costs depends on whom it trusts and on how many take part."]
    promised = [federation for federation in found if any(line.private for line in federation.lines)]
    if not promised:
        said.append("No promise was run here, so what one costs is not known.")
    largest = {federation.data: federation for federation in promised}  # sizes rise
    for federation in largest.values():
        said += [sentence for line in federation.lines if (sentence := cost_of(federation, line))]
    for data in largest:
        sizes = [federation for federation in promised if federation.data == data]
        if len(sizes) > 1:
            said += growth(sizes[0], sizes[-1])
    return Answer("Is it held and processed securely, and what does that cost?", said)


def how_openly(rows: list[Row]) -> Answer:
    """What is shown, what failed, and what these numbers do not promise."""
    failed = sum(row["status"] == "failed" for row in rows)
    counted = sum("counts of hits" in (row["promise"] or "") for row in rows)
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
    if any("without secure aggregation" in (row["promise"] or "") for row in rows):
        said.append("Under distributed trust the sums were simulated without secure aggregation.")
    if any("The catalogue lists" in (row["promise"] or "") for row in rows):
        said.append(
            "Where a catalogue lists what its shoppers chose, it counts as public all the same: what it "
            "gives away is not in ε. The promises say where that is so."
        )
    if any(row["protocol"] == "leaky" for row in rows):
        said.append(
            "Rows under the leaky protocol repeat a fault of published code, on purpose: what is held out is "
            "never drawn as a negative. What they reach above their clean rows, with the same settings, is "
            "that leak; published methods have their authors' settings, which were chosen under it."
        )
    return Answer("Are you open about it?", said)


def cost_of(federation: Federation, line: Line) -> str | None:
    """What the smallest and the largest ε leave, and from which ε on a line is above popularity."""
    private = [point for point in line.private if point.mean(HEADLINE) is not None]
    if not private:
        return None
    parts = [
        f"{left(federation, line, point)} at ε = {point.epsilon:g}"
        for point in private[:1] + private[1:][-1:]
    ]
    said = (
        f"{line.label[0].upper()}{line.label[1:]}, with {federation.devices:,} devices of {federation.data}: "
        f"a hit rate of {' and of '.join(parts)}"
    )
    if federation.level("popularity", HEADLINE) is None:
        return f"{said}{beside_private(private)}."
    above = [point.epsilon for point in private if is_above(federation, point)]
    if not above:
        said += "; at no ε that was run is it clearly above popularity"
    elif len(above) == len(private):
        said += "; clearly above popularity at every ε that was run"
    else:
        said += f"; clearly above popularity at ε = {', '.join(f'{epsilon:g}' for epsilon in above)} only"
    return f"{said}{beside_private(private)}."


def beside_private(points: list[Point]) -> str:
    """Whether a line is ever below popularity that is released under the same promise, seeds averaged."""
    both = [
        (point.epsilon, own, noised)
        for point in points
        if (own := point.mean(HEADLINE)) is not None
        and (noised := point.mean(f"private_popularity_{HEADLINE}")) is not None
    ]
    if not both:
        return ""
    below = [f"{noised:.3f} at ε = {epsilon:g}" for epsilon, own, noised in both if own < noised]
    if not below:
        return ", and never below private popularity, which is released under the same promise"
    return f", and below private popularity, which reaches under the same promise {' and '.join(below)}"


def left(federation: Federation, line: Line, point: Point) -> str:
    """A hit rate, and its share of the same model's without a promise where that was run."""
    rate = point.mean(HEADLINE)
    assert rate is not None
    whole = line.free.mean(HEADLINE) if line.free is not None else None
    return f"{rate:.3f}" + (f" ({rate / whole:.0%} of what it is without a promise)" if whole else "")


def is_above(federation: Federation, point: Point) -> bool:
    """Whether the mean of the seeds is above popularity by two standard errors of two independent shares.

    The same shoppers are in both, so the true error is smaller.
    """
    own, popular = point.mean(HEADLINE), federation.level("popularity", HEADLINE)
    if own is None or popular is None:
        return False
    pooled = (own + popular) / 2
    return own - popular > 2 * math.sqrt(2 * pooled * (1 - pooled) / point.of("tested"))


def growth(small: Federation, large: Federation) -> list[str]:
    """What more devices give each line at its smallest ε."""
    said = []
    for line in small.lines:
        other = next((one for one in large.lines if one.label == line.label), None)
        pairs = [
            (before, after)
            for before in line.private
            for after in (other.private if other else [])
            if before.epsilon == after.epsilon and None not in (before.mean(HEADLINE), after.mean(HEADLINE))
        ]
        if pairs:
            before, after = pairs[0]
            said.append(
                f"From {small.devices:,} to {large.devices:,} devices of {small.data}, the hit rate of "
                f"{line.label} at ε = {before.epsilon:g} goes from {before.mean(HEADLINE):.3f} to "
                f"{after.mean(HEADLINE):.3f}."
            )
    return said


def best_central(federation: Federation) -> float | None:
    """The greatest central level over the models."""
    levels = [federation.level("central", HEADLINE, line.model) for line in federation.lines]
    return max((level for level in levels if level is not None), default=None)


def span(numbers: list[int]) -> str:
    """From the least to the greatest."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"

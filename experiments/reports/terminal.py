"""Show the progress of `terry simulate`, as a bar and a live table or as plain lines, and then its result."""

import math
from typing import Any, Self

from rich.console import Group
from rich.live import Live
from rich.table import Column, Table

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.baselines.floors import ALONE, best_floor, is_floor
from terrycloth.experiments.evaluation.bootstrap import Difference
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.reports.phases import Phases
from terrycloth.experiments.runs.result import Accuracy, Baseline, Figures, Result
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import Reporter, RunPlan
from terrycloth.experiments.settings.config import MEASURED_ONLY
from terrycloth.models.privacy.promise import rounded_up
from terrycloth.models.privacy.trust import NoiseSource

ROWS_SHOWN = 12
FEW_SHOPPERS = 100  # one of fewer shoppers moves HR@10 by more than 0.01
MEASURED_BY = {
    "simulator": "Measured by the simulator, not released.",
    "released": "The federated row comes from noised counts that devices released;\n"
    "the simulator measured the rest.",
}


class TerminalReporter(Reporter):
    """Shows the latest rounds above a progress bar or, without a terminal, one line per measured round."""

    def __init__(self) -> None:
        self.console = make_console()
        self.phases = Phases(self.console)
        self.rows: list[dict[str, Any]] = []
        self.is_planned = False
        self.live = Live(console=self.console, transient=True, get_renderable=self.drawn)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.phases.end()
        self.live.stop()

    def drawn(self) -> Group:
        """Return what a terminal shows now: the latest rounds, and the phase."""
        table = [rounds_table(self.rows[-ROWS_SHOWN:])] if self.rows else []
        return Group(*table, self.phases.bar)

    def planned(self, plan: RunPlan) -> None:
        """Print what was read and what is promised."""
        report = plan.dataset.report
        self.console.print(import_line(plan))
        for note in report.notes:
            self.console.print(f"  {note}", style="dim")
        self.console.print(plan.promise.sentence())
        if plan.config.model_reason is not None:
            self.console.print(plan.config.model_reason)
        self.is_planned = True
        self.phases.begin("training", plan.config.last_round)

    def round_done(self, row: dict[str, Any]) -> None:
        """Show the round."""
        self.rows.append(row)
        if "hr@10" in row and not self.console.is_terminal:
            self.console.print(round_line(row), soft_wrap=True)
            self.phases.quieten()
        self.phases.step(int(row["round"]))
        self.live.refresh()

    def doing(self, what: str, steps: int | None = None) -> None:
        """Show the name of the stage."""
        self.phases.begin(what, steps, if_long=not self.is_planned)
        self.live.refresh()

    def step(self) -> None:
        """Move the bar of the stage on."""
        self.phases.step()


def import_line(plan: RunPlan) -> str:
    """Return a line that accounts for every row, as kept or dropped by reason, and describes the split."""
    report, held = plan.dataset.report, plan.split
    dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in report.rows_dropped.items())
    text = f"{report.source}: {report.rows_read:,} rows read, {report.rows_kept:,} kept"
    text += f", dropped: {dropped}" if dropped else ", none dropped"
    tested = len(held.test.tested())
    return text + (
        f"; {plan.config.devices:,} devices hold {len(held.train):,} training events of "
        f"{len(plan.dataset.catalogue):,} items, {tested:,} are tested on {len(held.test.targets):,} "
        f"targets. {held.rule.sentence}"
    )


def rounds_table(rows: list[dict[str, Any]]) -> Table:
    """Return a table of rounds."""
    table = Table("round", "HR@10", "NDCG@10", "ε so far", "answered", "bytes up", "seconds")
    for row in rows:
        table.add_row(
            str(row["round"]),
            number(row.get("hr@10")),
            number(row.get("ndcg@10")),
            spent(row["epsilon"]),
            f"{row['answered']:,}",
            f"{row['bytes_up']:,}",
            f"{row['seconds']:.2f}",
        )
    return table


def round_line(row: dict[str, Any]) -> str:
    """Return one round as a line of text."""
    return (
        f"round {row['round']}: HR@10 {number(row['hr@10'])}, NDCG@10 {number(row['ndcg@10'])}, "
        f"ε so far {spent(row['epsilon'])}, {row['answered']:,} answered, "
        f"{row['bytes_up']:,} bytes up per device, {row['seconds']:.2f} s"
    )


def spent(epsilon: float | None) -> str:
    """Return ε as text, rounded up, or a dash."""
    return "–" if epsilon is None else rounded_up(epsilon)


def number(value: Any, form: str = "{:.4f}") -> str:
    """Return a measured number as text, or a dash."""
    return "–" if value is None else form.format(value)


def print_result(folder: RunFolder) -> None:
    """Print the table of results, sentences that explain it, and the path of the run folder."""
    console = make_console()
    result = folder.read_result()
    console.print(result_table(result))
    for line in reading(result):
        console.print(line)
    console.print(f"run folder: {folder.path}", soft_wrap=True)


def result_table(result: Result) -> Table:
    """Return a table with the run, its measured baselines and its ceilings.

    It shows ranking among 99 sampled negatives, which flatters, only for the split of published tables and a
    catalogue that is large enough.
    """
    published = result.data.split == "last-item" and result.data.suits_sampling
    of_100 = "“of 100”: ranked among 99 sampled negatives, which flatters. " if published else ""
    table = Table(
        Column(no_wrap=True), "ε", "HR@10", "NDCG@10", "any hit\nin 10",
        *(["of 100:\nHR@10"] if published else []), "bytes\nsent",
        title=f"{result.data.name} by {result.data.split}: {result.data.devices:,} devices, "
        f"{result.data.items:,} items\n{result.label}",
        caption=f"{result.data.split_sentence}\nHR@10: the share of a shopper's targets among the first ten "
        f"of the whole catalogue, each ranked on its own. {of_100}{MEASURED_BY[result.metrics.measured_by]} "
        "Bytes: sent by one device over all rounds.",
    )  # fmt: skip

    def row(name: str, epsilon: float | None, accuracy: Accuracy, sent: str, style: str = "") -> None:
        full = accuracy.full
        sampled = [number(accuracy.sampled99["hr@10"])] if published else []
        figures = [number(full[metric]) for metric in ("hr@10", "ndcg@10", "anyhit@10")]
        table.add_row(
            name, "∞" if epsilon is None else rounded_up(epsilon), *figures, *sampled, sent, style=style
        )

    sent = f"{result.cost.bytes_up_per_device:,}"
    row(f"federated {result.model}", result.promise.epsilon, result.metrics, sent, "bold")
    for name, baseline in result.baselines.found.items():
        promise = baseline.promise
        label = f"central {result.model}" if name == "central" else label_of(name)
        epsilon = None if promise is None else promise.epsilon
        pooled = "nothing" if name in ALONE else "" if promise else "all events"
        row(label, epsilon, baseline, pooled)
    for name, ceiling in result.baselines.ceiling.items():
        table.add_row(f"ceiling: {name}", "", number(ceiling["hr@10"]), number(ceiling["ndcg@10"]))
    return table


def reading(result: Result) -> list[str]:
    """Return sentences that explain the result. If the run is below its floor, the first one says so."""
    own = result.metrics.full["hr@10"]
    lines = [*below_floor(result), result.promise.sentence(), *leak_warning(result), *few_warning(result)]
    if result.model_reason is not None:
        lines.append(result.model_reason)
    if own is None:
        return [*lines, "Nobody could be tested: no shopper has a target under this split."]
    for name, baseline in result.baselines.found.items():
        if not (is_floor(name) and (theirs := baseline.full["hr@10"]) is not None):
            continue
        promised = (
            "" if baseline.promise is None else f" under an equally strong promise ({baseline.promise.label})"
        )
        lines.append(
            f"HR@10 over the whole catalogue is {own:.3f} against {theirs:.3f} of {label_of(name)}{promised}"
            f", on {counted(result.data.tested)}: {compared(result, baseline)}."
        )
    if (nothing := result.baselines.of(NOTHING_RELEASED)) is not None and nothing.full["hr@10"] is not None:
        lines.append(
            f"Gain from shoppers' data over what a device finds by itself, with nothing released: "
            f"{own - nothing.full['hr@10']:+.3f}."
        )
    lines += [
        f"Shoppers first seen after {result.data.at}, {name}: HR@10 {number(figures['hr@10'], '{:.3f}')} "
        f"over {int(figures['visits'] or 0):,} visits."
        for name, figures in result.metrics.unseen.items()
        if figures["visits"]
    ]
    if difference := difference_in(result.baselines.ceiling.get("history", {}), result.data.tested):
        lines.append(
            f"Compared with the best use of the same shoppers' histories, HR@10 is {difference.verdict}."
        )
    lines += result.baselines.left_out
    return lines + below_popularity(result)


def below_popularity(result: Result) -> list[str]:
    """Return what may help a run that is below popularity; nothing if it is not.

    More devices help only if the same model is above popularity once it is trained on all events without a
    promise.
    """
    own = result.metrics.full["hr@10"]
    popular, central = (
        None if (found := result.baselines.of(name)) is None else found.full["hr@10"]
        for name in ("popularity", "central")
    )
    if own is None or popular is None or popular <= own or central is None:
        return []
    if central <= popular:
        return [
            "The same model is not above popularity even if it is trained in one place without a promise, so "
            "more devices would not help: recommend popular items, or try another model."
        ]
    if result.promise.trust_model.source is NoiseSource.DEVICE and result.promise.epsilon is not None:
        return [
            "With local trust every device adds all of its own noise. The signal that devices share grows "
            "with their number, but the noise only with its square root. "
            f"{result.data.devices:,} devices are few; with more, the same ε costs less accuracy."
        ]
    return []


def counted(shoppers: int) -> str:
    """Return a number of shoppers in words."""
    return f"{shoppers:,} shopper" + ("" if shoppers == 1 else "s")


def few_warning(result: Result) -> list[str]:
    """Return a warning if so few shoppers are tested that a single one moves HR@10 visibly; else nothing."""
    tested = result.data.tested
    if not 0 < tested < FEW_SHOPPERS:
        return []
    return [
        f"Few shoppers are tested: HR@10 rests on {counted(tested)}, of whom each moves it by up to "
        f"{1 / tested:.3f}. Do not read much into it."
    ]


def difference_in(figures: Figures, shoppers: int) -> Difference | None:
    """Return the paired difference to a baseline or a ceiling, or None if it was not measured."""
    mean, low, high = (figures.get(key) for key in ("difference", "difference_low", "difference_high"))
    if mean is None or low is None or high is None:
        return None
    return Difference(mean, low, high, shoppers)


def compared(result: Result, baseline: Baseline) -> str:
    """Describe how the run's HR@10 differs from a baseline's: paired by shopper, if the two can be paired."""
    if (difference := difference_in(baseline.paired, result.data.tested)) is not None:
        return difference.verdict
    own, theirs = result.metrics.full["hr@10"] or 0.0, baseline.full["hr@10"] or 0.0
    return verdict(own - theirs, error_between(result.metrics, baseline))


def below_floor(result: Result) -> list[str]:
    """Return a sentence if the run is below the best of its floors, else nothing."""
    own, private = result.metrics.full["hr@10"], result.promise.epsilon is not None
    levels = {name: baseline.full["hr@10"] for name, baseline in result.baselines.found.items()}
    floor = best_floor(levels, private)
    if own is None or floor is None or floor[1] <= own:
        return []
    name, level = floor
    text = (
        f"Below its floor: HR@10 is {own:.3f}, and {label_of(name)} reaches {level:.3f} on the same shoppers "
    )
    text += "under an equally strong promise." if private else "without this model."
    popular = levels.get("popularity")
    if private and popular is not None and popular > own:
        text += f" Popularity without a promise is above it too: {popular:.3f}."
    return [text]


def error_between(one: Accuracy, other: Accuracy) -> float | None:
    """Return an upper bound on the standard error of the difference of two means over the same shoppers.

    It treats the means as independent. None if an error is unknown, for instance with a single shopper.
    """
    errors = [accuracy.full.get("hr@10_error") for accuracy in (one, other)]
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if len(known) == 2 else None


def leak_warning(result: Result) -> list[str]:
    """Return what the leaky protocol means for these figures; nothing under the clean one."""
    if result.negative_sampling == "clean":
        return []
    if result.model not in MEASURED_ONLY:
        return [f"Leaky protocol: nothing leaks into {result.model}, which draws no negatives here."]
    return [
        "Leaky protocol: held-out items were never drawn as negatives in training, which gives them away. "
        "The figures measure the protocol, not the recommendations."
    ]


def verdict(difference: float, error: float | None) -> str:
    """Describe a difference, and whether it exceeds two standard errors."""
    if error is None:
        return f"{difference:+.3f}, too few shoppers to tell apart"
    if abs(difference) <= 2 * error:
        return f"{difference:+.3f}, too close to tell apart (standard error {error:.3f})"
    return f"{difference:+.3f}, {'above' if difference > 0 else 'below'} it (standard error {error:.3f})"

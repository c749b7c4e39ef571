"""What `terry simulate` draws: a bar and a live table, or plain lines; then the result."""

from typing import Any, Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from experiments.config import MEASURED_ONLY
from experiments.console import make_console
from experiments.result import Accuracy, Result
from experiments.run_folder import RunFolder
from experiments.simulation import Plan, Reporter
from models.promise import rounded_up

ROWS_SHOWN = 12
MEASURED_BY = {
    "simulator": "Measured by the simulator, not released.",
    "released": "The federated row is of noised counts that devices released;\nthe rest is the simulator's.",
}


class TerminalReporter(Reporter):
    """A progress bar under the latest rounds; where there is no terminal, a line a measured round."""

    def __init__(self) -> None:
        self.console = make_console()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rounds"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.live = Live(console=self.console, transient=True, auto_refresh=False)
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def planned(self, plan: Plan) -> None:
        """Print what was read and what is promised, before the first round."""
        report = plan.dataset.report
        self.console.print(import_line(plan))
        for note in report.notes:
            self.console.print(f"  {note}", style="dim")
        self.console.print(plan.promise.sentence())
        if plan.config.model_reason is not None:
            self.console.print(plan.config.model_reason)
        self.task = self.progress.add_task("training", total=plan.config.rounds)

    def round_done(self, row: dict[str, Any]) -> None:
        """Add the round's line."""
        self.rows.append(row)
        self.progress.update(self.task, completed=int(row["round"]))
        if self.console.is_terminal:
            self.live.update(Group(rounds_table(self.rows[-ROWS_SHOWN:]), self.progress), refresh=True)
        elif "hr@10" in row:
            self.console.print(round_line(row), soft_wrap=True)

    def doing(self, what: str) -> None:
        """Name the stage."""
        if self.console.is_terminal:
            self.progress.update(self.task, description=what)
            self.live.update(Group(rounds_table(self.rows[-ROWS_SHOWN:]), self.progress), refresh=True)
        else:
            self.console.print(f"{what} …")


def import_line(plan: Plan) -> str:
    """Rows read = kept + dropped, by reason."""
    report, held = plan.dataset.report, plan.split
    dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in report.rows_dropped.items())
    text = f"{report.source}: {report.rows_read:,} rows read, {report.rows_kept:,} kept"
    text += f", dropped: {dropped}" if dropped else ", none dropped"
    tested = int((held.held_out >= 0).sum())
    return text + (
        f"; {plan.config.devices:,} devices hold {len(held.train):,} events of "
        f"{len(plan.dataset.catalogue):,} items, {tested:,} have one held out"
    )


def rounds_table(rows: list[dict[str, Any]]) -> Table:
    """The latest rounds."""
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
    """The same, in one line of text."""
    return (
        f"round {row['round']}: HR@10 {number(row['hr@10'])}, NDCG@10 {number(row['ndcg@10'])}, "
        f"ε so far {spent(row['epsilon'])}, {row['answered']:,} answered, "
        f"{row['bytes_up']:,} bytes up a device, {row['seconds']:.2f} s"
    )


def spent(epsilon: float | None) -> str:
    """An ε, never less than it is, or a dash."""
    return "–" if epsilon is None else rounded_up(epsilon)


def number(value: Any, form: str = "{:.4f}") -> str:
    """A measured number, or a dash."""
    return "–" if value is None else form.format(value)


def print_result(folder: RunFolder) -> None:
    """The table a run ends with, what it means, and where the rest is."""
    console = make_console()
    result = folder.read_result()
    console.print(result_table(result))
    for line in reading(result):
        console.print(line)
    console.print(f"run folder: {folder.path}", soft_wrap=True)


def result_table(result: Result) -> Table:
    """The run beside popularity, the other baselines that were found, and the ceilings."""
    table = Table(
        Column(no_wrap=True), "ε", "HR@10", "NDCG@10", "of 100:\nHR@10", "\nNDCG@10", "bytes\nsent",
        title=f"{result.data.name}: {result.data.devices:,} devices, {result.data.items:,} items\n"
        f"{result.label}",
        caption="HR@10 and NDCG@10 rank the whole catalogue; “of 100”: 99 sampled negatives, which\n"
        f"flatters. {MEASURED_BY[result.metrics.measured_by]} Bytes: by one device, over all rounds.",
    )  # fmt: skip

    def row(name: str, epsilon: float | None, accuracy: Accuracy, sent: str, style: str = "") -> None:
        full, sampled = accuracy.full, accuracy.sampled99
        table.add_row(
            name, "∞" if epsilon is None else rounded_up(epsilon), number(full.hr_at_10),
            number(full.ndcg_at_10), number(sampled.hr_at_10), number(sampled.ndcg_at_10), sent, style=style,
        )  # fmt: skip

    sent = f"{result.cost.bytes_up_per_device:,}"
    row(f"federated {result.model}", result.promise.epsilon, result.metrics, sent, "bold")
    beside = result.baselines
    for name, central in (
        (f"central {result.model}", beside.central),
        ("EASE", beside.ease),
        ("iALS", beside.ials),
    ):
        if central is not None:
            row(name, None, central, "all events")
    row("popularity", None, beside.popularity, "all events")
    if (private := beside.private_popularity) is not None:
        row("private popularity", private.promise.epsilon, private, "")
    for name, ceiling in result.baselines.ceiling.items():
        table.add_row(f"ceiling: {name}", "", number(ceiling.hr_at_10), number(ceiling.ndcg_at_10))
    return table


def reading(result: Result) -> list[str]:
    """What the figures say, in words that follow from them."""
    lines = [result.promise.sentence(), *leak_warning(result)]
    if result.model_reason is not None:
        lines.append(result.model_reason)
    own, popular = result.metrics.full.hr_at_10, result.baselines.popularity.full.hr_at_10
    if own is None or popular is None:
        return [*lines, "Nobody could be tested: no shopper has two different items."]
    counted = result.metrics.hr_deviation or 0.0  # the noise in released counts
    error = standard_error(own, popular, result.data.tested, counted)
    lines.append(
        f"HR@10 over the whole catalogue is {own:.3f} against popularity's {popular:.3f}, on "
        f"{result.data.tested:,} shoppers: {verdict(own - popular, error)}."
    )
    private = result.baselines.private_popularity
    if private is not None and (noised := private.full.hr_at_10) is not None:
        error = standard_error(own, noised, result.data.tested, counted)
        lines.append(
            f"Popularity released once under a promise as strong ({private.promise.label}) reaches "
            f"{noised:.3f}: {verdict(own - noised, error)}."
        )
    lines += result.baselines.left_out
    if result.promise.trust == "local" and result.promise.epsilon is not None and own < popular:
        lines.append(
            "With local trust every device adds all of its own noise. What devices have in common adds up "
            "with their number, the noise with its square root: the promise is paid for in devices, and "
            f"{result.data.devices:,} are few. With more of them, the same ε costs less."
        )
    return lines


def leak_warning(result: Result) -> list[str]:
    """What the leaky protocol means for these figures; nothing under the clean one."""
    if result.protocol == "clean":
        return []
    if result.model not in MEASURED_ONLY:
        return [f"Leaky protocol: nothing leaks into {result.model}, which draws no negatives here."]
    return [
        "Leaky protocol: what is held out was never drawn as a negative in training, which gives it away. "
        "The figures are of the protocol, and not of recommendations."
    ]


def standard_error(own: float, other: float, tested: int, counted: float) -> float:
    """Of the difference of two independent shares, pooled; with the noise of what devices counted.

    The same shoppers are in both, so the true error is smaller.
    """
    pooled = (own + other) / 2
    return float((2 * pooled * (1 - pooled) / tested + counted**2) ** 0.5)


def verdict(difference: float, error: float) -> str:
    """Whether a difference can be told from chance, at two standard errors."""
    if abs(difference) <= 2 * error:
        return f"{difference:+.3f}, too close to tell apart (standard error {error:.3f})"
    return f"{difference:+.3f}, {'above' if difference > 0 else 'below'} it (standard error {error:.3f})"

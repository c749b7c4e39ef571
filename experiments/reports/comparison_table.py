"""Print and write the comparison of `terry compare`."""

import json
from pathlib import Path

from rich.console import Group
from rich.table import Column, Table

from terrycloth.experiments.evaluation.bootstrap import LEVEL, RESAMPLES, Difference
from terrycloth.experiments.reports.comparison import Compared, as_json, compare_runs
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.reports.phases import phase
from terrycloth.experiments.reports.terminal import counted, few_warning, leak_warning, number
from terrycloth.experiments.runs.files import write_whole
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import rounded_up


def print_comparison(runs: list[Path], json_file: Path | None) -> None:
    """Print two tables, each run's promise and what the differences mean.

    json_file: a new file for the same results. Raises UserError if it exists or runs cannot be compared.
    """
    if json_file is not None and json_file.exists():
        raise UserError(f"{json_file} exists: choose another --json, or remove it")
    with phase("ranking the shoppers' items again"):
        compared = compare_runs(runs)
    if json_file is not None:
        text = json.dumps(as_json(compared), indent=2, ensure_ascii=False) + "\n"
        write_whole(json_file, text, remedy="choose another --json")
    console = make_console()
    console.print(Group(runs_table(compared), differences_table(compared)))
    for line in reading(compared):
        console.print(line)


def runs_table(compared: list[Compared]) -> Table:
    """Return a table with the ε, accuracy and cost of each run.

    It shows ranking among 99 sampled negatives, which flatters, only if the catalogue is large enough.
    """
    data = compared[0].result.data
    of_100 = "“of 100”: ranked among 99 sampled negatives,\nwhich flatters. " if data.suits_sampling else ""
    table = Table(
        "run", Column("model", no_wrap=True), "ε", "HR@10", "NDCG@10",
        *(["of 100:\nHR@10", "\nNDCG@10"] if data.suits_sampling else []), "bytes\nsent", "seconds",
        title=f"{data.name}: {data.devices:,} devices, {data.items:,} items, {data.tested:,} tested",
        caption=f"HR@10 and NDCG@10 rank the whole catalogue. {of_100}Measured by the simulator, "
        "not released. Bytes: sent by one device over all rounds.",
    )  # fmt: skip
    for run, each in enumerate(compared, start=1):
        full, sampled, cost = each.result.metrics.full, each.result.metrics.sampled99, each.result.cost
        epsilon = each.result.promise.epsilon
        table.add_row(
            str(run), each.result.model, "∞" if epsilon is None else rounded_up(epsilon),
            number(full["hr@10"]), number(full["ndcg@10"]),
            *([number(sampled["hr@10"]), number(sampled["ndcg@10"])] if data.suits_sampling else []),
            f"{cost.bytes_up_per_device:,}", f"{cost.seconds_total:.1f}",
        )  # fmt: skip
    return table


def differences_table(compared: list[Compared]) -> Table:
    """Return a table with each run's difference to the first, and its confidence interval."""
    sampled = compared[0].result.data.suits_sampling
    table = Table(
        "run minus run 1", "HR@10", "NDCG@10", *(["of 100: HR@10", "of 100: NDCG@10"] if sampled else []),
        caption=f"In brackets: {LEVEL:.0%} interval of {RESAMPLES:,} paired bootstrap resamples of shoppers.",
    )  # fmt: skip
    for run, each in enumerate(compared[1:], start=2):
        assert each.differences is not None
        cells = [
            interval(difference)
            for protocol in (("full", "sampled99") if sampled else ("full",))
            for difference in each.differences[protocol].values()
        ]
        table.add_row(str(run), *cells)
    return table


def interval(difference: Difference) -> str:
    """Return the difference and its interval as text."""
    return f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def reading(compared: list[Compared]) -> list[str]:
    """Return sentences that explain the tables: split, promises, warnings and differences."""
    numbered = list(enumerate(compared, start=1))
    lines = [compared[0].result.data.split_sentence]
    lines += [f"Run {run}, {each.path}: {each.result.promise.sentence()}" for run, each in numbered]
    lines += [f"Run {run}: {line}" for run, each in numbered for line in leak_warning(each.result)]
    lines += few_warning(compared[0].result)
    first, shoppers = compared[0], compared[0].result.data.tested
    for run, each in numbered[1:]:
        assert each.differences is not None
        theirs, ours = (one.result.metrics.full["hr@10"] for one in (each, first))
        lines.append(
            f"HR@10 over the whole catalogue of run {run} is {theirs:.3f} against run 1's {ours:.3f}, on the "
            f"same {counted(shoppers)}: {each.differences['full']['hr@10'].verdict}."
        )
    if any(each.result.promise.epsilon is not None for each in compared):
        lines.append("The intervals cover the choice of shoppers, not the noise that another run would draw.")
    return lines

"""The body of `terry bench`: read the requirements, measure, print and write the results."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from terrycloth.experiments.bench.contender import Watch
from terrycloth.experiments.bench.measure import measure
from terrycloth.experiments.bench.printing import bound, print_bench
from terrycloth.experiments.bench.report import RATIOS, Bench
from terrycloth.experiments.bench.sizes import Sizes
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.runs.run_folder import created
from terrycloth.models.errors import UserError

FILE = "bench.json"
NEEDED_BYTES = 2**20


def read_requirements(texts: list[str]) -> dict[str, float]:
    """Parse requirements of the form NAME=NUMBER into required ratios by name.

    Raises UserError if a name is unknown or a value is not a number.
    """
    requirements = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in RATIOS:
            raise UserError(f"--require {text}: unknown ratio {name!r}: choose one of {', '.join(RATIOS)}")
        try:
            requirements[name] = float(value)
        except ValueError:
            raise UserError(f"--require {text}: the ratio is not a number: use {name}=NUMBER") from None
    return requirements


def unmet(bench: Bench, requirements: dict[str, float]) -> list[str]:
    """Return one line for each requirement that the measurement does not meet."""
    missed = []
    for name, required in requirements.items():
        value, ratio = bench.ratios[name], RATIOS[name]
        requirement = f"{name} must be {bound(ratio, required)}"
        if value is None:
            reason = bench.skipped.get(ratio.slow, bench.skipped.get(ratio.fast, "too few devices"))
            missed.append(f"{requirement} but was not measured: {reason}")
        elif not ratio.met(value, required):
            missed.append(f"{requirement} but is {value:.4g}×")
    return missed


def run(sizes: Sizes, folder: Path) -> Bench:
    """Measure, print the results, and write bench.json and a figure into a new folder.

    Raises UserError if the folder exists or cannot be written.
    """
    from terrycloth.experiments.bench.figure import draw_bench

    console = make_console()
    with created(folder, NEEDED_BYTES):
        with watching(console) as watch:
            bench = measure(sizes, watch)
        (folder / FILE).write_text(bench.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
        draw_bench(folder, bench)
    print_bench(console, bench)
    console.print(f"bench folder: {folder}", soft_wrap=True)
    return bench


@contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """Show the current step: on one changing line in a terminal, else as one line per step with its time."""
    if not console.is_terminal:
        started = time.monotonic()
        yield lambda what: console.print(f"{time.monotonic() - started:6.0f} s  {what}")
        return
    with console.status("starting") as status:
        yield lambda what: status.update(what)

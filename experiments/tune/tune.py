"""The whole of `terry tune`: check, search in parallel over the cores, confirm, write the best settings."""

from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from typing import Any

import tomli_w

from terrycloth.experiments.runs.files import RUN_AGAIN, write_whole
from terrycloth.experiments.runs.processes import processes
from terrycloth.experiments.runs.simulation import RunPlan
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import in_use
from terrycloth.experiments.tune.cost import cost_of, statement
from terrycloth.experiments.tune.folder import SearchFolder
from terrycloth.experiments.tune.progress import Silent
from terrycloth.experiments.tune.search import Found, Runner, Search
from terrycloth.experiments.tune.space import Space, space_of
from terrycloth.experiments.tune.trial import METRICS, Outcome, Run, measure, validation_plan
from terrycloth.models.errors import UserError

FIXED = {  # what every run of a search has, whatever is said
    "seed": "every run of a search has a seed of its own",
    "negative_sampling": "a search under the leaky protocol finds the leak",
    "evaluate": "the simulator measures a search",
    "engine": "runs of a search share the cores as they are",
}


def tune(
    folder: SearchFolder,
    said: RunConfig,
    *,
    metric: str,
    trials: int,
    seeds: int,
    runner: Runner,
    progress: Silent,
) -> list[str]:
    """Search, and write best.toml. Returns what is to be told. Raises UserError, at first before all else."""
    refuse(said, metric)
    plan: RunPlan = validation_plan(Run(0, 0, {}).config(said))
    if not len(plan.split.test.tested()):
        raise UserError("no shopper is left with a purchase to choose by: say another --split or --at")
    said = said.model_copy(update={"model": plan.config.model})  # of --model auto
    space = space_of(said, plan.config, times_known=plan.dataset.times_known)
    if not space:
        raise UserError("every setting is said, so there is nothing to search: leave some out")
    with folder.open(description(said, metric, seeds, space)), progress:
        search = Search(folder, space, plan.config, metric, seeds, watched(runner, progress))
        left = [(t, s) for t in range(trials) for s in search.seeds if (t, s) not in folder.outcomes]
        progress.started(len(space), trials, seeds, len(left), plan)
        search.trials(trials)
        progress.confirming()
        found = search.confirm()
        lines = told(found, metric, search, plan, cost_lines(folder, said, plan))
        write_whole(folder.best, best_toml(said, folder.settings[found.best], lines), RUN_AGAIN)
    return lines


def refuse(said: RunConfig, metric: str) -> None:
    """Raise UserError for what a search cannot use."""
    if metric not in METRICS:
        raise UserError(f"--metric {metric} is not known: say {', '.join(METRICS[:-1])} or {METRICS[-1]}")
    if said.model == "counter":
        raise UserError("--model counter learns nothing, so there is nothing to search: name another")
    for name, reason in FIXED.items():
        if getattr(said, name) != RunConfig.model_fields[name].default:
            raise UserError(f"{reason}: leave out {name}")


def description(said: RunConfig, metric: str, seeds: int, space: Space) -> dict[str, Any]:
    """What makes this search this one: search.toml."""
    ranges = {name: [d.low, d.high] for name, d in space.items()}  # type: ignore[attr-defined]
    settings = said.model_dump(mode="json", exclude_none=True)
    return {"metric": metric, "seeds": seeds, "begun_with": in_use(), "settings": settings, "space": ranges}


def cost_lines(folder: SearchFolder, said: RunConfig, plan: RunPlan) -> str:
    """The statement on all that the folder records."""
    runs = [Run(trial, seed, folder.settings[trial]) for trial, seed in folder.outcomes]
    cost = cost_of(said, runs, plan.config.devices, len(plan.dataset.catalogue))
    return statement(cost, said.data, plan.promise)


def told(found: Found, metric: str, search: Search, plan: RunPlan, cost: str) -> list[str]:
    """What came out, in plain sentences, the promise first."""
    lines = [plan.promise.label]
    if not found.means:
        lines.append("No run could be measured; trials.csv says why.")
    elif found.best == 0:
        lines.append(f"The defaults are the best that was found: {metric} {found.means[0]:.4f}.")
    else:
        sure = "" if found.gain > 2 * found.error else ", too little to be sure of"
        lines.append(
            f"Trial {found.best}: {metric} {found.means[found.best]:.4f}, {found.gain:+.4f} over the "
            f"defaults (standard error {found.error:.4f}{sure})."
        )
    lines.append(
        f"Measured by the simulator on the same split one step earlier, over {len(search.fresh)} seeds that "
        "chose among the last few trials alone; the test was not looked at."
    )
    if found.importance:
        parts = ", ".join(f"{name} {part:.0%}" for name, part in found.importance.items())
        lines.append(f"What mattered among the better trials: {parts}.")
    return [*lines, cost]


def best_toml(said: RunConfig, settings: dict[str, Any], lines: list[str]) -> str:
    """Settings for `terry simulate --config`, under what is to be known of them."""
    values = said.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | settings
    comments = "".join(f"# {line}\n" for line in lines)
    return comments + tomli_w.dumps({"data": said.data, "model": said.model, **values})


def watched(runner: Runner, progress: Silent) -> Runner:
    """The same, and `progress` hears of each run."""

    def run(runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
        for run, outcome in runner(runs):
            yield run, outcome
            progress.done(run, outcome)

    return run


@contextmanager
def runner_in_processes(folder: SearchFolder, said: RunConfig, jobs: int) -> Iterator[Runner]:
    """Runs in processes of their own."""
    with processes(jobs) as pool:

        def run(runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
            futures = {pool.submit(measure, said, run, folder.scratch(run)): run for run in runs}
            for future in as_completed(futures):
                yield futures[future], future.result()

        yield run

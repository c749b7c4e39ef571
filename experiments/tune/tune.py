"""The body of `terry tune`: check the settings, search in parallel, confirm, and write the best settings."""

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
from terrycloth.experiments.tune.search import Runner, Search, SearchResult
from terrycloth.experiments.tune.space import Space, space_of
from terrycloth.experiments.tune.trial import METRICS, Outcome, Run, measure, validation_plan
from terrycloth.models.errors import UserError

FIXED = {  # the settings that a search does not accept, with the reasons
    "seed": "every run of a search has its own seed",
    "negative_sampling": "a search with leaky negative sampling would only find the leak",
    "evaluate": "the simulator measures every run of a search",
    "engine": "the runs of a search already share the cores",
}


def tune(
    folder: SearchFolder,
    given: RunConfig,
    *,
    metric: str,
    trials: int,
    seeds: int,
    runner: Runner,
    progress: Silent,
) -> list[str]:
    """Search, write best.toml, and return the summary for the user, one line per element.

    given: the settings that the user gave, which are not searched. trials: how many settings to try. seeds:
    how many runs per trial. Raises UserError if the search cannot be made; most causes are found before the
    folder is created.
    """
    refuse(given, metric)
    plan: RunPlan = validation_plan(Run(0, 0, {}).config(given))
    if not len(plan.split.test.tested()):
        raise UserError("no shopper has a purchase left for validation: use another --split or --at")
    given = given.model_copy(update={"model": plan.config.model})  # resolves --model auto
    space = space_of(given, plan.config, times_known=plan.dataset.times_known)
    if not space:
        raise UserError("every setting is given, so there is nothing to search: remove some")
    with folder.open(description(given, metric, seeds, space)), progress:
        search = Search(folder, space, plan.config, metric, seeds, watched(runner, progress))
        left = [(t, s) for t in range(trials) for s in search.seeds if (t, s) not in folder.outcomes]
        progress.started(len(space), trials, seeds, len(left), plan)
        search.trials(trials)
        progress.confirming()
        result = search.confirm()
        lines = summary(result, metric, search, plan, cost_statement(folder, given, plan))
        write_whole(folder.best, best_toml(given, folder.settings[result.best], lines), RUN_AGAIN)
    return lines


def refuse(given: RunConfig, metric: str) -> None:
    """Raise UserError if the metric is unknown or the given settings do not allow a search."""
    if metric not in METRICS:
        raise UserError(f"--metric {metric} is not known: use {', '.join(METRICS[:-1])} or {METRICS[-1]}")
    if given.model == "counter":
        raise UserError("--model counter learns nothing, so there is nothing to search: use another model")
    for name, reason in FIXED.items():
        if getattr(given, name) != RunConfig.model_fields[name].default:
            raise UserError(f"{reason}: remove {name}")


def description(given: RunConfig, metric: str, seeds: int, space: Space) -> dict[str, Any]:
    """Return the contents of search.toml, which identify the search."""
    ranges = {name: [d.low, d.high] for name, d in space.items()}  # type: ignore[attr-defined]
    settings = given.model_dump(mode="json", exclude_none=True)
    return {"metric": metric, "seeds": seeds, "begun_with": in_use(), "settings": settings, "space": ranges}


def cost_statement(folder: SearchFolder, given: RunConfig, plan: RunPlan) -> str:
    """Return the statement of the privacy cost of all runs that the folder records."""
    runs = [Run(trial, seed, folder.settings[trial]) for trial, seed in folder.outcomes]
    cost = cost_of(given, runs, plan.config.devices, len(plan.dataset.catalogue))
    return statement(cost, given.data, plan.promise)


def summary(result: SearchResult, metric: str, search: Search, plan: RunPlan, cost: str) -> list[str]:
    """Return the result of the search in plain sentences, with the promise first and the cost last."""
    lines = [plan.promise.label]
    if not result.means:
        lines.append("No run could be measured; trials.csv gives the reasons.")
    elif result.best == 0:
        lines.append(f"No trial is better than the defaults: {metric} {result.means[0]:.4f}.")
    else:
        caveat = "" if result.gain > 2 * result.error else "; the gain may be due to chance"
        lines.append(
            f"Trial {result.best} is best: {metric} {result.means[result.best]:.4f}, {result.gain:+.4f} over "
            f"the defaults (standard error {result.error:.4f}{caveat})."
        )
    lines.append(
        f"The simulator measured this on the same split one step earlier, over {len(search.fresh)} fresh "
        "seeds, which served only to choose among the last few trials; the test was not used."
    )
    if result.importance:
        parts = ", ".join(f"{name} {part:.0%}" for name, part in result.importance.items())
        lines.append(f"Importance of the settings among the better trials: {parts}.")
    return [*lines, cost]


def best_toml(given: RunConfig, settings: dict[str, Any], lines: list[str]) -> str:
    """Return the settings for `terry simulate --config` as TOML, below the summary as comments."""
    values = given.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | settings
    comments = "".join(f"# {line}\n" for line in lines)
    return comments + tomli_w.dumps({"data": given.data, "model": given.model, **values})


def watched(runner: Runner, progress: Silent) -> Runner:
    """Return a runner that also reports each run to `progress`."""

    def run(runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
        for run, outcome in runner(runs):
            yield run, outcome
            progress.done(run, outcome)

    return run


@contextmanager
def runner_in_processes(folder: SearchFolder, given: RunConfig, jobs: int) -> Iterator[Runner]:
    """Yield a runner that makes each run in a pool of `jobs` processes."""
    with processes(jobs) as pool:

        def run(runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
            futures = {pool.submit(measure, given, run, folder.scratch(run)): run for run in runs}
            for future in as_completed(futures):
                yield futures[future], future.result()

        yield run

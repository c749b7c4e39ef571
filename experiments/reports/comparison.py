"""Compare finished runs, paired by shopper: every run ranks the same held-out items again.

A shopper's ranks are private, so a run folder does not hold them. They are computed again from the model and
the data, and must give the metrics that the run reported.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from terrycloth.experiments.baselines.central import model_scorer
from terrycloth.experiments.datasets import data_options, load
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.bootstrap import LEVEL, RESAMPLES, Difference, paired_bootstrap
from terrycloth.experiments.evaluation.evaluate import by_history, rank_targets
from terrycloth.experiments.evaluation.metric_table import METRICS, SAMPLED_METRICS, measured
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import Split, make_split
from terrycloth.experiments.runs.own_tables import add_own
from terrycloth.experiments.runs.result import Accuracy, Metrics, Result
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import no_nan, rule_of
from terrycloth.experiments.runs.trained import Trained, load_trained
from terrycloth.experiments.settings.config import DATA_SETTINGS
from terrycloth.experiments.settings.planning import ResolvedConfig
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError

SAME = 1e-3  # allowed difference between metrics: threads sum in another order, which may swap two scores

Differences = dict[str, dict[str, Difference]]  # by ranking (full, sampled99) and metric


@dataclass(frozen=True)
class Compared:
    """One run. differences: to the first run; None for the first run itself."""

    path: Path
    result: Result
    differences: Differences | None


def compare_runs(paths: list[Path]) -> list[Compared]:
    """Compare each run with the first one. Raises UserError if runs cannot be paired."""
    if len(paths) < 2:
        raise UserError("one run cannot be compared: name two run folders or more")
    folders = [RunFolder(path) for path in paths]
    runs = [load_trained(folder) for folder in folders]
    results = [folder.read_result() for folder in folders]
    for path, run in zip(paths[1:], runs[1:], strict=True):
        refuse_other_data(paths[0], runs[0], path, run)
    dataset = reload_data(paths[0], runs[0])
    config = runs[0].config
    split = make_split(dataset, rule_of(config, dataset), config.data_seed, config.evaluate_sample)
    if not len(split.test.tested(config.evaluate_sample)):
        raise UserError(f"{paths[0]}: its split leaves no shopper to test, so there is nothing to compare")
    ranks = [
        recompute_ranks(path, run, result, split)
        for path, run, result in zip(paths, runs, results, strict=True)
    ]
    others = [differences(ranks[0], other) for other in ranks[1:]]
    return [Compared(*each) for each in zip(paths, results, [None, *others], strict=True)]


def refuse_other_data(first: Path, one: Trained, path: Path, other: Trained) -> None:
    """Raise UserError, naming what differs, unless both runs tested the same shoppers and items."""
    for name in DATA_SETTINGS:
        expected, actual = (setting(run.config, name) for run in (one, other))
        if expected != actual and name != "strict":
            raise UserError(f"{path} used other data than {first}: {name} is {actual} instead of {expected}")
    if not same_items(one.catalogue, other.catalogue):
        raise UserError(f"{path} used other data than {first}: the catalogue differs")


def setting(config: ResolvedConfig, name: str) -> Any:
    """Return the value of a setting; a path is resolved."""
    value = getattr(config, name)
    return value.resolve() if isinstance(value, Path) else value


def same_items(one: Catalogue, other: Catalogue) -> bool:
    """Whether two catalogues have the same items and attributes, in the same order."""
    return list(one.table) == list(other.table) and all(
        list(one.table[name]) == list(other.table[name]) for name in one.table
    )


def reload_data(path: Path, run: Trained) -> Dataset:
    """Load the data of a run again. Raises UserError if that fails or the catalogue has changed."""
    try:
        add_own(run.config)
        dataset = load(run.config.data, data_options(run.config))
    except UserError as error:
        raise UserError(f"the data of {path} cannot be read again: {error}") from None
    if not same_items(dataset.catalogue, run.catalogue):
        raise UserError(
            f"the data of {path} have changed: their catalogue differs from the one in the run folder"
        )
    return dataset


def recompute_ranks(path: Path, run: Trained, result: Result, split: Split) -> Ranks:
    """Compute every tested shopper's ranks. Raises UserError if they contradict the reported metrics."""
    if result.metrics.measured_by != "simulator":
        raise UserError(
            f"{path} reports hits that its devices counted with noise, which cannot be paired: compare runs "
            "that the simulator measured"
        )
    scorer = by_history(model_scorer(run.model, run.config.serving), split.test)
    ranks = rank_targets(scorer, split, len(run.catalogue), sample=run.config.evaluate_sample)
    recomputed = Metrics.model_validate(no_nan(measured(ranks)))
    for name, (value, reported) in figures(recomputed, result.metrics).items():
        if value is None and reported is None:
            continue
        if value is None or reported is None or abs(value - reported) > SAME:
            raise UserError(
                f"{path} reports {name} = {reported}, but its model now gives {value}: the data, the folder "
                "or the libraries have changed, so run it again"
            )
    return ranks


def figures(recomputed: Accuracy, reported: Accuracy) -> dict[str, tuple[float | None, float | None]]:
    """Return every reported metric by its name, as a pair: its recomputed and its reported value."""
    pairs: dict[str, tuple[float | None, float | None]] = {}
    for ranking in ("full", "sampled99"):
        ours, theirs = getattr(recomputed, ranking), getattr(reported, ranking)
        pairs |= {f"{ranking} {name}": (ours.get(name), theirs[name]) for name in theirs}
    return pairs


def differences(first: Ranks, other: Ranks) -> Differences:
    """Return HR@10 and NDCG@10 of the other run minus those of the first, paired by shopper."""
    if not np.array_equal(first.devices, other.devices):
        raise AssertionError("the ranks belong to different shoppers")
    full = {name: METRICS[name].by_shopper for name in SAMPLED_METRICS}  # the metrics of both rankings
    return {
        ranking: {
            name: paired_bootstrap((by_shopper(other) - by_shopper(first)).numpy())
            for name, by_shopper in metrics.items()
        }
        for ranking, metrics in (("full", full), ("sampled99", SAMPLED_METRICS))
    }


def as_json(compared: list[Compared]) -> dict[str, Any]:
    """Return the comparison for JSON. It contains no value of a single shopper."""
    return {
        "schema": 2,
        "resamples": RESAMPLES,
        "level": LEVEL,
        "tested": compared[0].result.data.tested,
        "split": compared[0].result.data.split_sentence,
        "runs": [
            {
                "run": str(each.path),
                "model": each.result.model,
                "negative_sampling": each.result.negative_sampling,
                "promise": each.result.promise.model_dump(),
                "sentence": each.result.promise.sentence(),
                "metrics": {
                    protocol: getattr(each.result.metrics, protocol) for protocol in ("full", "sampled99")
                },
                "difference": each.differences
                and {
                    protocol: {name: vars(difference) for name, difference in by_metric.items()}
                    for protocol, by_metric in each.differences.items()
                },
                "bytes_up_per_device": each.result.cost.bytes_up_per_device,
                "seconds": each.result.cost.seconds_total,
            }
            for each in compared
        ],
    }

"""Finished runs side by side, paired by shopper: every run ranks the same held-out items again.

A run folder's results hold no shopper's rank, which is private, so the ranks are found anew from the model
and the data; what they come to must be what the run reported.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from terrycloth.experiments.baselines.central import model_scorer
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.bootstrap import LEVEL, RESAMPLES, Difference, paired_bootstrap
from terrycloth.experiments.evaluation.evaluate import by_history, rank_targets
from terrycloth.experiments.evaluation.metric_table import METRICS, SAMPLED_METRICS, measured
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import Split, make_split
from terrycloth.experiments.frontier.cell import DATA_SETTINGS
from terrycloth.experiments.runs.result import Accuracy, Metrics, Result
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import data_options, no_nan, rule_of
from terrycloth.experiments.runs.trained import Trained, load_trained
from terrycloth.experiments.settings.planning import ResolvedConfig
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError

SAME = 1e-3  # between figures found twice: threads add up in another order, which may swap two scores

Differences = dict[str, dict[str, Difference]]  # by protocol and metric


@dataclass(frozen=True)
class Compared:
    """One run. differences: to the first run; None of the first itself."""

    path: Path
    result: Result
    differences: Differences | None


def compare_runs(paths: list[Path]) -> list[Compared]:
    """All runs, each beside the first. Raises UserError where they cannot be paired."""
    if len(paths) < 2:
        raise UserError("one run has nothing beside it: name two run folders or more")
    folders = [RunFolder(path) for path in paths]
    runs = [load_trained(folder) for folder in folders]
    results = [folder.read_result() for folder in folders]
    for path, run in zip(paths[1:], runs[1:], strict=True):
        refuse_other_data(paths[0], runs[0], path, run)
    dataset = data_again(paths[0], runs[0])
    config = runs[0].config
    split = make_split(dataset, rule_of(config, dataset), config.data_seed, config.evaluate_sample)
    if not len(split.test.tested(config.evaluate_sample)):
        raise UserError(f"{paths[0]}: its split leaves nobody to be tested, so there is nothing to compare")
    ranks = [
        ranks_again(path, run, result, split) for path, run, result in zip(paths, runs, results, strict=True)
    ]
    others = [differences(ranks[0], other) for other in ranks[1:]]
    return [Compared(*each) for each in zip(paths, results, [None, *others], strict=True)]


def refuse_other_data(first: Path, one: Trained, path: Path, other: Trained) -> None:
    """Raise UserError, naming what differs, unless both runs tested the same shoppers on the same items."""
    for name in DATA_SETTINGS:
        here, there = (setting(run.config, name) for run in (one, other))
        if here != there and name != "strict":
            raise UserError(f"{path} is of other data than {first}: {name} is {there} there and {here} here")
    if not same_items(one.catalogue, other.catalogue):
        raise UserError(f"{path} is of other data than {first}: the catalogue differs")


def setting(config: ResolvedConfig, name: str) -> Any:
    """A setting, a path as where it leads."""
    value = getattr(config, name)
    return value.resolve() if isinstance(value, Path) else value


def same_items(one: Catalogue, other: Catalogue) -> bool:
    """Whether two catalogues have the same items and attributes, in the same order."""
    return list(one.table) == list(other.table) and all(
        list(one.table[name]) == list(other.table[name]) for name in one.table
    )


def data_again(path: Path, run: Trained) -> Dataset:
    """The data of a run. Raises UserError where they are gone, or have other items by now."""
    try:
        dataset = load(run.config.data, data_options(run.config))
    except UserError as error:
        raise UserError(f"the data of {path} cannot be read again: {error}") from None
    if not same_items(dataset.catalogue, run.catalogue):
        raise UserError(f"the data of {path} have changed: their catalogue is not the one in its folder")
    return dataset


def ranks_again(path: Path, run: Trained, result: Result, split: Split) -> Ranks:
    """Every tested shopper's ranks. Raises UserError where they do not come to what the run reported."""
    if result.metrics.measured_by != "simulator":
        raise UserError(
            f"{path} reports hits that its devices counted, with noise: there is nothing to pair; compare "
            "runs that the simulator measured"
        )
    scorer = by_history(model_scorer(run.model, run.config.serving), split.test)
    ranks = rank_targets(scorer, split, len(run.catalogue), sample=run.config.evaluate_sample)
    again = Metrics.model_validate(no_nan(measured(ranks)))
    for name, (found, told) in figures(again, result.metrics).items():
        if found is None and told is None:
            continue
        if found is None or told is None or abs(found - told) > SAME:
            raise UserError(
                f"{path} reports {name} = {told} and its model gives {found} on the data as they are now: "
                "the data, the folder or the libraries have changed, so run it again"
            )
    return ranks


def figures(found: Accuracy, told: Accuracy) -> dict[str, tuple[float | None, float | None]]:
    """Every figure that is told, by its name: found again, and told."""
    pairs: dict[str, tuple[float | None, float | None]] = {}
    for ranking in ("full", "sampled99"):
        ours, theirs = getattr(found, ranking), getattr(told, ranking)
        pairs |= {f"{ranking} {name}": (ours.get(name), theirs[name]) for name in theirs}
    return pairs


def differences(first: Ranks, other: Ranks) -> Differences:
    """HR@10 and NDCG@10 of the other less those of the first, shopper by shopper."""
    if not np.array_equal(first.devices, other.devices):
        raise AssertionError("ranks of other shoppers")
    full = {name: METRICS[name].by_shopper for name in SAMPLED_METRICS}  # those that both rankings have
    return {
        ranking: {
            name: paired_bootstrap((by_shopper(other) - by_shopper(first)).numpy())
            for name, by_shopper in metrics.items()
        }
        for ranking, metrics in (("full", full), ("sampled99", SAMPLED_METRICS))
    }


def as_json(compared: list[Compared]) -> dict[str, Any]:
    """The whole table, and no value of one shopper."""
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

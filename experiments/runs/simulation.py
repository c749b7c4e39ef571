"""Simulate one federation, from the data to a finished run folder."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from terrycloth.client.app import make_app
from terrycloth.client.events import Events
from terrycloth.client.serving import Serving
from terrycloth.client.training.compiled.compile import nothing_compiled
from terrycloth.client.training.trainers import uses_compiled_loops
from terrycloth.experiments.baselines import BASELINES, missing_libraries
from terrycloth.experiments.baselines.central import CENTRAL_STEPS, model_scorer, train_centrally
from terrycloth.experiments.baselines.private import private_baselines
from terrycloth.experiments.baselines.tuning import tuned_baselines
from terrycloth.experiments.datasets import data_options, load
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.engines import engine
from terrycloth.experiments.evaluation.bootstrap import paired_bootstrap
from terrycloth.experiments.evaluation.evaluate import (
    DeviceScorer,
    Metrics,
    Scorer,
    by_history,
    evaluate,
    evaluate_unseen,
    rank_targets,
)
from terrycloth.experiments.evaluation.metric_table import METRICS, SAMPLED_METRICS, measured
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import Rule, Split, make_split, rule_for, validation_split
from terrycloth.experiments.model_check.refuse import refuse_broken_model
from terrycloth.experiments.runs.device_folders import lay_out_devices
from terrycloth.experiments.runs.files import write_whole
from terrycloth.experiments.runs.fingerprint import fingerprint
from terrycloth.experiments.runs.operating_system import peak_memory
from terrycloth.experiments.runs.own_tables import add_own
from terrycloth.experiments.runs.provenance import commit, now
from terrycloth.experiments.runs.result import SCHEMA, Baselines, Cost, DataFacts, Machine, Result, Versions
from terrycloth.experiments.runs.result import Metrics as RunMetrics
from terrycloth.experiments.runs.run_folder import RunFolder, choose_path, continued, created
from terrycloth.experiments.runs.tracking import (
    Observer,
    measured_values,
    observing,
    promise_facts,
    require_libraries,
    result_values,
)
from terrycloth.experiments.settings.auto_model import PublicFacts, with_model
from terrycloth.experiments.settings.config import MEASURED_ONLY, RunConfig
from terrycloth.experiments.settings.planning import (
    ResolvedConfig,
    defaults,
    make_promise,
    refuse_wide_sums,
    resolve,
    run_config,
)
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.kinds import KINDS, Solver, kind_of
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.models.secure_aggregation.roster import ROSTER_FILE
from terrycloth.server.checkpoint import RoundRecord
from terrycloth.server.replies import NODE_FAILED
from terrycloth.server.strategy import STOPPED

DIVERGED = {"not finite", "norm above the bound"}  # what the server says of replies to a model that diverged


@dataclass(frozen=True)
class RunPlan:
    """A run that is ready to start. Everything that can be refused has been checked."""

    config: ResolvedConfig
    dataset: Dataset
    split: Split
    promise: Promise

    @cached_property
    def validation(self) -> Split:
        """The split on which baselines choose their settings: the same rule one step earlier."""
        return validation_split(self.split, len(self.dataset.catalogue))


class Reporter:
    """Receives the progress of a run. The command line draws it; this base class ignores it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing, because there is nothing to clean up."""

    def planned(self, plan: RunPlan) -> None:
        """Called once the data have been read and the noise has been computed."""

    def round_done(self, row: dict[str, Any]) -> None:
        """Called after each round. `row` is its line of rounds.csv."""

    def doing(self, what: str, steps: int | None = None) -> None:
        """Called when a stage before or after the rounds starts. steps: how many it has, if that is known."""

    def step(self) -> None:
        """Called after each step of a stage."""


def make_plan(config: RunConfig, reporter: Reporter | None = None) -> RunPlan:
    """Read the data, split them and compute the noise, without writing anything. Raises UserError."""
    reporter = reporter or Reporter()
    require_libraries(config.log)
    if config.baselines and (reason := missing_libraries()) is not None:
        raise UserError(reason)
    if config.repeats == "include" and config.evaluate == "released":
        raise UserError("devices count no repeats: remove --repeats include or --evaluate released")
    add_own(config)
    reporter.doing("reading the data")
    dataset = load(config.data, data_options(config))
    split = make_split(dataset, rule_of(config, dataset), config.data_seed, config.evaluate_sample)
    if config.now not in (None, split.now):
        raise UserError(f"the split sets the instant that ages are counted from, {split.now}: remove now")
    reporter.doing("finding the noise and the promise")
    return plan_for(config, dataset, split)


def rule_of(config: RunConfig, dataset: Dataset) -> Rule:
    """Return the rule that splits a run's data, by default the data set's usual rule. Raises UserError."""
    default_split = defaults(config.unit, config.model, config.data)["split"] if dataset.times_known else None
    return rule_for(dataset, config.split or default_split, config.at, repeats=config.repeats == "include")


def plan_for(config: RunConfig, dataset: Dataset, split: Split) -> RunPlan:
    """Return the plan of a run over data that have been read and split. Raises UserError."""
    split_settings = {"split": split.rule.name, "at": split.rule.date, "now": split.now}
    config = config.model_copy(update=split_settings)
    if config.model == "auto":
        config = with_model(config, PublicFacts.of(dataset.catalogue))
    if config.model not in (*KINDS, *MEASURED_ONLY):
        refuse_broken_model(config.model)
    resolved = resolve(config, dataset.events.num_devices, len(dataset.catalogue))
    if resolved.model not in MEASURED_ONLY:
        refuse_wide_sums(resolved, dataset.catalogue)
    promise = make_promise(resolved, catalogue_from_events=dataset.catalogue_from_events)
    return RunPlan(resolved, dataset, split, promise)


def simulate(config: RunConfig, out: Path | None, reporter: Reporter | None = None) -> RunFolder:
    """Run a federation and write its run folder.

    Raises UserError if the settings, the data or the folder cannot be used. A run that fails before its
    first round is done leaves no folder.
    """
    path = choose_path(out, config.data, config.model)
    reporter = reporter or Reporter()
    plan = make_plan(config, reporter)
    with created(path, needed_bytes(plan)) as folder, folder.locked():
        reporter.doing("laying out the devices")
        lay_out(plan, folder)
        run(plan, folder, reporter, resume=False)
    return folder


def lay_out(plan: RunPlan, folder: RunFolder) -> None:
    """Write what a run needs before its first round. A folder with a config.toml is complete."""
    if plan.config.model not in MEASURED_ONLY:
        lay_out_devices(plan, folder)
    plan.dataset.catalogue.save(folder.catalogue)
    plan.dataset.report.write_unknown_items(folder.path)
    write_whole(folder.fingerprint, fingerprint(plan.dataset) + "\n")
    folder.write_config(plan.config)


def resume(out: Path, reporter: Reporter | None = None) -> RunFolder:
    """Continue a run that was stopped, with the settings in its folder. A finished run is left unchanged.

    A model that is only measured keeps no checkpoint, so its rounds start again. Raises UserError if the
    folder holds no run that can continue, if another process continues it, or if its data have changed.
    """
    folder = RunFolder(out)
    config = folder.read_config()
    if config.model not in MEASURED_ONLY and not folder.devices.exists():
        raise UserError(f"{out} has no devices folder, so its devices cannot continue: start a new run")
    if folder.result.exists():
        return folder
    with continued(folder), folder.locked():
        reporter = reporter or Reporter()
        plan = make_plan(config, reporter)
        folder.check_data(fingerprint(plan.dataset))
        run(plan, folder, reporter, resume=True)
    return folder


def needed_bytes(plan: RunPlan) -> int:
    """Return a generous estimate of the size of the run folder, in bytes."""
    events = 16 * len(plan.split.train) + 8 * plan.dataset.events.num_devices
    dim, head = plan.config.dim, plan.config.head_size
    solver = kind_of(plan.config.model).solver
    state = 4 * (8 * dim + 32) * plan.dataset.events.num_devices
    items = len(plan.dataset.catalogue)
    numbers = head * (head + 1) if solver is Solver.STATISTICS else (items + 4096) * (dim + 1)
    return events + state + 4 * numbers * (4 + plan.config.nodes) + 2**22


def run(plan: RunPlan, folder: RunFolder, reporter: Reporter, *, resume: bool) -> None:
    """Do all of a run, and log it if its settings request that."""
    with observing(plan.config.log, folder.path) as observer:
        settings = plan.config.model_dump(mode="json", exclude_none=True)
        observer.started(settings, promise_facts(plan.promise))
        train_and_measure(plan, folder, reporter, observer, resume=resume)


def train_and_measure(
    plan: RunPlan, folder: RunFolder, reporter: Reporter, observer: Observer, *, resume: bool
) -> None:
    """Train all rounds, measure the baselines, and write the result and its figures."""
    started = time.monotonic()
    config = plan.config
    reporter.planned(plan)
    rounds = federate(plan, folder, reporter, resume=resume, observer=observer)
    assert rounds.record is not None
    reporter.doing("measuring")
    items = len(plan.dataset.catalogue)
    if rounds.measured is None:
        rounds.measure_latest()
    metrics = rounds.measured
    assert metrics is not None
    # If no device took part in the round that measures, the simulator's measurement replaces it.
    measured_by = "simulator" if rounds.record.evaluation is None else "released"
    baselines = compare(plan, reporter, rounds.ranked)
    result = Result(
        schema=SCHEMA,
        data=DataFacts(
            name=plan.dataset.name,
            devices=plan.dataset.events.num_devices,
            items=items,
            events=len(plan.split.train),
            tested=len(tested := plan.split.test.tested(config.evaluate_sample)),
            targets=int(plan.split.test.targets.counts[tested].sum()),
            split=plan.split.rule.name,
            at=plan.split.rule.date,
            repeats=plan.split.rule.repeats,
            split_sentence=plan.split.rule.sentence,
        ),
        model=config.model,
        model_reason=config.model_reason,
        engine=config.engine,
        negative_sampling=config.negative_sampling,
        promise=plan.promise,
        metrics=RunMetrics.model_validate(
            {
                **no_nan(metrics),
                "measured_by": measured_by,
                "hr_deviation": rounds.hr_deviation,
                "unseen": no_nan(rounds.measure_unseen()),
            }
        ),
        baselines=baselines,
        cost=Cost(
            seconds_total=time.monotonic() - started,
            seconds_training=sum(float(row["seconds"]) for row in rounds.rows),
            peak_memory_bytes=peak_memory(),
            bytes_up_per_device=sum(int(row["bytes_up"]) for row in rounds.rows),
            bytes_up_per_device_round=rounds.mean("bytes_up"),
            bytes_down_per_device_round=rounds.mean("bytes_down"),
        ),
        versions=Versions.installed(),
        date=now(),
        commit=commit(),
        machine=Machine.here(),
    )
    reporter.doing("drawing")
    from terrycloth.experiments.reports.figures import draw_run

    draw_run(folder, rounds.rows, result)
    observer.finished(config.rounds, result_values(result))  # before the result, which ends the run
    folder.write_result(result)


def federate(
    plan: RunPlan, folder: RunFolder, reporter: Reporter, *, resume: bool, observer: Observer | None = None
) -> "RoundLog":
    """Train all rounds over the devices in the folder. Raises UserError if no device took part."""
    config = plan.config
    rounds = RoundLog(plan, folder, reporter, resume, observer or Observer())
    if config.model in MEASURED_ONLY:
        from terrycloth.experiments.baselines.personalised.training import train_personalised

        train_personalised(config, plan.split, len(plan.dataset.catalogue), rounds.add)
    else:
        kind = kind_of(config.model)
        if uses_compiled_loops(kind, config.unit, config.trainer == "fast") and nothing_compiled():
            reporter.doing("compiling the training loops, once per machine: up to a minute")
        train_on_flower(plan, folder, rounds, resume)
    if len(rounds.rows) < config.last_round or rounds.record is None:
        raise RuntimeError(f"the engine stopped after {len(rounds.rows)} of {config.rounds} rounds")
    reasons = {**rounds.record.refused, **rounds.record.invalid}
    none_answered = all(int(row["answered"]) == 0 for row in rounds.rows)
    if none_answered or (rounds.record.answered == 0 and reasons and STOPPED not in reasons):
        if DIVERGED & reasons.keys():
            raise UserError(diverged(config.last_round))
        counts = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.items())
        raise UserError(f"no device took part in the last round: {counts or 'none was sampled'}")
    return rounds


def diverged(round: int) -> str:
    """Return the error for a model whose parameters have grown out of bounds."""
    return (
        f"the model diverged: by round {round} its parameters have grown beyond all bounds; lower "
        "server_learning_rate or learning_rate (--set key=value) and start a new run"
    )


def train_on_flower(plan: RunPlan, folder: RunFolder, rounds: "RoundLog", resume: bool) -> None:
    """Train all rounds on Flower, or the remaining ones after a resume."""
    config = plan.config
    settings = run_config(
        config,
        plan.promise,
        catalogue=folder.catalogue.resolve(),
        folder=folder.path.resolve(),
        resume=resume,
        roster=roster.resolve() if (roster := folder.devices / ROSTER_FILE).exists() else None,
    )
    app = make_app(folder.devices.resolve(), trainer=config.trainer, torch_device=config.torch_device)
    engine(config.engine)(app, settings, config.nodes, rounds.observe)


class RoundLog:
    """Collects the rounds of a run: the server's record of each, and the simulator's measurement.

    It writes rounds.csv after every round.
    """

    def __init__(
        self, plan: RunPlan, folder: RunFolder, reporter: Reporter, resume: bool, observer: Observer
    ) -> None:
        self.plan = plan
        self.observer = observer
        self.observed = 0  # lines of `rows` that the observer has
        self.folder = folder
        self.reporter = reporter
        self.rows: list[dict[str, Any]] = folder.read_rounds() if resume else []
        self.record: RoundRecord | None = None
        self.measured: Metrics | None = None  # of the latest round, if it was measured
        self.ranked: Ranks | None = None  # private: the ranks behind the simulator's measurement
        self.scorer: Scorer | None = None  # of the latest round, if its model needs only a shopper's history

    @property
    def hr_deviation(self) -> float | None:
        """The standard deviation of HR@10 due to noise in devices' counts; None if the simulator measured."""
        if self.record is None or self.record.evaluation is None:
            return None
        settings = self.plan.config.settings
        measuring = settings.at(self.plan.config.last_round)
        return measuring.noise_on_sum / max(self.record.evaluation["tested"], 1.0)

    @cached_property
    def model(self) -> Recommender:
        """The model that the shared parameters belong to."""
        return self.plan.config.recommender(self.plan.dataset.catalogue)

    def measure(self, score: DeviceScorer) -> Metrics:
        """Measure the accuracy of scores over the shoppers in the test."""
        items, sample = len(self.plan.dataset.catalogue), self.plan.config.evaluate_sample
        try:
            self.ranked = rank_targets(score, self.plan.split, items, sample=sample)
        except ValueError:  # a score is NaN
            raise UserError(diverged(len(self.rows) + 1)) from None
        return measured(self.ranked)

    def measure_latest(self) -> None:
        """Measure the latest round, if that was not done when the round ended."""
        self.measured = self.measure(self.score)

    def measure_unseen(self) -> Metrics:
        """Measure the latest round on shoppers first seen after the date; empty if that is not possible."""
        if self.scorer is None:
            return {}
        return evaluate_unseen(self.scorer, self.plan.split, len(self.plan.dataset.catalogue))

    def mean(self, column: str) -> int:
        """Return the mean of a column over the training rounds, rounded up."""
        return math.ceil(
            sum(int(row[column]) for row in self.rows[: self.plan.config.rounds]) / self.plan.config.rounds
        )

    def observe(self, record: RoundRecord, parameters: Parameters) -> None:
        """Record a round. The server calls this after each round. Raises UserError if the model diverged."""

        def scorer(events: Events) -> Tensor:
            self.model.load_shared(parameters)
            return model_scorer(self.model, self.plan.config.serving)(events)

        if not all(bool(parameter.isfinite().all()) for parameter in parameters.values()):
            raise UserError(diverged(record.round))
        self.scorer = scorer
        self.add(record, by_history(scorer, self.plan.split.test))

    def add(self, record: RoundRecord, score: DeviceScorer) -> None:
        """Measure a round if it is due, and write its line. score: scores by the model after the round.

        Raises RuntimeError if every node failed, and UserError if rounds.csv is damaged.
        """
        self.record, self.score = record, score
        if record.invalid.get(NODE_FAILED, 0) == self.plan.config.nodes:
            raise RuntimeError(f"every node failed in round {record.round}; see the log")
        row = self.row(record)
        every = self.plan.config.evaluate_every if self.plan.config.evaluate == "simulator" else 0
        self.ranked = None
        self.measured = None if record.evaluation is None else counted_metrics(record.evaluation)
        if self.measured is not None:
            row |= {name: value for name, value in flat(self.measured).items() if value == value}
        elif every and (record.round % every == 0 or record.round == self.plan.config.rounds):
            self.measured = self.measure(score)
            row |= flat(self.measured)
        if record.round > len(self.rows) + 1:
            raise self.folder.damaged_rounds()
        self.rows[record.round - 1 :] = [row]
        self.folder.write_rounds(self.rows)
        self.reporter.round_done(row)
        # After a resume, the observer first gets the rounds before the stop.
        for each in self.rows[self.observed :]:
            if values := measured_values(each):
                self.observer.measured(int(each["round"]), values)
        self.observed = len(self.rows)

    @staticmethod
    def row(record: RoundRecord) -> dict[str, Any]:
        """Return the server's part of a line of rounds.csv. Reasons are reason:count, separated by spaces."""
        row: dict[str, Any] = {
            name: getattr(record, name)
            for name in ("round", "asked", "answered", "bytes_up", "bytes_down", "epsilon")
        }
        row["seconds"] = round(record.seconds, 4)
        for name in ("refused", "invalid"):
            counts: dict[str, int] = getattr(record, name)
            row[name] = " ".join(f"{reason.replace(' ', '-')}:{count}" for reason, count in counts.items())
        return row


def flat(metrics: Metrics) -> dict[str, float]:
    """Return the columns of rounds.csv that measure accuracy."""
    return {
        "hr@10": metrics["full"]["hr@10"],
        "ndcg@10": metrics["full"]["ndcg@10"],
        "sampled_hr@10": metrics["sampled99"]["hr@10"],
        "sampled_ndcg@10": metrics["sampled99"]["ndcg@10"],
    }


def counted_metrics(evaluation: dict[str, float]) -> Metrics:
    """Compute HR@10 and NDCG@10 from the devices' noised counts. All other metrics are NaN."""
    tested = max(evaluation["tested"], 1.0)
    shares = {name: min(max(evaluation[name] / tested, 0.0), 1.0) for name in ("hits", "gains")}
    error = math.sqrt(shares["hits"] * (1.0 - shares["hits"]) / tested)  # upper bound: values of 0 or 1
    known = {"hr@10": shares["hits"], "hr@10_error": error, "ndcg@10": shares["gains"]}
    return {
        "full": dict.fromkeys(METRICS, math.nan) | known,
        "sampled99": dict.fromkeys(SAMPLED_METRICS, math.nan),
    }


def compare(plan: RunPlan, reporter: Reporter, own: Ranks | None = None) -> Baselines:
    """Measure everything that a run is compared with.

    These are the floors, including those under the run's own promise; the same model trained centrally
    without privacy; the strong baselines, if requested; and the ceiling, if it is known.

    own: ranks of the run itself, to pair it with each shopper by shopper. It is None if devices counted with
    noise, since such counts cannot be paired.
    """

    config, catalogue, sample = plan.config, plan.dataset.catalogue, plan.config.evaluate_sample
    items = len(catalogue)
    results: dict[str, Any] = {}

    def beside(scorer: Scorer) -> dict[str, Any]:
        score = by_history(scorer, plan.split.test)
        return paired_with(own, rank_targets(score, plan.split, items, sample=sample))

    if plan.promise.epsilon is not None:
        reporter.doing("finding popularity under the same promise")
        for name, scorer, promise in private_baselines(
            config, plan.promise, plan.split, plan.validation, catalogue
        ):
            results[name] = {**beside(scorer), "promise": promise}
    if config.central:
        summed = kind_of(config.model).solver is Solver.STATISTICS
        reporter.doing("training the same model centrally", None if summed else CENTRAL_STEPS)
        results["central"] = beside(central_scorer(plan, reporter.step))
    own_baselines = add_own(config)
    names = [
        name
        for name, row in BASELINES.items()
        if (config.floors if row.floor or name in own_baselines else config.baselines)
        and (plan.split.rule.repeats or not row.needs_repeats)
    ]
    reasons: list[str] = []
    if names:
        trials = sum(len(BASELINES[name].trials) for name in names)
        reporter.doing("tuning " + ", ".join(BASELINES[name].label for name in names), trials)
        tuned, reasons = tuned_baselines(
            plan.split, plan.validation, catalogue, names, sample=sample, step=reporter.step
        )
        results |= {
            name: {**paired_with(own, ranks), "settings": settings}
            for name, (ranks, settings) in tuned.items()
        }
    ceiling: Metrics = {}
    if has_ceiling(plan):
        assert plan.dataset.ceiling is not None
        reporter.doing("finding the ceiling")
        for name, score in plan.dataset.ceiling(plan.split.train).items():
            ranks = rank_targets(score, plan.split, items, sample=sample)
            ceiling[name] = measured(ranks)["full"] | paired_difference(own, ranks)
    return Baselines.model_validate(
        {name: no_nan(metrics) for name, metrics in results.items()}
        | {"left_out": reasons, "ceiling": no_nan(ceiling)}
    )


def has_ceiling(plan: RunPlan) -> bool:
    """Whether a run is compared with the best possible accuracy.

    It is known only for synthetic data, and only for items that a shopper has not bought before.
    """
    return plan.config.ceiling and plan.dataset.ceiling is not None and not plan.split.rule.repeats


def paired_with(own: Ranks | None, other: Ranks) -> dict[str, Any]:
    """Return what a baseline's ranks measure, and how the run differs from it."""
    return {**measured(other), "paired": paired_difference(own, other)}


def paired_difference(own: Ranks | None, other: Ranks) -> dict[str, float]:
    """Return the run's HR@10 minus the other's over the same shoppers, with its 95% bootstrap interval."""
    if own is None or not len(own.devices):
        return {}
    hits = METRICS["hr@10"].by_shopper
    result = paired_bootstrap((hits(own) - hits(other)).numpy())
    return {"difference": result.mean, "difference_low": result.low, "difference_high": result.high}


def central_scorer(plan: RunPlan, step: Callable[[], None] | None = None) -> Scorer:
    """Train the run's model on all events in one place, and return its scorer.

    Settings are those of a run without a promise, because noise requires different ones. Half-lives are the
    run's own. step: called after each step of training.
    """
    config = plan.config
    no_promise = config.unit == "none"
    objective = config.model_dump() if no_promise else defaults("none", config.model, config.data)
    serving = Serving(
        catalogue_weight=objective["catalogue_weight"],
        negative_weight=objective["negative_weight"],
        regularisation=objective["regularisation"],
        recency_half_life=config.recency_half_life or None,
    )
    model = build_model(
        config.model,
        plan.dataset.catalogue,
        dim=objective["dim"],
        own_rows=config.own_rows,
        item_bias=config.item_bias,
        regularisation=objective["regularisation"],
        attribute_weights=(config.attribute_weight, config.noised_attribute_weight),
        popularity_discount=objective["popularity_discount"],
        title_words=config.title_words,
    )
    train_centrally(
        model,
        plan.split.train,
        serving,
        weight_decay=objective["server_weight_decay"],
        kernel_half_life=config.kernel_half_life,
        now=config.now,
        popularity_half_life=config.popularity_half_life,
        popularity_norm=config.popularity_norm,
        step=step,
    )
    return model_scorer(model, serving)


def compare_flower(plan: RunPlan) -> Baselines:
    """Train the run's model with Flower's own strategy under the run's promise. Raises UserError."""
    from terrycloth.experiments.baselines.flower_dp import train_by_flower

    items, sample = len(plan.dataset.catalogue), plan.config.evaluate_sample
    model, promise = train_by_flower(plan.config, plan.promise, plan.dataset.catalogue, plan.split.train)
    scorer = model_scorer(model, plan.config.serving)
    metrics = no_nan(evaluate(scorer, plan.split, items, sample=sample))
    return Baselines.model_validate({"flower": {**metrics, "promise": promise}})


def no_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN, which means that no shopper could be tested, by None, because JSON has no NaN."""
    return {
        name: no_nan(value) if isinstance(value, Mapping) else None if value != value else value
        for name, value in values.items()
    }

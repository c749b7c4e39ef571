"""One simulated federation, from data to a finished run folder."""

import math
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from terrycloth.client.app import make_app
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.events import Events
from terrycloth.client.policy import Policy
from terrycloth.client.secure.secure_round import ROSTER_FILE, lay_out_identities
from terrycloth.client.serving import Serving
from terrycloth.experiments.baselines import BASELINES, missing_libraries
from terrycloth.experiments.baselines.central import model_scorer, train_centrally
from terrycloth.experiments.baselines.private import private_baselines
from terrycloth.experiments.baselines.tuning import tuned_baselines
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
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
from terrycloth.experiments.evaluation.split import Rule, Split, make_split, rule_for
from terrycloth.experiments.runs.engines import engine
from terrycloth.experiments.runs.result import SCHEMA, Baselines, Cost, DataFacts, Result, Versions
from terrycloth.experiments.runs.result import Metrics as RunMetrics
from terrycloth.experiments.runs.run_folder import RunFolder, choose_path, continued, created
from terrycloth.experiments.settings.auto_model import PublicFacts, with_model
from terrycloth.experiments.settings.config import MEASURED_ONLY, RunConfig
from terrycloth.experiments.settings.planning import (
    ResolvedConfig,
    asked_settings,
    defaults,
    make_promise,
    refuse_wide_sums,
    resolve,
    run_config,
)
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.server.checkpoint import RoundRecord
from terrycloth.server.secure.secure_exchange import NODE_FAILED
from terrycloth.server.strategy import STOPPED


@dataclass(frozen=True)
class RunPlan:
    """A run about to start: everything that can be refused has been checked."""

    config: ResolvedConfig
    dataset: Dataset
    split: Split
    promise: Promise


class Reporter:
    """What a run tells of itself as it goes; the command line draws it, and this one is silent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to clean up."""

    def planned(self, plan: RunPlan) -> None:
        """The data are read and the noise is found."""

    def round_done(self, row: dict[str, Any]) -> None:
        """A round is done; `row` is its line of rounds.csv."""

    def doing(self, what: str) -> None:
        """A stage after the rounds starts."""


def data_options(config: RunConfig) -> DataOptions:
    """The part of a configuration that reads data."""
    return DataOptions(**{name: getattr(config, name) for name in DataOptions.__dataclass_fields__})


def make_plan(config: RunConfig) -> RunPlan:
    """Read the data, split them, find the noise. Raises UserError; writes nothing."""
    if config.baselines and (reason := missing_libraries()) is not None:
        raise UserError(reason)
    if config.repeats == "include" and config.evaluate == "released":
        raise UserError("devices count no repeats: leave out --repeats include, or --evaluate released")
    dataset = load(config.data, data_options(config))
    split = make_split(dataset, rule_of(config, dataset), config.data_seed, config.evaluate_sample)
    if config.now not in (None, split.now):
        raise UserError(f"the split says from which instant ages are counted, {split.now}: leave now out")
    return plan_for(config, dataset, split)


def rule_of(config: RunConfig, dataset: Dataset) -> Rule:
    """How a run parts its data: as is said, or as suits the data set. Raises UserError."""
    usual = defaults(config.unit, config.model, config.data)["split"] if dataset.times_known else None
    return rule_for(dataset, config.split or usual, config.at, repeats=config.repeats == "include")


def plan_for(config: RunConfig, dataset: Dataset, split: Split) -> RunPlan:
    """The plan of a run over data that are read and split. Raises UserError."""
    parted = {"split": split.rule.name, "at": split.rule.date, "now": split.now}
    config = config.model_copy(update=parted)
    if config.model == "auto":
        config = with_model(config, PublicFacts.of(dataset.catalogue))
    resolved = resolve(config, dataset.events.num_devices, len(dataset.catalogue))
    if resolved.model not in MEASURED_ONLY:
        refuse_wide_sums(resolved, dataset.catalogue)
    promise = make_promise(resolved, catalogue_from_events=dataset.catalogue_from_events)
    return RunPlan(resolved, dataset, split, promise)


def simulate(config: RunConfig, out: Path | None, reporter: Reporter | None = None) -> RunFolder:
    """Run a federation and write its folder. Raises UserError; a bad start leaves nothing half-written."""
    path = choose_path(out, config.data, config.model)
    plan = make_plan(config)
    with created(path, needed_bytes(plan)) as folder:
        lay_out(plan, folder)
        run(plan, folder, reporter or Reporter(), resume=False)
    return folder


def lay_out(plan: RunPlan, folder: RunFolder) -> None:
    """What is there before the first round: the settings, the devices, the catalogue."""
    folder.write_config(plan.config)
    if plan.config.model not in MEASURED_ONLY:
        lay_out_devices(plan, folder)
    plan.dataset.catalogue.save(folder.catalogue)


def lay_out_devices(plan: RunPlan, folder: RunFolder) -> None:
    """The devices' own disks."""
    DeviceGroup.create(
        folder.devices,
        plan.dataset.catalogue,
        plan.split.train,
        Policy.allowing(
            asked_settings(plan.config, plan.promise), plan.dataset.catalogue, plan.config.most_events
        ),
        seed=plan.config.seed,
        targets=plan.split.test.targets,
    )
    if plan.config.trust_model.secure_aggregation and plan.config.secure_aggregation:
        lay_out_identities(folder.devices, plan.config.nodes)


def resume(out: Path, reporter: Reporter | None = None) -> RunFolder:
    """Go on with a run that was stopped, with the settings in its folder; a finished one is left as it is.

    A model that is only measured keeps no checkpoint: its rounds start anew.
    """
    folder = RunFolder(out)
    config = folder.read_config()
    if config.model not in MEASURED_ONLY and not folder.devices.exists():
        raise UserError(f"{out} has no devices folder, so its devices cannot go on: start a new run")
    plan = make_plan(config)
    if not folder.result.exists():
        with continued(folder):
            run(plan, folder, reporter or Reporter(), resume=True)
    return folder


def needed_bytes(plan: RunPlan) -> int:
    """A generous estimate of a run folder's size."""
    events = 16 * len(plan.split.train) + 8 * plan.dataset.events.num_devices
    dim, head = plan.config.dim, plan.config.head_size
    state = 4 * (8 * dim + 32) * plan.dataset.events.num_devices
    items = len(plan.dataset.catalogue)
    numbers = head * (head + 1) if plan.config.model == "linear" else (items + 4096) * (dim + 1)
    return events + state + 4 * numbers * (4 + plan.config.nodes) + 2**22


def run(plan: RunPlan, folder: RunFolder, reporter: Reporter, *, resume: bool) -> None:
    """The rounds, the comparisons, the result."""
    started = time.monotonic()
    config = plan.config
    reporter.planned(plan)
    rounds = federate(plan, folder, reporter, resume=resume)
    assert rounds.record is not None
    reporter.doing("measuring")
    items = len(plan.dataset.catalogue)
    if rounds.measured is None:
        rounds.measure_latest()
    metrics = rounds.measured
    assert metrics is not None
    # Where no device came to the round that measures, the simulator's own measurement stands in.
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
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            bytes_up_per_device=sum(int(row["bytes_up"]) for row in rounds.rows),
            bytes_up_per_device_round=rounds.mean("bytes_up"),
            bytes_down_per_device_round=rounds.mean("bytes_down"),
        ),
        versions=Versions.installed(),
    )
    reporter.doing("drawing")
    from terrycloth.experiments.reports.figures import draw_run

    draw_run(folder, rounds.rows, result)
    folder.write_result(result)


def federate(plan: RunPlan, folder: RunFolder, reporter: Reporter, *, resume: bool) -> "RoundLog":
    """All rounds over the devices in the folder. Raises UserError where none took part."""
    config = plan.config
    rounds = RoundLog(plan, folder, reporter, resume)
    if config.model in MEASURED_ONLY:
        from terrycloth.experiments.baselines.personalised.training import train_personalised

        train_personalised(config, plan.split, len(plan.dataset.catalogue), rounds.add)
    else:
        train_on_flower(plan, folder, rounds, resume)
    if len(rounds.rows) < config.last_round or rounds.record is None:
        raise RuntimeError(f"the engine stopped after {len(rounds.rows)} of {config.rounds} rounds")
    reasons = {**rounds.record.refused, **rounds.record.invalid}
    never = all(int(row["answered"]) == 0 for row in rounds.rows)
    if never or (rounds.record.answered == 0 and reasons and STOPPED not in reasons):
        counts = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.items())
        raise UserError(f"no device took part in the last round: {counts or 'no coin fell for it'}")
    return rounds


def train_on_flower(plan: RunPlan, folder: RunFolder, rounds: "RoundLog", resume: bool) -> None:
    """All rounds on Flower, or those that are left."""
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
    """rounds.csv as it grows: the server's record of each round, the simulator's measurement beside it."""

    def __init__(self, plan: RunPlan, folder: RunFolder, reporter: Reporter, resume: bool) -> None:
        self.plan = plan
        self.folder = folder
        self.reporter = reporter
        self.rows: list[dict[str, Any]] = folder.read_rounds() if resume else []
        self.record: RoundRecord | None = None
        self.measured: Metrics | None = None  # of the latest round, where it was measured
        self.ranked: Ranks | None = None  # what the simulator measured it by: private
        self.scorer: Scorer | None = None  # of the latest round, where its model scores by a history alone

    @property
    def hr_deviation(self) -> float | None:
        """Of HR@10 by the noise in what devices counted; None where the simulator measured."""
        if self.record is None or self.record.evaluation is None:
            return None
        settings = self.plan.config.settings
        measuring = settings.at(self.plan.config.last_round)
        return measuring.noise_on_sum / max(self.record.evaluation["tested"], 1.0)

    @cached_property
    def model(self) -> Recommender:
        """What the shared parameters are of."""
        return self.plan.config.recommender(self.plan.dataset.catalogue)

    def measure(self, score: DeviceScorer) -> Metrics:
        """How accurate scores are."""
        items, sample = len(self.plan.dataset.catalogue), self.plan.config.evaluate_sample
        self.ranked = rank_targets(score, self.plan.split, items, sample=sample)
        return measured(self.ranked)

    def measure_latest(self) -> None:
        """Measure the latest round, which its own turn did not."""
        self.measured = self.measure(self.score)

    def measure_unseen(self) -> Metrics:
        """Of the latest round's scores, for shoppers first seen after the date, where there are any."""
        if self.scorer is None:
            return {}
        return evaluate_unseen(self.scorer, self.plan.split, len(self.plan.dataset.catalogue))

    def mean(self, column: str) -> int:
        """Of the training rounds, rounded up."""
        return math.ceil(
            sum(int(row[column]) for row in self.rows[: self.plan.config.rounds]) / self.plan.config.rounds
        )

    def observe(self, record: RoundRecord, parameters: Parameters) -> None:
        """Called by the server after each round."""

        def scorer(events: Events) -> Tensor:
            self.model.load_shared(parameters)
            return model_scorer(self.model, self.plan.config.serving)(events)

        self.scorer = scorer
        self.add(record, by_history(scorer, self.plan.split.test))

    def add(self, record: RoundRecord, score: DeviceScorer) -> None:
        """Write a round's line. score: by what was learned in it."""
        self.record, self.score = record, score
        if record.invalid.get(NODE_FAILED, 0) == self.plan.config.nodes:
            raise RuntimeError(f"every node failed in round {record.round}; the log says where")
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

    @staticmethod
    def row(record: RoundRecord) -> dict[str, Any]:
        """The server's part of a line of rounds.csv; reasons as reason:count, separated by spaces."""
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
    """The columns of rounds.csv that measure accuracy."""
    return {
        "hr@10": metrics["full"]["hr@10"],
        "ndcg@10": metrics["full"]["ndcg@10"],
        "sampled_hr@10": metrics["sampled99"]["hr@10"],
        "sampled_ndcg@10": metrics["sampled99"]["ndcg@10"],
    }


def counted_metrics(evaluation: dict[str, float]) -> Metrics:
    """HR@10 and NDCG@10 from the devices' noised counts; the rest is not measured, NaN."""
    tested = max(evaluation["tested"], 1.0)
    shares = {name: min(max(evaluation[name] / tested, 0.0), 1.0) for name in ("hits", "gains")}
    error = math.sqrt(shares["hits"] * (1.0 - shares["hits"]) / tested)  # a share's is the most it can be
    known = {"hr@10": shares["hits"], "hr@10_error": error, "ndcg@10": shares["gains"]}
    return {
        "full": dict.fromkeys(METRICS, math.nan) | known,
        "sampled99": dict.fromkeys(SAMPLED_METRICS, math.nan),
    }


def compare(plan: RunPlan, reporter: Reporter, own: Ranks | None = None) -> Baselines:
    """The floors, also those under the run's promise; the same model trained centrally without privacy; the
    strong baselines where they are asked for; and the ceiling where one is known.

    own: of the run itself, which is paired with the ceiling shopper by shopper; what devices counted, with
    noise, is of no shopper that could be.
    """
    config, catalogue, sample = plan.config, plan.dataset.catalogue, plan.config.evaluate_sample
    items = len(catalogue)
    found: dict[str, Any] = {}
    if plan.promise.epsilon is not None:
        reporter.doing("finding popularity under the same promise")
        for name, scorer, promise in private_baselines(config, plan.promise, plan.split, catalogue):
            found[name] = {**evaluate(scorer, plan.split, items, sample=sample), "promise": promise}
    if config.central:
        reporter.doing("training the same model centrally")
        found["central"] = evaluate(central_scorer(plan), plan.split, items, sample=sample)
    names = [
        name
        for name, row in BASELINES.items()
        if (config.floors if row.floor else config.baselines)
        and (plan.split.rule.repeats or not row.needs_repeats)
    ]
    reasons: list[str] = []
    if names:
        reporter.doing("tuning " + ", ".join(BASELINES[name].label for name in names))
        tuned, reasons = tuned_baselines(plan.split, catalogue, names, sample=sample)
        found |= {name: {**metrics, "settings": settings} for name, (metrics, settings) in tuned.items()}
    ceiling: Metrics = {}
    if finds_ceiling(plan):
        assert plan.dataset.ceiling is not None
        reporter.doing("finding the ceiling")
        for name, score in plan.dataset.ceiling(plan.split.train).items():
            ranks = rank_targets(score, plan.split, items, sample=sample)
            ceiling[name] = measured(ranks)["full"] | beside(own, ranks)
    return Baselines.model_validate(
        {name: no_nan(measured) for name, measured in found.items()}
        | {"left_out": reasons, "ceiling": no_nan(ceiling)}
    )


def finds_ceiling(plan: RunPlan) -> bool:
    """Whether a run is held against what is reachable: known of new items, in data that were made up."""
    return plan.config.ceiling and plan.dataset.ceiling is not None and not plan.split.rule.repeats


def beside(own: Ranks | None, other: Ranks) -> dict[str, float]:
    """The run's HR@10 less the other's, over the same shoppers, and its 95% interval by the bootstrap."""
    if own is None or not len(own.devices):
        return {}
    hits = METRICS["hr@10"].by_shopper
    found = paired_bootstrap((hits(own) - hits(other)).numpy())
    return {"difference": found.mean, "difference_low": found.low, "difference_high": found.high}


def central_scorer(plan: RunPlan) -> Scorer:
    """The run's model, trained on all events in one place.

    It has the settings of a run without a promise, for noise asks for other ones; half-lives are the run's.
    """
    config = plan.config
    without = config.unit == "none"
    objective = config.model_dump() if without else defaults("none", config.model, config.data)
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
    )
    return model_scorer(model, serving)


def compare_flower(plan: RunPlan) -> Baselines:
    """The run's model by Flower's own strategy under the run's promise. Raises UserError."""
    from terrycloth.experiments.baselines.flower_dp import train_by_flower

    items, sample = len(plan.dataset.catalogue), plan.config.evaluate_sample
    model, promise = train_by_flower(plan.config, plan.promise, plan.dataset.catalogue, plan.split.train)
    scorer = model_scorer(model, plan.config.serving)
    measured = no_nan(evaluate(scorer, plan.split, items, sample=sample))
    return Baselines.model_validate({"flower": {**measured, "promise": promise}})


def no_nan(found: Mapping[str, Any]) -> dict[str, Any]:
    """NaN, where nobody could be tested, as None: JSON has no NaN."""
    return {
        name: no_nan(value) if isinstance(value, Mapping) else None if value != value else value
        for name, value in found.items()
    }

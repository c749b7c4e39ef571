"""Every setting of a run, documented once, in its field. Flags, TOML files and `--set` all end up here."""

import json
import math
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from terrycloth.experiments.settings.renamed import with_new_names
from terrycloth.experiments.settings.shop_systems import ShopSystem
from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.models import shared_settings as shared
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.trust import TRUST_MODELS, Trust, TrustModel, Unit
from terrycloth.models.recommenders.kinds import KINDS, offered
from terrycloth.models.shared_settings import T

FLAGS = {"torch_device": "--device"}  # flags whose names differ from their settings'
TRACKERS = ("mlflow", "tensorboard", "csv")  # what a run can be logged for
MEASURED_ONLY = ("pfedrec", "fedrap", "counter")  # models that only the simulator trains, not devices

# What decides which data train and which test, and how accuracy is measured.
DATA_SETTINGS = (
    "data", "path", "catalogue", "category", "shopper_column", "item_column", "time_column", "weight_column",
    "order_column", "title_column", "format", "unknown_items", "keep_guests", "strict", "visit", "devices",
    "data_seed", "split", "at", "repeats", "evaluate_sample", "own_baselines", "own_metrics",
)  # fmt: skip
# Settings without a flag of their own on `terry simulate`, which --set reaches.
WITHOUT_FLAG = frozenset(
    (
        "agreement", "attribute_weight", "catalogue_weight", "ceiling", "central", "clip_learning_rate",
        "clip_quantile", "data_seed", "epsilon_asked", "evaluate_every", "evaluate_sample",
        "evaluation_noise", "floors", "head_scale", "head_size", "item_bias", "kernel_half_life",
        "learning_rate", "model_reason", "most_events", "negative_weight", "negatives",
        "noised_attribute_weight", "now",
        "own_baselines", "own_metrics", "own_rows", "popularity_discount", "popularity_half_life",
        "popularity_norm", "popularity_share", "recency_half_life", "regularisation", "sampling_rate",
        "server_learning_rate", "server_momentum", "server_optimizer", "server_weight_decay",
        "steps_per_round", "title_words", "tolerated_dropout",
    )
)  # fmt: skip
SET_BY_THE_RUN = ("model_reason", "epsilon_asked")  # for the reader of config.toml
# The topic that begins with each of these settings, in the order of the fields below.
TOPICS = {
    "data": "Data", "split": "Test", "model": "Model", "unit": "Promise", "rounds": "Rounds", "engine": "Run",
}  # fmt: skip
# The settings that `planning.ResolvedConfig` has as well, but devices and the server lack.
Split = Annotated[
    T,
    Field(
        description="the test: date (purchases after --at), next-visit, basket (the rest of a visit), or "
        "last-item (as in published tables)"
    ),
]
HeadScale = Annotated[
    T,
    Field(
        gt=0, le=1e4, description="linear: scale of the default head size, which is this many items / √noise"
    ),
]
EvaluateEvery = Annotated[T, Field(ge=0, description="rounds between measurements; 0: only at the end")]


class RunConfig(BaseModel):
    """The settings of one simulated federation.

    `planning.resolve` fills each field that is None from defaults/, by unit, model and data set, so that the
    run folder's config.toml holds every value that was used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        "towels", description="data set: towels, complete-journey, online-retail, movielens, csv"
    )
    path: Path | None = Field(None, description="folder or file that holds the data")
    catalogue: shared.Catalogue[Path | None] = None
    category: str | None = Field(None, description="part of the catalogue to keep, for example textiles")
    shopper_column: str | None = Field(None, description="column of the orders with the shopper")
    item_column: str | None = Field(None, description="column of the orders with the item")
    time_column: str | None = Field(None, description="column of the orders with the time")
    weight_column: str | None = Field(None, description="column of the orders with the quantity")
    order_column: str | None = Field(
        None, description="column of the orders with the order id; each order is one visit"
    )
    title_column: str | None = Field(None, description="column of the catalogue with the title")
    format: ShopSystem = Field(
        "auto",
        description="shop system that exported the orders and the catalogue: shopify, woocommerce, shopware, "
        "magento, jtl, amazon, or auto: recognised by the columns",
    )
    unknown_items: Literal["error", "drop"] = Field(
        "error",
        description="what to do about items that the catalogue lacks: error, or drop: leave their rows out "
        "and list them in unknown-items.csv",
    )
    keep_guests: bool = Field(
        False, description="keep ids that stand for many people, such as 0 or guest, each as one shopper"
    )
    strict: bool = Field(False, description="stop at the first bad row instead of dropping bad rows")
    visit: Literal["instant", "day"] = Field(
        "instant",
        description="what counts as one visit if there are no order ids: one instant, or one day (UTC)",
    )
    devices: shared.Devices[int | None] = None  # None: one per shopper in the data
    data_seed: int = Field(0, ge=0, description="seed of the sample of shoppers and of the towel shop")

    split: Split[SplitName | None] = None
    at: str | float | None = Field(
        None, description="date at which the test begins, or the share of events before it; by default 0.8"
    )
    repeats: Literal["exclude", "include"] = Field(
        "exclude", description="whether items that a shopper bought before count as targets"
    )

    model: str = Field(
        "attributes",
        description="mf, attributes, neural-cf, linear (two rounds), or auto: chosen for the promise; "
        "simulator only: pfedrec, fedrap, counter (no model); or your own as package.module:Class",
    )
    model_reason: str | None = Field(None, description="why auto chose the model; set by the run")
    dim: shared.Dim[int | None] = None
    own_rows: shared.OwnRows[bool] = False
    item_bias: shared.ItemBias[bool] = True
    head_size: shared.HeadSize[int | None] = None  # None: computed from the noise
    head_scale: HeadScale[float | None] = None
    popularity_share: shared.PopularityShare[float | None] = None
    kernel_half_life: shared.KernelHalfLife[float | None] = None
    popularity_half_life: shared.PopularityHalfLife[float | None] = None
    popularity_norm: shared.PopularityNorm[float | None] = None
    attribute_weight: shared.AttributeWeight[float | None] = None
    noised_attribute_weight: shared.NoisedAttributeWeight[float | None] = None
    popularity_discount: shared.PopularityDiscount[float | None] = None
    most_events: shared.MostEvents[int | None] = None
    title_words: shared.TitleWords[bool | None] = None
    now: shared.Now[int | None] = None

    unit: shared.Unit[Unit] = "none"
    trust: shared.Trust[Trust] = "local"
    epsilon: shared.Epsilon[float | None] = None
    epsilon_asked: float | None = Field(
        None, description="ε that was asked for, from which noise_multiplier was found; set by the run"
    )
    delta: shared.Delta[float | None] = Field(None, gt=0)
    noise_multiplier: shared.NoiseMultiplier[float | None] = None
    clip: shared.Clip[float | None] = None

    clip_quantile: shared.ClipQuantile[float] = 0.0
    clip_learning_rate: shared.ClipLearningRate[float] = 0.2
    tolerated_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="distributed: share of the devices whose dropout is tolerated",
    )
    agreement: shared.Agreement[float] = 2 / 3
    secure_aggregation: shared.SecureAggregation[bool | None] = None  # None: with 3 nodes or more
    evaluate: Literal["simulator", "released"] = Field(
        "simulator",
        description="who measures the final accuracy: the simulator, or the devices in one more release",
    )
    evaluation_noise: shared.EvaluationNoise[float] = Field(5.0, gt=0)

    rounds: shared.Rounds[int | None] = None
    participation: shared.Participation[float] = 1.0
    sampling_rate: shared.SamplingRate[float | None] = None
    steps_per_round: shared.StepsPerRound[int | None] = None
    learning_rate: shared.LearningRate[float | None] = None
    negatives: shared.Negatives[int] = 4
    negative_weight: shared.NegativeWeight[float | None] = None
    catalogue_weight: shared.CatalogueWeight[float | None] = None
    regularisation: shared.Regularisation[float | None] = None
    recency_half_life: shared.RecencyHalfLife[float | None] = None
    server_optimizer: shared.ServerOptimizer[shared.OptimizerName | None] = None
    server_learning_rate: shared.ServerLearningRate[float | None] = None
    server_momentum: shared.ServerMomentum[float | None] = None
    server_weight_decay: shared.ServerWeightDecay[float | None] = None

    engine: Literal["in-process", "ray", "federation"] = Field(
        "in-process",
        description="engine of the simulation: in-process or ray; terry federation sets federation",
    )
    trainer: Literal["fast", "reference"] = Field(
        "fast",
        description="fast: all devices of a node at once; reference: one by one, with Opacus (slow)",
    )
    torch_device: Literal["cpu", "cuda"] = Field(
        "cpu", description="processor that trains neural-cf: cpu, or cuda for a GPU"
    )
    nodes: shared.Nodes[int] = 1
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="seed that makes the run repeatable, and voids its promise against all who know it",
    )
    negative_sampling: Literal["clean", "leaky"] = Field(
        "clean",
        description="clean, or leaky: with --unit none, never draw held-out items as negatives, to measure "
        "this fault of published code",
    )
    evaluate_every: EvaluateEvery[int | None] = None
    evaluate_sample: int = Field(20_000, ge=0, description="tested shoppers at most; 0: all")
    central: bool = Field(True, description="also train the same model centrally, for comparison")
    floors: bool = Field(True, description="also measure floors such as popularity, for comparison")
    baselines: bool = Field(
        False, description="also tune and fit strong baselines such as EASE and iALS, for comparison"
    )
    own_baselines: tuple[str, ...] = Field(
        (), description="baselines of your own to compare with, as package.module:ROW"
    )
    own_metrics: tuple[str, ...] = Field(
        (), description="metrics of your own to measure, as package.module:METRIC"
    )
    ceiling: bool = Field(True, description="also measure the best possible accuracy, if the data allow it")
    log: str | None = Field(
        None,
        description="also log the run, in its folder, for mlflow, tensorboard or as csv; comma-separated",
    )

    @field_validator("own_baselines", "own_metrics", mode="before")
    @classmethod
    def _one_is_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _model_exists(cls, model: str) -> str:
        known = ("auto", *KINDS, *MEASURED_ONLY, *offered())
        if ":" not in model and model not in known:
            raise ValueError(
                f"there is no such model: use one of {', '.join(known)}, or package.module:Class"
            )
        return model

    @field_validator("log")
    @classmethod
    def _trackers_exist(cls, log: str | None) -> str | None:
        names = [] if log is None else [name.strip() for name in log.split(",")]
        if unknown := set(names) - set(TRACKERS):
            raise ValueError(f"there is no {min(unknown)!r}: use {', '.join(TRACKERS)}, or several of them")
        return ",".join(dict.fromkeys(names)) or None

    @property
    def trust_model(self) -> TrustModel:
        """The trust model of the promise, if there is one."""
        return TRUST_MODELS[self.trust]


def read_config(path: Path | None, overrides: dict[str, Any], assignments: list[str]) -> RunConfig:
    """Read settings from a TOML file, then flags, then `--set key=value`; later ones override earlier ones.

    Raises UserError if the file cannot be read or a setting is unknown or invalid.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values |= tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: check --config") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise UserError(f"{path} cannot be read as TOML: {error}") from None
        for written_by_a_run in ("versions", *SET_BY_THE_RUN):  # found in a run folder's config.toml
            values.pop(written_by_a_run, None)
    values |= {name: value for name, value in overrides.items() if value is not None}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: write key=value")
        values[name.strip().replace("-", "_")] = literal(text.strip())
    try:
        config = RunConfig.model_validate(with_new_names(values))
    except ValidationError as error:
        raise UserError(explain(error)) from None
    refuse_promise_without_unit(config)
    return config


def refuse_promise_without_unit(config: RunConfig) -> None:
    """Raise UserError if a part of a promise is given, but not what it is to protect."""
    if config.unit != "none":
        return
    given = {"--epsilon": config.epsilon, "--noise-multiplier": config.noise_multiplier or None}
    given["--clip"] = None if config.clip == math.inf else config.clip
    flag = next((flag for flag, value in given.items() if value is not None), None)
    if flag is None:
        return
    if "unit" in config.model_fields_set:
        raise UserError("--unit none makes no promise: leave out --epsilon, --noise-multiplier and --clip")
    raise UserError(
        f"{flag} {given[flag]:g} is part of a promise, which needs a unit: add --unit interaction to protect "
        "each purchase, or --unit shopper to protect all that a shopper did"
    )


def literal(text: str) -> Any:
    """A number, truth value or null as in JSON; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def explain(error: ValidationError) -> str:
    """Describe the first error in one line that names the flag."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        nearest = get_close_matches(name, RunConfig.model_fields, n=1)
        meant = f"did you mean {nearest[0]}? " if nearest else ""
        return f"there is no setting {name!r}: {meant}terry settings lists them all"
    flag = FLAGS.get(name, "--" + name.replace("_", "-"))
    given = " ".join(str(first["input"]).split())
    if first["type"] in ("float_parsing", "int_parsing") and (hint := decimal_comma(given)):
        return f"{flag} {given}: {hint}"
    return f"{flag} {given}: {first['msg'][0].lower()}{first['msg'][1:]}"


def decimal_comma(text: str) -> str | None:
    """Return a hint if a text is a number with a decimal comma, else None."""
    whole, comma, fraction = text.partition(",")
    if not (comma and whole.lstrip("+-").isdecimal() and fraction.isdecimal()):
        return None
    return f"write {whole}.{fraction}, with a decimal point"

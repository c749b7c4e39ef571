"""Every setting of a run, documented once, in its field. Flags, TOML files and `--set` all end up here."""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from terrycloth.experiments.settings.renamed import with_new_names
from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.models.errors import UserError
from terrycloth.models.limits import MOST_EVENTS, OPTIMIZER
from terrycloth.models.privacy.trust import TRUST_MODELS, Trust, TrustModel, Unit
from terrycloth.models.recommenders.kinds import KINDS, offered

FLAGS = {"torch_device": "--device"}  # flags whose names differ from their settings'
MEASURED_ONLY = ("pfedrec", "fedrap", "counter")  # models that only the simulator trains, not devices

# What decides which data train and which test, and how accuracy is measured.
DATA_SETTINGS = (
    "data", "path", "catalogue", "category", "shopper_column", "item_column", "time_column", "weight_column",
    "order_column", "strict", "visit", "devices", "data_seed", "split", "at", "repeats", "evaluate_sample",
    "own_baselines", "own_metrics",
)  # fmt: skip
# Settings without a flag of their own on `terry simulate`, which --set reaches.
WITHOUT_FLAG = frozenset(
    (
        "agreement", "attribute_weight", "catalogue_weight", "ceiling", "central", "clip_learning_rate",
        "clip_quantile", "data_seed", "evaluate_every", "evaluate_sample", "evaluation_noise", "floors",
        "head_scale", "head_size", "item_bias", "kernel_half_life", "learning_rate", "model_reason",
        "most_events", "negative_weight", "negatives", "noised_attribute_weight", "now",
        "own_baselines", "own_metrics", "own_rows", "popularity_discount", "popularity_half_life",
        "popularity_norm", "popularity_share", "recency_half_life", "regularisation", "sampling_rate",
        "server_learning_rate", "server_momentum", "server_optimizer", "server_weight_decay",
        "steps_per_round", "title_words", "tolerated_dropout",
    )
)  # fmt: skip


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
    catalogue: Path | None = Field(None, description="file of the catalogue, for --data csv")
    category: str | None = Field(None, description="part of the catalogue to keep, for example textiles")
    shopper_column: str | None = Field(None, description="column of the orders with the shopper")
    item_column: str | None = Field(None, description="column of the orders with the item")
    time_column: str | None = Field(None, description="column of the orders with the time")
    weight_column: str | None = Field(None, description="column of the orders with the quantity")
    order_column: str | None = Field(
        None, description="column of the orders with the order id; each order is one visit"
    )
    strict: bool = Field(False, description="stop at the first bad row instead of dropping bad rows")
    visit: Literal["instant", "day"] = Field(
        "instant",
        description="what counts as one visit if there are no order ids: one instant, or one day (UTC)",
    )
    devices: int | None = Field(
        None, ge=1, le=10**9, description="number of devices, each with one shopper; by default all shoppers"
    )
    data_seed: int = Field(0, ge=0, description="seed of the sample of shoppers and of the towel shop")

    split: SplitName | None = Field(
        None,
        description="the test: date (purchases after --at), next-visit, basket (the rest of a visit), or "
        "last-item (as in published tables)",
    )
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
    dim: int | None = Field(
        None, ge=1, le=4096, description="length of the vectors; linear: number of eigenvectors kept at most"
    )
    own_rows: bool = Field(False, description="attributes: each item also has a row of its own")
    item_bias: bool = Field(True, description="each item has a bias, its general popularity")
    head_size: int | None = Field(
        None,
        ge=0,
        description="linear: size of the head, the most popular items, whose Gram matrix is learned; by "
        "default computed from the noise",
    )
    head_scale: float | None = Field(
        None,
        gt=0,
        le=1e4,
        description="linear: scale of the default head size, which is this many items / √noise",
    )
    popularity_share: float | None = Field(
        None, ge=0.01, le=0.99, description="linear: share of 1 / noise_multiplier² for the first release"
    )
    kernel_half_life: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="linear: visits between two purchases at which the pair counts half; 0: no decay",
    )
    popularity_half_life: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="linear: days after which a purchase counts half in the first release; 0: no decay",
    )
    popularity_norm: float | None = Field(
        None,
        ge=0,
        le=1e3,
        description="linear: clipping norm of a device's row in the first release; 0: all rows get norm 1",
    )
    attribute_weight: float | None = Field(
        None, ge=0, le=1e3, description="linear: weight of the attributes without noise"
    )
    noised_attribute_weight: float | None = Field(
        None, ge=0, le=1e3, description="linear: weight of the attributes under the strongest noise"
    )
    popularity_discount: float | None = Field(
        None,
        ge=0,
        le=2,
        description="linear: power of an item's popularity by which its learned scores are divided",
    )
    most_events: int | None = Field(
        None, ge=1, le=MOST_EVENTS, description="newest events that a device stores and trains on, at most"
    )
    title_words: bool | None = Field(
        None, description="linear: count words that occur in at least two titles as attributes"
    )
    now: int | None = Field(
        None, ge=0, le=2**40, description="public instant from which ages are counted, in seconds since 1970"
    )

    unit: Unit = Field(
        "none", description="unit of the promise: none, interaction, or shopper (all data of one shopper)"
    )
    trust: Trust = Field(
        "local",
        description="trust model, who adds the noise: local (each device, in full), distributed (each device "
        "a share; the server sees only sums), or central (the server)",
    )
    epsilon: float | None = Field(
        None, gt=0, description="privacy budget ε of the whole run, which sets the noise"
    )
    delta: float | None = Field(None, gt=0, lt=1, description="δ of the promise")
    noise_multiplier: float | None = Field(
        None, ge=0, description="standard deviation of the noise over the clipping norm; sets ε instead"
    )
    clip: float | None = Field(
        None, ge=1e-6, description="clipping norm of an interaction's gradient, or of a shopper's update"
    )

    clip_quantile: float = Field(
        0.0, ge=0, lt=1, description="adapt the clipping norm to this quantile of update norms; 0: fixed"
    )
    clip_learning_rate: float = Field(0.2, gt=0, description="learning rate of the adaptive clipping norm")
    tolerated_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="distributed: share of the devices whose dropout is tolerated",
    )
    agreement: float = Field(
        2 / 3, ge=0.5, lt=1, description="distributed: more than this share of the nodes must confirm a sum"
    )
    secure_aggregation: bool | None = Field(
        None, description="distributed: use secure aggregation; by default with 3 nodes or more"
    )
    evaluate: Literal["simulator", "released"] = Field(
        "simulator",
        description="who measures the final accuracy: the simulator, or the devices in one more release",
    )
    evaluation_noise: float = Field(5.0, gt=0, description="noise multiplier of the release of accuracy")

    rounds: int | None = Field(None, ge=1, description="rounds of federated averaging")
    participation: float = Field(
        1.0, gt=0, le=1, description="probability that a device takes part in a round"
    )
    sampling_rate: float | None = Field(
        None, gt=0, le=1, description="probability that an interaction is in a step"
    )
    steps_per_round: int | None = Field(None, ge=1, description="steps of a device per round")
    learning_rate: float | None = Field(
        None, ge=1e-9, le=1e6, description="learning rate of the devices' steps"
    )
    negatives: int = Field(4, ge=1, le=10_000, description="negatives drawn per interaction")
    negative_weight: float | None = Field(
        None, ge=0, le=1e6, description="weight of an interaction's negatives together"
    )
    catalogue_weight: float | None = Field(
        None, ge=0, le=1e6, description="weight of the pull of all items' scores towards 0"
    )
    regularisation: float | None = Field(
        None, gt=0, le=1e6, description="L2 penalty on a shopper's vector; linear: ridge, in mean eigenvalues"
    )
    recency_half_life: float | None = Field(
        None, ge=0, description="half-life of an event when serving, in later visits; 0: no decay"
    )
    server_optimizer: str | None = Field(
        None,
        pattern=OPTIMIZER,
        description="optimiser of the server: adam, sgd, or your own as package.module:Class",
    )
    server_learning_rate: float | None = Field(
        None, gt=0, description="learning rate of the server's optimiser"
    )
    server_momentum: float | None = Field(
        None, ge=0, lt=1, description="momentum of the server's sgd, or adam's first beta"
    )
    server_weight_decay: float | None = Field(
        None, ge=0, description="L2 penalty on the shared parameters, per device"
    )

    engine: Literal["in-process", "ray"] = Field(
        "in-process", description="engine of the simulation: in-process or ray"
    )
    trainer: Literal["fast", "reference"] = Field(
        "fast",
        description="fast: all devices of a node at once; reference: one by one, with Opacus (slow)",
    )
    torch_device: Literal["cpu", "cuda"] = Field(
        "cpu", description="processor that trains neural-cf: cpu, or cuda for a GPU"
    )
    nodes: int = Field(1, ge=1, description="Flower nodes, each with an equal share of the devices")
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
    evaluate_every: int | None = Field(
        None, ge=0, description="rounds between measurements; 0: only at the end"
    )
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
        for written_by_a_run in ("versions", "model_reason"):  # found in a run folder's config.toml
            values.pop(written_by_a_run, None)
    values |= {name: value for name, value in overrides.items() if value is not None}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: write key=value")
        values[name.strip().replace("-", "_")] = literal(text.strip())
    try:
        return RunConfig.model_validate(with_new_names(values))
    except ValidationError as error:
        raise UserError(explain(error)) from None


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
        return f"there is no setting {name!r}: see terry simulate --help"
    flag = FLAGS.get(name, "--" + name.replace("_", "-"))
    given = " ".join(str(first["input"]).split())
    return f"{flag} {given}: {first['msg'][0].lower()}{first['msg'][1:]}"

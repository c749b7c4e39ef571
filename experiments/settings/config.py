"""Every setting of a run, documented once, under its field. Flags, TOML files and `--set` all end here."""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from terrycloth.experiments.settings.renamed import with_new_names
from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.models.errors import UserError
from terrycloth.models.limits import MOST_EVENTS
from terrycloth.models.privacy.trust import TRUST_MODELS, Trust, TrustModel, Unit
from terrycloth.models.recommenders.kinds import KINDS, entry_point_names

FLAGS = {"torch_device": "--device"}  # that are not named as their setting is
MEASURED_ONLY = ("pfedrec", "fedrap", "counter")  # models that the simulator trains, and no device


class RunConfig(BaseModel):
    """The settings of one simulated federation.

    `planning.resolve` fills a field that is None from defaults/, by unit, model and data set, so that the run
    folder's config.toml holds every value that was used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        "towels", description="data set: towels, complete-journey, online-retail, movielens, csv"
    )
    path: Path | None = Field(None, description="folder or file that holds the data")
    catalogue: Path | None = Field(None, description="the catalogue, for --data csv")
    category: str | None = Field(None, description="keep one part of the catalogue, for instance textiles")
    shopper_column: str | None = Field(None, description="column of your orders that says who bought")
    item_column: str | None = Field(None, description="column that says what was bought")
    time_column: str | None = Field(None, description="column that says when")
    weight_column: str | None = Field(None, description="column that says how many")
    order_column: str | None = Field(
        None, description="column that holds the order id; each order is one visit"
    )
    strict: bool = Field(False, description="a bad row is an error, not a count")
    visit: Literal["instant", "day"] = Field(
        "instant",
        description="what counts as one visit where there are no orders: one instant, or one day (UTC)",
    )
    devices: int | None = Field(
        None, ge=1, le=10**9, description="shoppers, one a device; all that the data hold"
    )
    data_seed: int = Field(0, ge=0, description="which shoppers are drawn, and the towel shop's own seed")

    split: SplitName | None = Field(
        None,
        description="what tests: date (what came after --at), next-visit, basket (complete one), or "
        "last-item (as in published tables)",
    )
    at: str | float | None = Field(
        None, description="the date that parts training from test, or the part of the events before it; 0.8"
    )
    repeats: Literal["exclude", "include"] = Field(
        "exclude", description="whether what a shopper bought before counts as a target too"
    )

    model: str = Field(
        "attributes",
        description="mf, attributes, neural-cf, linear (two rounds), or auto: what suits the promise; only "
        "measured: pfedrec, fedrap, or counter (no model); or your own: package.module:Class",
    )
    model_reason: str | None = Field(None, description="why auto took the model; a run says it")
    dim: int | None = Field(
        None, ge=1, le=4096, description="length of a vector; linear: most eigenvectors kept"
    )
    own_rows: bool = Field(False, description="attributes: an item has a row of its own too")
    item_bias: bool = Field(True, description="an item has a bias: how much everybody likes it")
    head_size: int | None = Field(
        None, ge=0, description="linear: items whose likeness is learned; found from the noise"
    )
    head_scale: float | None = Field(
        None, gt=0, le=1e4, description="linear: the head has this many items / √noise, where it is not said"
    )
    popularity_share: float | None = Field(
        None, ge=0.01, le=0.99, description="linear: the first release's part of 1 / noise_multiplier²"
    )
    kernel_half_life: float | None = Field(
        None, ge=0, le=1e6, description="linear: visits apart at which two purchases count half; 0: all alike"
    )
    popularity_half_life: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="linear: days after which a purchase counts half in the first release; 0: all alike",
    )
    popularity_norm: float | None = Field(
        None,
        ge=0,
        le=1e3,
        description="linear: norm to which a device's row is clipped in the first release; 0: all have one",
    )
    attribute_weight: float | None = Field(
        None, ge=0, le=1e3, description="linear: how much attributes count where there is no noise"
    )
    noised_attribute_weight: float | None = Field(
        None, ge=0, le=1e3, description="linear: how much they count where noise drowns all else"
    )
    popularity_discount: float | None = Field(
        None,
        ge=0,
        le=2,
        description="linear: power of an item's popularity that its learned scores are divided by",
    )
    most_events: int | None = Field(
        None, ge=1, le=MOST_EVENTS, description="events that a device stores and trains on: the newest"
    )
    title_words: bool | None = Field(
        None, description="linear: words that two titles or more share count as attributes"
    )
    now: int | None = Field(
        None, ge=0, le=2**40, description="public instant that ages are counted from, in seconds since 1970"
    )

    unit: Unit = Field(
        "none", description="what the promise protects: none, interaction or shopper (all that one did)"
    )
    trust: Trust = Field(
        "local",
        description="who adds the noise: local (each device all of it), distributed (each a share of it; "
        "the server sees sums only) or central (the server)",
    )
    epsilon: float | None = Field(None, gt=0, description="most ε over the whole run; finds the noise")
    delta: float | None = Field(None, gt=0, lt=1, description="δ of the promise")
    noise_multiplier: float | None = Field(
        None, ge=0, description="noise over clip; finds ε instead of being found"
    )
    clip: float | None = Field(
        None, ge=1e-6, description="largest norm of an interaction's gradient, or of a shopper's update"
    )

    clip_quantile: float = Field(
        0.0, ge=0, lt=1, description="move the clip to let this part of the updates through; 0: it stays"
    )
    clip_learning_rate: float = Field(0.2, gt=0, description="how fast the clip is moved")
    tolerated_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="distributed: part of the devices that may drop out",
    )
    agreement: float = Field(
        2 / 3, ge=0.5, lt=1, description="distributed: more than this part of the nodes must confirm a sum"
    )
    secure_aggregation: bool | None = Field(
        None, description="distributed: run secure aggregation; if not said, where there are 3 nodes or more"
    )
    evaluate: Literal["simulator", "released"] = Field(
        "simulator",
        description="who measures accuracy at the end: the simulator, or the devices, by one more release",
    )
    evaluation_noise: float = Field(5.0, gt=0, description="noise multiplier of that release")

    rounds: int | None = Field(None, ge=1, description="rounds of federated averaging")
    participation: float = Field(1.0, gt=0, le=1, description="chance that a device takes part in a round")
    sampling_rate: float | None = Field(
        None, gt=0, le=1, description="chance that an interaction is in a step"
    )
    steps_per_round: int | None = Field(None, ge=1, description="a device's steps a round")
    learning_rate: float | None = Field(None, ge=1e-9, le=1e6, description="of a device's own steps")
    negatives: int = Field(4, ge=1, le=10_000, description="items drawn against each interaction")
    negative_weight: float | None = Field(None, ge=0, le=1e6, description="weight of those items, together")
    catalogue_weight: float | None = Field(
        None, ge=0, le=1e6, description="pull of the whole catalogue towards 0"
    )
    regularisation: float | None = Field(
        None, gt=0, le=1e6, description="penalty on a shopper's vector; linear: ridge, in mean eigenvalues"
    )
    recency_half_life: float | None = Field(
        None, ge=0, description="when serving, later visits after which an event counts half; 0: all alike"
    )
    server_optimizer: Literal["adam", "sgd"] | None = Field(None, description="adam or sgd")
    server_learning_rate: float | None = Field(None, gt=0, description="of the server's optimiser")
    server_momentum: float | None = Field(None, ge=0, lt=1, description="of sgd; Adam's first beta")
    server_weight_decay: float | None = Field(
        None, ge=0, description="penalty on the shared parameters, for each device"
    )

    engine: Literal["in-process", "ray"] = Field("in-process", description="in-process or ray")
    trainer: Literal["fast", "reference"] = Field(
        "fast",
        description="fast: all devices of a node at once; reference: one after another, by Opacus (slow)",
    )
    torch_device: Literal["cpu", "cuda"] = Field(
        "cpu", description="where neural-cf is trained: cpu, or cuda for a GPU"
    )
    nodes: int = Field(1, ge=1, description="Flower nodes; each holds an equal share of the devices")
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="makes the run repeatable, and its promise void for whoever knows it",
    )
    negative_sampling: Literal["clean", "leaky"] = Field(
        "clean",
        description="clean, or leaky: with --unit none, the fault that published code shares, to measure it "
        "(what is held out is never a negative)",
    )
    evaluate_every: int | None = Field(
        None, ge=0, description="rounds between measurements; 0: only at the end"
    )
    evaluate_sample: int = Field(20_000, ge=0, description="shoppers tested at most; 0: all")
    central: bool = Field(True, description="train the same model centrally too, to compare")
    floors: bool = Field(True, description="measure what needs no model too, such as popularity, to compare")
    baselines: bool = Field(
        False, description="tune and fit EASE, iALS and other strong models too, to compare"
    )
    ceiling: bool = Field(True, description="find the best that anyone could do, where the data can tell")

    @field_validator("model")
    @classmethod
    def _model_exists(cls, model: str) -> str:
        known = ("auto", *KINDS, *MEASURED_ONLY, *entry_point_names())
        if ":" not in model and model not in known:
            raise ValueError(
                f"there is no such model: use one of {', '.join(known)}, or package.module:Class"
            )
        return model

    @property
    def trust_model(self) -> TrustModel:
        """Who adds the noise of its promise, where it makes one."""
        return TRUST_MODELS[self.trust]


def read_config(path: Path | None, overrides: dict[str, Any], assignments: list[str]) -> RunConfig:
    """Settings from a TOML file, then flags, then `--set key=value`: the later wins. Raises UserError."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values |= tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: check --config") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise UserError(f"{path} cannot be read as TOML: {error}") from None
        for said_by_a_run in ("versions", "model_reason"):  # a run folder's own config.toml holds them
            values.pop(said_by_a_run, None)
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
    """A number, a truth value or null as JSON has them; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def explain(error: ValidationError) -> str:
    """The first thing wrong, in one line that names the flag."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        return f"there is no setting {name!r}: see terry simulate --help"
    flag = FLAGS.get(name, "--" + name.replace("_", "-"))
    said = " ".join(str(first["input"]).split())
    return f"{flag} {said}: {first['msg'][0].lower()}{first['msg'][1:]}"

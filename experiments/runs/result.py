"""The schema of result.json. A result always includes its privacy promise."""

from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from terrycloth.experiments.runs.provenance import cores, machine_platform
from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.models.privacy.promise import Promise

SCHEMA: Literal[2] = 2
LEAST_ITEMS_TO_SAMPLE = 200
LEAKY = "leaky protocol: held-out items are never negatives"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class DataFacts(_Part):
    """The data of a run.

    events: number of training events, which include no target. split, at, repeats: the rule that separates
    training from test. split_sentence: the same rule in words, shown with every figure. tested: number of
    shoppers with a ranked target. targets: number of their targets.
    """

    name: str
    devices: int
    items: int
    events: int
    tested: int
    targets: int
    split: SplitName
    at: str | None = None
    repeats: bool = False
    split_sentence: str

    @property
    def suits_sampling(self) -> bool:
        """Whether ranks among 99 sampled items say something: they must not be half the catalogue."""
        return self.items >= LEAST_ITEMS_TO_SAMPLE


# By the name of the metric (`evaluation.evaluate`); None if no shopper could be tested.
Figures = dict[str, float | None]


class Accuracy(_Part):
    """The accuracy of one model.

    full: targets are ranked in the whole catalogue. sampled99: targets are ranked among 99 sampled items that
    the shopper never bought, as in published tables; this flatters a model.
    """

    full: Figures
    sampled99: Figures


class Metrics(Accuracy):
    """The accuracy of the run itself.

    measured_by: `simulator` if it was computed from every shopper's data, which no device released;
    `released` if it was computed from counts that the devices noised and recorded in their ledgers. unseen:
    accuracy on shoppers first seen after the date, by visit.
    """

    measured_by: Literal["simulator", "released"] = "simulator"
    hr_deviation: float | None = None  # standard deviation of hr@10 due to noise in the devices' counts
    unseen: dict[str, Figures] = Field(default_factory=dict)


class Baseline(Accuracy):
    """A baseline.

    settings: chosen on the validation split, never on the test. promise: its own, if any. paired: the run's
    HR@10 minus the baseline's over the same shoppers, as `difference`, with the ends of its 95% interval,
    `difference_low` and `difference_high`; empty if the two cannot be paired.
    """

    settings: dict[str, float] = Field(default_factory=dict)
    promise: Promise | None = None
    paired: Figures = Field(default_factory=dict)


class Baselines(_Part):
    """Baselines on the same split, by name (`experiments.baselines`).

    left_out: why requested baselines are missing. ceiling: the best possible accuracy on the same shoppers,
    if the data's generator is known; its `difference` is the run's HR@10 minus the ceiling's, paired by
    shopper, with a 95% interval.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Baseline] = Field(init=False)

    left_out: list[str] = Field(default_factory=list)
    ceiling: dict[str, Figures] = Field(default_factory=dict)

    def of(self, name: str) -> Baseline | None:
        """Return the baseline with this name, or None if it was not measured."""
        return self.__pydantic_extra__.get(name)

    @property
    def found(self) -> dict[str, Baseline]:
        """All measured baselines, by name."""
        return self.__pydantic_extra__


class Cost(_Part):
    """Time and memory of the whole run on this machine, and the traffic of one device."""

    seconds_total: float
    seconds_training: float
    peak_memory_bytes: int
    bytes_up_per_device: int  # over all rounds
    bytes_up_per_device_round: int
    bytes_down_per_device_round: int


class Versions(_Part):
    """The versions of the packages that the run used."""

    terrycloth: str
    torch: str
    flwr: str
    opacus: str

    @classmethod
    def installed(cls) -> "Versions":
        """Return the versions of the installed packages."""
        return cls(**{name: version(name) for name in ("terrycloth", "torch", "flwr", "opacus")})


class Machine(_Part):
    """The kind of machine that made the run; it has no name here. cores: those that the run could use."""

    platform: str
    cores: int

    @classmethod
    def here(cls) -> "Machine":
        """Return the machine that this process runs on."""
        return cls(platform=machine_platform(), cores=cores())


class Result(_Part):
    """The content of result.json. Keys may be added; renaming or removing one requires a higher `schema`.

    negative_sampling: `leaky` if training negatives never included held-out items, a deliberate fault whose
    effect is to be measured. date: when the run ended, in UTC. commit: of the source, as in
    `provenance.commit`.
    """

    schema_version: Literal[2] = Field(alias="schema")
    data: DataFacts
    model: str
    model_reason: str | None = None  # why --model auto chose the model
    engine: str
    negative_sampling: Literal["clean", "leaky"] = "clean"
    promise: Promise
    metrics: Metrics
    baselines: Baselines
    cost: Cost
    versions: Versions
    date: str | None = None
    commit: str | None = None
    machine: Machine | None = None

    @property
    def label(self) -> str:
        """The label that must accompany every figure of this result."""
        return self.promise.label + ("; " + LEAKY if self.negative_sampling == "leaky" else "")

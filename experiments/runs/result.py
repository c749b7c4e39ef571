"""result.json: the schema of a result, its promise included. A result without its promise is no result."""

from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.models.privacy.promise import Promise

SCHEMA: Literal[2] = 2
LEAKY = "leaky protocol: what is held out is never a negative"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class DataFacts(_Part):
    """What was trained on and what tested. `events` are the training events; no target is among them.

    split, at, repeats: the rule that parted them; split_sentence: the same in words, which no figure goes
    without. tested: shoppers with a target that was ranked; targets: how many they have together.
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


# By the metric's name (`evaluation.evaluate`); None: nobody could be tested.
Figures = dict[str, float | None]


class Accuracy(_Part):
    """One model's accuracy. full: over the whole catalogue. sampled99: among 99 items never bought, as in
    published tables; it flatters.
    """

    full: Figures
    sampled99: Figures


class Metrics(Accuracy):
    """The run's own. `simulator`: computed with every shopper's data in hand; no device released it.

    `released`: from counts that the devices noised and booked. unseen: of shoppers first seen after the date,
    by visit.
    """

    measured_by: Literal["simulator", "released"] = "simulator"
    hr_deviation: float | None = None  # of hr@10, by the noise in the devices' counts
    unseen: dict[str, Figures] = Field(default_factory=dict)


class Baseline(Accuracy):
    """What a run is held against. settings: chosen on validation, never on the test; promise: its own."""

    settings: dict[str, float] = Field(default_factory=dict)
    promise: Promise | None = None


class Baselines(_Part):
    """On the same split, by name (`experiments.baselines`). left_out: why one is not here that was asked for.

    ceiling: what is reachable on the same shoppers, where the data's generator is known; `difference`: the
    run's HR@10 less it, paired by shopper, with its 95% interval.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Baseline] = Field(init=False)

    left_out: list[str] = Field(default_factory=list)
    ceiling: dict[str, Figures] = Field(default_factory=dict)

    def of(self, name: str) -> Baseline | None:
        """The baseline of that name, where it was found."""
        return self.__pydantic_extra__.get(name)

    @property
    def found(self) -> dict[str, Baseline]:
        """All that were found, by name."""
        return self.__pydantic_extra__


class Cost(_Part):
    """Of the whole run on this machine, and of one device's traffic in one round."""

    seconds_total: float
    seconds_training: float
    peak_memory_bytes: int
    bytes_up_per_device: int  # over all rounds
    bytes_up_per_device_round: int
    bytes_down_per_device_round: int


class Versions(_Part):
    """What the run ran on."""

    terrycloth: str
    torch: str
    flwr: str
    opacus: str

    @classmethod
    def installed(cls) -> "Versions":
        """Of the packages at hand."""
        return cls(**{name: version(name) for name in ("terrycloth", "torch", "flwr", "opacus")})


class Result(_Part):
    """The whole of result.json. A key may be added; none is renamed or dropped without raising `schema`.

    protocol: `leaky` where training negatives were never the held-out item, a fault made to be measured.
    """

    schema_version: Literal[2] = Field(alias="schema")
    data: DataFacts
    model: str
    model_reason: str | None = None  # where --model auto took it
    engine: str
    negative_sampling: Literal["clean", "leaky"] = "clean"
    promise: Promise
    metrics: Metrics
    baselines: Baselines
    cost: Cost
    versions: Versions

    @property
    def label(self) -> str:
        """What no figure of this result may be shown without."""
        return self.promise.label + ("; " + LEAKY if self.negative_sampling == "leaky" else "")

"""result.json: the schema of a result, its promise included. A result without its promise is no result."""

from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.promise import Promise

SCHEMA: Literal[1] = 1
LEAKY = "leaky protocol: what is held out is never a negative"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class DataFacts(_Part):
    """What was trained on. `events` are the training events; the held-out items are not among them."""

    name: str
    devices: int
    items: int
    events: int
    tested: int


class FullRanking(_Part):
    """Against the whole catalogue, without the items already bought. None: nobody could be tested."""

    hr_at_10: float | None = Field(alias="hr@10")
    ndcg_at_10: float | None = Field(alias="ndcg@10")
    mrr: float | None
    coverage_at_10: float | None = Field(alias="coverage@10")


class SampledRanking(_Part):
    """Against 99 items the shopper never bought. Published tables use it; it flatters."""

    hr_at_10: float | None = Field(alias="hr@10")
    ndcg_at_10: float | None = Field(alias="ndcg@10")


class Accuracy(_Part):
    """One model's accuracy under both protocols."""

    full: FullRanking
    sampled99: SampledRanking


class Metrics(Accuracy):
    """The run's own. `simulator`: computed with every shopper's data in hand; no device released it.

    `released`: from counts that the devices noised and booked.
    """

    measured_by: Literal["simulator", "released"] = "simulator"
    hr_deviation: float | None = None  # of hr@10, by the noise in the devices' counts


class Private(Accuracy):
    """A baseline that makes a promise of its own."""

    promise: Promise


class Tuned(Accuracy):
    """A baseline whose settings were chosen on a validation purchase, never on the test's."""

    settings: dict[str, float]


class Baselines(_Part):
    """On the same split. `ceiling`: what is reachable, where the data's generator is known.

    private_popularity: under the run's promise. flower: Flower's own strategy under it; only in a frontier.
    left_out: why one is not here that was asked for.
    """

    popularity: Accuracy
    private_popularity: Private | None = None
    flower: Private | None = None
    central: Accuracy | None = None
    ease: Tuned | None = None
    ials: Tuned | None = None
    left_out: list[str] = Field(default_factory=list)
    ceiling: dict[str, SampledRanking] = Field(default_factory=dict)


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

    schema_version: Literal[1] = Field(alias="schema")
    data: DataFacts
    model: str
    model_reason: str | None = None  # where --model auto took it
    engine: str
    protocol: Literal["clean", "leaky"] = "clean"
    promise: Promise
    metrics: Metrics
    baselines: Baselines
    cost: Cost
    versions: Versions

    @property
    def label(self) -> str:
        """What no figure of this result may be shown without."""
        return self.promise.label + ("; " + LEAKY if self.protocol == "leaky" else "")

"""What a round asks of a device: public constants, the same for every device, whatever it holds."""

from math import inf
from typing import Any, Literal, Self

from flwr.app import ConfigRecord
from pydantic import BaseModel, ConfigDict, Field, model_validator

PROTOCOL: Literal[1] = 1  # raised when the meaning of a message changes; both sides refuse another

ModelName = Literal["mf", "attributes", "neural-cf", "linear"]

# Single precision can round a clipped norm up; clipped to this much of C, it stays below.
ROUNDING = 1.0 - 1e-5

# Who may be trusted to keep each unit's promise. Interactions are protected on the device or not at all.
TRUSTS = {"interaction": ("local",), "shopper": ("local", "central")}


def round_mechanism(
    unit: str, trust: str, *, participation: float, sampling_rate: float, steps_per_round: int
) -> tuple[float, int]:
    """What one round costs beside its noise: a sampling rate, and how many Gaussian steps.

    Interactions are sampled inside the device, where nobody sees which. Whether a *device* takes part stays
    hidden only from those who see the released model and not the replies: under central trust.
    """
    if unit != "shopper":
        return sampling_rate, steps_per_round
    return (participation if trust == "central" else 1.0), 1


class RoundSettings(BaseModel):
    """Travels with the shared parameters as a Flower ConfigRecord; the device checks it before it trains."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    protocol: Literal[1] = PROTOCOL
    run: str = Field(
        "", max_length=64, description="name of the run, new for each: makes its questions its own"
    )
    round: int = Field(ge=1, description="the round this message asks for, from 1")
    rounds: int = Field(ge=1, description="rounds that the promise covers")

    model: ModelName
    dim: int = Field(ge=1, le=4096)
    own_rows: bool = Field(description="an item's bag holds a row of its own")
    item_bias: bool

    unit: Literal["none", "interaction", "shopper"]
    trust: Literal["none", "local", "central"]
    epsilon: float = Field(
        gt=0, allow_inf_nan=True, description="most ε that all rounds together may spend; inf: no promise"
    )
    delta: float = Field(ge=0, lt=1)
    noise_multiplier: float = Field(ge=0, description="noise's standard deviation in units of the clip")
    clip: float = Field(
        ge=1e-6,
        allow_inf_nan=True,
        description="largest L2 norm of what one unit adds: an interaction's gradient, a shopper's update",
    )

    participation: float = Field(gt=0, le=1, description="each device takes part by its own coin")
    sampling_rate: float = Field(gt=0, le=1, description="each interaction is in a step by its own coin")
    steps_per_round: int = Field(ge=1, le=65_535)  # a stream's name has 16 bits for the step
    learning_rate: float = Field(gt=0, le=1e6, description="of the device's own SGD steps")
    negatives: int = Field(ge=1, description="drawn for an interaction, from the whole catalogue")
    negative_weight: float = Field(ge=0, description="weight of an interaction's negatives, together")
    catalogue_weight: float = Field(
        ge=0, description="least squares: pull of every item towards a score of 0"
    )
    regularisation: float = Field(gt=0, description="squared penalty on the shopper's vector")

    @model_validator(mode="after")
    def _mechanism_is_the_promise(self) -> Self:
        """What is booked must be what is done: without a unit no noise is added, so none may be claimed."""
        unprotected = (self.trust, self.noise_multiplier, self.clip, self.epsilon) == ("none", 0.0, inf, inf)
        if self.round > self.rounds:
            raise ValueError(f"round {self.round} is beyond the {self.rounds} that the promise covers")
        if self.unit != "none" and self.delta <= 0:
            raise ValueError("a promise by Gaussian noise needs δ > 0")
        if self.unit == "none" and not unprotected:
            raise ValueError("unit none has trust none, no noise, no clip and no ε")
        if self.unit != "none" and self.trust not in TRUSTS[self.unit]:
            raise ValueError(f"unit {self.unit} is not kept under trust {self.trust}")
        if self.clip > 1e6 and self.clip != inf:
            raise ValueError("a clip is at most 1e6, or infinite")
        if self.noise_multiplier != 0 and not 1e-6 <= self.noise_multiplier <= 1e6:
            raise ValueError("a noise multiplier is 0, or from 1e-6 to 1e6")
        if self.model == "linear" and self.unit == "interaction":
            raise ValueError("the linear model is not trained interaction by interaction")
        if self.noise_multiplier > 0 and self.clip == inf:
            raise ValueError("noise without a clip promises nothing")
        return self

    def to_record(self) -> ConfigRecord:
        """For a Flower message."""
        return ConfigRecord(self.model_dump())

    @property
    def mechanism(self) -> tuple[float, float, int]:
        """What one round adds to a ledger: noise multiplier, sampling rate, and Gaussian steps."""
        rate, steps = round_mechanism(
            self.unit,
            self.trust,
            participation=self.participation,
            sampling_rate=self.sampling_rate,
            steps_per_round=self.steps_per_round,
        )
        return self.noise_multiplier, rate, steps

    @classmethod
    def from_record(cls, record: ConfigRecord) -> "RoundSettings":
        """Raises pydantic's ValidationError (a ValueError) on anything missing, unknown or out of range."""
        values: dict[str, Any] = dict(record)
        if "protocol" not in values:
            raise ValueError("a message says which protocol it speaks")
        values.pop("server-round", None)  # Flower adds its own count of rounds
        return cls.model_validate(values)

"""What a round asks of a device: public constants, the same for every device, whatever it holds."""

import math
from math import inf
from typing import Annotated, Any, Literal, Self

from flwr.app import ConfigRecord
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from terrycloth.models.limits import MOST_ITEMS, MOST_ROUNDS
from terrycloth.models.privacy.trust import TRUST_MODELS, AnyTrust, NoiseSource, TrustModel, Unit
from terrycloth.models.recommenders.kinds import ModelKind, kind_of

PROTOCOL: Literal[1] = 1  # raised when the meaning of a message changes; both sides refuse another

# A short name: of a model of this project, or of a plug-in that is installed where it is read.
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]

# Single precision can round a clipped norm up; clipped to this much of C, it stays below.
ROUNDING = 1.0 - 1e-5

# Of the rounds of a run: those that train, the second release of the linear model, and the one that measures.
KINDS_OF_ROUND = 3

LEAST_CLIP, MOST_CLIP = 1e-6, 1e6  # that a device accepts, beside no clip at all

# Noise on the noised count of updates below the clip, in devices, as a part of their expected number:
# Andrew et al. 2021, "Differentially private learning with adaptive clipping", section 3.1.
COUNT_NOISE = 1.0 / 20.0


def round_mechanism(
    unit: str, trust: AnyTrust, *, participation: float, sampling_rate: float, steps_per_round: int
) -> tuple[float, int]:
    """What one round costs beside its noise: a sampling rate, and how many Gaussian steps.

    Interactions are sampled inside the device, where nobody sees which. Whether a *device* takes part stays
    hidden only from those who see the released model and not the replies.
    """
    if unit != "shopper":
        return sampling_rate, steps_per_round
    return (participation if TRUST_MODELS[trust].amplified_by_participation else 1.0), 1


# The part of all devices whose coins fall for no more rounds than are paid for; a ledger refuses the others'.
COVERED_DEVICES = 0.99


def rounds_of_a_device(rounds: int, trust: AnyTrust, participation: float) -> int:
    """How many of a run's rounds one device may take part in, at most, for the promise to hold.

    Where participation amplifies, all of them count: whether it took part is hidden, which lowers what each
    costs. Elsewhere only those that it takes part in cost anything, a Binomial number of them.
    """
    if TRUST_MODELS[trust].amplified_by_participation or participation == 1.0:
        return rounds
    from scipy.stats import binom

    return max(1, int(binom.ppf(COVERED_DEVICES, rounds, participation)))


def rounds_covered(of_a_device: int, trust: AnyTrust, participation: float) -> int:
    """The most rounds of which one device may take part in so many: `rounds_of_a_device` inverted."""
    low, high = of_a_device, of_a_device + 1
    while rounds_of_a_device(high, trust, participation) <= of_a_device:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = rounds_of_a_device(middle, trust, participation) <= of_a_device
        low, high = (middle, high) if fits else (low, middle)
    return low


class RoundSettings(BaseModel):
    """Travels with the shared parameters as a Flower ConfigRecord; the device checks it before it trains."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    protocol: Literal[1] = PROTOCOL
    run: str = Field(
        "", max_length=64, description="name of the run, new for each: makes its queries its own"
    )
    round: int = Field(ge=1, description="the round this message asks for, from 1")
    rounds: int = Field(ge=1, le=MOST_ROUNDS, description="rounds that the promise covers")

    model: ModelName
    dim: int = Field(ge=1, le=4096)
    own_rows: bool = Field(description="an item's bag holds a row of its own")
    item_bias: bool

    unit: Unit
    trust: AnyTrust
    epsilon: float = Field(
        gt=0, allow_inf_nan=True, description="most ε that all rounds together may spend; inf: no promise"
    )
    delta: float = Field(ge=0, lt=1)
    noise_multiplier: float = Field(ge=0, description="noise's standard deviation in units of the clip")
    clip: float = Field(
        ge=LEAST_CLIP,
        allow_inf_nan=True,
        description="largest L2 norm of what one unit adds: an interaction's gradient, a shopper's update",
    )

    clip_quantile: float = Field(
        0.0, ge=0, lt=1, description="part of the updates that the clip is moved to let through; 0: it stays"
    )

    devices: int = Field(ge=1, description="N: devices in the federation, public; q·N is the denominator")
    least_devices: int = Field(
        1,
        ge=1,
        description="distributed: fewest devices whose shares of the noise are in a released sum, but for "
        "those of nodes that may collude",
    )
    agreement: float = Field(
        2 / 3, ge=0.5, lt=1, description="distributed: more than this part of the nodes confirm one same sum"
    )
    secure_aggregation: bool = Field(
        True, description="distributed: secure aggregation hides all but the sum"
    )
    evaluate: bool = Field(False, description="after the last round, devices count hits: one release more")
    evaluation_noise: float = Field(0.0, ge=0, description="of that release, in units of its sensitivity")

    head_size: int = Field(
        0,
        ge=0,
        le=MOST_ITEMS,
        description="linear: items of the second release, the most popular by the first",
    )
    popularity_share: float = Field(
        0.25, ge=0.01, le=0.99, description="linear: the first release's part of 1 / noise_multiplier²"
    )
    now: int = Field(
        0, ge=0, le=2**40, description="linear: public instant that ages are counted from, in s since 1970"
    )
    popularity_half_life: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="linear: days after which a purchase counts half in the first release; 0: all alike",
    )
    popularity_norm: float = Field(
        0.0,
        ge=0,
        le=1e3,
        description="linear: norm to which a device's row is clipped in the first release; 0: all have one",
    )
    kernel_half_life: float = Field(
        0.0, ge=0, le=1e6, description="linear: visits apart at which two purchases count half; 0: all alike"
    )
    attribute_weight: float = Field(
        0.01, ge=0, le=1e3, description="linear: how much attributes count where there is no noise"
    )
    noised_attribute_weight: float = Field(
        0.1, ge=0, le=1e3, description="linear: how much they count where noise drowns all else"
    )
    popularity_discount: float = Field(
        0.0,
        ge=0,
        le=2,
        description="linear: power of an item's popularity that its learned scores are divided by",
    )
    title_words: bool = Field(False, description="linear: words of titles count as attributes")

    participation: float = Field(gt=0, le=1, description="each device takes part by its own coin")
    sampling_rate: float = Field(gt=0, le=1, description="each interaction is in a step by its own coin")
    steps_per_round: int = Field(ge=1, le=65_535)  # a stream's name has 16 bits for the step
    # Bounded below, too: noise that is scaled by it must not vanish in floating point.
    learning_rate: float = Field(ge=1e-9, le=1e6, description="of the device's own SGD steps")
    negatives: int = Field(ge=1, le=10_000, description="drawn for an interaction, from the whole catalogue")
    negative_weight: float = Field(ge=0, le=1e6, description="weight of an interaction's negatives, together")
    catalogue_weight: float = Field(
        ge=0, le=1e6, description="least squares: pull of every item towards a score of 0"
    )
    regularisation: float = Field(
        gt=0,
        le=1e6,
        description="squared penalty on the shopper's vector; linear: ridge, in mean eigenvalues",
    )
    recency_half_life: float = Field(
        0.0,
        ge=0,
        description="evaluate: later visits after which an event counts half when serving; 0: all alike",
    )

    @model_validator(mode="after")
    def _mechanism_is_the_promise(self) -> Self:
        """What is booked must be what is done: without a unit no noise is added, so none may be claimed."""
        noise = max(self.noise_multiplier, self.evaluation_noise)
        unprotected = (self.trust, noise, self.clip, self.epsilon) == ("none", 0.0, inf, inf)
        if self.round > self.rounds + self.evaluate:
            raise ValueError(f"round {self.round} is beyond the {self.rounds} that the promise covers")
        if self.unit != "none" and self.delta <= 0:
            raise ValueError("a promise by Gaussian noise needs δ > 0")
        if self.unit == "none" and not unprotected:
            raise ValueError("unit none has trust none, no noise, no clip and no ε")
        if self.unit != "none" and self.unit not in self.trust_model.units:
            raise ValueError(f"unit {self.unit} is not kept under trust {self.trust}")
        if self.clip > MOST_CLIP and self.clip != inf:
            raise ValueError("a clip is at most 1e6, or infinite")
        for noise in (self.noise_multiplier, self.evaluation_noise):
            if noise != 0 and not 1e-6 <= noise <= 1e6:
                raise ValueError("a noise multiplier is 0, or from 1e-6 to 1e6")
        kind = self.model_kind
        if self.unit not in kind.units:
            raise ValueError(f"the model {self.model} is not trained under unit {self.unit}")
        if kind.releases and (self.rounds != len(kind.releases) or self.head_size == 0):
            raise ValueError(f"the model {self.model} has {len(kind.releases)} rounds, and a head")
        for name in ("kernel_half_life", "popularity_half_life", "popularity_norm"):
            if 0.0 < getattr(self, name) < 1e-3:
                raise ValueError(f"{name} is 0, or from 0.001")
        if self.noise_multiplier > 0 and self.clip == inf:
            raise ValueError("noise without a clip promises nothing")
        if self.least_devices > self.devices:
            raise ValueError(f"least_devices {self.least_devices} is more than the {self.devices} there are")
        if self.clip_quantile > 0 and (self.unit != "shopper" or kind.releases):
            raise ValueError("the clip is adapted for whole updates, at shopper level")
        return self

    @property
    def model_kind(self) -> ModelKind:
        """The public facts of the model that is trained."""
        return kind_of(self.model)

    @property
    def trust_model(self) -> TrustModel:
        """Who adds the noise, and what follows from it."""
        return TRUST_MODELS[self.trust]

    def to_record(self) -> ConfigRecord:
        """For a Flower message."""
        return ConfigRecord(self.model_dump())

    @property
    def evaluates(self) -> bool:
        """Whether this round measures, after all those that train."""
        return self.round > self.rounds

    def at(self, round: int) -> "RoundSettings":
        """The same settings in another round."""
        return self.model_copy(update={"round": round})

    @property
    def noise(self) -> float:
        """Standard deviation of this round's noise in units of its `sensitivity`."""
        if self.evaluates:
            return self.evaluation_noise
        return self.noise_multiplier * self.noise_factors[self.model_kind.round_of_release(self.round)]

    @property
    def noise_factors(self) -> tuple[float, ...]:
        """The noise of training rounds, in units of noise_multiplier: the same in all, or one a round.

        The linear model's two releases z₁ and z₂ share z⁻² = z₁⁻² + z₂⁻², so that without sampling both
        together are one Gaussian release with the noise z.
        """
        share = self.popularity_share
        return (share**-0.5, (1.0 - share) ** -0.5) if self.model_kind.releases else (1.0,)

    @property
    def released(self) -> str | None:
        """The one parameter that this training round's update is of; None: of all that are shared."""
        releases = self.model_kind.releases
        return releases[self.round - 1] if releases and not self.evaluates else None

    @property
    def vector_length(self) -> int:
        """How many numbers a device keeps of its shopper between rounds: the linear model needs none."""
        return self.dim if self.model_kind.keeps_vector else 0

    @property
    def covered(self) -> int:
        """How many training rounds one device may take part in: of those that differ or cost nothing, all."""
        if self.model_kind.releases or self.unit == "none":
            return self.rounds
        return rounds_of_a_device(self.rounds, self.trust, self.participation)

    @property
    def kind(self) -> int:
        """Which of KINDS_OF_ROUND this round is of: rounds of one kind release alike, and cost alike."""
        if self.evaluates:
            return KINDS_OF_ROUND - 1
        return self.model_kind.round_of_release(self.round)

    @property
    def most_of_kind(self) -> int:
        """How many rounds of this one's kind one device may take part in."""
        return 1 if self.evaluates or self.model_kind.releases else self.covered

    @property
    def adapts_clip(self) -> bool:
        """Whether the update says too if its norm was below the clip."""
        return self.clip_quantile > 0 and not self.evaluates

    @property
    def indicator(self) -> float:
        """β, the weight of ±½ for "below the clip" beside an update of norm C, under one and the same noise.

        With noise z on the joint vector the count's own is zC'/β devices. Where the sum is noised once, β
        makes that COUNT_NOISE·qN (Andrew et al. 2021, theorem 1, says what it costs: see `sensitivity`).
        """
        expected = self.participation * self.devices
        each_adds_all = self.trust_model.source is NoiseSource.DEVICE
        noise_on_sum = self.noise_multiplier * (math.sqrt(expected) if each_adds_all else 1.0)
        return self.clip * min(1.0, noise_on_sum / (COUNT_NOISE * expected) if noise_on_sum else 1.0)

    @property
    def sensitivity(self) -> float:
        """Largest L2 norm of all that one unit adds to a release."""
        if self.evaluates:
            return math.sqrt(3.0)  # whether it was tested, whether it hit, its gain: each from 0 to 1
        if self.adapts_clip:
            return math.hypot(self.clip, 0.5 * self.indicator)
        return self.clip

    @property
    def mechanism(self) -> tuple[float, float, int]:
        """What one round adds to a ledger: noise multiplier, sampling rate, and Gaussian steps."""
        if self.evaluates:
            amplified = self.trust_model.amplified_by_participation
            return self.noise, self.participation if amplified else 1.0, 1
        rate, steps = round_mechanism(
            self.unit,
            self.trust,
            participation=self.participation,
            sampling_rate=self.sampling_rate,
            steps_per_round=self.steps_per_round,
        )
        return self.noise, rate, steps

    def history(self, through: int) -> tuple[tuple[float, float, int], ...]:
        """What a device has booked at most after round `through`: (noise, sampling rate, steps) each."""
        training = min(self.covered, through)
        if self.model_kind.releases:
            booked = [self.at(round).mechanism for round in range(1, training + 1)]
        else:
            noise, rate, steps = self.at(1).mechanism
            booked = [(noise, rate, training * steps)]
        return tuple(booked) + self.measured(through)

    def measured(self, through: int) -> tuple[tuple[float, float, int], ...]:
        """The part of `history` that is of the measuring round."""
        return (self.at(self.rounds + 1).mechanism,) if through > self.rounds else ()

    @property
    def only_renyi(self) -> bool:
        """`TrustModel.only_renyi`."""
        return self.trust_model.only_renyi

    @property
    def last_round(self) -> int:
        """Number of the last round, the measuring one included."""
        return self.rounds + self.evaluate

    @property
    def noise_on_sum(self) -> float:
        """Standard deviation of the noise in each coordinate of the sum that this round releases.

        Not of DP-SGD's steps, whose noise does not end up in the sum as it is.
        """
        if self.unit == "none" or (self.unit == "interaction" and not self.evaluates):
            return 0.0
        return self.noise * self.sensitivity * math.sqrt(self.noises_in_sum)

    @property
    def noises_in_sum(self) -> float:
        """How often the noise that is booked is in a sum: devices may add more than is needed."""
        return self.trust_model.noises_in_sum(self.participation * self.devices, self.least_devices)

    @property
    def released_deviation(self) -> float:
        """Of the noise in each coordinate of the mean update that this training round releases."""
        return self.deviation_of(self.noise)

    def deviation_of(self, noise: float) -> float:
        """In each coordinate of a mean update, of so much noise in units of the clip."""
        if self.unit != "shopper":
            return 0.0
        return noise * self.clip * math.sqrt(self.noises_in_sum) / (self.participation * self.devices)

    @classmethod
    def from_record(cls, record: ConfigRecord) -> "RoundSettings":
        """Raises pydantic's ValidationError (a ValueError) on anything missing, unknown or out of range."""
        values: dict[str, Any] = dict(record)
        if "protocol" not in values:
            raise ValueError("a message says which protocol it speaks")
        values.pop("server-round", None)  # Flower adds its own count of rounds
        return cls.model_validate(values)

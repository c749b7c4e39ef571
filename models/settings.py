"""The settings of a round: public constants, the same for every device, whatever data it holds."""

import math
from math import inf
from typing import Annotated, Any, Literal, Self

from flwr.app import ConfigRecord
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from terrycloth.models import shared_settings as shared
from terrycloth.models.limits import MOST_CLIP
from terrycloth.models.privacy.trust import TRUST_MODELS, AnyTrust, NoiseSource, TrustModel, Unit
from terrycloth.models.recommenders.kinds import ModelKind, kind_of

PROTOCOL: Literal[1] = 1  # raised when a message's meaning changes; each side refuses another

# A short name: of a model of this project, or of a plug-in that is installed where it is read.
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]

# Single precision can round a clipped norm up. Clipped to this fraction of C, the norm stays below C.
ROUNDING = 1.0 - 1e-5

# The kinds of round in a run: training rounds, the linear model's second release, and the evaluation round.
KINDS_OF_ROUND = 3

# Noise on the noised count of updates below the clip, as a fraction of the expected number of devices:
# Andrew et al. 2021, "Differentially private learning with adaptive clipping", section 3.1.
COUNT_NOISE = 1.0 / 20.0


def round_mechanism(
    unit: str, trust: AnyTrust, *, participation: float, sampling_rate: float, steps_per_round: int
) -> tuple[float, int]:
    """Return what one round costs besides its noise: a sampling rate and a number of Gaussian steps.

    Interactions are sampled inside the device, where nobody sees which. Whether a *device* takes part stays
    hidden only from those who see the released model but not the replies.
    """
    if unit != "shopper":
        return sampling_rate, steps_per_round
    return (participation if TRUST_MODELS[trust].amplified_by_participation else 1.0), 1


# Fraction of devices whose participation draws stay within the accounted rounds; ledgers refuse the excess.
COVERED_DEVICES = 0.99


def rounds_of_a_device(rounds: int, trust: AnyTrust, participation: float) -> int:
    """Return the most of a run's rounds that one device may take part in for the promise to hold.

    If participation amplifies, all rounds count: it is hidden whether the device took part, which lowers the
    cost of each round. Otherwise only the rounds that it takes part in cost anything, a Binomial number of
    them.
    """
    if TRUST_MODELS[trust].amplified_by_participation or participation == 1.0:
        return rounds
    from scipy.stats import binom

    return max(1, int(binom.ppf(COVERED_DEVICES, rounds, participation)))


def rounds_covered(of_a_device: int, trust: AnyTrust, participation: float) -> int:
    """Return the most rounds such that one device may take part in `of_a_device` of them.

    It inverts `rounds_of_a_device`.
    """
    low, high = of_a_device, of_a_device + 1
    while rounds_of_a_device(high, trust, participation) <= of_a_device:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = rounds_of_a_device(middle, trust, participation) <= of_a_device
        low, high = (middle, high) if fits else (low, middle)
    return low


class RoundSettings(BaseModel):
    """The settings of a round, which travel with the shared parameters as a Flower ConfigRecord.

    The device checks them before it trains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    protocol: Literal[1] = PROTOCOL
    run: str = Field("", max_length=64, description="unique name of the run, which makes its queries its own")
    round: int = Field(ge=1, description="number of the round, from 1")
    rounds: shared.Rounds[int]

    model: ModelName
    dim: shared.Dim[int]
    own_rows: shared.OwnRows[bool]
    item_bias: shared.ItemBias[bool]

    unit: shared.Unit[Unit]
    trust: shared.Trust[AnyTrust]
    epsilon: shared.Epsilon[float] = Field(allow_inf_nan=True)  # inf: no promise
    delta: shared.Delta[float] = Field(ge=0)
    noise_multiplier: shared.NoiseMultiplier[float]
    clip: shared.Clip[float] = Field(allow_inf_nan=True)

    clip_quantile: shared.ClipQuantile[float] = 0.0

    devices: shared.Devices[int]  # N; q·N is the denominator of a round's mean
    least_devices: int = Field(
        1,
        ge=1,
        description="distributed: minimum number of devices whose noise is in a released sum, without nodes "
        "that may collude",
    )
    agreement: shared.Agreement[float] = 2 / 3
    secure_aggregation: shared.SecureAggregation[bool] = True
    evaluate: bool = Field(
        False, description="one more release after the last round, in which devices count hits"
    )
    evaluation_noise: shared.EvaluationNoise[float] = Field(0.0, ge=0)

    head_size: shared.HeadSize[int] = 0
    popularity_share: shared.PopularityShare[float] = 0.25
    now: shared.Now[int] = 0
    popularity_half_life: shared.PopularityHalfLife[float] = 0.0
    popularity_norm: shared.PopularityNorm[float] = 0.0
    kernel_half_life: shared.KernelHalfLife[float] = 0.0
    attribute_weight: shared.AttributeWeight[float] = 0.01
    noised_attribute_weight: shared.NoisedAttributeWeight[float] = 0.1
    popularity_discount: shared.PopularityDiscount[float] = 0.0
    title_words: shared.TitleWords[bool] = False

    participation: shared.Participation[float]
    sampling_rate: shared.SamplingRate[float]
    steps_per_round: shared.StepsPerRound[int]
    learning_rate: shared.LearningRate[float]
    negatives: shared.Negatives[int]
    negative_weight: shared.NegativeWeight[float]
    catalogue_weight: shared.CatalogueWeight[float]
    regularisation: shared.Regularisation[float]
    recency_half_life: shared.RecencyHalfLife[float] = 0.0  # only the evaluation uses it

    @model_validator(mode="after")
    def _mechanism_is_the_promise(self) -> Self:
        """Check that the accounted mechanism is the one that is used.

        Without a unit no noise is added, so the settings may not claim any.
        """
        noise = max(self.noise_multiplier, self.evaluation_noise)
        unprotected = (self.trust, noise, self.clip, self.epsilon) == ("none", 0.0, inf, inf)
        if self.round > self.rounds + self.evaluate:
            raise ValueError(f"round {self.round} is beyond the {self.rounds} that the promise covers")
        if self.unit != "none" and self.delta <= 0:
            raise ValueError("a promise by Gaussian noise needs δ > 0")
        if self.unit == "none" and not unprotected:
            raise ValueError("unit none needs trust none, and allows no noise, no clip and no ε")
        if self.unit != "none" and self.unit not in self.trust_model.units:
            raise ValueError(f"unit {self.unit} is not kept under trust {self.trust}")
        if self.clip > MOST_CLIP and self.clip != inf:
            raise ValueError("a clip must be at most 1e6, or infinite")
        for noise in (self.noise_multiplier, self.evaluation_noise):
            if noise != 0 and not 1e-6 <= noise <= 1e6:
                raise ValueError("a noise multiplier must be 0, or from 1e-6 to 1e6")
        kind = self.model_kind
        if self.unit not in kind.units:
            raise ValueError(f"the model {self.model} does not support unit {self.unit}")
        if kind.releases and (self.rounds != len(kind.releases) or self.head_size == 0):
            needed = f"{len(kind.releases)} rounds, and a head_size above 0"
            raise ValueError(f"the model {self.model} needs {needed}")
        for name in ("kernel_half_life", "popularity_half_life", "popularity_norm"):
            if 0.0 < getattr(self, name) < 1e-3:
                raise ValueError(f"{name} must be 0, or at least 0.001")
        if self.noise_multiplier > 0 and self.clip == inf:
            raise ValueError("noise without a clip promises nothing")
        if self.least_devices > self.devices:
            raise ValueError(f"least_devices {self.least_devices} is more than the {self.devices} devices")
        if self.clip_quantile > 0 and (self.unit != "shopper" or kind.releases):
            raise ValueError("an adapted clip needs unit shopper, and a model other than linear")
        return self

    @property
    def model_kind(self) -> ModelKind:
        """The public facts of the model that is trained."""
        return kind_of(self.model)

    @property
    def trust_model(self) -> TrustModel:
        """The trust model: who adds the noise, and what follows from it."""
        return TRUST_MODELS[self.trust]

    def to_record(self) -> ConfigRecord:
        """Return the settings as a record for a Flower message."""
        return ConfigRecord(self.model_dump())

    @property
    def evaluates(self) -> bool:
        """Whether this round evaluates, after all training rounds."""
        return self.round > self.rounds

    def at(self, round: int) -> "RoundSettings":
        """Return the same settings for another round."""
        return self.model_copy(update={"round": round})

    @property
    def noise(self) -> float:
        """Standard deviation of this round's noise in units of its `sensitivity`."""
        if self.evaluates:
            return self.evaluation_noise
        return self.noise_multiplier * self.noise_factors[self.model_kind.round_of_release(self.round)]

    @property
    def noise_factors(self) -> tuple[float, ...]:
        """The noise of the training rounds, in units of noise_multiplier: one for all, or one per round.

        The linear model's two releases z₁ and z₂ share z⁻² = z₁⁻² + z₂⁻², so that without sampling both
        together are one Gaussian release with the noise z.
        """
        share = self.popularity_share
        return (share**-0.5, (1.0 - share) ** -0.5) if self.model_kind.releases else (1.0,)

    @property
    def released(self) -> str | None:
        """The only parameter that this training round updates; None: all shared parameters."""
        releases = self.model_kind.releases
        return releases[self.round - 1] if releases and not self.evaluates else None

    @property
    def vector_length(self) -> int:
        """How many numbers a device keeps about its shopper between rounds; 0 for the linear model."""
        return self.dim if self.model_kind.keeps_vector else 0

    @property
    def covered(self) -> int:
        """How many training rounds one device may take part in.

        It is all of them if rounds differ or cost nothing.
        """
        if self.model_kind.releases or self.unit == "none":
            return self.rounds
        return rounds_of_a_device(self.rounds, self.trust, self.participation)

    @property
    def kind(self) -> int:
        """Which of KINDS_OF_ROUND this round is. Rounds of one kind have the same release and cost."""
        if self.evaluates:
            return KINDS_OF_ROUND - 1
        return self.model_kind.round_of_release(self.round)

    @property
    def most_of_kind(self) -> int:
        """How many rounds of this one's kind one device may take part in."""
        return 1 if self.evaluates or self.model_kind.releases else self.covered

    @property
    def adapts_clip(self) -> bool:
        """Whether the update also says if its norm was below the clip."""
        return self.clip_quantile > 0 and not self.evaluates

    @property
    def indicator(self) -> float:
        """β, the weight of ±½ for "below the clip" beside an update of norm C, under the same noise.

        With noise z on the joint vector, the count's own noise is zC'/β devices. If the sum is noised once, β
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
            return math.sqrt(3.0)  # tested or not, hit or not, and the gain: each from 0 to 1
        if self.adapts_clip:
            return math.hypot(self.clip, 0.5 * self.indicator)
        return self.clip

    @property
    def mechanism(self) -> tuple[float, float, int]:
        """What one round adds to a ledger: noise multiplier, sampling rate and Gaussian steps."""
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
        """Return the most that a device has in its ledger after round `through`.

        Each entry is (noise, sampling rate, steps).
        """
        training = min(self.covered, through)
        if self.model_kind.releases:
            recorded = [self.at(round).mechanism for round in range(1, training + 1)]
        else:
            noise, rate, steps = self.at(1).mechanism
            recorded = [(noise, rate, training * steps)]
        return tuple(recorded) + self.measured(through)

    def measured(self, through: int) -> tuple[tuple[float, float, int], ...]:
        """Return the part of `history` that belongs to the evaluation round."""
        return (self.at(self.rounds + 1).mechanism,) if through > self.rounds else ()

    @property
    def only_renyi(self) -> bool:
        """`TrustModel.only_renyi`."""
        return self.trust_model.only_renyi

    @property
    def last_round(self) -> int:
        """The number of the last round, including the evaluation round."""
        return self.rounds + self.evaluate

    @property
    def noise_on_sum(self) -> float:
        """Standard deviation of the noise in each coordinate of the sum that this round releases.

        It leaves out the noise of DP-SGD's steps, which does not end up in the sum as it is.
        """
        if self.unit == "none" or (self.unit == "interaction" and not self.evaluates):
            return 0.0
        return self.noise * self.sensitivity * math.sqrt(self.noises_in_sum)

    @property
    def noises_in_sum(self) -> float:
        """How often the accounted noise is in a sum; devices may add more than is needed."""
        return self.trust_model.noises_in_sum(self.participation * self.devices, self.least_devices)

    @property
    def released_deviation(self) -> float:
        """Noise deviation in each coordinate of the mean update that this training round releases."""
        return self.deviation_of(self.noise)

    def deviation_of(self, noise: float) -> float:
        """Return the deviation in each coordinate of a mean update, for noise in units of the clip."""
        if self.unit != "shopper":
            return 0.0
        return noise * self.clip * math.sqrt(self.noises_in_sum) / (self.participation * self.devices)

    @classmethod
    def from_record(cls, record: ConfigRecord) -> "RoundSettings":
        """Read settings from a record.

        Raises pydantic's ValidationError (a ValueError) on anything missing, unknown or out of range.
        """
        values: dict[str, Any] = dict(record)
        if "protocol" not in values:
            raise ValueError("a message must name its protocol")
        values.pop("server-round", None)  # Flower adds its own count of rounds
        return cls.model_validate(values)

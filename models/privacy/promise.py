"""A promise of privacy: what it protects, whom it trusts, and how much it allows, over the whole run."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from terrycloth.models.privacy.tradeoff import most_caught
from terrycloth.models.privacy.trust import TRUST_MODELS, AnyTrust, Trust, TrustModel, Unit

FALSE_ALARMS = 0.01  # the share at which the sentence says what an attacker catches
LARGEST_FACTOR_SAID = 10.0  # a larger e^ε bounds the odds, but means nothing to a reader
# How well an attacker can tell, by the largest share that they may catch.
WELL = ((0.1, "can hardly tell"), (0.5, "may sometimes be able to tell"), (0.99, "may often be able to tell"))

Release = tuple[float, float, int]  # noise multiplier, sampling rate, and how many Gaussian steps


class Promise(BaseModel):
    """(unit, trust, ε, δ, neighbouring relation, rounds), and the mechanism that keeps it.

    With unit `none` there is no promise, and trust and ε are None. A seeded run is repeatable, so anyone who
    knows the seed can subtract the noise: its ε holds only against those who do not know it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unit: Unit
    trust: Trust | None
    epsilon: float | None
    delta: float | None
    relation: Literal["add-or-remove-one"] = "add-or-remove-one"
    noise_multiplier: float
    clip: float | None
    participation: float
    rounds: int
    steps_per_round: int
    sampling_rate: float
    accountant: str | None
    seeded: bool
    rounds_of_a_device: int | None = None  # None: all rounds
    least_devices: int | None = None  # fewest whose noise is in a sum, without those of tolerated_nodes
    tolerated_nodes: int | None = None  # may collude with the server; None: no secure aggregation
    secure_aggregation_off: bool = False
    evaluated: bool = False  # the devices' counts of hits are released too
    catalogue_from_events: bool = False  # it lists what shoppers chose, yet counts as public
    of_training_events: bool = False  # a simulation held events out; one purchase may move the rest
    most_events: int | None = None  # that a device stores, if an interaction is the unit
    history: tuple[Release, ...] = ()
    mechanism: Literal["gaussian", "discrete-gaussian"] | None = None

    @model_validator(mode="after")
    def _unit_is_kept_under_the_trust(self) -> Self:
        if self.unit not in self.trust_model.units:
            raise ValueError(f"unit {self.unit} is not kept under trust {self.trust}")
        return self

    @property
    def trust_model(self) -> TrustModel:
        """The trust model: who adds the noise, and what follows from it."""
        name: AnyTrust = self.trust or "none"
        return TRUST_MODELS[name]

    @property
    def label(self) -> str:
        """A few words for tables, with which every result must be shown."""
        if self.unit == "none" or self.epsilon is None:
            return "not private"
        assert self.delta is not None
        bound = f"ε = {rounded_up(self.epsilon)}, δ = {rounded_up(self.delta)}"
        return f"{self.unit} level, {self.trust} trust, {bound}" + (
            (" (simulated: without secure aggregation)" if self.secure_aggregation_off else "")
            + (" (not private: seeded)" if self.seeded else "")
        )

    def caught(self, false_alarms: float) -> float:
        """Return the largest share of the units in the data that an attacker recognises as such.

        The attacker sees all that is released and knows everything but whether the unit is in the data.
        false_alarms: the share of the units outside the data that they wrongly take to be in it. Raises
        ValueError if there is no promise.
        """
        if self.epsilon is None or self.delta is None:
            raise ValueError("without a promise an attacker may catch everything")
        renyi = self.mechanism == "discrete-gaussian"
        return most_caught(self.epsilon, self.delta, self.history, false_alarms, only_renyi=renyi)

    def sentence(self) -> str:
        """Return the promise in plain sentences."""
        if self.unit == "none" or self.epsilon is None or self.delta is None:
            return (
                "No promise of privacy is made: no noise is added, and updates can reveal what shoppers did."
            )
        protected = {"interaction": "any one interaction", "shopper": "everything one shopper did"}[self.unit]
        period = "in the one round" if self.rounds == 1 else f"over all {self.rounds} rounds"
        if self.evaluated:
            period += ", and in the counts of hits that devices release afterwards,"
        caught = self.caught(FALSE_ALARMS)
        well = next((words for most, words in WELL if caught <= most), "may nearly always be able to tell")
        text = f"{self.trust_model.observer} {period} {well} whether {protected} is in the data: "
        text += (
            f"with false alarms in {FALSE_ALARMS:.0%} of the cases in which it is not, they catch at most "
            f"{rounded_up(100 * caught)}% of those in which it is "
            f"(ε = {rounded_up(self.epsilon)}, δ = {rounded_up(self.delta)})."
        )
        if (factor := math.exp(min(self.epsilon, 700.0))) <= LARGEST_FACTOR_SAID:
            text += (
                " Adding or removing it changes the odds of anything they see by a factor of at most "
                f"{rounded_up(factor)}, except with probability δ."
            )
        if self.least_devices is not None:
            text += f" Each sum holds the noise of at least {self.least_devices:,} devices"
            if self.tolerated_nodes:
                text += (
                    f", not counting those of up to {self.tolerated_nodes:,} nodes that may collude with the "
                    "server; "
                )
                text += "if more nodes collude, less noise is left."
            else:
                text += "; if some of them reveal their noise to the server, that much less is left."
        if self.rounds_of_a_device is not None and self.rounds_of_a_device < self.rounds:
            text += f" A device takes part in at most {self.rounds_of_a_device} rounds, and then refuses."
        if self.unit == "interaction" and self.most_events is not None:
            text += (
                " An interaction is one of the events that a device stores to train on, which are at most "
                f"its newest {self.most_events:,}."
            )
        if self.unit == "interaction" and self.of_training_events:
            text += (
                " The split chose those events: adding or removing one purchase before the split may move "
                "many of them, and is not what is protected."
            )
        if self.catalogue_from_events:
            text += (
                " The catalogue lists what these shoppers chose, and counts as public: what it reveals is "
                "not included in ε."
            )
        if self.secure_aggregation_off:
            text += " This is a simulation: the sums were added up in the open, without secure aggregation."
        if self.seeded:
            text += " The run is seeded, so anyone who knows the seed can subtract the noise: not private."
        return text


def rounded_up(value: float, digits: int = 3) -> str:
    """Round a positive number up to so many digits.

    It is never rounded down, because a promise must not look better in print than it is.
    """
    if value <= 0:
        return f"{value:g}"
    last = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return f"{math.ceil(value / last - 1e-9) * last:.{digits}g}"

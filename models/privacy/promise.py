"""A promise of privacy: what it protects, whom it trusts, and how much it allows, over the whole run."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from terrycloth.models.privacy.trust import TRUST_MODELS, AnyTrust, Trust, TrustModel, Unit

Release = tuple[float, float, int]  # noise multiplier, sampling rate, and how many Gaussian steps


class Promise(BaseModel):
    """(unit, trust, ε, δ, neighbouring relation, rounds), and the mechanism that keeps it.

    With unit `none` there is no promise: trust and ε are None. A seeded run is repeatable, so whoever knows
    the seed can subtract the noise: its ε holds only for those who do not.
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
    rounds_of_a_device: int | None = None  # None: as many as there are
    least_devices: int | None = None  # whose noise is in a sum, not counting what tolerated_nodes know
    tolerated_nodes: int | None = None  # that may collude with the server; None: no masks, or no such trust
    secure_aggregation_off: bool = False
    evaluated: bool = False  # hits that devices count are released too
    catalogue_from_events: bool = False  # it lists what shoppers chose, and is public all the same
    of_training_events: bool = False  # a simulation held something out, and one purchase may move what trains
    most_events: int | None = None  # that a device stores, where an interaction is the unit
    history: tuple[Release, ...] = ()
    mechanism: Literal["gaussian", "discrete-gaussian"] | None = None

    @model_validator(mode="after")
    def _unit_is_kept_under_the_trust(self) -> Self:
        if self.unit not in self.trust_model.units:
            raise ValueError(f"unit {self.unit} is not kept under trust {self.trust}")
        return self

    @property
    def trust_model(self) -> TrustModel:
        """Who adds the noise, and what follows from it."""
        name: AnyTrust = self.trust or "none"
        return TRUST_MODELS[name]

    @property
    def label(self) -> str:
        """A few words for tables: what a result must never be shown without."""
        if self.unit == "none" or self.epsilon is None:
            return "not private"
        assert self.delta is not None
        bound = f"ε = {rounded_up(self.epsilon)}, δ = {rounded_up(self.delta)}"
        return f"{self.unit} level, {self.trust} trust, {bound}" + (
            (" (simulated: without secure aggregation)" if self.secure_aggregation_off else "")
            + (" (not private: seeded)" if self.seeded else "")
        )

    def sentence(self) -> str:
        """The promise in one plain sentence."""
        if self.unit == "none" or self.epsilon is None or self.delta is None:
            return (
                "No promise of privacy is made: no noise is added, and updates can reveal what shoppers did."
            )
        what = {"interaction": "any one interaction", "shopper": "everything one shopper did"}[self.unit]
        factor = math.exp(min(self.epsilon, 700.0))
        when = "in the one round" if self.rounds == 1 else f"over all {self.rounds} rounds"
        if self.evaluated:
            when += ", and in the counts of hits that devices release after,"
        said = f"{self.trust_model.observer} {when} can hardly tell whether {what} is in the data: "
        said += (
            f"adding or removing it changes the odds of anything they see by at most a factor {factor:.3g} "
        )
        said += f"(ε = {rounded_up(self.epsilon)}), except with probability δ = {rounded_up(self.delta)}."
        if self.least_devices is not None:
            said += f" Each sum holds the noise of at least {self.least_devices:,} devices"
            if self.tolerated_nodes:
                said += (
                    f", not counting what up to {self.tolerated_nodes:,} of the nodes may tell the server; "
                )
                said += "should more of them do so, less is left."
            else:
                said += "; should some of them tell the server theirs, so much less is left."
        if self.rounds_of_a_device is not None and self.rounds_of_a_device < self.rounds:
            said += f" A device takes part in {self.rounds_of_a_device} of them at most, and then refuses."
        if self.unit == "interaction" and self.most_events is not None:
            said += (
                f" An interaction is one of the events that a device stores to train on, the newest "
                f"{self.most_events:,} at most."
            )
        if self.unit == "interaction" and self.of_training_events:
            said += (
                " The split chose those events: one purchase more or less before it may move many of them, "
                "and is not what is protected."
            )
        if self.catalogue_from_events:
            said += (
                " The catalogue lists what these shoppers chose, and counts as public: what it gives away is "
                "not in ε."
            )
        if self.secure_aggregation_off:
            said += " This is a simulation: the sums were added up in the open, without secure aggregation."
        if self.seeded:
            said += " The run is seeded, so whoever knows the seed can subtract the noise: not private."
        return said


def rounded_up(value: float, digits: int = 3) -> str:
    """A positive number to so many digits, never less than it is: a promise must not look better in print."""
    if value <= 0:
        return f"{value:g}"
    last = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return f"{math.ceil(value / last - 1e-9) * last:.{digits}g}"

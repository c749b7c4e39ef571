"""A promise of privacy: what it protects, whom it trusts, and how much it allows, over the whole run."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

Unit = Literal["none", "interaction", "shopper"]
Trust = Literal["local", "distributed", "central"]


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

    @property
    def label(self) -> str:
        """A few words for tables: what a result must never be shown without."""
        if self.unit == "none" or self.epsilon is None:
            return "not private"
        return f"{self.unit} level, {self.trust} trust, ε = {self.epsilon:.3g}, δ = {self.delta:.1g}" + (
            " (not private: seeded)" if self.seeded else ""
        )

    def sentence(self) -> str:
        """The promise in one plain sentence."""
        if self.unit == "none" or self.epsilon is None or self.delta is None:
            return (
                "No promise of privacy is made: no noise is added, and updates can reveal what shoppers did."
            )
        what = {"interaction": "any one interaction", "shopper": "everything one shopper did"}[self.unit]
        who = {
            "local": "Whoever reads every reply of a device, the server included,",
            "distributed": "Whoever sees the sums that the server sees",
            "central": "Whoever sees every model that the server releases",
        }[self.trust or "local"]
        factor = math.exp(min(self.epsilon, 700.0))
        said = f"{who} over all {self.rounds} rounds can hardly tell whether {what} is in the data: "
        said += (
            f"adding or removing it changes the odds of anything they see by at most a factor {factor:.3g} "
        )
        said += f"(ε = {self.epsilon:.3g}), except with probability δ = {self.delta:.1g}."
        if self.seeded:
            said += " The run is seeded, so whoever knows the seed can subtract the noise: not private."
        return said

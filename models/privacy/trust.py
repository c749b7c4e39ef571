"""Trust models: who adds the noise of a release, and everything that follows from it.

Dwork & Roth 2014, "The algorithmic foundations of differential privacy", chapters 2 and 12, describe local
and central differential privacy. Kairouz, Liu & Steinke 2021, "The distributed discrete Gaussian mechanism
for federated learning with secure aggregation", describe distributed differential privacy, which lies between
them. Nothing else in the project compares a trust's name: it consults the `TrustModel`. A new trust model is
a new entry here.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, get_args

Unit = Literal["none", "interaction", "shopper"]
Trust = Literal["local", "distributed", "central"]
AnyTrust = Literal["none", "local", "distributed", "central"]


class NoiseSource(Enum):
    """Who adds the noise."""

    NOBODY = auto()
    DEVICE = auto()  # each device adds all of it to its update
    SHARES = auto()  # each device adds a share of it, on integers, and only the sum is visible
    SERVER = auto()  # the server adds it to the sum


@dataclass(frozen=True)
class TrustModel:
    """One trust model.

    units: what a promise under it may protect. observer: whom the promise is against, as the subject of its
    sentence. adds_noise: who adds the noise, as a clause.
    """

    source: NoiseSource
    units: tuple[Unit, ...]
    observer: str
    adds_noise: str

    @property
    def secure_aggregation(self) -> bool:
        """Whether devices send integers, of which secure aggregation shows the server only the sum."""
        return self.source is NoiseSource.SHARES

    @property
    def only_renyi(self) -> bool:
        """Whether an accountant knows only a release's Rényi curve, because the noise is discrete."""
        return self.source is NoiseSource.SHARES

    @property
    def amplified_by_participation(self) -> bool:
        """Whether it stays hidden which devices took part in a round, so that sampling them lowers ε.

        Anyone who sees the replies, or the sums with a list of who is in them, sees which devices took part.
        """
        return self.source is NoiseSource.SERVER

    def noises_in_sum(self, expected_devices: float, least_devices: int) -> float:
        """Return the noise variance in a sum over `expected_devices`, in multiples of the accounted variance.

        least_devices: the fewest devices whose shares make up the accounted noise.
        """
        times = {
            NoiseSource.DEVICE: expected_devices,
            NoiseSource.SHARES: expected_devices / least_devices,
            NoiseSource.SERVER: 1.0,
        }
        return times[self.source]


TRUST_MODELS: dict[AnyTrust, TrustModel] = {
    "none": TrustModel(NoiseSource.NOBODY, ("none",), "Nobody", "nobody adds any"),
    "local": TrustModel(
        NoiseSource.DEVICE,
        ("interaction", "shopper"),
        "Anyone who reads every reply of a device, including the server,",
        "each device adds it",
    ),
    "distributed": TrustModel(
        NoiseSource.SHARES,
        ("shopper",),
        "Anyone who sees the sums that secure aggregation gives the server",
        "each device adds a share of it",
    ),
    "central": TrustModel(
        NoiseSource.SERVER,
        ("shopper",),
        "Anyone who sees every model that the server releases",
        "the server adds it to the sum",
    ),
}


def trusts_of(unit: Unit) -> tuple[AnyTrust, ...]:
    """Return the trust models that can keep a promise about this unit."""
    return tuple(name for name, model in TRUST_MODELS.items() if unit in model.units)


assert TRUST_MODELS.keys() == set(get_args(AnyTrust)) == {*get_args(Trust), "none"}

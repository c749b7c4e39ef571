"""Who adds the noise of a release, and everything that follows from it: the trust models of the field.

Local and central differential privacy are described by Dwork & Roth 2014, "The algorithmic foundations of
differential privacy", chapters 2 and 12; distributed differential privacy, between them, by Kairouz, Liu &
Steinke 2021, "The distributed discrete Gaussian mechanism for federated learning with secure aggregation".
Nothing else in the project compares a trust's name: it asks the `TrustModel`. Adding one is an entry here.
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
    DEVICE = auto()  # each device adds all of it to what it sends
    SHARES = auto()  # each device adds a share of it, on integers, and only their sum is seen
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
        """Whether devices send integers, of which secure aggregation shows the server the sum alone."""
        return self.source is NoiseSource.SHARES

    @property
    def only_renyi(self) -> bool:
        """Whether an accountant knows no more of a release than its Rényi curve: the noise is discrete."""
        return self.source is NoiseSource.SHARES

    @property
    def amplified_by_participation(self) -> bool:
        """Whether it stays hidden which devices took part in a round, so that sampling them lowers ε.

        Whoever sees the replies, or the sums with the list of who is in them, sees which devices took part.
        """
        return self.source is NoiseSource.SERVER

    def noises_in_sum(self, expected_devices: float, least_devices: int) -> float:
        """How often the variance of the noise that is booked is in a sum of so many devices.

        least_devices: the fewest whose shares make up the noise that is booked.
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
        "Whoever reads every reply of a device, the server included,",
        "each device adds it",
    ),
    "distributed": TrustModel(
        NoiseSource.SHARES,
        ("shopper",),
        "Whoever sees the sums that secure aggregation gives the server",
        "each device adds a share of it",
    ),
    "central": TrustModel(
        NoiseSource.SERVER,
        ("shopper",),
        "Whoever sees every model that the server releases",
        "the server adds it to the sum",
    ),
}


def trusts_of(unit: Unit) -> tuple[AnyTrust, ...]:
    """The trusts that can keep a promise about this unit."""
    return tuple(name for name, model in TRUST_MODELS.items() if unit in model.units)


assert TRUST_MODELS.keys() == set(get_args(AnyTrust)) == {*get_args(Trust), "none"}

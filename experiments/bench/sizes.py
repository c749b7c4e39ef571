"""The sizes of `terry bench`. The defaults describe a shop like MovieLens-1M and take a few minutes."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from terrycloth.experiments.settings.config import explain
from terrycloth.models.errors import UserError

# `--quick`: the same model, steps and events per device on fewer devices. Flags override these sizes.
QUICK: dict[str, int] = {
    "devices": 600,
    "repeats": 3,
    "opacus_devices": 6,
    "reference_devices": 2,
    "flower_clients": 0,
    "pfl_users": 0,
    "neural_devices": 8,
    "sweep_devices": 200,
    "devices_most": 10_000,
    "linear_devices": 20_000,
}


class Sizes(BaseModel):
    """The sizes of the workload and of each comparison. All contenders use the same workload.

    An optional comparison is skipped if its number of devices, clients or users is 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    devices: int = Field(6040, ge=1, le=10_000_000, description="number of devices in the comparison")
    events: int = Field(147, ge=1, le=100_000, description="interactions per device")
    items: int = Field(3706, ge=2, le=1_000_000, description="items in the catalogue")
    dim: int = Field(32, ge=1, le=4096, description="length of a vector")
    batch: int = Field(64, ge=1, description="expected interactions per step")
    negatives: int = Field(4, ge=1, le=1000, description="sampled negatives per interaction, from all items")
    steps: int = Field(3, ge=1, le=1000, description="local steps per round")
    epsilon: float = Field(8.0, gt=0, le=500, description="ε of one round, at δ = 1e-5")
    repeats: int = Field(5, ge=1, le=1000, description="measured rounds per contender; the median counts")
    opacus_devices: int = Field(
        48, ge=0, description="devices that Opacus trains, scaled to all devices; 0 skips it"
    )
    reference_devices: int = Field(
        4, ge=0, description="devices that terrycloth's OpacusTrainer trains, scaled to all; 0 skips it"
    )
    flower_clients: int = Field(
        200, ge=0, description="clients of Flower with Ray and Opacus, scaled to all devices; 0 skips it"
    )
    pfl_users: int = Field(
        400, ge=0, description="users that pfl-research trains, scaled to all devices; 0 skips it"
    )
    neural_devices: int = Field(48, ge=0, description="devices that train neural CF; 0 skips it")
    sweep_devices: int = Field(
        2000, ge=0, description="devices in the sweeps over events, items and dim; 0 skips them"
    )
    devices_most: int = Field(
        100_000,
        ge=0,
        le=10_000_000,
        description="most devices in the sweep over 1e3, 1e4, 1e5 … devices; 0 skips it",
    )
    linear_devices: int = Field(
        1_000_000, ge=0, le=10_000_000, description="devices in the linear model's rounds; 0 skips them"
    )

    @model_validator(mode="after")
    def _a_batch_is_a_part_of_the_events(self) -> Self:
        if self.batch > self.events:
            raise ValueError(f"--batch {self.batch} is more than the {self.events} of --events")
        return self

    @property
    def sampling_rate(self) -> float:
        """The probability that an interaction is sampled for a step."""
        return self.batch / self.events


def read_sizes(given: dict[str, Any], *, quick: bool) -> Sizes:
    """Return the sizes given as flags, completed by those of --quick and by the defaults.

    Raises UserError if a size is invalid.
    """
    try:
        return Sizes(**{**(QUICK if quick else {}), **given})
    except ValidationError as error:
        raise UserError(explain(error)) from None

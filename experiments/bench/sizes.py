"""How much `terry bench` measures. The defaults are a shop like MovieLens-1M and a few minutes."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from terrycloth.experiments.settings.config import explain
from terrycloth.models.errors import UserError

# `--quick`: the same model, steps and events a device, on fewer devices. Flags win over it.
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
    """Every size is public and the same for all that are compared; 0 leaves a comparison out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    devices: int = Field(6040, ge=1, le=10_000_000, description="devices of the comparison")
    events: int = Field(147, ge=1, le=100_000, description="interactions on each")
    items: int = Field(3706, ge=2, le=1_000_000, description="items in the catalogue")
    dim: int = Field(32, ge=1, le=4096, description="length of a vector")
    batch: int = Field(64, ge=1, description="interactions expected in a step")
    negatives: int = Field(4, ge=1, le=1000, description="drawn for an interaction, from the whole catalogue")
    steps: int = Field(3, ge=1, le=1000, description="local steps of a round")
    epsilon: float = Field(8.0, gt=0, le=500, description="ε of the one round, at δ = 1e-5")
    repeats: int = Field(5, ge=1, le=1000, description="rounds measured of each; the median counts")
    opacus_devices: int = Field(48, ge=0, description="devices that Opacus trains, scaled to all; 0: none")
    reference_devices: int = Field(
        4, ge=0, description="devices that this project's own Opacus trainer trains, scaled to all; 0: none"
    )
    flower_clients: int = Field(
        200, ge=0, description="clients on Flower, Ray and Opacus, scaled to all; 0: none"
    )
    pfl_users: int = Field(400, ge=0, description="users that pfl-research trains, scaled to all; 0: none")
    neural_devices: int = Field(48, ge=0, description="devices that train neural CF; 0: none")
    sweep_devices: int = Field(
        2000, ge=0, description="devices of the sweeps over events, items and dim; 0: none"
    )
    devices_most: int = Field(
        100_000, ge=0, le=10_000_000, description="devices of the largest round in 1e3, 1e4, 1e5 …; 0: none"
    )
    linear_devices: int = Field(
        1_000_000, ge=0, le=10_000_000, description="devices of the linear model's rounds; 0: none"
    )

    @model_validator(mode="after")
    def _a_batch_is_a_part_of_the_events(self) -> Self:
        if self.batch > self.events:
            raise ValueError(f"--batch {self.batch} is more than the {self.events} of --events")
        return self

    @property
    def sampling_rate(self) -> float:
        """The chance of an interaction to be in a step."""
        return self.batch / self.events


def read_sizes(said: dict[str, Any], *, quick: bool) -> Sizes:
    """The sizes that were said, over those of --quick where it was. Raises UserError."""
    try:
        return Sizes(**{**(QUICK if quick else {}), **said})
    except ValidationError as error:
        raise UserError(explain(error)) from None

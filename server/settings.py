"""What the aggregator is told beside the round's settings: how to step on the sum, and how long to wait."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from terrycloth.models.limits import MOST_EVENTS
from terrycloth.models.settings import RoundSettings


class ServerSettings(BaseModel):
    """What the aggregator alone needs; all of it is public."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: Path = Field(description="catalogue.parquet, public")
    folder: Path | None = Field(None, description="where checkpoints go; none are written without it")
    resume: bool = False

    server_optimizer: Literal["adam", "sgd"] = "adam"
    server_learning_rate: float = Field(0.05, gt=0)
    server_momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; Adam's first beta")
    server_weight_decay: float = Field(0.0, ge=0)
    initial_seed: int = Field(0, ge=0, description="of the shared starting point, public")

    clip_learning_rate: float = Field(0.2, gt=0, description="of an adapted clip, on a log scale")

    noise_seed: int | None = Field(
        None, ge=0, description="makes the server's own noise repeatable, and its promise void"
    )

    roster: Path | None = Field(
        None,
        description="public keys of the nodes that secure aggregation may list, and how many devices each "
        "has; without it any node and any number",
    )
    nodes: int = Field(1, ge=1, description="Flower nodes to wait for before the first round")
    most_devices_a_node: int | None = Field(
        None,
        ge=1,
        description="most devices behind one node, public; not said: an equal share of all, and by secure "
        "aggregation what the roster says",
    )
    most_events: int = Field(
        MOST_EVENTS,
        ge=1,
        le=MOST_EVENTS,
        description="that a device stores at most, public: it bounds what one can send",
    )
    least_nodes: int = Field(1, ge=1, description="nodes to wait for before a later round: some may be lost")
    timeout: float = Field(3600.0, gt=0, description="seconds to wait for a round's replies")

    def most_devices(self, devices: int) -> int:
        """Behind one node, of so many behind all."""
        return min(devices, self.most_devices_a_node or math.ceil(devices / self.nodes))


def from_run_config(run_config: Mapping[str, Any]) -> tuple[ServerSettings, RoundSettings]:
    """Split Flower's flat run config by field name (- and _ are one). Raises ValueError on an unknown key.

    TOML has no null, so an empty text is a key not set.
    """
    values = {name.replace("-", "_"): value for name, value in run_config.items() if value != ""}
    own = {name: value for name, value in values.items() if name in ServerSettings.model_fields}
    asked = {name: value for name, value in values.items() if name in RoundSettings.model_fields}
    unknown = set(values) - set(own) - set(asked)
    if unknown:
        raise ValueError(f"unknown settings in the run config: {', '.join(sorted(unknown))}")
    return ServerSettings.model_validate(own), RoundSettings.model_validate({"round": 1, **asked})

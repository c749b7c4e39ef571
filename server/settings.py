"""The server's own settings, beside the round's: how to step on the sum, and how long to wait."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from terrycloth.models import shared_settings as shared
from terrycloth.models.limits import MOST_EVENTS
from terrycloth.models.settings import RoundSettings


class ServerSettings(BaseModel):
    """The settings that only the server needs. All of them are public."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: shared.Catalogue[Path]
    folder: Path | None = Field(None, description="folder for checkpoints; without it, none are written")
    resume: bool = False

    server_optimizer: shared.ServerOptimizer[shared.OptimizerName] = "adam"
    server_learning_rate: shared.ServerLearningRate[float] = 0.05
    server_momentum: shared.ServerMomentum[float] = 0.9
    server_weight_decay: shared.ServerWeightDecay[float] = 0.0
    initial_seed: int = Field(0, ge=0, description="seed of the shared initial parameters, public")

    clip_learning_rate: shared.ClipLearningRate[float] = 0.2

    noise_seed: int | None = Field(
        None, ge=0, description="seed that makes the server's noise repeatable, and voids its promise"
    )

    roster: Path | None = Field(
        None,
        description="file of the public keys of the nodes that may join secure aggregation, and of how many "
        "devices each has; without it, any node with any number",
    )
    nodes: shared.Nodes[int] = 1
    most_devices_a_node: int | None = Field(
        None,
        ge=1,
        description="most devices behind one node, public; by default an equal share of all, or with secure "
        "aggregation the roster's number",
    )
    most_events: shared.MostEvents[int] = MOST_EVENTS
    least_nodes: int = Field(
        1, ge=1, description="nodes to wait for before each later round, if some are lost"
    )
    timeout: float = Field(3600.0, gt=0, description="seconds to wait for a round's replies")

    def most_devices(self, devices: int) -> int:
        """Return the most devices that one node may have, if all nodes together have `devices`."""
        return min(devices, self.most_devices_a_node or math.ceil(devices / self.nodes))


def from_run_config(run_config: Mapping[str, Any]) -> tuple[ServerSettings, RoundSettings]:
    """Split Flower's flat run config into server settings and round settings, by field name.

    A name may use - in place of _. An empty text means that the key is not set, since TOML has no null.
    Raises ValueError for an unknown key.
    """
    values = {name.replace("-", "_"): value for name, value in run_config.items() if value != ""}
    server_values = {name: value for name, value in values.items() if name in ServerSettings.model_fields}
    round_values = {name: value for name, value in values.items() if name in RoundSettings.model_fields}
    unknown = set(values) - set(server_values) - set(round_values)
    if unknown:
        raise ValueError(f"unknown settings in the run config: {', '.join(sorted(unknown))}")
    return ServerSettings.model_validate(server_values), RoundSettings.model_validate(
        {"round": 1, **round_values}
    )

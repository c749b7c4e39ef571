"""The server's state after a round, on disk: parameters, the optimiser's moments, and the rounds so far."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from terrycloth.models.durable import replace
from terrycloth.models.errors import UserError
from terrycloth.models.settings import RoundSettings

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class RoundRecord:
    """What the server knows of one round. Under central trust, who answered is for the server alone."""

    round: int
    asked: int  # devices in the federation
    answered: int  # devices whose update is in the sum
    refused: dict[str, int]  # devices, by reason
    invalid: dict[str, int]  # nodes whose reply was not added, by reason
    epsilon: float | None  # the most that any device has spent so far; None: not private
    bytes_down: int  # to one device
    bytes_up: int  # from one device
    seconds: float
    evaluation: dict[str, float] | None = None  # what the devices counted, noise and all


@dataclass
class Progress:
    """The rounds done; the parameters and the optimiser beside it hold their result.

    clip: where it is adapted, the next round's. accountant: what was released so far. opened: the last round
    in which a session of secure aggregation was begun. number: of the checkpoint that holds all this, from 1.
    """

    records: list[RoundRecord] = field(default_factory=list)
    clip: float | None = None
    accountant: dict[str, Any] | None = None
    opened: int = 0
    number: int = 0

    @property
    def rounds_done(self) -> int:
        """How many rounds are behind."""
        return len(self.records)


def save_checkpoint(
    folder: Path,
    settings: RoundSettings,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Replace the checkpoint in one step; the settings are kept, since ε was spent under them."""
    tensors = {f"parameter/{name}": parameter.detach() for name, parameter in parameters.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items() if value is not None}
    partial = folder / f"{FILE}.partial"
    metadata = {
        "progress": json.dumps(asdict(progress)),
        "settings": settings.model_dump_json(),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=metadata)
    replace(partial, folder / FILE)


def run_of_checkpoint(folder: Path) -> str | None:
    """The name of the run that a folder's checkpoint is of; None where there is no checkpoint."""
    if not (folder / FILE).exists():
        return None
    with reading(folder), safe_open(folder / FILE, framework="pt") as file:
        name: str = json.loads(file.metadata()["settings"])["run"]
    return name


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what a damaged checkpoint raises into a UserError."""
    try:
        yield
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
        raise UserError(f"{folder / FILE} is damaged: take {folder} away, and run it again") from None


def load_checkpoint(
    folder: Path,
    settings: RoundSettings,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Progress:
    """Bring parameters and optimiser back to where the checkpoint left them; no rounds done without one.

    Raises UserError when the run was stopped under other settings: its ε would be told wrongly.
    """
    if not (folder / FILE).exists():
        return Progress()
    with reading(folder), safe_open(folder / FILE, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        kept, progress = file.metadata()["settings"], json.loads(file.metadata()["progress"])
    if kept != settings.model_dump_json():
        raise UserError(f"{folder} was stopped under other settings: put them back, or start a new run")
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        kind, key = name.split("/", 1)
        if kind == "parameter":
            with torch.no_grad():
                parameters[key].copy_(tensor)
        else:
            index, moment = key.split("/")
            moments.setdefault(int(index), {})[moment] = tensor
    state = optimizer.state_dict()
    optimizer.load_state_dict({**state, "state": moments})
    progress["records"] = [RoundRecord(**record) for record in progress["records"]]
    return Progress(**progress)

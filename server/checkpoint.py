"""The server's checkpoint on disk: parameters, optimiser state and the records of all rounds so far."""

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
    """What the server knows about one round.

    Under central trust, only the server may know how many devices answered.
    """

    round: int
    asked: int  # devices in the federation
    answered: int  # devices whose update is in the sum
    refused: dict[str, int]  # devices, by reason
    invalid: dict[str, int]  # nodes whose reply was not added, by reason
    epsilon: float | None  # most that any device has spent so far; None: not private
    bytes_down: int  # to one device
    bytes_up: int  # from one device
    seconds: float
    evaluation: dict[str, float] | None = None  # the devices' counts, with their noise


@dataclass
class Progress:
    """The rounds that are done. Their result is in the parameters and the optimiser's state beside it.

    clip: the next round's clipping norm if the clip is adapted. accountant: the accountant's state. opened:
    the last round in which the server began a session of secure aggregation. number: the number of the
    checkpoint that holds all this, from 1.
    """

    records: list[RoundRecord] = field(default_factory=list)
    clip: float | None = None
    accountant: dict[str, Any] | None = None
    opened: int = 0
    number: int = 0

    @property
    def rounds_done(self) -> int:
        """The number of rounds that are done."""
        return len(self.records)


def save_checkpoint(
    folder: Path,
    settings: RoundSettings,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Replace the checkpoint in one step.

    It includes the settings, because ε was spent under them.
    """
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
    """Return the name of the run that a folder's checkpoint belongs to, or None without a checkpoint."""
    if not (folder / FILE).exists():
        return None
    with reading(folder), safe_open(folder / FILE, framework="pt") as file:
        name: str = json.loads(file.metadata()["settings"])["run"]
    return name


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn the errors that a damaged checkpoint raises into a UserError."""
    try:
        yield
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
        raise UserError(f"{folder / FILE} is damaged: remove {folder}, and start the run again") from None


def load_checkpoint(
    folder: Path,
    settings: RoundSettings,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Progress:
    """Restore parameters and optimiser from the checkpoint, and return the progress made.

    Without a checkpoint, return a `Progress` without rounds. Raises UserError if the run was stopped under
    other settings, since the ε reported for it would be wrong, or if the checkpoint is damaged.
    """
    if not (folder / FILE).exists():
        return Progress()
    with reading(folder), safe_open(folder / FILE, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        saved_settings, progress = file.metadata()["settings"], json.loads(file.metadata()["progress"])
    if saved_settings != settings.model_dump_json():
        raise UserError(f"{folder} was stopped under other settings: restore them, or start a new run")
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

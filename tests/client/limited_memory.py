"""Queries to device groups in a process of little memory: lines of JSON in, one line of JSON out each.

A query is {"device-group", "trainer", "settings", "spare"}: a folder, who trains, settings, and how many
bytes the process may take beyond what it has. "measured": the answer says how many bytes it took. "strict":
errors leave the device group. "broken": they do, and batches are whole, as both were once. "killed": the
process kills itself as it trains.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import terrycloth.client.device_group
import terrycloth.client.training.sgd_trainer
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.training.cohort import Trainer
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import Request


def size() -> int:
    """Of the process's address space, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def resident(most: bool) -> int:
    """Bytes of the process in memory: now, or the most since `forget_most`."""
    name = "VmHWM:" if most else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith(name)]
    return 1024 * int(kibibytes)


def forget_most() -> None:
    """From now on `resident` counts anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def answered(group: DeviceGroup, settings: RoundSettings, spare: int | None) -> dict[str, Any]:
    """What a server can tell of the answer to a query, but for the numbers."""
    start = {
        name: torch.full_like(tensor, 0.01)
        for name, tensor in group.load_model(settings).shared_parameters().items()
    }
    limit = resource.RLIM_INFINITY if spare is None else size() + spare
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        reply = group.answer(Request(start, settings))
    except Exception as error:
        return {"failed": type(error).__name__}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {
        "answered": reply.answered,
        "refused": reply.refused,
        "arrays": [[name, list(part.shape), str(part.dtype)] for name, part in reply.update.items()],
        "noised": all(float((part != 0).float().mean()) > 0.9 for part in reply.update.values()),
        "sum": sum(float(part.double().sum()) for part in reply.update.values()),
    }


def kill_in_training() -> None:
    """As the system does where memory is short."""

    class Killed:
        def train(self, *rest: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    def killed(*rest: object) -> Trainer:
        return Killed()  # type: ignore[return-value]

    terrycloth.client.device_group.trainer_for = killed


def main() -> None:
    """Answer all queries, in turn."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        settings = RoundSettings.model_validate(asked["settings"])
        real = terrycloth.client.device_group.attempt, terrycloth.client.training.sgd_trainer.CHUNK
        if asked.get("killed"):
            kill_in_training()
        if asked.get("strict") or asked.get("broken"):
            terrycloth.client.device_group.attempt = lambda make: make()
        if asked.get("broken"):
            terrycloth.client.training.sgd_trainer.CHUNK = 2**62
        group = DeviceGroup(Path(asked["device-group"]), trainer=asked["trainer"])
        forget_most()
        before = resident(most=False)
        said = answered(group, settings, asked["spare"])
        took = {"took": resident(most=True) - before} if asked.get("measured") else {}
        print(json.dumps(said | took), flush=True)
        terrycloth.client.device_group.attempt, terrycloth.client.training.sgd_trainer.CHUNK = real


if __name__ == "__main__":
    main()

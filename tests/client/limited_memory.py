"""Answer queries to device groups in a process of limited memory: one line of JSON in, one line out each.

A query is {"device-group", "trainer", "settings", "spare"}: a folder, a trainer's name, round settings, and
how many bytes the process may allocate beyond what it has. With "measured" the answer says how many bytes
were allocated. With "strict" errors leave the device group. With "broken" they also do, and batches are not
cut into chunks: two old faults. With "killed" the process kills itself during training.
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
    """Return the size of the process's address space in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def resident(peak: bool) -> int:
    """Return the bytes of the process in memory, now or at the peak since `reset_peak`."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith(name)]
    return 1024 * int(kibibytes)


def reset_peak() -> None:
    """Restart the measurement of the peak in `resident` (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def seen_by_server(group: DeviceGroup, settings: RoundSettings, spare: int | None) -> dict[str, Any]:
    """Return what a server can see of the answer to a query, except the numbers."""
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
    """Make the process kill itself during training, as the system does when memory is short."""

    class Killed:
        def train(self, *rest: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    def killed(*rest: object) -> Trainer:
        return Killed()  # type: ignore[return-value]

    terrycloth.client.device_group.trainer_for = killed


def main() -> None:
    """Answer all queries in turn."""
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
        reset_peak()
        before = resident(peak=False)
        answer = seen_by_server(group, settings, asked["spare"])
        took = {"took": resident(peak=True) - before} if asked.get("measured") else {}
        print(json.dumps(answer | took), flush=True)
        terrycloth.client.device_group.attempt, terrycloth.client.training.sgd_trainer.CHUNK = real


if __name__ == "__main__":
    main()

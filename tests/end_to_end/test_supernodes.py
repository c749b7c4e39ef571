"""Four SuperNodes and a SuperLink run as separate processes; one is killed, and the sum is exact."""

import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import tomli_w
from safetensors.torch import load_file

from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.policy import Policy
from terrycloth.client.secure.secure_round import lay_out_identities
from terrycloth.client.secure.secure_session import Stage
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.federation.ports import free_ports
from terrycloth.experiments.runs.flower_run import (
    descendants,
    environment,
    read_records,
    run_app,
    superlink,
)
from terrycloth.models.recommenders.build import build_model
from terrycloth.server.app import MODEL_FILE
from terrycloth.server.settings import from_run_config
from tests.end_to_end.test_flower_run import app_config
from tests.end_to_end.test_secure_round import is_the_sum, plain_sum

NODES, DEVICES, KILLED = 4, 8, 3
SECONDS_TO_STOP = 15


@contextmanager
def supernode(home: Path, link: str, group: Path, node: int) -> Iterator[None]:
    """Run one SuperNode on loopback with its own home, and remove everything when the block ends."""
    home.mkdir()
    config = f'device group="{group}" partition-id={node} num-partitions={NODES}'
    command = ["flower-supernode", "--insecure", "--superlink", link, "--host", "127.0.0.1"]
    command += ["--port", str(*free_ports(None)), "--node-config", config]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, env=environment(home, group), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_STOP)
        kill(home)
        process.wait()


def kill(home: Path) -> None:
    """Kill the processes of one node, by their ids."""
    for pid in descendants(home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_after(stage: Stage, group: Path, home: Path) -> None:
    """Kill a node as soon as it has answered a stage."""
    session = group / f"session-{KILLED}-of-{NODES}.json"
    for _ in range(3000):
        with suppress(OSError, ValueError):
            if json.loads(session.read_bytes())["session"]["stage"] >= stage:
                kill(home)
                return
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.federation
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_the_sum_of_four_supernodes_one_of_which_is_killed(tmp_path: Path) -> None:
    """The node is killed after its shares are sent: the others masked with it, and must open its key."""
    group, out, home = tmp_path / "device-group", tmp_path / "out", tmp_path / "link"
    dataset = load("towels", DataOptions(devices=DEVICES))
    DeviceGroup.create(group, dataset.catalogue, dataset.events, Policy(least_agreement=0.5))
    lay_out_identities(group, NODES)
    out.mkdir()
    home.mkdir()
    settings = app_config() | {
        "catalogue": str(group / "catalogue.parquet"), "folder": str(out), "nodes": NODES, "timeout": 240.0,
        "unit": "shopper", "trust": "distributed", "devices": DEVICES, "least-devices": 4, "agreement": 0.5,
        "epsilon": math.inf, "noise-multiplier": 0.0, "clip": 0.5, "rounds": 1,
        "server-optimizer": "sgd", "server-learning-rate": 1.0, "server-momentum": 0.0,
    }  # fmt: skip
    (home / "run.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    homes = [tmp_path / f"node-{node}" for node in range(NODES)]
    env = environment(home, group)
    with superlink(home, env) as link, ExitStack() as nodes:
        for node in range(NODES):
            nodes.enter_context(supernode(homes[node], link, group, node))
        killer = threading.Thread(target=kill_after, args=(Stage.SHARED, group, homes[KILLED]), daemon=True)
        killer.start()
        status = run_app(env, None, home / "run.toml", home / "run.log")
    assert status == "finished:completed", (home / "run.log").read_text(encoding="utf-8")
    assert [descendants(each) for each in [home, *homes]] == [[]] * (NODES + 1)

    (record,) = read_records(out)
    _, asked = from_run_config(settings)
    assert record.answered == 6, record
    assert record.invalid == {"node failed": 1}
    model = build_model("attributes", dataset.catalogue, dim=asked.dim, own_rows=False, item_bias=True)
    model.initialise(0)
    start = {name: tensor.clone() for name, tensor in model.shared_parameters().items()}
    final = load_file(out / MODEL_FILE)
    moved = {name: final[name] - start[name] for name in final}
    is_the_sum(moved, plain_sum(model, dataset.events, range(6), asked), 6, asked)

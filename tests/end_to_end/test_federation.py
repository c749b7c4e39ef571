"""A server and four devices, each a process of its own, with TLS and keys: how they train, whom they refuse.

All tests share one federation, in the order of this file; the last checks that nothing is left running.
"""

import hashlib
import logging
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.cli.build import build_fab_from_files
from flwr.clientapp import ClientApp
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.fab import Fab
from flwr.supercore.routers.runtime import router as runtime
from flwr.superlink.routers.control import router as control
from flwr.superlink.routers.fleet.router import router as fleet_routes
from safetensors.torch import load_file

from terrycloth.client.app import FAILED
from terrycloth.client.fleet import serve as serving
from terrycloth.client.fleet.connection import FILE, KEY_FILE, Connection, Place
from terrycloth.client.fleet.serve import Device, serve
from terrycloth.client.secure.identity import Identity
from terrycloth.client.store import DeviceStore
from terrycloth.experiments.federation.layout import FederationSettings, Layout
from terrycloth.experiments.federation.ports import free_ports
from terrycloth.experiments.federation.processes import DEVICES, SERVER, process_of, running
from terrycloth.experiments.runs import federated
from terrycloth.experiments.runs.device_folders import NOTICE
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import Reporter, simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.server.link import rounds
from terrycloth.server.link.operator import Operator
from terrycloth.server.replies import NODE_FAILED
from terrycloth.server.strategy import LATE

pytestmark = [
    pytest.mark.federation,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc"),
]

NODES = 4
REFUSED = {"protocol": 1, "round": 1, "answered": 0, "refused.settings-unknown": 1}
ROUND_LIMIT = 30.0  # seconds


def config(engine: str, rounds: int = 2) -> RunConfig:
    return RunConfig(
        data="towels", devices=NODES, nodes=NODES, model="attributes", unit="interaction",
        noise_multiplier=1.5, rounds=rounds, engine=engine, trainer="reference", seed=5, central=False,
        evaluate_every=0,
    )  # fmt: skip


def laid_out(out: Path, rounds: int = 2) -> RunFolder:
    port, operator_port = free_ports(None, None)
    settings = FederationSettings(port=port, operator_port=operator_port, timeout=ROUND_LIMIT, nodes=NODES)
    return federated.init(config("federation", rounds), settings, out, Reporter())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[RunFolder]:
    made = laid_out(tmp_path_factory.mktemp("federation") / "run")
    with running(Layout(made.path), lambda what: None):
        yield made
    assert [process_of(Layout(made.path), name) for name in (SERVER, DEVICES)] == [None, None]


@pytest.fixture
def layout(folder: RunFolder) -> Layout:
    return Layout(folder.path)


def logs(layout: Layout) -> str:
    return "".join((device / "device.log").read_text() for device in layout.devices)


def test_a_second_party_with_the_authoritys_file_gets_nothing_call_by_call(layout):
    authority = ssl.create_default_context(cafile=str(layout.device(0) / "authority.crt"))
    headers = {"content-type": "application/protobuf", "accept": "application/protobuf"}
    paths = [route.path for router in (control, runtime, fleet_routes) for route in router.routes]
    assert len(paths) > 50
    ports = {"devices": layout.settings.port, "operator": layout.settings.operator_port}
    with httpx.Client(verify=authority, headers=headers) as client:
        for who, port in ports.items():
            for path in [*paths, "/docs", "/openapi.json", "/v1/runtime/responses"]:
                status = client.post(f"https://127.0.0.1:{port}{path}", content=b"").status_code
                assert status in (401, 404), (who, path)


def test_an_app_that_somebody_submits_runs_nowhere(layout, tmp_path, caplog):
    """With the stolen operator's token it is submitted, and nobody takes it; without, it is not submitted."""
    trace, stolen = tmp_path / "ran", layout.operator()
    submitted = submit(stolen, trace)
    before = logs(layout)
    number = stolen.start_run()
    with caplog.at_level(logging.WARNING), rounds.acquired(stolen, number) as (_, finish):
        finish()
    assert rounds.FOREIGN in caplog.text
    assert stolen.status_of(submitted) == "finished:failed"
    assert stolen.status_of(number) == "finished:completed"
    stolen.close()
    assert not trace.exists()
    assert logs(layout) == before  # no device heard of it


def submit(operator: Operator, trace: Path) -> int:
    """Submit another app, whose parts would both leave a trace, and return its run."""
    code = f"from pathlib import Path\nPath({str(trace)!r}).write_text('ran')\n"
    project = (
        '[project]\nname = "other"\nversion = "1.0.0"\ndescription = ""\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "other"\n[tool.flwr.app.components]\n'
        'serverapp = "other:app"\nclientapp = "other:app"\n[tool.flwr.app.config]\n'
    )
    packed = build_fab_from_files({"pyproject.toml": project.encode(), "other.py": code.encode()})[0]
    fab = Fab(hashlib.sha256(packed).hexdigest(), packed, {})
    return int(operator.client.StartRun(StartRunRequest(fab=fab_to_proto(fab))).run_id)


def test_a_server_that_asks_for_something_else_is_refused_and_reads_no_event(layout, tmp_path):
    """It has an executor of its own for another app, and sends the devices that app's messages."""
    operator, trace = layout.operator(), tmp_path / "ran"
    number = submit(operator, trace)
    asked = {"train": "a train message with other settings", "query.events": "give me the events"}
    with rounds.acquired(operator, number) as (grid, finish):
        nodes = list(grid.get_node_ids())
        assert len(nodes) == NODES
        messages = [
            Message(RecordDict({"config": ConfigRecord({"say": text, "round": 1})}), node, kind, ttl=60.0)
            for kind, text in asked.items()
            for node in nodes
        ]
        replies = list(grid.send_and_receive(messages, timeout=30.0))
        finish()
    operator.close()
    assert len(replies) == 2 * NODES
    refused = [reply for reply in replies if not reply.has_error()]
    assert len(refused) == NODES
    errors = {reply.error.reason for reply in replies if reply.has_error()}
    assert errors == {FAILED}
    for reply in refused:  # all that left the device
        assert {name: dict(record) for name, record in reply.content.items()} == {
            "update": {}, "reply": REFUSED,
        }  # fmt: skip
    assert not trace.exists()
    said = logs(layout)
    assert said.count(serving.UNKNOWN_TYPE) == NODES
    assert said.count("every device refuses: settings-unknown") == NODES
    assert not any(text in said for text in asked.values())
    # Nothing was charged, so no event was read.
    assert [DeviceStore(device).state().asked for device in layout.devices] == [0] * NODES


@pytest.mark.parametrize(("broken", "reason"), [("key", serving.UNKNOWN_KEY), ("pin", serving.OTHER_SERVER)])
def test_an_unknown_device_or_server_is_kept_out(layout, tmp_path, monkeypatch, broken, reason):
    monkeypatch.setattr(serving, "RETURN", 0.1)
    for name in (FILE, KEY_FILE, "authority.crt"):
        (tmp_path / name).write_bytes((layout.device(0) / name).read_bytes())
    if broken == "key":
        (tmp_path / KEY_FILE).unlink()
        Identity.new().save(tmp_path / KEY_FILE)
    else:
        connection = Place.open(tmp_path).connection
        Connection(server=connection.server, server_key="0" * 64).save(tmp_path)
    kept_out = serve([Device(Place.open(tmp_path), ClientApp())], threading.Event(), give_up=0.3)
    assert kept_out == {tmp_path.name: reason}


class Stopping(Reporter):
    """Ctrl-C after the first round."""

    def round_done(self, row):
        raise KeyboardInterrupt


def test_in_process_on_ray_and_in_the_federation_the_model_is_the_same(folder, tmp_path):
    """The federation's run is stopped after its first round, and goes on."""
    with pytest.raises(KeyboardInterrupt):
        federated.run(folder.path, Stopping())
    assert len(folder.read_rounds()) == 1
    done = federated.run(folder.path, Reporter())
    engines = ["in-process"]
    try:
        import ray  # noqa: F401

        engines.append("ray")
    except ImportError:
        pass
    final = load_file(done.model)
    for engine in engines:
        other = simulate(config(engine), tmp_path / engine)
        for name in ("asked", "answered", "refused", "invalid", "epsilon"):
            assert [row[name] for row in other.read_rounds()] == [row[name] for row in done.read_rounds()]
        model = load_file(other.model)
        assert model.keys() == final.keys()
        assert all(torch.equal(tensor, final[name]) for name, tensor in model.items()), engine


def test_each_device_has_a_store_of_its_own_and_writes_receipts(folder, layout):
    """It follows the run: every shopper consented, no purchase lies in an array, and each answer is noted."""
    for device in layout.devices:
        assert not list(device.glob("**/*.npy"))
        assert not list(device.glob("state-*"))
        store = DeviceStore(device)
        assert [consent.version for consent in store.consents()] == [NOTICE]
        assert store.held()
        receipts = store.receipts()
        assert [receipt.round for receipt in receipts] == [1, 2]
        assert receipts[-1].epsilon == pytest.approx(float(folder.read_rounds()[-1]["epsilon"]))


def test_a_device_that_is_killed_costs_one_round_its_answer_and_returns(tmp_path):
    """It is killed after the first round; the second closes without it, and then it is back."""
    folder = laid_out(tmp_path / "run", rounds=4)
    layout = Layout(folder.path)

    class Killer(Reporter):
        def round_done(self, row):
            if int(row["round"]) == 1:
                launcher = process_of(layout, DEVICES)
                children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
                assert len(children) == NODES
                os.kill(int(children[0]), signal.SIGKILL)
            elif int(row["round"]) == 2:
                wait_until_returned(layout)

    with running(layout, lambda what: None):
        rows = federated.run(folder.path, Killer()).read_rounds()
    assert [int(row["answered"]) for row in rows] == [NODES, NODES - 1, NODES, NODES]
    lost = {f"{reason.replace(' ', '-')}:1" for reason in (LATE, NODE_FAILED)}
    assert rows[1]["invalid"] in lost
    assert [row["invalid"] for row in rows[2:]] == ["", ""]
    assert float(rows[1]["seconds"]) < ROUND_LIMIT + 5.0
    epsilons = [float(row["epsilon"]) for row in rows]
    assert epsilons == sorted(epsilons)
    assert "was killed, and is started again" in (layout.home / "devices.log").read_text()


def wait_until_returned(layout: Layout) -> None:
    """Wait until a device has said twice that it is connected: the server is slow to miss a killed one."""
    until = time.monotonic() + 60.0
    while logs(layout).count("connected as") < NODES + 1:
        assert time.monotonic() < until, "the device did not return within a minute"
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running_when_the_command_is_stopped(tmp_path, number):
    """Ctrl-C stops server and devices; if the command is killed, they end by themselves."""
    out = tmp_path / "run"
    command = "import sys; sys.argv[0] = 'terry'; from terrycloth.experiments.cli import main; main()"
    flags = ["--data", "towels", "--devices", "2", "--rounds", "500", "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-c", command, "federation", "up", *flags], stderr=subprocess.PIPE, text=True
    ) as up:
        until = time.monotonic() + 90.0
        while not list(out.glob("devices/*/device.log")) and time.monotonic() < until:
            time.sleep(0.2)
        pids = [int((out / "federation" / f"{name}.pid").read_text()) for name in (SERVER, DEVICES)]
        up.send_signal(number)
        _, said = up.communicate(timeout=60)
    assert up.returncode == {signal.SIGINT: 130}.get(number, -number), said
    assert number != signal.SIGINT or said.endswith("terry: stopped; nothing is left running\n")
    until = time.monotonic() + (0.0 if number == signal.SIGINT else 30.0)
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(map(runs, pids))


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

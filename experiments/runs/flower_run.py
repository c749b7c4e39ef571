"""`flwr run` on one machine: start a SuperLink, run the app in Flower's simulation, then stop the SuperLink.

    terry data partition towels devices --devices 300
    python -m terrycloth.experiments.runs.flower_run devices runs/flower --set rounds=3

The same can be typed by hand (docs/tutorials/flower.md); `flwr run . local` alone would leave a SuperLink
running, and exit 0 whatever became of the run. Everything listens on 127.0.0.1 only.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer
from safetensors import safe_open

from terrycloth.client.app import GROUP_VARIABLE
from terrycloth.client.events import Events
from terrycloth.experiments.federation.ports import LOOPBACK, free_ports
from terrycloth.experiments.runs.operating_system import processes_with, shows_environments
from terrycloth.experiments.settings.config import literal
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import rounded_up
from terrycloth.server.app import MODEL_FILE
from terrycloth.server.checkpoint import FILE, RoundRecord

APP = Path(__file__).resolve().parents[2]  # its pyproject.toml names the two apps
CONNECTION = "here"
SECONDS_TO_START = 60.0
SECONDS_TO_STOP = 15.0


def environment(home: Path, group: Path) -> dict[str, str]:
    """Return the environment for every process of the run.

    It names the device group, turns off telemetry and installation of dependencies, keeps Ray on loopback,
    and has Flower keep its state in `home`.
    """
    return {
        **os.environ,
        GROUP_VARIABLE: str(group),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # makes Ray listen on 127.0.0.1 only
        # Flower starts its own commands by name, without a path.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


@contextmanager
def superlink(home: Path, env: Mapping[str, str], *kind: str) -> Iterator[str]:
    """Start a SuperLink as Flower's connection `here`, yield its address, and stop it after the block.

    kind: --simulation for a SuperLink that simulates its nodes; without it, the SuperLink waits for
    SuperNodes.
    """
    (free,) = free_ports(None)
    host, port = LOOPBACK, str(free)
    address = f"{host}:{port}"
    (home / "config.toml").write_text(f'[superlink.{CONNECTION}]\naddress = "{address}"\ninsecure = true\n')
    command = ["flower-superlink", "--insecure", *kind, "--host", host, "--port", port]
    with (home / "superlink.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_healthy(f"http://{address}/health", process)
        yield address
    finally:
        stop(process, home)


def stop(process: subprocess.Popen[bytes], home: Path) -> None:
    """Stop the SuperLink and every process that it started.

    An interrupted simulation and its Ray processes would otherwise keep running. They are found by their
    environment, so elsewhere than on Linux only the SuperLink is stopped, and a line says so.
    """
    if not shows_environments():
        print(
            "flower_run: stopping what the SuperLink started needs Linux: check for Flower's and Ray's "
            "processes",
            file=sys.stderr,
        )
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(signal_number)
        for pid in descendants(home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while time.monotonic() < deadline:
            if process.poll() is not None and not descendants(home):
                return
            time.sleep(0.2)


def descendants(home: Path) -> list[int]:
    """Return the ids of processes whose FLWR_HOME is this folder; none where that needs Linux."""
    return processes_with("FLWR_HOME", str(home))


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the SuperLink answers. Raises RuntimeError if it ends, or takes too long."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RuntimeError("the SuperLink did not start: see superlink.log")


def flwr(env: Mapping[str, str], *arguments: str) -> str:
    """Run a `flwr` command and return what it prints. Raises UserError if it fails."""
    done = subprocess.run(["flwr", *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"flwr {arguments[0]} failed: {(done.stderr + done.stdout).strip()}")
    return done.stdout


def run_app(env: Mapping[str, str], nodes: int | None, run_config: Path, log: Path) -> str:
    """Submit the app, wait until it ends, and return the status that Flower reports.

    nodes: the number of nodes in a simulation, or None if SuperNodes are connected.
    """
    simulation = f"num-supernodes={nodes} client-resources-num-cpus=1"
    federation = [] if nodes is None else ["--federation-config", simulation]
    submitted = flwr(
        env, "run", str(APP), CONNECTION, "--format", "json", *federation, "--run-config", str(run_config)
    )
    run_id: str = json.loads(submitted)["run-id"]
    while True:
        listed = json.loads(flwr(env, "list", CONNECTION, "--run-id", run_id, "--format", "json"))
        status: str = listed["runs"][0]["status"]
        if status.startswith("finished"):
            log.write_text(flwr(env, "log", run_id, CONNECTION, "--show"), encoding="utf-8")
            return status
        time.sleep(2)


@owner_only()
def flower_run(group: Path, out: Path, nodes: int, run_config: Mapping[str, Any]) -> list[RoundRecord]:
    """Run the app on the devices in the folder `group`, and write the model into `out`.

    run_config: settings of the app that replace its defaults. Returns the record of every round. Raises
    UserError if the folders cannot be used or no device took part, and RuntimeError if Flower's run failed.
    """
    if not (APP / "pyproject.toml").exists():
        raise UserError("flwr run needs the project's own folder, with its pyproject.toml")
    if not (group / "catalogue.parquet").exists():
        raise UserError(f"{group} holds no devices: create it with terry data partition")
    if (out / MODEL_FILE).exists():
        raise UserError(f"{out} already holds a model: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    group, out = group.resolve(), out.resolve()
    settings = {
        "catalogue": str(group / "catalogue.parquet"),
        "folder": str(out),
        "devices": Events.load(group / "events").num_devices,
        "nodes": nodes,
        **{name.replace("_", "-"): value for name, value in run_config.items()},
    }
    home = out / "flower"
    home.mkdir()
    (home / "run.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    env = environment(home, group)
    with superlink(home, env, "--simulation"):
        status = run_app(env, nodes, home / "run.toml", home / "run.log")
    if status != "finished:completed" or not (out / MODEL_FILE).exists():
        raise RuntimeError(f"Flower's run is {status}: see {home / 'run.log'}")
    records = read_records(out)
    # Flower reports "completed" even if all nodes failed.
    if any(record.invalid for record in records):
        raise RuntimeError(f"replies could not be used: {[record.invalid for record in records]}")
    if not any(record.answered for record in records):
        raise UserError(f"no device took part: {records[-1].refused or 'none was sampled'}")
    return records


def read_records(folder: Path) -> list[RoundRecord]:
    """Return the records of all rounds in the server's checkpoint."""
    with safe_open(folder / FILE, framework="pt") as file:
        return [RoundRecord(**record) for record in json.loads(file.metadata()["progress"])["records"]]


def main(
    group: Annotated[Path, typer.Argument(help="folder made by terry data partition")],
    out: Annotated[Path, typer.Argument(help="folder for the model and the logs")],
    nodes: Annotated[int, typer.Option(help="Flower nodes, which share the devices equally", min=1)] = 2,
    assign: Annotated[list[str] | None, typer.Option("--set", help="setting of the app: key=value")] = None,
) -> None:
    """Run the Flower app on this machine."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # exit normally, to clean up
    try:
        parts = (text.partition("=") for text in assign or [])
        run_config = {name: literal(value) for name, _, value in parts}
        for record in flower_run(group, out, nodes, run_config):
            spent = "" if record.epsilon is None else f", ε {rounded_up(record.epsilon)}"
            print(f"round {record.round}: {record.answered} of {record.asked} devices{spent}")
        print(out / MODEL_FILE)
    except UserError as error:
        print(f"flower_run: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)

"""terry federation: a server and devices as processes of their own, with TLS and a key for each device."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.commands.flags import (
    Assignments,
    At,
    CataloguePath,
    Clip,
    ConfigFile,
    DataPath,
    Delta,
    Devices,
    Epsilon,
    Model,
    NoiseMultiplier,
    Participation,
    Quiet,
    Rounds,
    RunFolderPath,
    Seed,
    Split,
    Trust,
    Unit,
    setting,
)
from terrycloth.experiments.commands.stopping import when_stopped
from terrycloth.experiments.settings.config import RunConfig, read_config

app = typer.Typer(
    no_args_is_help=True,
    help="Run a federation of processes: one server, and a process for each device.",
    epilog="Start with: terry federation up --data towels --devices 8",
)
Folder = Annotated[Path, typer.Argument(help="run folder of the federation")]


def flags(
    data: Annotated[str | None, setting("data", "Data")] = None,
    path: DataPath = None,
    catalogue: CataloguePath = None,
    devices: Devices = None,
    split: Split = None,
    at: At = None,
    model: Model = None,
    unit: Unit = None,
    trust: Trust = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    noise_multiplier: NoiseMultiplier = None,
    clip: Clip = None,
    rounds: Rounds = None,
    participation: Participation = None,
    nodes: Annotated[int | None, typer.Option(
        help="device groups, each in a process of its own; by default one for each device",
        rich_help_panel="Federation", show_default=False)] = None,
    server_name: Annotated[str, typer.Option(
        help="host name or address by which devices reach the server",
        rich_help_panel="Federation")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(
        help="port of the devices' listener; by default a free one", rich_help_panel="Federation",
        show_default=False)] = None,
    operator_port: Annotated[int | None, typer.Option(
        help="port of the operator's listener on 127.0.0.1; by default a free one",
        rich_help_panel="Federation", show_default=False)] = None,
    timeout: Annotated[float, typer.Option(
        help="seconds that a round waits for the devices' answers", rich_help_panel="Federation")] = 60.0,
    insecure: Annotated[bool, typer.Option(
        "--insecure", help="no TLS, for a trial on this machine", rich_help_panel="Federation")] = False,
    seed: Seed = None,
    out: RunFolderPath = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Hold the flags of a new federation, which `init` and `up` share."""


def taking_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of a new federation."""

    @functools.wraps(flags)
    def with_flags(**given: Any) -> None:
        command(given)

    with_flags.__doc__ = command.__doc__
    return with_flags


@app.command("init", epilog="Example: terry federation init --data towels --devices 8 --out runs/towels")
@taking_flags
def init(given: dict[str, Any]) -> None:
    """Write a federation's folder: devices, their keys, the server's certificate, the operator's token."""
    config, settings = settings_of(given)
    reporter = reporter_of(given["quiet"])
    from terrycloth.experiments.runs.federated import init

    with reporter:
        folder = init(config, settings, given["out"], reporter)
    if given["quiet"]:
        print(folder.path)
    else:
        print(f"{folder.path}: {settings.nodes:,} device groups")
        print(f"go on with: terry federation start {folder.path}")


@app.command("up", epilog="Example: terry federation up --data towels --devices 8")
@taking_flags
def up(given: dict[str, Any]) -> None:
    """Make a federation, start it, train, print the results, and stop all that was started.

    Devices and server are processes on this machine. They speak TLS, each device has a key of its own, and it
    answers by the installed app alone.
    """
    config, settings = settings_of(given)
    reporter = reporter_of(given["quiet"])
    from terrycloth.experiments.runs.federated import up

    with when_stopped(lambda: "stopped; nothing is left running"), reporter:
        folder = up(config, settings, given["out"], reporter)
    show(folder, given["quiet"])


@app.command("start", epilog="Example: terry federation start runs/towels")
def start(folder: Folder) -> None:
    """Start the server and the devices of a federation that `init` made, and leave them running."""
    from terrycloth.experiments.federation.layout import Layout
    from terrycloth.experiments.federation.processes import bring_up, stop
    from terrycloth.experiments.reports.phases import phase

    layout, started = Layout(folder), []  # type: ignore[var-annotated]
    nodes = layout.settings.nodes
    with phase(f"starting the server and {nodes:,} devices"):
        try:
            bring_up(layout, lambda what: None, started, with_parent=False)
        except BaseException:
            stop(started[::-1])
            raise
    print(f"{nodes:,} devices are connected; train with: terry federation run {folder}")
    print(f"stop them with: terry federation down {folder}")


@app.command("run", epilog="Example: terry federation run runs/towels")
def run(folder: Folder, quiet: Quiet = False) -> None:
    """Train over the devices of a federation that runs, or go on with it, and print the results."""
    reporter = reporter_of(quiet)
    from terrycloth.experiments.runs.federated import run

    with when_stopped(lambda: f"stopped; go on with: terry federation run {folder}"), reporter:
        done = run(folder, reporter)
    show(done, quiet)


@app.command("status", epilog="Example: terry federation status runs/towels")
def status(folder: Folder) -> None:
    """Say which processes of a federation run here, and which devices the server sees."""
    from terrycloth.experiments.federation.layout import Layout
    from terrycloth.experiments.federation.processes import DEVICES, SERVER, process_of

    layout = Layout(folder)
    for name in (SERVER, DEVICES):
        number = process_of(layout, name)
        print(f"{name}: {'not running' if number is None else f'process {number}'}")
    if process_of(layout, SERVER) is None:
        return
    operator = layout.operator()
    for node in sorted(operator.nodes(), key=lambda node: node.name):
        print(f"{node.name}: {'connected' if node.online else 'not connected'}")
    operator.close()


@app.command("down", epilog="Example: terry federation down runs/towels")
def down(folder: Folder) -> None:
    """Stop a federation's devices and its server."""
    from terrycloth.experiments.federation.layout import Layout
    from terrycloth.experiments.federation.processes import down
    from terrycloth.experiments.reports.phases import phase

    layout = Layout(folder)
    nodes = layout.settings.nodes  # says where there is no federation
    with phase(f"stopping {nodes:,} devices and the server"):
        stopped = down(layout)
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@app.command("serve", epilog="Example: terry federation serve runs/towels")
def serve(folder: Folder) -> None:
    """Run the server of a federation that `init` made, until Ctrl-C.

    Devices reach one listener, which answers Flower's fleet interface and /health. The other listens on
    127.0.0.1 for the operator, behind the token in federation/operator.token. Nothing that is submitted runs
    on the server.
    """
    from terrycloth.experiments.federation.layout import Layout
    from terrycloth.experiments.federation.processes import SERVER, holding
    from terrycloth.server.link.listeners import serve

    layout = Layout(folder)
    with holding(layout, SERVER):
        listening = layout.listening
        for who, (host, port) in (("devices", listening.devices), ("the operator", listening.operator)):
            print(f"{who}: {host}:{port}", flush=True)
        serve(listening)


def settings_of(given: dict[str, Any]) -> tuple[RunConfig, Any]:
    """Return the run's configuration and the federation's settings from the flags. Raises UserError."""
    from terrycloth.experiments.datasets import check_options, data_options
    from terrycloth.experiments.federation.layout import FederationSettings
    from terrycloth.experiments.federation.ports import free_ports
    from terrycloth.models.errors import UserError

    overrides = {name: given[name] for name in RunConfig.model_fields if given.get(name) is not None}
    config = read_config(given["config"], overrides | {"engine": "federation"}, given["assign"] or [])
    check_options(config.data, data_options(config))
    if config.devices is None:
        raise UserError("say how many devices the federation has: --devices 8")
    nodes = given["nodes"] or config.devices
    trainer = {"trainer": "reference"} if nodes == config.devices else {}  # a single device compiles nothing
    config = config.model_copy(update={"nodes": nodes, **trainer})
    ports = free_ports(given["port"], given["operator_port"])
    if len(set(ports)) < len(ports):
        raise UserError("--port and --operator-port are the same: the two listeners need two")
    local = {name: given[name] for name in ("server_name", "timeout", "insecure")}
    return config, FederationSettings(port=ports[0], operator_port=ports[1], nodes=nodes, **local)


def reporter_of(quiet: bool) -> Any:
    """Return what shows the progress of a run."""
    from terrycloth.experiments.reports.console import make_console
    from terrycloth.experiments.reports.phases import phase

    with phase("loading", make_console(), quiet=quiet):
        from terrycloth.experiments.reports.terminal import TerminalReporter
        from terrycloth.experiments.runs import simulation
    return simulation.Reporter() if quiet else TerminalReporter()


def show(folder: Any, quiet: bool) -> None:
    """Print a finished run's table, or only its path."""
    from terrycloth.experiments.reports.terminal import print_result

    if quiet:
        print(folder.path)
    else:
        print_result(folder)

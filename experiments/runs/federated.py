"""A run over a federation of processes on this machine: lay it out, run its rounds, and measure it."""

from pathlib import Path

from terrycloth.experiments.federation.layout import FederationSettings, Layout, lay_out
from terrycloth.experiments.federation.processes import running
from terrycloth.experiments.runs import simulation
from terrycloth.experiments.runs.device_folders import device_groups
from terrycloth.experiments.runs.run_folder import RunFolder, choose_path, created
from terrycloth.experiments.runs.simulation import Reporter, RunPlan
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError

ENGINE = "federation"


def init(
    config: RunConfig, federation: FederationSettings, out: Path | None, reporter: Reporter
) -> RunFolder:
    """Write the run folder of a federation that nothing runs yet.

    Raises UserError if the settings, the data or the folder cannot be used.
    """
    path = choose_path(out, config.data, config.model)
    plan = simulation.make_plan(config, reporter)
    with created(path, simulation.needed_bytes(plan)) as folder:
        write(plan, folder, federation, reporter)
    return folder


def up(config: RunConfig, federation: FederationSettings, out: Path | None, reporter: Reporter) -> RunFolder:
    """Lay out a federation, start it, run all rounds, and stop what was started, whatever happens."""
    path = choose_path(out, config.data, config.model)
    plan = simulation.make_plan(config, reporter)
    with created(path, simulation.needed_bytes(plan)) as folder, folder.locked():
        write(plan, folder, federation, reporter)
        with running(Layout(folder.path), reporter.doing):
            simulation.run(plan, folder, reporter, resume=False)
    return folder


def run(path: Path, reporter: Reporter) -> RunFolder:
    """Run all rounds, or those that remain, over a federation that is up. Raises UserError if it is not."""
    folder = RunFolder(path)
    if folder.read_config().engine != ENGINE:
        raise UserError(f"{path} holds no federation: make one with terry federation init")
    operator = Layout(path).operator()
    try:
        operator.nodes()  # before anything is read
    finally:
        operator.close()
    return simulation.resume(path, reporter)


def write(plan: RunPlan, folder: RunFolder, federation: FederationSettings, reporter: Reporter) -> None:
    """Write the run, and the federation's keys and connections. Leaves nothing half written on an error."""
    reporter.doing("laying out the devices")
    held = [stop - start for _, (start, stop) in device_groups(plan, folder)]
    folder.devices.mkdir()
    simulation.lay_out(plan, folder)
    lay_out(Layout(folder.path), federation, held)

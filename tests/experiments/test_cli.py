"""The command line: a user's mistake gives one line and exit code 2, and leaves nothing behind."""

import errno
import os
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
import typer

import terrycloth.experiments.runs.run_folder
import terrycloth.experiments.runs.simulation
import terrycloth.models.secure_aggregation.fixed_point
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.policy import Policy, policy_of
from terrycloth.client.secure.identity import Identity
from terrycloth.experiments.cli import app
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.models.secure_aggregation.roster import Roster
from tests.experiments.terry_command import terry_command

ROOT = Path(__file__).resolve().parents[2]
ORDERS = "shopper,item,date\n" + "".join(
    f"s{shopper},{item},2024-01-0{day}\n" for shopper in range(6) for day, item in enumerate("abc", start=1)
)
CATALOGUE = "item,title,colour\na,sand towel,sand\nb,moss towel,moss\nc,striped towel,moss\nd,gift,\n"
CSV = ["simulate", "--data", "csv"]
OWN = [*CSV, "--path", "orders.csv", "--catalogue", "catalogue.csv"]
PRIVATE = ["simulate", "--devices", "30", "--rounds", "2", "--unit", "interaction"]
DISTRIBUTED = ["simulate", "--unit", "shopper", "--trust", "distributed"]
SMALL = ["--unit", "interaction", "--noise-multiplier", "1", "--rounds", "1"]
PLAN = ["privacy", "plan", "--unit", "shopper", "--devices", "100"]
Usage = namedtuple("Usage", "total used free")


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Terry = Callable[..., Ended]


@pytest.fixture
def terry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Terry:
    """Return a function that runs `terry ARGUMENTS…` in this process, in a folder with a shop's files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.csv").write_text(ORDERS)
    (tmp_path / "catalogue.csv").write_text(CATALOGUE)
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "oneline.csv").write_text("shopper,item,date\n")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "image.parquet").write_bytes(b"PAR1" + bytes(range(256)))
    (tmp_path / "broken.toml").write_text("dim = = 4\n")
    (tmp_path / "unknown.toml").write_text("epsilonn = 8\n")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "theirs.txt").write_text("not ours")

    run = terry_command(monkeypatch, capfd)
    return lambda *arguments: Ended(*run(*arguments))


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return every path under a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refused(terry: Terry, *arguments: str) -> str:
    """Return the one line of a refused command, and check that nothing is left behind."""
    before = everything(Path.cwd())
    ended = terry(*arguments)
    assert ended.code == 2, ended
    assert ended.err.startswith("terry: ")
    assert ended.err.endswith("\n")
    assert ended.err.count("\n") == 1, "one line"
    assert ended.out == ""
    assert everything(Path.cwd()) == before
    return ended.err


BAD = {
    # names that do not exist
    "data set": (["simulate", "--data", "shoes"], "'shoes'.*towels"),
    "data set to inspect": (["data", "inspect", "shoes"], "'shoes'.*towels"),
    "data set to split": (["data", "partition", "shoes", "device-group"], "'shoes'.*towels"),
    "model": (["simulate", "--model", "svd"], "--model svd"),
    "device": (["simulate", "--device", "tpu"], "--device tpu.*'cuda'"),
    "device of another model": (["simulate", "--device", "cuda"], "--device cuda is for --model neural-cf"),
    "engine": (["simulate", "--engine", "spark"], "--engine spark"),
    "unit": (["simulate", "--unit", "planet"], "--unit planet"),
    "negative_sampling": (["simulate", "--negative-sampling", "loose"], "--negative-sampling loose"),
    "split": (["simulate", "--split", "random"], "--split random"),
    "split to lay out": (
        ["data", "partition", *OWN[2:3], "device-group", *OWN[3:], "--split", "random"],
        "--split random",
    ),
    "a date for another split": ([*OWN, "--split", "next-visit", "--at", "0.5"], "--at is for --split date"),
    "a date that is none": ([*OWN, "--at", "soon"], "--at soon is not a date"),
    "a part that is none": ([*OWN, "--at", "1.5"], "--at 1.5 must be between 0 and 1"),
    "a date before all": ([*OWN, "--at", "2023-01-01"], "nothing was bought before 2023-01-01"),
    "repeats": (["simulate", "--repeats", "some"], "--repeats some"),
    "repeats of the last item": ([*OWN, "--split", "last-item", "--repeats", "include"], "--repeats include"),
    "repeats that devices count": (
        [*OWN, "--repeats", "include", "--evaluate", "released"],
        "devices count no repeats",
    ),
    "leaky and private": ([*PRIVATE, "--negative-sampling", "leaky"], "say --unit none"),
    "a method no device runs": (["simulate", "--model", "fedrap", "--nodes", "3"], "leave out --nodes"),
    "trust": ([*PRIVATE, "--trust", "central"], "--trust central"),
    "subcommand": (["simulte"], "simulte"),
    "subcommand of data": (["data", "lst"], "lst"),
    "flag": (["simulate", "--epsilonn", "8"], "--epsilonn"),
    "argument left out": (["data", "inspect"], "NAME"),
    "option left out": (["recommend", "--run", "there"], "--device"),
    "one run to compare": (["compare", "there"], "name two run folders"),
    "no run to compare": (["compare", "there", "none"], "there is not a run folder"),
    # files
    "orders not there": ([*CSV, "--path", "no.csv", "--catalogue", "catalogue.csv"], "no.csv does not exist"),
    "catalogue not there": ([*CSV, "--path", "orders.csv", "--catalogue", "no.csv"], "no.csv"),
    "no path": ([*CSV, "--catalogue", "catalogue.csv"], "--path"),
    "movielens not there": (["simulate", "--data", "movielens", "--path", "ml"], "ml does not exist"),
    "movielens that is none": (["simulate", "--data", "movielens", "--path", "there"], "there"),
    "retail that is none": (["simulate", "--data", "online-retail", "--path", "binary.csv"], "binary.csv"),
    "empty orders": ([*CSV, "--path", "empty.csv", "--catalogue", "catalogue.csv"], "empty.csv is empty"),
    "empty catalogue": ([*CSV, "--path", "orders.csv", "--catalogue", "empty.csv"], "empty.csv is empty"),
    "one line of orders": ([*CSV, "--path", "oneline.csv", "--catalogue", "catalogue.csv"], "oneline.csv"),
    "binary orders": ([*CSV, "--path", "binary.csv", "--catalogue", "catalogue.csv"], "binary.csv"),
    "binary catalogue": ([*CSV, "--path", "orders.csv", "--catalogue", "binary.csv"], "binary.csv"),
    "damaged parquet": ([*CSV, "--path", "image.parquet", "--catalogue", "catalogue.csv"], "image.parquet"),
    "a folder for a file": ([*CSV, "--path", "there", "--catalogue", "catalogue.csv"], "there"),
    # numbers
    "ε zero": ([*PRIVATE, "--epsilon", "0"], "--epsilon 0"),
    "ε below zero": ([*PRIVATE, "--epsilon=-1"], "--epsilon -1"),
    "ε no number": ([*PRIVATE, "--epsilon", "much"], "--epsilon much"),
    "ε nan": ([*PRIVATE, "--epsilon", "nan"], "--epsilon nan"),
    "ε infinite": ([*PRIVATE, "--epsilon", "inf"], "finite"),
    "ε out of reach": ([*PRIVATE, "--epsilon", "1e-6", "--delta", "1e-9"], "larger --epsilon"),
    "δ zero": ([*PRIVATE, "--delta", "0"], "--delta 0"),
    "δ one": ([*PRIVATE, "--delta", "1"], "--delta 1"),
    "δ of one in N": ([*OWN, *SMALL, "--delta", "0.17"], "--delta 0.17 .* 6 devices .* less than 1/6"),
    "δ of one in N, planned": (
        [*PLAN, "--delta", "0.01", "--epsilon", "4"],
        "--delta 0.01 .* less than 1/100",
    ),
    "clip zero": ([*PRIVATE, "--clip", "0"], "--clip 0"),
    "clip infinite": ([*PRIVATE, "--clip", "inf"], "finite"),
    "a weight without bounds": (["simulate", "--set", "catalogue_weight=2e6"], "--catalogue-weight 2000000"),
    "noise below zero": ([*PRIVATE, "--noise-multiplier=-1"], "--noise-multiplier -1"),
    "more devices than the data hold": ([*OWN, "--devices", "7"], "--devices 7.*6"),
    "more to inspect": (["data", "inspect", *OWN[2:], "--devices", "7"], "--devices 7.*6"),
    "devices no number": (["simulate", "--devices", "abc"], "'abc'"),
    "no devices": (["simulate", "--devices", "0"], "--devices 0"),
    "no devices to inspect": (["data", "inspect", "towels", "--devices", "0"], "--devices 0"),
    "no rounds": (["simulate", "--rounds", "0"], "--rounds 0"),
    "more nodes than devices": ([*OWN, "--nodes", "7"], "--nodes 7"),
    # fewer devices than secure aggregation can hide one among
    "masks over two nodes": (
        [*DISTRIBUTED, "--devices", "30", "--secure-aggregation", "--nodes", "2"],
        "--nodes 3 or more",
    ),
    "shares of two devices": ([*DISTRIBUTED, "--devices", "2"], "at least 3: there are 2, .*--devices"),
    "masks over two devices": (
        [*DISTRIBUTED, "--devices", "2", "--secure-aggregation", "--nodes", "3"],
        "there are 2",
    ),
    "plan over two devices": (
        [*PLAN, "--trust", "distributed", "--devices", "2", "--epsilon", "4"],
        "there are 2",
    ),
    "ε with a decimal comma": ([*PRIVATE, "--epsilon", "0,5"], "--epsilon 0,5: write 0.5"),
    "a rate with a decimal comma": (["simulate", "--participation", "0,5"], "'0,5' .* Write 0.5, with a"),
    "a rate without bounds": (["simulate", "--set", "server_learning_rate=1e30"], "--server-learning-rate"),
    # settings that contradict each other
    "ε without a unit": (["simulate", "--epsilon", "8"], "--epsilon 8 .* add --unit interaction .* --unit"),
    "ε without a promise": (["simulate", "--unit", "none", "--epsilon", "8"], "--unit none"),
    "ε, noise and rounds": ([*PRIVATE, "--epsilon", "8", "--noise-multiplier", "1"], "two of .*--rounds"),
    "no round fits": (
        [*PLAN, "--epsilon", "0.1", "--noise-multiplier", "1"],
        "one round .* more than ε = 0.1",
    ),
    "rounds without end": ([*PLAN, "--epsilon", "8", "--noise-multiplier", "1e5"], "more than 1,000,000"),
    # plans
    "plan over no devices": (["privacy", "plan", "--unit", "shopper"], "--devices"),
    "plan of nothing": (["privacy", "plan", "--devices", "100"], "--unit shopper"),
    "plan without noise": ([*PLAN, "--noise-multiplier", "0"], "--noise-multiplier above 0"),
    "plan over a folder": ([*PLAN, "--epsilon", "4", "--out", "there"], "there exists"),
    "plan under a file": ([*PLAN, "--epsilon", "4", "--out", "orders.csv/plan"], "orders.csv"),
    "plan under another trust": ([*PLAN, "--unit", "interaction", "--trust", "central"], "--trust central"),
    # --config and --set
    "no config": (["simulate", "--config", "no.toml"], "no.toml does not exist"),
    "broken config": (["simulate", "--config", "broken.toml"], "broken.toml"),
    "config with an unknown key": (["simulate", "--config", "unknown.toml"], "'epsilonn'"),
    "config that is a folder": (["simulate", "--config", "there"], "there"),
    "set without =": (["simulate", "--set", "dim 4"], "key=value"),
    "set of an unknown key": (["simulate", "--set", "epsilonn=8"], "'epsilonn': did you mean epsilon?"),
    "settings of no such word": (["settings", "epsilonn"], "no setting has 'epsilonn'"),
    "set of a wrong value": (["simulate", "--set", "dim=0"], "--dim 0"),
    # run folders
    "a folder that is there": (["simulate", "--devices", "30", "--out", "there"], "there exists"),
    "a folder under a file": (["simulate", "--devices", "30", "--out", "orders.csv/run"], "orders.csv"),
    "a device group that is there": (
        ["data", "partition", "towels", "there", "--devices", "30"],
        "there exists",
    ),
    "identities without devices": (
        ["data", "partition", "towels", "new", "--devices", "3", "--identities", "4"],
        "--identities 4 is more than the 3 devices",
    ),
    "resume without out": (["simulate", "--resume"], "--out"),
    "resume and a flag": (["simulate", "--resume", "--out", "there", "--dim", "4"], "nothing else"),
    "resume and a config": (["simulate", "--resume", "--out", "there", "--config", "x"], "nothing else"),
    "resume and --set": (["simulate", "--resume", "--out", "there", "--set", "dim=4"], "nothing else"),
    "resume of no run": (["simulate", "--resume", "--out", "there"], "not a run folder"),
    "a name that is too long": (["simulate", "--devices", "30", "--out", 300 * "x"], "x… is too long"),
    "a file with too long a name": ([*CSV, "--path", 300 * "x", "--catalogue", "x"], "x… is too long"),
    "resume of the latest of none": (["simulate", "--resume", "--out", "latest"], "no unfinished run"),
    "compare the latest of none": (["compare", "latest", "latest"], "no finished run under runs"),
    "runs of no folder": (["ls", "nowhere"], "nowhere is not a folder"),
    "resume of nothing": (["simulate", "--resume", "--out", "nowhere"], "nowhere does not exist"),
    # frontiers
    "frontier of no grid": (["frontier", "there.toml"], "there.toml does not exist"),
    "frontier of an unknown setting": (["frontier", "--set", "epsilonn=8"], "'epsilonn'"),
    "frontier, set without =": (["frontier", "--set", "dim 4"], "key=value"),
    "frontier with ε zero": (["frontier", "--epsilon", "0,1"], "--epsilon 0"),
    "frontier with ε no number": (["frontier", "--epsilon", "1,much"], "--epsilon much"),
    "frontier of no seeds": (["frontier", "--seeds", "0"], "seeds = 0"),
    "frontier of no jobs": (["frontier", "--jobs", "0"], "--jobs"),
    "frontier of a broken grid": (["frontier", "broken.toml"], "broken.toml"),
    "frontier of a grid that is none": (["frontier", "unknown.toml"], "'epsilonn'|nothing to run"),
    "frontier into a folder that is there": (["frontier", "--out", "there"], "there holds something other"),
    "frontier under a file": (["frontier", "--out", "orders.csv/new"], "orders.csv"),
    "frontier of no model": (["frontier", "--model", "auto"], "--model auto is for one run"),
    "plan of no model": ([*PLAN, "--model", "auto"], "--model auto is chosen where there is a catalogue"),
    # searches
    "search by no metric": (["tune", "--metric", "recall"], "--metric recall is not known: use ndcg@10"),
    "search of no trials": (["tune", "--trials", "0"], "--trials"),
    "search into a folder that is there": (["tune", "--devices", "30", "--out", "there"], "something else"),
    "search under a file": (["tune", "--devices", "30", "--out", "orders.csv/new"], "orders.csv"),
    "recommend for no one": (["recommend", "--run", "there"], "--device NUMBER, --new .* or --all"),
    "recommend for two": (["recommend", "--run", "there", "--new", "--device", "1"], "say for whom"),
    "recommend for all in a terminal": (["recommend", "--run", "there", "--all"], "--all needs --csv FILE"),
    "recommend for one into a file": (
        ["recommend", "--run", "there", "--new", "--csv", "x.csv"],
        "--csv is for the lists of all devices",
    ),
    "recommend from no run": (["recommend", "--run", "there", "--device", "0"], "there .*run"),
}


@pytest.mark.parametrize(("arguments", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_reported_in_one_line_and_leaves_nothing(
    arguments: list[str], says: str, terry: Terry
) -> None:
    assert re.search(says, refused(terry, *arguments))


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--noise-multiplier", "1e-7"), ("--noise-multiplier", "1e7"), ("--clip", "1e7")],
    ids=lambda part: part.lstrip("-"),
)
def test_settings_that_no_device_accepts_are_refused_in_one_line(flag: str, value: str, terry: Terry) -> None:
    noise = [] if flag == "--noise-multiplier" else ["--noise-multiplier", "1"]
    assert flag in refused(terry, *PRIVATE, *noise, flag, value)


@pytest.mark.parametrize("device", ["30", "1000", "-1"])
def test_a_device_that_does_not_exist_is_refused(device: str, copied: RunFolder, terry: Terry) -> None:
    line = refused(terry, "recommend", "--run", "copied", f"--device={device}")
    assert f"no device {device}" in line
    assert "0 to 29" in line


def test_a_list_of_no_items_is_refused(copied: RunFolder, terry: Terry) -> None:
    assert "--top" in refused(terry, "recommend", "--run", "copied", "--device", "0", "--top", "0")


def test_an_unfinished_run_cannot_recommend(copied: RunFolder, terry: Terry) -> None:
    copied.result.unlink()
    assert "--resume" in refused(terry, "recommend", "--run", "copied", "--device", "0")


@pytest.mark.parametrize("command", [["simulate", "--resume", "--out"], ["recommend", "--device=0", "--run"]])
@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("dim = 32\n", "dim = 0\n", "--dim 0"),
        ("dim = 32\n", "dim = \n", "not a run folder"),
        ("dim = 32\n", "dim = 32\ndims = 8\n", "'dims'"),
        ('unit = "interaction"', 'unit = "planet"', "--unit planet"),
    ],
)
def test_an_invalid_edit_of_a_run_folders_config_is_refused(
    command: list[str], was: str, now: str, says: str, copied: RunFolder, terry: Terry
) -> None:
    text = copied.config.read_text()
    assert text.count(was) == 1
    copied.config.write_text(text.replace(was, now))
    assert says in refused(terry, *command, "copied")


def test_a_run_is_not_resumed_under_an_edited_promise(copied: RunFolder, terry: Terry) -> None:
    copied.result.unlink()
    text = copied.config.read_text()
    copied.config.write_text(text.replace("noise_multiplier = 1.0", "noise_multiplier = 2.0"))
    assert "other settings" in refused(terry, "simulate", "--resume", "--out", "copied", "--quiet")


def test_too_little_space_is_reported_before_anything_is_written(
    terry: Terry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        terrycloth.experiments.runs.run_folder.shutil,
        "disk_usage",
        lambda path: Usage(2**40, 2**40 - 2**20, 2**20),
    )
    assert "1 MiB free" in refused(terry, "simulate", "--devices", "30", "--out", "new/run")


def full_disk(folder: Path, *arguments: Any, **more: Any) -> None:
    """Write a part of a file, then fail because no space is left."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "half").write_bytes(b"x")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_sums_too_large_for_64_bits_are_refused(terry: Terry, monkeypatch: pytest.MonkeyPatch) -> None:
    """This takes over a million devices, or noise of extreme size."""
    monkeypatch.setattr(terrycloth.models.secure_aggregation.fixed_point, "NOISE_REACH", 1e18)
    small = ["--devices", "30", "--noise-multiplier", "1", "--rounds", "1"]
    assert "use fewer devices" in refused(terry, *DISTRIBUTED, *small)


def test_a_full_disk_while_devices_are_laid_out_is_reported(
    terry: Terry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeviceGroup, "create", staticmethod(full_disk))
    assert "no space is left" in refused(terry, "simulate", "--devices", "30", "--out", "new/run")


def test_a_full_disk_in_the_first_round_is_reported(terry: Terry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "write_rounds", lambda folder, rows: full_disk(folder.path / "rounds"))
    assert "no space is left" in refused(terry, "simulate", "--devices", "30", "--out", "new/run", "--quiet")


def test_a_delta_just_below_the_limit_is_accepted(terry: Terry) -> None:
    just_below = "0.000166"  # one in six devices of a thousand events each is .0001666…
    ended = terry(*OWN, *SMALL, "--delta", just_below, "--out", "run")
    assert (ended.code, ended.err) == (0, "")
    assert RunFolder(Path("run")).read_result().promise.delta == float(just_below)


def test_an_interrupt_ends_with_130_and_says_how_to_continue(
    terry: Terry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(terrycloth.experiments.runs.simulation, "simulate", stop)
    ended = terry("simulate", "--devices", "30")
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == "terry: stopped before the first round was done; nothing is kept\n"


def in_a_process(folder: Path, *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """Run `terry ARGUMENTS…` in a separate process; `first` is Python code that runs before it."""
    program = (
        f"import sys; sys.argv[0] = 'terry'\n{first}\nfrom terrycloth.experiments.cli import main\nmain()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_bug_ends_with_1_and_a_traceback(tmp_path: Path) -> None:
    broken = (
        "import terrycloth.experiments.commands.simulate as command\n"
        "def broken(*arguments): raise RuntimeError('a bug')\n"
        "command.read_config = broken"
    )
    ended = in_a_process(tmp_path, "simulate", first=broken)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "RuntimeError: a bug" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--devices", "abc"],
        ["simulate", "--data", "shoes"],
        pytest.param([*PRIVATE, "--epsilon", "1e-6", "--delta", "1e-9"], marks=pytest.mark.slow),
        pytest.param(["simulate", "--resume", "--out", "none"], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_bad_input_is_reported_in_one_line_from_a_shell(arguments: list[str], tmp_path: Path) -> None:
    """No log line or warning of a library may be between."""
    ended = in_a_process(tmp_path, *arguments)
    # If loading takes more than three seconds, this is reported on standard output.
    assert (ended.returncode, ended.stdout.removeprefix("loading …\n")) == (2, "")
    assert ended.stderr.startswith("terry: ")
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["[/b]", "[red]x", ":x:"])
def test_the_name_of_a_folder_is_printed_unchanged(name: str, copied: RunFolder, terry: Terry) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    copied.path.rename(name)
    printed = terry("simulate", "--resume", "--out", name)
    assert (printed.code, printed.out.splitlines()[-1]) == (0, f"run folder: {name}")
    printed = terry("compare", name, name)
    assert printed.code == 0
    assert f"Run 2, {name}: " in printed.out


def test_an_output_without_the_letter_epsilon_is_no_error(tmp_path: Path) -> None:
    first = "sys.stdout.reconfigure(encoding='ascii')"
    ended = in_a_process(tmp_path, "privacy", "plan", "--help", first=first)
    assert ended.returncode == 0
    assert "?" in ended.stdout


def commands() -> list[list[str]]:
    """Return every command as a user types it."""

    def walk(command: click.Command, typed: list[str]) -> list[list[str]]:
        if isinstance(command, click.Group):
            return [each for name, child in command.commands.items() for each in walk(child, [*typed, name])]
        return [typed]

    return walk(typer.main.get_command(app), [])


def test_the_commands_are_those_of_the_readme() -> None:
    wanted = ["bench", "compare", "frontier", "simulate", "recommend", "tune", "ls", "settings"]
    wanted += ["data list", "data inspect", "data check", "data partition", "privacy plan", "check model"]
    wanted += ["try", "report", "datasheet"]
    device = ("init", "add-events", "show", "consent", "withdraw", "erase", "export", "serve")
    wanted += [f"device {action}" for action in device]
    wanted += [f"task {action}" for action in ("keys", "root", "publish", "witness", "list", "verify")]
    wanted += [f"federation {step}" for step in ("init", "up", "start", "run", "status", "down", "serve")]
    assert sorted(map(" ".join, commands())) == sorted(wanted)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_ends_with_an_example(command: list[str], terry: Terry) -> None:
    ended = terry(*command, "--help")
    assert ended.code == 0
    assert ended.err == ""
    assert f"Example: terry {' '.join(command)}" in " ".join(ended.out.split())


@pytest.mark.parametrize("group", [[], ["data"], ["privacy"], ["check"]], ids=" ".join)
def test_a_group_without_a_command_prints_its_help(group: list[str], terry: Terry) -> None:
    asked, bare = terry(*group, "--help"), terry(*group)
    assert (asked.code, bare.code) == (0, 2)
    for ended in (asked, bare):
        assert "Usage: terry" in ended.out
        assert "Commands" in ended.out


@pytest.mark.parametrize("command", [[], *commands()], ids=lambda command: " ".join(["terry", *command]))
def test_help_imports_no_heavy_library(command: list[str], tmp_path: Path) -> None:
    tell = (
        "import atexit\n"
        "heavy = {'torch', 'pandas', 'flwr', 'matplotlib', 'opacus', 'scipy', 'pyarrow', 'dp_accounting'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))"
    )
    ended = in_a_process(tmp_path, *command, "--help", first=tell)
    assert (ended.returncode, ended.stderr) == (0, "[]\n")


WRONG = (
    ["simulate", "--data", "shoes"],
    [*CSV, "--path", "no.csv", "--catalogue", "no.csv"],
    ["simulate", "--epsilon", "8"],
    ["simulate", "--resume", "--out", "none"],
    ["tune", "--data", "shoes"],
    ["frontier", "--data", "shoes"],
    ["data", "inspect", "shoes"],
    ["data", "partition", "shoes", "out"],
    ["compare", "none", "none"],
    ["recommend", "--run", "none", "--new"],
)


def test_bad_input_is_reported_before_torch_is_imported(tmp_path: Path) -> None:
    """One process tries all of them: a module that one of them loads stays loaded."""
    program = (
        "import sys\n"
        "from terrycloth.experiments.cli import main\n"
        f"for command in {WRONG!r}:\n"
        "    sys.argv = ['terry', *command]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as ended:\n"
        "        print(ended.code, sorted({'torch', 'flwr', 'opacus'} & set(sys.modules)))\n"
        "sys.exit(0)\n"
    )
    ended = in_a_process(tmp_path, first=program)
    assert ended.stdout.splitlines() == ["2 []"] * len(WRONG), ended.stderr


def test_the_version_is_that_of_the_package(terry: Terry) -> None:
    ended = terry("--version")
    assert ended.code == 0
    assert ended.out == f"terrycloth {metadata.version('terrycloth')}\n"


def test_data_list_names_every_source(terry: Terry) -> None:
    ended = terry("data", "list")
    assert ended.code == 0
    for name in ("towels", "complete-journey", "online-retail", "movielens", "csv"):
        assert name in ended.out


def test_data_partition_lays_out_a_device_group(terry: Terry, tmp_path: Path) -> None:
    ended = terry("data", "partition", "csv", "device-group", *OWN[3:])
    assert ended.code == 0
    printed = ended.out.splitlines()
    assert printed[0] == "device-group: 6 devices, 12 training events"
    assert printed[1].startswith("By date: the model trains on events before 2024-01-03")
    assert printed[2:] == ["device-group/policy.toml: what the devices allow"]
    assert len(DeviceGroup(tmp_path / "device-group").devices) == 6


def test_data_partition_lays_out_identities_with_their_numbers_of_devices(
    terry: Terry, tmp_path: Path
) -> None:
    assert terry("data", "partition", "csv", "device-group", *OWN[3:], "--identities", "4").code == 0
    roster = Roster.load(tmp_path / "device-group" / "roster")
    behind = {}
    for node in range(4):
        group = DeviceGroup(tmp_path / "device-group", node, 4)
        behind[Identity.load(group.own_path("identity")).name] = len(group.devices)
    assert roster.devices == behind
    assert sorted(behind.values()) == [1, 1, 2, 2]


PARTITION = ["data", "partition", "csv", "device-group", *OWN[3:]]
DELTA = 1e-5  # a tenth of one divided by all that six devices may store would be larger


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        (
            [],
            {
                "units": ["interaction"],
                "trusts": ["local"],
                "most_epsilon": 8.0,
                "most_delta": DELTA,
                "most_events": 1000,
            },
        ),
        (
            ["--unit", "shopper", "--trust", "distributed", "--epsilon", "2", "--delta", "1e-7"],
            {"units": ["shopper"], "trusts": ["distributed"], "most_epsilon": 2.0, "most_delta": 1e-7},
        ),
        (["--unit", "none"], {"units": ["none"], "trusts": []}),
    ],
)
def test_laid_out_devices_allow_the_named_promise(
    flags: list[str], allowed: dict[str, Any], terry: Terry, tmp_path: Path
) -> None:
    assert terry(*PARTITION, *flags).code == 0
    assert policy_of(tmp_path / "device-group", None) == Policy.model_validate(allowed)


@pytest.mark.parametrize(
    ("flags", "printed"),
    [
        (["--trust", "central"], "--trust central: say local"),
        (["--epsilon", "inf"], "finite numbers"),
        (["--delta", "0.2"], "published whole"),
        (["--unit", "none", "--epsilon", "2"], "leave out --epsilon"),
    ],
)
def test_data_partition_refuses_a_promise_that_devices_cannot_keep(
    flags: list[str], printed: str, terry: Terry, tmp_path: Path
) -> None:
    assert printed in refused(terry, *PARTITION, *flags)
    assert not (tmp_path / "device-group").exists()


def test_a_device_group_that_cannot_be_created_is_reported(terry: Terry) -> None:
    assert "orders.csv" in refused(terry, "data", "partition", "csv", "orders.csv/device-group", *OWN[3:])


def test_a_full_disk_for_a_device_group_is_reported(terry: Terry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceGroup, "create", staticmethod(full_disk))
    assert "no space is left" in refused(terry, "data", "partition", "csv", "new/device-group", *OWN[3:])

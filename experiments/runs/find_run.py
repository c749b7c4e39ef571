"""Find runs under a folder, and the newest of them."""

from pathlib import Path

from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.models.errors import UserError

RUNS = Path("runs")  # where commands put their folders by default
LATEST = "latest"


def runs_under(folder: Path) -> list[RunFolder]:
    """Return the run folders directly under a folder, those that began last first."""
    if not folder.is_dir():
        return []
    runs = [RunFolder(path) for path in folder.iterdir() if (path / "config.toml").is_file()]
    return sorted(runs, key=lambda run: (run.config.stat().st_mtime, run.path.name), reverse=True)


def find_run(path: Path, *, finished: bool = True) -> Path:
    """Return the folder of a run: `path` itself or, if it is `latest`, the newest run under runs/.

    finished: whether the run must have ended; otherwise, it must not. Raises UserError if there is no such
    run.
    """
    if str(path) != LATEST or path.exists():
        run = RunFolder(path)
        run.read_config()
    else:
        matching = [each for each in runs_under(RUNS) if each.result.exists() == finished]
        if not matching:
            kind = "finished" if finished else "unfinished"
            raise UserError(f"there is no {kind} run under {RUNS}: name the folder of one")
        run = matching[0]
    if finished:
        run.read_result()
    return run.path

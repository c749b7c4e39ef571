"""What a task is made from: a run folder, or the run config with which Flower starts a run."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.settings.config import MEASURED_ONLY, explain
from terrycloth.experiments.settings.planning import ResolvedConfig, asked_settings, make_promise
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.settings import RoundSettings
from terrycloth.server.settings import from_run_config


def settings_and_catalogue(path: Path) -> tuple[RoundSettings, Catalogue]:
    """Read what devices are asked in a run. path: a run folder, or a run config as TOML. Raises UserError."""
    settings, catalogue = of_run_folder(RunFolder(path)) if path.is_dir() else of_run_config(path)
    try:
        return settings, Catalogue.load(catalogue)
    except (OSError, ValueError):
        raise UserError(f"{catalogue} is not a catalogue in Parquet: name that of the devices") from None


def of_run_folder(folder: RunFolder) -> tuple[RoundSettings, Path]:
    """Return the settings of a simulated run, and the path of its catalogue. Raises UserError."""
    values = folder.read_config()
    if values.model in MEASURED_ONLY:
        raise UserError(f"{folder.path} is a run of {values.model}, which no device trains: name another run")
    try:
        config = ResolvedConfig.model_validate(values.model_dump())
    except ValidationError as error:
        raise UserError(f"{folder.config}: {explain(error)}") from None
    return asked_settings(config, make_promise(config)), folder.catalogue


def of_run_config(path: Path) -> tuple[RoundSettings, Path]:
    """Return the settings of a run config for Flower, and the path of its catalogue. Raises UserError."""
    try:
        server, settings = from_run_config(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name a run folder, or a run config as TOML") from None
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a run config: {' '.join(str(error).split())}") from None
    return settings, server.catalogue

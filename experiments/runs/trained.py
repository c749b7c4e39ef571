"""What a finished run learned, read from its folder again."""

from dataclasses import dataclass

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.settings.config import MEASURED_ONLY, explain
from terrycloth.experiments.settings.planning import ResolvedConfig
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import Recommender


@dataclass(frozen=True)
class Trained:
    """A run's settings, its catalogue, and the model with its shared parameters."""

    config: ResolvedConfig
    catalogue: Catalogue
    model: Recommender


def load_trained(folder: RunFolder) -> Trained:
    """Raises UserError where the folder is not that of a finished run, or lacks a file."""
    settings = folder.read_config()
    folder.read_result()
    if settings.model in MEASURED_ONLY:
        raise UserError(
            f"{folder.path} keeps no model: {settings.model} has numbers of its own on every device, and is "
            "run to be measured"
        )
    for path in (folder.catalogue, folder.model):
        if not path.exists():
            raise UserError(f"{folder.path} lacks {path.name}: run it again")
    try:
        config = ResolvedConfig.model_validate(settings.model_dump())
        catalogue = Catalogue.load(folder.catalogue)
        model = config.recommender(catalogue)
        model.load_shared(load_file(folder.model))
    except ValidationError as error:
        raise UserError(f"{folder.config}: {explain(error)}") from None
    except (OSError, ValueError, SafetensorError):
        raise UserError(
            f"{folder.path}: its model or its catalogue is damaged or of other settings: run it again"
        ) from None
    return Trained(config, catalogue, model)

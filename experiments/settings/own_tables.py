"""Add the metrics and baselines that a run names as `package.module:NAME` to the tables of this process."""

from collections.abc import Callable

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError
from terrycloth.models.plug_in_loading import load_object


def add_own(config: RunConfig) -> list[str]:
    """Add a run's own metrics and baselines to the tables, and return the names of the baselines.

    Each is called by its label in lower case. Raises UserError if one cannot be imported or is of the wrong
    type.
    """
    from terrycloth.experiments.baselines import add_baseline
    from terrycloth.experiments.evaluation.metric_table import add_metric

    add_each("own_metrics", config.own_metrics, add_metric)
    return add_each("own_baselines", config.own_baselines, add_baseline)


def add_each(setting: str, paths: tuple[str, ...], add: Callable[[str, object], None]) -> list[str]:
    """Import each path and add it under its label. Raises UserError."""
    names = []
    for path in paths:
        try:
            found = load_object(path)
            name = str(getattr(found, "label", path)).lower().replace(" ", "_")
            add(name, found)
        except ValueError as error:
            raise UserError(f"{setting} {error}") from None
        names.append(name)
    return names

"""Add metrics and baselines of other packages to the tables of this process.

They are those that installed packages offer as entry points, and those that a run names as
`package.module:NAME`. They are imported when a run starts, because they import these tables themselves.
"""

from collections.abc import Callable

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError
from terrycloth.models.plug_in_loading import entry_point_names, load_entry_point, load_object


def add_own(config: RunConfig) -> list[str]:
    """Add a run's own metrics and baselines to the tables, and return the names of the baselines.

    Each is called by its label in lower case. Raises UserError if one cannot be imported or is of the wrong
    type.
    """
    from terrycloth.experiments import baselines
    from terrycloth.experiments.evaluation import metric_table

    add_offered(metric_table.ENTRY_POINTS, metric_table.add_metric)
    add_offered(baselines.ENTRY_POINTS, baselines.add_baseline)
    add_each("own_metrics", config.own_metrics, metric_table.add_metric)
    return add_each("own_baselines", config.own_baselines, baselines.add_baseline)


def add_offered(group: str, add: Callable[[str, object], None]) -> None:
    """Add what installed packages offer in a group of entry points, by their names. Raises UserError."""
    for name in entry_point_names(group):
        try:
            add(name, load_entry_point(group, name))
        except (ValueError, ImportError, AttributeError) as error:
            raise UserError(f"the entry point {name} of {group} cannot be used: {error}") from None


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

"""The data sets that `--data` can name. Each module has a function `load(options) -> Dataset`."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from importlib import import_module

from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError
from terrycloth.models.plug_in_loading import entry_point_names, load_entry_point, load_object

ENTRY_POINTS = "terrycloth.data"  # the group in which packages name their data sets
ALL_OPTIONS = tuple(option.name for option in fields(DataOptions))


@dataclass(frozen=True)
class Source:
    """A data set that can be named: its loader's module, a summary, and the DataOptions that it reads.

    needs: the required options, each with a description. accepts: the optional ones. Every source also reads
    `devices` and `data_seed`.
    """

    module: str
    summary: str
    real: bool
    needs: dict[str, str] = field(default_factory=dict)
    accepts: tuple[str, ...] = ()

    @property
    def needs_path(self) -> bool:
        """Whether the user has to give the location of the data."""
        return "path" in self.needs


SOURCES = {
    "towels": Source("towels", "a synthetic towel shop with known ceilings", real=False),
    "complete-journey": Source(
        "complete_journey", "a year of one grocer's households", real=True, accepts=("category", "visit")
    ),
    "online-retail": Source(
        "online_retail",
        "a British gift and homeware shop (UCI)",
        real=True,
        needs={"path": "the file of invoices, or its folder"},
        accepts=("category", "visit"),
    ),
    "movielens": Source(
        "movielens",
        "MovieLens in any of its layouts",
        real=True,
        needs={"path": "the folder that holds it"},
        accepts=("visit",),
    ),
    "csv": Source(
        "orders",
        "your own orders and catalogue, CSV or Parquet",
        real=True,
        needs={"path": "the order export", "catalogue": "the items with their titles and attributes"},
        accepts=(
            "shopper_column",
            "item_column",
            "time_column",
            "weight_column",
            "order_column",
            "visit",
            "strict",
        ),
    ),
}


def source_of(name: str) -> Source:
    """Return the source of that name: ours, a package's entry point, or package.module:load.

    Raises UserError if there is none.
    """
    if name in SOURCES:
        return SOURCES[name]
    if ":" in name or name in entry_point_names(ENTRY_POINTS):
        return Source(name, "a data set of another package", real=True, accepts=ALL_OPTIONS)
    known = ", ".join([*SOURCES, *entry_point_names(ENTRY_POINTS)])
    raise UserError(f"there is no data set {name!r}: use one of {known}, or package.module:load")


def loader_of(name: str) -> Callable[[DataOptions], Dataset]:
    """Return the function that reads the named data set. Raises UserError if it cannot be imported."""
    if name in SOURCES:
        loader: Callable[[DataOptions], Dataset] = import_module(
            f"terrycloth.experiments.datasets.{SOURCES[name].module}"
        ).load
        return loader
    try:
        found = load_object(name) if ":" in name else load_entry_point(ENTRY_POINTS, name)
    except ValueError as error:
        raise UserError(f"--data {error}") from None
    if not callable(found):
        raise UserError(f"--data {name} is not a function from DataOptions to Dataset")
    return found  # type: ignore[no-any-return]


def data_options(config: RunConfig) -> DataOptions:
    """Return the part of a configuration that concerns reading the data."""
    return DataOptions(**{name: getattr(config, name) for name in ALL_OPTIONS})


def load(name: str, options: DataOptions) -> Dataset:
    """Read the named data set. Raises UserError, with the reason, if it cannot be read."""
    check_options(name, options)
    dataset = loader_of(name)(options)
    if not isinstance(dataset, Dataset):
        raise UserError(f"--data {name} gave a {type(dataset).__name__} instead of a Dataset")
    dataset.report.check()
    return dataset.take(options.devices, options.data_seed)


def check_options(name: str, options: DataOptions) -> None:
    """Raise UserError if there is no such data set, or an option is ignored, missing or out of range.

    This reads nothing and loads little, so a command does it before all else.
    """
    source = source_of(name)
    for option in fields(options):
        flag = "--" + option.name.replace("_", "-")
        given = getattr(options, option.name) != option.default
        if given and option.name not in {"devices", "data_seed", *source.needs, *source.accepts}:
            raise UserError(f"{flag} does not apply to --data {name}: remove it")
        if not given and option.name in source.needs:
            raise UserError(f"--data {name} needs {flag}: {source.needs[option.name]}")
    if options.path is not None and not options.path.exists():
        raise UserError(f"{options.path} does not exist: check --path")
    if options.devices is not None and options.devices < 1:
        raise UserError(f"--devices {options.devices} leaves no shopper: use 1 or more")
    if options.visit not in ("instant", "day"):
        raise UserError(f"--visit {options.visit} is unknown: use instant or day")
    if options.data_seed < 0:
        raise UserError(f"--data-seed {options.data_seed} is negative: choose 0 or more")

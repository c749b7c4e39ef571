"""The data sets that `--data` names. Each module has one `load(options) -> Dataset`."""

from dataclasses import dataclass
from importlib import import_module

from experiments.datasets.dataset import DataOptions, Dataset
from models.errors import UserError


@dataclass(frozen=True)
class Source:
    """A data set one can name: where its loader is and what to say of it."""

    module: str
    summary: str
    real: bool
    needs_path: bool = False


SOURCES = {
    "towels": Source("towels", "a synthetic towel shop with known ceilings", real=False),
    "complete-journey": Source("complete_journey", "a year of one grocer's households", real=True),
    "online-retail": Source(
        "online_retail", "a British gift and homeware shop (UCI)", real=True, needs_path=True
    ),
    "movielens": Source("movielens", "MovieLens in any of its layouts", real=True, needs_path=True),
    "csv": Source("orders", "your own orders and catalogue, CSV or Parquet", real=True, needs_path=True),
}


def load(name: str, options: DataOptions) -> Dataset:
    """Read the named data set; every reason it cannot be read is a UserError."""
    if name not in SOURCES:
        raise UserError(f"there is no data set {name!r}: choose one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    if source.needs_path and options.path is None:
        raise UserError(f"--data {name} needs --path: the file or folder that holds it")
    if options.path is not None and not options.path.exists():
        raise UserError(f"{options.path} does not exist: check --path")
    dataset: Dataset = import_module(f"experiments.datasets.{source.module}").load(options)
    dataset.report.check()
    return dataset.take(options.devices, options.data_seed)

"""One cell of a grid: the settings of one seeded run, its name, and the command that repeats it."""

import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from terrycloth.experiments.datasets import source_of
from terrycloth.experiments.settings.config import DATA_SETTINGS, FLAGS, WITHOUT_FLAG, RunConfig, explain
from terrycloth.models.errors import UserError

MODEL_SETTINGS = ("model", "own_rows", "item_bias", "kernel_half_life", "recency_half_life")
FIT_SETTINGS = ("dim", "regularisation", "catalogue_weight", "negative_weight", "server_weight_decay")
PROMISE_SETTINGS = (
    "unit", "trust", "epsilon", "delta", "noise_multiplier", "clip", "clip_quantile", "clip_learning_rate",
    "tolerated_dropout", "agreement", "secure_aggregation",
)  # fmt: skip
SETTINGS_WITH_COLUMN = (
    "data", "path", "category", "visit", "data_seed", "split", "at", "repeats", "devices", "model",
    "negative_sampling", "unit", "trust", "epsilon", "delta",
)  # fmt: skip
COMPARISONS = ("floors", "central", "ceiling", "baselines")  # computed once for many cells, never in a cell


@dataclass(frozen=True)
class Job:
    """The work of one process: the run of a cell, or a reference. Its name is unique to its settings."""

    config: RunConfig

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that depend on the settings alone."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the defaults."""
        return self.config.model_dump(mode="json", exclude_defaults=True)

    @property
    def name(self) -> str:
        """The file name of the job: the settings that people look for, then the digest."""
        return "-".join([*(re.sub(r"[^\w.]+", "_", part) for part in self.parts()), self.digest])

    def parts(self) -> list[str]:
        """Return the readable parts of the name."""
        config = self.config
        where = [config.path.name] if config.path is not None else []
        split = (
            []
            if config.split is None
            else [config.split if config.at is None else f"{config.split} {config.at}"]
        )
        return [config.data, *where, *split, "all" if config.devices is None else str(config.devices)]


@dataclass(frozen=True)
class Reference(Job):
    """What many cells are compared with: floors and ceiling, the central model, or the strong baselines.

    With flower=True, the reference belongs to one cell instead: the cell's model trained by Flower's own
    strategy under the cell's promise.
    """

    flower: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the defaults; they never equal those of a cell."""
        return super().settings | ({"flower": True} if self.flower else {})

    def parts(self) -> list[str]:
        """Return the data, and what is computed from them."""
        config = self.config
        if self.flower:
            promise = f"delta{config.delta:g}" if config.epsilon is None else f"eps{config.epsilon:g}"
            return [*super().parts(), f"flower-{config.model}-{promise}-seed{config.seed}"]
        if config.central:
            return [*super().parts(), f"central-{config.model}"]
        if config.baselines:
            return [*super().parts(), "baselines"]
        return [*super().parts(), "floors" if config.floors else "ceiling"]


@dataclass(frozen=True)
class Cell(Job):
    """One run of a grid.

    floors, central, ceiling, baselines, flower: whether the grid requests a comparison with each of these.
    """

    floors: bool = True
    central: bool = True
    ceiling: bool = True
    baselines: bool = True
    flower: bool = False

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "Cell":
        """Make a cell from settings. Raises UserError if a setting is wrong.

        ε = inf means no promise, so the settings of the promise are dropped. A date is dropped unless the
        split is by date. By default a cell is compared with everything except Flower's strategy, which the
        grid must request.
        """
        settings = dict(settings)
        flower = settings.pop("flower", False)
        if not isinstance(flower, bool):
            raise UserError(f"flower = {flower} is neither true nor false")
        wanted = {name: settings.pop(name, True) for name in COMPARISONS}
        if settings.get("epsilon") in (math.inf, "inf"):
            settings = {name: value for name, value in settings.items() if name not in PROMISE_SETTINGS}
        if settings.get("split", "date") != "date":
            settings.pop("at", None)
        try:
            config = RunConfig.model_validate(settings | wanted)
        except ValidationError as error:
            raise UserError(explain(error)) from None
        source_of(config.data)
        if config.model == "auto":
            raise UserError("--model auto is for one run: a grid compares models, so name them")
        if flower and config.unit != "none":
            from terrycloth.experiments.baselines.flower_dp import refuse

            refuse(config)
        return cls(
            config.model_copy(update=dict.fromkeys(COMPARISONS, False)),
            floors=config.floors,
            central=config.central,
            ceiling=config.ceiling,
            baselines=config.baselines,
            flower=flower and config.unit != "none",
        )

    def compared_like(self, other: "Cell") -> "Cell":
        """Return the same run, compared also with everything that another cell is compared with."""
        comparisons = (*COMPARISONS, "flower")
        return replace(self, **{name: getattr(self, name) or getattr(other, name) for name in comparisons})

    def parts(self) -> list[str]:
        """Return data, devices, model, promise and seed."""
        config = self.config
        words = [*super().parts(), config.model, config.unit]
        if config.negative_sampling != "clean":
            words.append(config.negative_sampling)
        if config.unit != "none":
            words.append(config.trust)
        if config.epsilon is not None:
            words.append(f"eps{config.epsilon:g}")
        return [*words, f"seed{config.seed}"]

    @property
    def data_label(self) -> str:
        """The data set, and which files or part of it."""
        config = self.config
        file = config.path.name if config.path and config.path.stem != config.data else None
        parts = [config.data, file, config.category]
        further = [", one visit per day"] if config.visit == "day" else []
        further += [f", data seed {config.data_seed}"] if config.data_seed else []
        return " ".join(part for part in parts if part) + "".join(further)

    @property
    def references(self) -> list[Reference]:
        """The references of this cell; cells with the same data and model share them."""
        settings = self.config.model_dump()
        data = {name: settings[name] for name in DATA_SETTINGS} | dict.fromkeys(COMPARISONS, False)
        # Settings of the fit are chosen for the noise of a promise, so they do not suit the central model.
        names = MODEL_SETTINGS + (FIT_SETTINGS if self.config.unit == "none" else ())
        model = {name: settings[name] for name in names}
        comparisons: list[dict[str, Any]] = []
        if self.floors or self.ceiling:
            comparisons.append({"floors": self.floors, "ceiling": self.ceiling})
        if self.central:
            comparisons.append({**model, "central": True})
        if self.baselines:
            comparisons.append({"baselines": True})
        references = [Reference(RunConfig.model_validate({**data, **each})) for each in comparisons]
        if self.flower:
            references.append(Reference(self.config, flower=True))
        return references

    @property
    def command(self) -> str:
        """The command that repeats this run and its comparisons, except that with Flower's strategy."""
        settings = self.config.model_dump(mode="json", exclude_defaults=True, exclude=set(COMPARISONS))
        if self.config.unit != "none":
            settings |= {"unit": self.config.unit, "trust": self.config.trust}
        words = ["terry", "simulate"]
        for name in ("data", "devices", "model", "unit", "trust", "epsilon", *settings):
            value = settings.pop(name, None)
            if value is None:
                continue
            if name not in WITHOUT_FLAG and not isinstance(value, bool):
                flag = FLAGS.get(name, "--" + name.replace("_", "-"))
                words += [flag, str(value).removesuffix(".0") if name == "epsilon" else str(value)]
            else:
                words += ["--set", f"{name}={json.dumps(value)}"]
        for name in ("floors", "central", "ceiling"):
            words += [] if getattr(self, name) else ["--set", f"{name}=false"]
        words += ["--baselines"] if self.baselines else []
        return shlex.join(words)


def variants(cells: list[Cell]) -> dict[str, str]:
    """Return, by the name of a cell, its settings that differ over the grid and have no column of their own.

    Settings of the data, the promise or the evaluation are included only if two cells would otherwise have
    the same value in every column.
    """
    only_if_needed = {*DATA_SETTINGS, *PROMISE_SETTINGS, "evaluate_every"} - {"clip"}
    # Cells with different noise multipliers differ in ε, which has a column.
    hidden = {
        *SETTINGS_WITH_COLUMN,
        *COMPARISONS,
        "seed",
        "noise_multiplier",
    }
    by_cell = {
        cell.name: cell.config.model_dump(mode="json", exclude_defaults=True, exclude=hidden)
        for cell in cells
    }
    names = sorted({name for settings in by_cell.values() for name in settings})
    differing = {name for name in names if name not in only_if_needed and differs(name, by_cell.values())}
    same_columns: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        columns = json.dumps(cell.config.model_dump(mode="json", include=set(SETTINGS_WITH_COLUMN)))
        same_columns.setdefault(columns, []).append(by_cell[cell.name])
    differing |= {
        name
        for name in only_if_needed & set(names)
        if any(differs(name, group) for group in same_columns.values())
    }
    return {
        cell: ", ".join(f"{name} = {settings[name]}" for name in names if name in differing & settings.keys())
        for cell, settings in by_cell.items()
    }


def differs(name: str, cells: Iterable[dict[str, Any]]) -> bool:
    """Whether a setting has more than one value over the settings of several cells; absent is a value too."""
    return len({json.dumps(settings.get(name)) for settings in cells}) > 1

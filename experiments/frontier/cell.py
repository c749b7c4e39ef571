"""One cell of a grid: the settings of one seeded run, its name, and the command that repeats it."""

import hashlib
import inspect
import json
import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from terrycloth.experiments.datasets import source_of
from terrycloth.experiments.settings.config import FLAGS, RunConfig, explain
from terrycloth.models.errors import UserError

DATA_SETTINGS = (
    "data", "path", "catalogue", "category", "shopper_column", "item_column", "time_column", "weight_column",
    "order_column", "strict", "visit", "devices", "data_seed", "split", "at", "repeats", "evaluate_sample",
)  # fmt: skip
MODEL_SETTINGS = ("model", "own_rows", "item_bias", "kernel_half_life", "recency_half_life")
FIT_SETTINGS = ("dim", "regularisation", "catalogue_weight", "negative_weight", "server_weight_decay")
PROMISE_SETTINGS = (
    "unit", "trust", "epsilon", "delta", "noise_multiplier", "clip", "clip_quantile", "clip_learning_rate",
    "tolerated_dropout", "agreement", "secure_aggregation",
)  # fmt: skip
COLUMNS_OF = (
    "data", "path", "category", "visit", "data_seed", "split", "at", "repeats", "devices", "model",
    "negative_sampling", "unit", "trust", "epsilon", "delta",
)  # fmt: skip
COMPARISONS = ("floors", "central", "ceiling", "baselines")  # made once for many cells, so never within one


@dataclass(frozen=True)
class Job:
    """Work for one process, with a name that no other settings have: a cell's run, or a reference."""

    config: RunConfig

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that follow from the settings alone."""
        return hashlib.sha256(json.dumps(self.said, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def said(self) -> dict[str, Any]:
        """The settings that differ from the defaults."""
        return self.config.model_dump(mode="json", exclude_defaults=True)

    @property
    def name(self) -> str:
        """A file name: what people look for, then the digest."""
        return "-".join([*(re.sub(r"[^\w.]+", "_", part) for part in self.parts()), self.digest])

    def parts(self) -> list[str]:
        """The words of the name."""
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
    """What many cells are compared with: floors and ceiling, or the central model, or the strong baselines.

    flower: instead, what one cell is compared with: its model by Flower's own strategy, under its promise.
    """

    flower: bool = False

    @property
    def said(self) -> dict[str, Any]:
        """Never those of a cell."""
        return super().said | ({"flower": True} if self.flower else {})

    def parts(self) -> list[str]:
        """The data, and what is found of them."""
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
    """One run. floors, central, ceiling, baselines, flower: whether its grid wants these compared with it."""

    floors: bool = True
    central: bool = True
    ceiling: bool = True
    baselines: bool = True
    flower: bool = False

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "Cell":
        """Check settings; ε = inf means no promise, and a date parts only a split by date. Raises UserError.

        All comparisons are wanted where nothing is said, but Flower's strategy only where the grid says so.
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
            asked = RunConfig.model_validate(settings | wanted)
        except ValidationError as error:
            raise UserError(explain(error)) from None
        source_of(asked.data)
        if asked.model == "auto":
            raise UserError("--model auto is for one run: a grid compares models, so name them")
        if flower and asked.unit != "none":
            from terrycloth.experiments.baselines.flower_dp import refuse

            refuse(asked)
        return cls(
            asked.model_copy(update=dict.fromkeys(COMPARISONS, False)),
            floors=asked.floors,
            central=asked.central,
            ceiling=asked.ceiling,
            baselines=asked.baselines,
            flower=flower and asked.unit != "none",
        )

    def compared_like(self, other: "Cell") -> "Cell":
        """The same run, compared also with what another wants."""
        wanted = (*COMPARISONS, "flower")
        return replace(self, **{name: getattr(self, name) or getattr(other, name) for name in wanted})

    def parts(self) -> list[str]:
        """Data, devices, model, promise, seed."""
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
        further = [", a visit a day"] if config.visit == "day" else []
        further += [f", data seed {config.data_seed}"] if config.data_seed else []
        return " ".join(part for part in parts if part) + "".join(further)

    @property
    def references(self) -> list[Reference]:
        """What is compared with this cell and with those like it; each is found once for all of them."""
        said = self.config.model_dump()
        data = {name: said[name] for name in DATA_SETTINGS} | dict.fromkeys(COMPARISONS, False)
        # Noise asks for a fit of its own, so a promise's is none of the central model's.
        taken = MODEL_SETTINGS + (FIT_SETTINGS if self.config.unit == "none" else ())
        model = {name: said[name] for name in taken}
        asked: list[dict[str, Any]] = []
        if self.floors or self.ceiling:
            asked.append({"floors": self.floors, "ceiling": self.ceiling})
        if self.central:
            asked.append({**model, "central": True})
        if self.baselines:
            asked.append({"baselines": True})
        found = [Reference(RunConfig.model_validate({**data, **one})) for one in asked]
        if self.flower:
            found.append(Reference(self.config, flower=True))
        return found

    @property
    def command(self) -> str:
        """What repeats this run, and compares it but with Flower's strategy, outside the grid."""
        from terrycloth.experiments.commands.simulate import simulate

        said = self.config.model_dump(mode="json", exclude_defaults=True, exclude=set(COMPARISONS))
        if self.config.unit != "none":
            said |= {"unit": self.config.unit, "trust": self.config.trust}
        flags = inspect.signature(simulate).parameters
        words = ["terry", "simulate"]
        for name in ("data", "devices", "model", "unit", "trust", "epsilon", *said):
            value = said.pop(name, None)
            if value is None:
                continue
            if name in flags and not isinstance(value, bool):
                flag = FLAGS.get(name, "--" + name.replace("_", "-"))
                words += [flag, str(value).removesuffix(".0") if name == "epsilon" else str(value)]
            else:
                words += ["--set", f"{name}={json.dumps(value)}"]
        for name in ("floors", "central", "ceiling"):
            words += [] if getattr(self, name) else ["--set", f"{name}=false"]
        words += ["--baselines"] if self.baselines else []
        return shlex.join(words)


def variants(cells: list[Cell]) -> dict[str, str]:
    """By a cell's name, those of its settings that differ over the grid and have no column of their own.

    Settings of the data, the promise or the measuring are named only where cells would be alike in all
    columns without them.
    """
    quiet = {*DATA_SETTINGS, *PROMISE_SETTINGS, "evaluate_every"} - {"clip"}
    hidden = {*COLUMNS_OF, *COMPARISONS, "seed", "noise_multiplier"}  # ε tells noise multipliers apart
    said = {
        cell.name: cell.config.model_dump(mode="json", exclude_defaults=True, exclude=hidden)
        for cell in cells
    }
    names = sorted({name for settings in said.values() for name in settings})
    differing = {name for name in names if name not in quiet and differs(name, said.values())}
    alike: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        columns = json.dumps(cell.config.model_dump(mode="json", include=set(COLUMNS_OF)))
        alike.setdefault(columns, []).append(said[cell.name])
    differing |= {
        name for name in quiet & set(names) if any(differs(name, group) for group in alike.values())
    }
    return {
        cell: ", ".join(f"{name} = {settings[name]}" for name in names if name in differing & settings.keys())
        for cell, settings in said.items()
    }


def differs(name: str, said: Iterable[dict[str, Any]]) -> bool:
    """Whether a setting has more than one value; left out is one."""
    return len({json.dumps(settings.get(name)) for settings in said}) > 1

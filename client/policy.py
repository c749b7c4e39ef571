"""The policy of a device: its owner's rules for queries, in a TOML file that is read at every query.

The rules hold for every sender. Without such a file a device refuses every query.
"""

import json
import tomllib
from math import inf
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.limits import MOST_EVENTS
from terrycloth.models.privacy.trust import Trust, Unit
from terrycloth.models.recommenders import plug_ins
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.kinds import KINDS
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import ModelName, RoundSettings
from terrycloth.models.update import Refusal, expected_update

POLICY_FILE = "policy.toml"

HEADING = """\
# What these devices allow, whichever server sends the query. This file is read at every query: you can change
# it at any time. Without it the devices refuse every query. A key that is not set sets no limit, except
# most_delta and the three keys of distributed trust that begin with "least_".
"""


class PolicyUnreadable(Exception):
    """A policy is missing or unusable. The text says why, in one line without a path or a value."""


class Policy(BaseModel):
    """The rules of one owner. A query must pass every key.

    A key that is not set sets no limit, except for keys whose default is a limit. Numbers apply to queries
    without a promise too. Such queries have noise 0 and infinite ε, so any minimum noise and any maximum
    ε refuses them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    least_noise_multiplier: float = Field(
        0.0, ge=0, description="smallest noise multiplier (standard deviation over the clipping norm)"
    )
    most_epsilon: float = Field(
        inf,
        ge=0,
        allow_inf_nan=True,
        description="largest ε of everything ever charged to a device, at the query's δ",
    )
    most_epsilon_a_day: float = Field(
        inf,
        ge=0,
        allow_inf_nan=True,
        description="largest ε charged to a device in one UTC day, at the query's δ",
    )
    # Always limited, because a server that may choose any δ can make any ε small.
    most_delta: float = Field(1e-3, ge=0, le=1, description="largest δ of a query")
    units: tuple[Unit, ...] | None = Field(
        None,
        strict=False,
        description="units that a promise may protect; 'none' allows queries without a promise",
    )
    trusts: tuple[Trust, ...] | None = Field(None, strict=False, description="allowed trust models")
    # A limit on what is stored, so it is part of what neighbouring data sets are: both hold at most so many.
    most_events: int = Field(
        MOST_EVENTS, ge=1, le=MOST_EVENTS, description="number of newest events that a device stores"
    )
    most_rounds: int | None = Field(
        None, ge=1, description="largest number of rounds that one run's promise covers"
    )
    models: tuple[ModelName, ...] | None = Field(None, strict=False, description="names of allowed models")
    most_dim: int | None = Field(None, ge=1, description="largest number of dimensions of a vector")
    most_negatives: int | None = Field(
        None, ge=1, description="largest number of sampled negatives per interaction"
    )
    most_steps: int | None = Field(None, ge=1, description="largest number of steps per round")
    most_items: int | None = Field(
        None, ge=1, description="largest number of items in the catalogue, and in a model's head"
    )
    most_bytes: int | None = Field(None, ge=1, description="largest size of a reply's update, in bytes")
    least_agreement: float = Field(
        0.66,
        ge=0.5,
        lt=1,
        description="distributed trust: smallest share of the nodes that must agree on a sum",
    )
    least_nodes: int = Field(
        3, ge=3, description="distributed trust: smallest number of nodes that a session begins with"
    )
    least_devices: int = Field(
        1,
        ge=1,
        description="distributed trust: smallest number of non-colluding devices whose noise is in a sum",
    )
    unmasked: bool = Field(
        False,
        description="distributed trust: allow sums without secure aggregation's masks (simulations)",
    )
    least_task_age: float | None = Field(
        None,
        ge=0,
        description="allow only tasks of the published list, each only so many days after the device first "
        "saw it there; 0: at once; not set: also tasks that nobody published",
    )

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """Read a policy file. Raises PolicyUnreadable if it is missing, invalid or not an absolute path."""
        if not path.is_absolute():  # the working directory of an app holds what the server sent
            raise PolicyUnreadable("its path is not absolute")
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise PolicyUnreadable("there is no such file") from None
        except OSError as error:
            raise PolicyUnreadable(f"the file cannot be read ({type(error).__name__})") from None
        except ValidationError as error:
            errors = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            raise PolicyUnreadable("; ".join(errors)) from None
        except (ValueError, RecursionError) as error:
            raise PolicyUnreadable(f"the file is not TOML in UTF-8 ({type(error).__name__})") from None

    @classmethod
    def allowing(
        cls, settings: RoundSettings, catalogue: Catalogue, most_events: int = MOST_EVENTS
    ) -> "Policy":
        """The policy that allows exactly what a run with these settings requests in its rounds."""
        rounds = {1, settings.rounds, settings.last_round}  # the rounds between have the first round's noise
        shared = recommender_for(settings, catalogue).shared_parameters()
        return cls.model_validate(
            {
                "least_noise_multiplier": min(settings.at(round).noise for round in rounds),
                "most_epsilon": settings.epsilon,
                "most_delta": settings.delta,
                "most_events": most_events,
                "units": [settings.unit],
                "trusts": [] if settings.unit == "none" else [settings.trust],
                "most_rounds": settings.rounds,
                "models": [settings.model],
                "most_dim": settings.dim,
                "most_negatives": settings.negatives,
                "most_steps": settings.steps_per_round,
                "most_items": max(len(catalogue), settings.head_size),
                "most_bytes": max(bytes_of(expected_update(settings.at(each), shared)) for each in rounds),
                "least_agreement": settings.agreement,
                "least_devices": settings.least_devices,
                "unmasked": settings.trust_model.secure_aggregation and not settings.secure_aggregation,
            }
        )

    def save(self, folder: Path) -> None:
        """Write policy.toml into a device group's folder, for its owner to read and change."""
        lines = [HEADING]
        for name, field in Policy.model_fields.items():
            value = getattr(self, name)
            setting = "# not limited" if value in (None, inf) else f"{name} = {json.dumps(value)}"
            lines.append(f"# {name}: {field.description}\n{setting}\n")
        (folder / POLICY_FILE).write_text("\n".join(lines), encoding="utf-8")

    def objection(self, settings: RoundSettings) -> Refusal | None:
        """Return why these settings are refused, or None if they are allowed. Budgets are checked later."""
        # A query without a promise has no trust model. An owner who lists the unit none allows that.
        trust_matters = settings.unit != "none" or self.units is None
        objections = {
            Refusal.MODEL_NAME: not self.allows_model(settings.model),
            Refusal.UNIT: self.units is not None and settings.unit not in self.units,
            Refusal.TRUST: trust_matters and self.trusts is not None and settings.trust not in self.trusts,
            Refusal.ROUNDS: above(settings.rounds, self.most_rounds),
            Refusal.DIM: above(settings.dim, self.most_dim),
            Refusal.NEGATIVES: above(settings.negatives, self.most_negatives),
            Refusal.STEPS: above(settings.steps_per_round, self.most_steps),
            Refusal.NOISE: settings.noise < self.least_noise_multiplier,
            Refusal.DELTA: settings.delta > self.most_delta,
            Refusal.SUM: settings.trust_model.secure_aggregation
            and (settings.agreement < self.least_agreement or settings.least_devices < self.least_devices),
        }
        return next((reason for reason, holds in objections.items() if holds), None)

    def allows_model(self, model: str) -> bool:
        """Whether the owner allows a model. A plug-in is others' code, so it must be listed."""
        if self.models is None:
            return model in KINDS
        return model in self.models and (model in KINDS or model in plug_ins.names())

    def size_objection(self, settings: RoundSettings, items: int, update: Parameters) -> Refusal | None:
        """Return why a query is refused for its size, or None if it is allowed.

        items: items of the catalogue. update: the expected update, see `expected_update`.
        """
        if above(max(items, settings.head_size), self.most_items):
            return Refusal.ITEMS
        return Refusal.BYTES if above(bytes_of(update), self.most_bytes) else None


def above(value: int, most: int | None) -> bool:
    """Whether a value exceeds the limit `most`; None: there is no limit."""
    return most is not None and value > most


def bytes_of(update: Parameters) -> int:
    """Number of bytes of an update's numbers, as they are sent."""
    return sum(tensor.numel() * tensor.element_size() for tensor in update.values())


def policy_of(folder: Path, named: Path | None) -> Policy:
    """Read the policy of a device group, from `named` or by default its folder. Raises PolicyUnreadable."""
    return Policy.load(folder / POLICY_FILE if named is None else named)

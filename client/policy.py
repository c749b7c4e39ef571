"""What a device allows, whoever asks: its owner's rules, in a TOML file that is read at every query.

Without such a file a device allows nothing.
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
# What these devices allow, whoever asks them. It is read at every query: change it whenever you like.
# Without this file they refuse everything. A key that is left out sets no limit, but for most_delta and the
# three that begin with "least_" and are of distributed trust.
"""


class PolicyUnreadable(Exception):
    """A policy that is not there or cannot be used, and why, in one line without a path or a value."""


class Policy(BaseModel):
    """A key that is left out allows everything, but for most_delta. A query has to pass every key.

    Numbers hold for queries without a promise too: their noise is 0 and their ε infinite, so any floor on
    noise and any cap on ε refuses them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    least_noise_multiplier: float = Field(
        0.0, ge=0, description="noise's standard deviation over the clip: less is refused"
    )
    most_epsilon: float = Field(
        inf, ge=0, allow_inf_nan=True, description="ε of all that was ever booked, at the query's δ"
    )
    most_epsilon_a_day: float = Field(
        inf, ge=0, allow_inf_nan=True, description="ε of what is booked in one UTC day, at the query's δ"
    )
    # Never without a limit: a server that may choose any δ can make any ε small.
    most_delta: float = Field(1e-3, ge=0, le=1, description="δ of a query: a larger one is refused")
    units: tuple[Unit, ...] | None = Field(
        None, strict=False, description="what a promise may protect; 'none' allows queries without one"
    )
    trusts: tuple[Trust, ...] | None = Field(
        None, strict=False, description="who may be trusted with a promise's noise"
    )
    # Of the store, so of what neighbours are: both hold so many at most.
    most_events: int = Field(
        MOST_EVENTS, ge=1, le=MOST_EVENTS, description="events that a device stores: the newest"
    )
    most_rounds: int | None = Field(None, ge=1, description="rounds that one run's promise covers")
    models: tuple[ModelName, ...] | None = Field(None, strict=False, description="names of allowed models")
    most_dim: int | None = Field(None, ge=1, description="numbers in a vector")
    most_negatives: int | None = Field(None, ge=1, description="negatives drawn for an interaction")
    most_steps: int | None = Field(None, ge=1, description="steps of a round")
    most_items: int | None = Field(None, ge=1, description="items of the catalogue, and of a model's head")
    most_bytes: int | None = Field(None, ge=1, description="bytes of one reply's update")
    least_agreement: float = Field(
        0.66,
        ge=0.5,
        lt=1,
        description="distributed: part of the nodes that must agree on a sum",
    )
    least_nodes: int = Field(3, ge=3, description="distributed: nodes that a session begins with")
    least_devices: int = Field(
        1,
        ge=1,
        description="distributed: devices whose noise a sum must hold, beside nodes that may collude",
    )
    unmasked: bool = Field(
        False,
        description="a sum under distributed trust may leave without secure aggregation's masks: simulation",
    )

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """Read a policy file. Raises PolicyUnreadable."""
        if not path.is_absolute():  # the working directory of an app holds what the server sent
            raise PolicyUnreadable("its path is not absolute")
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise PolicyUnreadable("there is no such file") from None
        except OSError as error:
            raise PolicyUnreadable(f"the file cannot be read ({type(error).__name__})") from None
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            raise PolicyUnreadable("; ".join(wrong)) from None
        except (ValueError, RecursionError) as error:
            raise PolicyUnreadable(f"the file is not TOML in UTF-8 ({type(error).__name__})") from None

    @classmethod
    def allowing(
        cls, settings: RoundSettings, catalogue: Catalogue, most_events: int = MOST_EVENTS
    ) -> "Policy":
        """All that a run with these settings asks in its rounds, and nothing beyond it."""
        rounds = {1, settings.rounds, settings.last_round}  # those between have the noise of the first
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
        """Write policy.toml into a device group's folder, for its owner to read and to change."""
        lines = [HEADING]
        for name, field in Policy.model_fields.items():
            value = getattr(self, name)
            said = "# not limited" if value in (None, inf) else f"{name} = {json.dumps(value)}"
            lines.append(f"# {name}: {field.description}\n{said}\n")
        (folder / POLICY_FILE).write_text("\n".join(lines), encoding="utf-8")

    def objection(self, settings: RoundSettings) -> Refusal | None:
        """Why a query is refused for its settings alone; None: they are allowed. Budgets come later."""
        # A query without a promise trusts nobody. Whoever lists unit none has said that this may be.
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
        """Why a query over a catalogue of so many items is refused for its size. update: as expected."""
        if above(max(items, settings.head_size), self.most_items):
            return Refusal.ITEMS
        return Refusal.BYTES if above(bytes_of(update), self.most_bytes) else None


def above(value: int, most: int | None) -> bool:
    """Whether a value passes a limit; None: there is none."""
    return most is not None and value > most


def bytes_of(update: Parameters) -> int:
    """Of its numbers, as they are sent."""
    return sum(tensor.numel() * tensor.element_size() for tensor in update.values())


def policy_of(folder: Path, named: Path | None) -> Policy:
    """The policy of a device group, from its owner's file or else its folder. Raises PolicyUnreadable."""
    return Policy.load(folder / POLICY_FILE if named is None else named)

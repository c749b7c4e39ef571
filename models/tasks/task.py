"""What devices are asked in a run, as one hash of the code, the settings, the promise and the catalogue.

A device computes the hash from the request that it is sent, the code that is installed on it and the
catalogue that it holds, before it reads an event. A request that differs from a published task in any of them
has another hash. A setting that is added to `RoundSettings` enters the hash by itself; LEFT_OUT names the few
that stay out, with the reason why leaving each of them out harms nobody.

The shared parameters of a request stay out as well, because they change with every round. The promise holds
for every value that they can have: what a device releases is clipped and noised whatever it was sent.
"""

import hashlib
import json
import math
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.privacy.trust import Trust
from terrycloth.models.settings import RoundSettings

# The settings that vary between the requests of one task, and why a server that chooses them gains nothing.
LEFT_OUT = {
    "round": "A task covers all its rounds. `rounds` and `evaluate`, which are in the hash, bound the "
    "number. It decides only which of the published releases is asked for, and the ledger charges each one.",
    "run": "A name that keeps the queries of one run apart. Another name makes another query, which the "
    "ledger charges as a further release, and the ε of the task bounds all that a device was ever charged. "
    "An entry of the list may also bound how many names a device answers to (`most_runs`).",
}

# Left out only where the quantile `clip_quantile`, which is in the hash, lets the server adapt it.
ADAPTED_CLIP = (
    "The noise is a multiple of the clip, so ε is the same for every clip, which decides how much is learned."
)

# The folders of the package with the code that runs on a device.
CODE_OF_A_DEVICE = ("client", "models")

Value = bool | int | float | str | None


class Task(BaseModel):
    """One task. Two tasks are the same if their hashes are.

    code: version of the code that answers, see `code_version`. settings: what the device checks and does, as
    `RoundSettings`, without LEFT_OUT. promise: what follows from the settings for a shopper, as `Promise`.
    catalogue: `Catalogue.fingerprint`. Settings and promise are kept as plain values, because a list holds
    tasks of earlier and later versions of the code too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(max_length=200)
    settings: dict[str, Value]
    promise: dict[str, Any]
    catalogue: str = Field(pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _has_a_hash(self) -> Self:
        canonical(self.model_dump())  # raises ValueError for a number that is not finite
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the task, as hexadecimal text."""
        return hashlib.sha256(canonical(self.model_dump())).hexdigest()


def task_of(settings: RoundSettings, catalogue: Catalogue) -> Task:
    """Return the task that a request with these settings belongs to, for this code and this catalogue."""
    left_out = {*LEFT_OUT, "clip"} if settings.clip_quantile > 0 else {*LEFT_OUT}
    return Task(
        code=code_version(),
        settings=plain(settings.model_dump(exclude=left_out)),
        promise=plain(promise_asked(settings).model_dump(mode="json")),
        catalogue=catalogue.fingerprint,
    )


def promise_asked(settings: RoundSettings) -> Promise:
    """Return what the settings of a request promise, as far as a device can tell.

    ε is the limit up to which the ledger of a device answers such requests. The history of releases, which
    follows from the other fields, is left out: its numbers are computed, and may differ between machines in
    the last digit.
    """
    _, rate, steps = settings.at(1).mechanism
    private = settings.unit != "none"
    distributed = settings.trust_model.secure_aggregation
    return Promise(
        unit=settings.unit,
        trust=cast(Trust, settings.trust) if private else None,
        epsilon=settings.epsilon if private and math.isfinite(settings.epsilon) else None,
        delta=settings.delta if private else None,
        noise_multiplier=settings.noise_multiplier,
        clip=None if settings.clip_quantile > 0 or not math.isfinite(settings.clip) else settings.clip,
        participation=settings.participation,
        rounds=settings.rounds,
        steps_per_round=steps,
        sampling_rate=rate,
        accountant=None,
        seeded=False,
        rounds_of_a_device=settings.covered,
        least_devices=settings.least_devices if distributed else None,
        secure_aggregation_off=distributed and not settings.secure_aggregation,
        evaluated=settings.evaluate,
        mechanism="discrete-gaussian" if settings.only_renyi else "gaussian",
    )


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return the version of the code that runs on a device: its number, and a digest of its sources.

    The digest covers every Python file in `client/` and `models/`, so two devices with the same version run
    the same code of this project. It covers neither libraries, such as torch, nor plug-ins.
    """
    return (
        f"terrycloth {metadata.version('terrycloth')}, sources {digest_of_sources(Path(__file__).parents[2])}"
    )


def digest_of_sources(package: Path) -> str:
    """Return the SHA-256 of the names and texts of all Python files that run on a device."""
    hashed = hashlib.sha256()
    for room in CODE_OF_A_DEVICE:
        if not (package / room).is_dir():
            raise FileNotFoundError(f"the sources of {room}/ are not where this package is installed")
        for path in sorted((package / room).rglob("*.py")):
            source = path.read_text(encoding="utf-8")  # with \n at the end of lines, as on every system
            hashed.update(canonical([path.relative_to(package).as_posix(), source]))
    return hashed.hexdigest()


def canonical(value: Any) -> bytes:
    """Return plain values as JSON in one form only. Raises ValueError for numbers that are not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings as JSON can hold them: infinity becomes the text `inf`."""
    return {name: "inf" if value == math.inf else value for name, value in values.items()}

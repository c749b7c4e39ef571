"""result.json has exactly the documented keys, no unknown one, and no NaN."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from terrycloth.experiments.runs.result import SCHEMA, Result, Versions
from terrycloth.experiments.runs.run_folder import RunFolder

FULL = {
    "hr@10": 0.3,
    "ndcg@10": 0.2,
    "mrr": 0.1,
    "anyhit@10": 0.35,
    "recall@10": 0.3,
    "recall@20": 0.4,
    "precision@10": 0.03,
    "map@10": 0.15,
    "novelty@10": 5.5,
    "hr@10_error": 0.01,
    "coverage@10": 0.9,
}
DESIGN: dict[str, Any] = {
    "schema": 2,
    "data": {
        "name": "towels",
        "devices": 2000,
        "items": 300,
        "events": 24000,
        "tested": 1980,
        "targets": 4100,
        "split": "date",
        "at": "2025-10-18",
        "repeats": False,
        "split_sentence": "By date: what happened before 2025-10-18 trains; the test is what came after.",
    },
    "model": "attributes",
    "engine": "in-process",
    "model_reason": None,
    "negative_sampling": "clean",
    "promise": {
        "unit": "interaction",
        "trust": "local",
        "epsilon": 7.98,
        "delta": 1e-5,
        "relation": "add-or-remove-one",
        "noise_multiplier": 1.9,
        "clip": 1.0,
        "participation": 1.0,
        "rounds": 30,
        "steps_per_round": 3,
        "sampling_rate": 0.2,
        "accountant": "opacus-prv",
        "seeded": True,
        "rounds_of_a_device": 30,
        "least_devices": None,
        "tolerated_nodes": None,
        "secure_aggregation_off": False,
        "evaluated": False,
        "catalogue_from_events": False,
        "of_training_events": False,
        "most_events": 50,
        "history": [[1.9, 0.2, 90]],
        "mechanism": "gaussian",
    },
    "metrics": {
        "full": FULL,
        "sampled99": {"hr@10": 0.6, "ndcg@10": 0.4},
        "measured_by": "simulator",
        "hr_deviation": None,
        "unseen": {"first visit": {"visits": 40.0, "hr@10": 0.08, "ndcg@10": 0.04}},
    },
    "baselines": {
        "popularity": {
            "full": FULL | {"hr@10": 0.1, "ndcg@10": 0.05},
            "sampled99": {"hr@10": 0.4, "ndcg@10": 0.2},
            "settings": {},
            "promise": None,
            "paired": {"difference": 0.2, "difference_low": 0.18, "difference_high": 0.22},
        },
        "ease": {
            "full": FULL | {"hr@10": 0.25, "ndcg@10": 0.15},
            "sampled99": {"hr@10": 0.5, "ndcg@10": 0.3},
            "settings": {"lambda": 300.0},
            "promise": None,
            "paired": {},
        },
        "left_out": [],
        "ceiling": {"oracle": {"hr@10": 0.8, "ndcg@10": 0.6}},
    },
    "cost": {
        "seconds_total": 12.5,
        "seconds_training": 10.0,
        "peak_memory_bytes": 2**28,
        "bytes_up_per_device": 30720,
        "bytes_up_per_device_round": 1024,
        "bytes_down_per_device_round": 1024,
    },
    "versions": {"terrycloth": "0.1.0", "torch": "2.13.0", "flwr": "1.42.0", "opacus": "1.6.0"},
    "date": "2026-11-30T21:05:00Z",
    "commit": "0770160d9df01a8f7b4aa3b2dd3d1cb6f0c0a6b5",
    "machine": {"platform": "Linux x86_64", "cores": 2},
}
NO_PROMISE = {"unit": "none", "trust": None, "epsilon": None, "delta": None, "clip": None, "accountant": None}


def paths(tree: dict[str, Any], under: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in tree.items():
        yield (*under, name)
        if isinstance(value, dict):
            yield from paths(value, (*under, name))


def changed(path: tuple[str, ...], value: Any = None, *, drop: bool = False) -> dict[str, Any]:
    """Return DESIGN with one value changed or removed."""
    copy: dict[str, Any] = json.loads(json.dumps(DESIGN))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def written(result: Result, folder: Path) -> dict[str, Any]:
    RunFolder(folder).write_result(result)
    text = (folder / "result.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))  # type: ignore[no-any-return]


def test_the_file_is_exactly_as_documented(tmp_path: Path) -> None:
    assert written(Result.model_validate(DESIGN), tmp_path) == DESIGN
    assert SCHEMA == 2


def test_the_file_loads_unchanged(tmp_path: Path) -> None:
    result = Result.model_validate(DESIGN)
    written(result, tmp_path)
    assert RunFolder(tmp_path).read_result() == result


def test_without_a_promise_epsilon_is_null(tmp_path: Path) -> None:
    result = Result.model_validate({**DESIGN, "promise": {**DESIGN["promise"], **NO_PROMISE}})
    promise = written(result, tmp_path)["promise"]
    assert promise["epsilon"] is None
    assert set(promise) == set(DESIGN["promise"]), "a null value must not be left out"


def test_metrics_without_tested_shoppers_are_null(tmp_path: Path) -> None:
    nobody = dict.fromkeys(FULL) | {"coverage@10": 0.0}
    result = Result.model_validate({**changed(("metrics", "full"), nobody)})
    assert written(result, tmp_path)["metrics"]["full"] == nobody


OPTIONAL = {
    ("data", "at"),
    ("data", "repeats"),
    ("baselines", "popularity"),
    ("baselines", "ease"),
    ("baselines", "left_out"),
    ("baselines", "ceiling"),
    ("metrics", "unseen"),
    ("metrics", "measured_by"),
    ("metrics", "hr_deviation"),
    ("model_reason",),
    ("date",),  # results of earlier versions have none
    ("commit",),
    ("machine",),
    ("negative_sampling",),  # results of earlier versions have one protocol only
    ("promise", "relation"),
    ("promise", "rounds_of_a_device"),
    ("promise", "least_devices"),
    ("promise", "tolerated_nodes"),
    ("promise", "secure_aggregation_off"),
    ("promise", "evaluated"),
    ("promise", "catalogue_from_events"),
    ("promise", "of_training_events"),
    ("promise", "most_events"),
    ("promise", "history"),
    ("promise", "mechanism"),
}


def by_name(path: tuple[str, ...]) -> bool:
    """Return whether a key names a metric, a visit or a setting, which no schema lists."""
    return bool({"oracle", "full", "sampled99", "unseen", "settings", "paired"} & set(path[:-1]))


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in paths(DESIGN)
        if not (
            path in OPTIONAL
            or by_name(path)
            or "oracle" in path
            or path[-1] in ("settings", "promise", "paired")
        )
        or path == ("promise",)
    ],
    ids=".".join,
)
def test_no_key_may_be_missing(path: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        Result.model_validate(changed(path, drop=True))


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("data",),
        ("promise",),
        ("metrics",),
        ("baselines",),
        ("baselines", "popularity"),
        ("cost",),
        ("versions",),
    ],
    ids=str,
)
def test_an_unknown_key_is_refused(path: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        Result.model_validate(changed((*path, "unknown"), 1))


NUMBERS = [
    ("promise", "epsilon"),
    ("promise", "clip"),
    ("metrics", "full", "hr@10"),
    ("metrics", "sampled99", "ndcg@10"),
    ("baselines", "ceiling", "oracle", "hr@10"),
    ("baselines", "ease", "full", "hr@10"),
    ("metrics", "unseen", "first visit", "hr@10"),
    ("cost", "seconds_total"),
]


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_are_refused(path: tuple[str, ...], value: float) -> None:
    with pytest.raises(ValidationError):
        Result.model_validate(changed(path, value))


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValidationError):
        Result.model_validate(changed(("schema",), 1))


def test_baselines_are_read_by_name() -> None:
    baselines = Result.model_validate(DESIGN).baselines
    assert list(baselines.found) == ["popularity", "ease"]
    ease = baselines.of("ease")
    assert ease is not None
    assert (ease.full["hr@10"], ease.settings) == (0.25, {"lambda": 300.0})
    assert baselines.of("ials") is None


def test_an_unknown_baseline_is_accepted_but_not_an_unknown_key_in_it() -> None:
    Result.model_validate(changed(("baselines", "another"), DESIGN["baselines"]["ease"]))
    for wrong in (1, {"full": FULL}, {**DESIGN["baselines"]["ease"], "unknown": 1}):
        with pytest.raises(ValidationError):
            Result.model_validate(changed(("baselines", "another"), wrong))


def test_a_split_needs_its_sentence_and_one_of_four_names() -> None:
    for path, value in ((("data", "split"), "random"), (("data", "split_sentence"), None)):
        with pytest.raises(ValidationError):
            Result.model_validate(changed(path, value))


def test_metrics_must_say_who_measured_them() -> None:
    with pytest.raises(ValidationError):
        Result.model_validate(changed(("metrics", "measured_by"), "devices"))


def test_the_json_schema_beside_it_describes_the_file(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    file = written(Result.model_validate(DESIGN), tmp_path)
    schema = json.loads((tmp_path / "result.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(file))
    assert not list(validator.iter_errors({**file, "promise": {**file["promise"], **NO_PROMISE}}))
    for wrong in (
        changed(("unknown",), 1),
        changed(("metrics", "full", "hr@10"), "much"),
        changed(("promise", "epsilon"), drop=True),
        changed(("schema",), 1),
    ):
        assert list(validator.iter_errors(wrong))


def test_the_versions_are_those_installed() -> None:
    versions = Versions.installed()
    assert versions.torch.startswith("2.")
    assert versions.flwr.startswith("1.42")
    assert all(versions.model_dump().values())

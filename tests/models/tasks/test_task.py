"""The hash of a task: every setting is in it, or on the list of those that stay out, with a reason."""

import hashlib
import math
from pathlib import Path

import pytest

import terrycloth.models.tasks.task
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.settings import RoundSettings
from terrycloth.models.tasks.task import LEFT_OUT, Task, digest_of_sources, task_of
from tests.settings_changes import BASE, CHANGES


def digest(catalogue: Catalogue, **changes: object) -> str:
    return task_of(BASE.model_copy(update=changes), catalogue).digest


def test_a_setting_that_is_added_needs_a_row_here():
    """A new setting enters the hash by itself; the table below must then say how it is changed."""
    assert set(CHANGES) == set(RoundSettings.model_fields)
    assert set(LEFT_OUT) == {"round", "run"}
    assert all(len(reason) > 50 for reason in LEFT_OUT.values())


@pytest.mark.parametrize("name", RoundSettings.model_fields)
def test_every_setting_changes_the_hash_unless_it_is_left_out(name, catalogue):
    same = digest(catalogue, **{name: CHANGES[name]}) == digest(catalogue)
    assert same == (name in LEFT_OUT)


def test_a_clip_is_left_out_where_the_server_adapts_it(catalogue):
    adapted = {"clip_quantile": 0.5}
    assert digest(catalogue, **adapted, clip=0.7) == digest(catalogue, **adapted)
    assert digest(catalogue, **adapted) != digest(catalogue, clip_quantile=0.6)
    for name in sorted(RoundSettings.model_fields.keys() - {"clip", "clip_quantile", *LEFT_OUT}):
        assert digest(catalogue, **adapted | {name: CHANGES[name]}) != digest(catalogue, **adapted), name


def test_the_hash_by_hand():
    task = Task(code="a", settings={"dim": 8, "clip": 1.0}, promise={"unit": "none"}, catalogue="0" * 64)
    text = '{"catalogue":"%s","code":"a","promise":{"unit":"none"},"settings":{"clip":1.0,"dim":8}}' % (
        "0" * 64
    )
    assert task.digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("value", [8.0, True, "8"])
def test_equal_values_of_another_type_are_another_task(value):
    one, other = (Task(code="a", settings={"dim": dim}, promise={}, catalogue="0" * 64) for dim in (8, value))
    assert one.digest != other.digest
    assert Task.model_validate_json(other.model_dump_json()).digest == other.digest


def test_a_task_without_a_promise_has_a_hash(catalogue):
    none = {"unit": "none", "trust": "none", "noise_multiplier": 0.0, "clip": math.inf, "epsilon": math.inf}
    task = task_of(BASE.model_copy(update=none), catalogue)
    assert task.settings["clip"] == task.settings["epsilon"] == "inf"
    assert (task.promise["epsilon"], task.promise["trust"]) == (None, None)
    assert Task.model_validate_json(task.model_dump_json()).digest == task.digest


def test_the_promise_is_what_the_settings_say(catalogue):
    promise = task_of(BASE, catalogue).promise
    said = {name: promise[name] for name in ("unit", "trust", "epsilon", "delta", "rounds", "relation")}
    assert said == {
        "unit": "shopper",
        "trust": "local",
        "epsilon": 50.0,
        "delta": 1e-5,
        "rounds": 10,
        "relation": "add-or-remove-one",
    }


# The catalogue


def test_a_catalogue_has_one_fingerprint_also_from_its_file(catalogue, tmp_path):
    catalogue.save(tmp_path / "catalogue.parquet")
    assert Catalogue.load(tmp_path / "catalogue.parquet").fingerprint == catalogue.fingerprint


def test_whatever_a_catalogue_says_changes_the_hash(catalogue):
    table = catalogue.table
    title, cell = table.copy(), table.copy()
    title.loc[0, "title"] = "moss bath towel"
    cell.at[0, "colour"] = ("moss",)
    others = {
        "title": title,
        "attribute value": cell,
        "order": table.iloc[::-1],
        "item left out": table.iloc[:-1],
        "attribute left out": table.drop(columns="size"),
        "attribute renamed": table.rename(columns={"size": "length"}),
    }
    hashes = {name: digest(Catalogue(other)) for name, other in others.items()}
    assert len({*hashes.values(), digest(catalogue)}) == len(others) + 1


# The code


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name in ("client/a.py", "models/deep/b.py", "server/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x = 1\n")
    return tmp_path


def test_code_that_runs_on_a_device_changes_the_digest(package):
    digests = [digest_of_sources(package)]
    (package / "models" / "deep" / "b.py").write_bytes(b"x = 2\n")
    digests.append(digest_of_sources(package))
    (package / "client" / "a.py").rename(package / "client" / "z.py")
    digests.append(digest_of_sources(package))
    (package / "client" / "new.py").write_bytes(b"")
    digests.append(digest_of_sources(package))
    assert len(set(digests)) == 4


def test_other_code_and_other_line_ends_do_not(package):
    before = digest_of_sources(package)
    (package / "server" / "c.py").write_bytes(b"x = 2\n")
    (package / "client" / "a.py").write_bytes(b"x = 1\r\n")
    assert digest_of_sources(package) == before


def test_code_that_is_not_there_has_no_digest(package):
    (package / "client" / "a.py").unlink()
    (package / "client").rmdir()
    with pytest.raises(FileNotFoundError, match="client/"):
        digest_of_sources(package)


def test_other_code_is_another_task(catalogue, monkeypatch):
    before = digest(catalogue)
    monkeypatch.setattr(terrycloth.models.tasks.task, "code_version", lambda: "another")
    assert digest(catalogue) != before


def test_the_installed_code_is_found():
    package = Path(terrycloth.models.tasks.task.__file__).parents[2]
    assert len(list((package / "client").rglob("*.py"))) > 20
    assert len(list((package / "models").rglob("*.py"))) > 20

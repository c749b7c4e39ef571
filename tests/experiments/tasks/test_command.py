"""terry task: from keys to a device that verified, and one line for whatever a person does wrong."""

import json
import sys
from pathlib import Path

import pytest

from tests.experiments.terry_command import terry_command

RUN_CONFIG = """
catalogue = "catalogue.parquet"
rounds = 3
model = "mf"
dim = 3
own-rows = false
item-bias = true
unit = "shopper"
trust = "central"
epsilon = 4.0
delta = 1e-5
noise-multiplier = 1.0
clip = 1.0
devices = 10
participation = 1.0
sampling-rate = 1.0
steps-per-round = 1
learning-rate = 0.5
negatives = 3
negative-weight = 1.0
catalogue-weight = 0.1
regularisation = 0.5
server-optimizer = "sgd"
"""
KEY = ["--key", "brand.pem"]
PUBLISH = ["publish", "list", *KEY]
SIGN = ["publish", "list", "--notice", "--title", "x", "--key"]
TASK = [*PUBLISH, "--run", "run.toml", "--title", "towels for autumn"]
WITNESS = ["witness", "list", "--key", "witness.pem", "--record", "signed.json"]
PINS = ["--root", "list/metadata/1.root.json", "--witness", "witness.pub"]


@pytest.fixture
def terry(tmp_path, catalogue, monkeypatch, capfd):
    """`terry task ARGUMENTS…` where there are a run config, keys and a root; gives code, out and err."""
    monkeypatch.chdir(tmp_path)
    catalogue.save(tmp_path / "catalogue.parquet")
    (tmp_path / "run.toml").write_text(RUN_CONFIG)
    (tmp_path / "device").mkdir()

    run = terry_command(monkeypatch, capfd, "task")
    for name in ("root", "brand", "witness"):
        assert run("keys", name)[0] == 0
    assert (
        run("root", "list", "--key", "root.pem", "--brand", "brand.pub", "--witness", "witness.pub")[0] == 0
    )
    return run


def test_from_the_keys_to_a_device(terry):
    assert terry(*TASK, "--most-runs", "2") == (0, "list: 1 entries, signed by the brand for 30 days\n", "")
    assert terry(*WITNESS) == (0, "list: 1 entries, signed by the witness\n", "")
    code, out, _ = terry("verify", "list", "device", *PINS)
    assert (code, out[:35]) == (0, "device: 1 entries, verified, valid ")
    terry(*PUBLISH, "--notice", "--title", "an incident")
    terry(*PUBLISH, "--renew", "--days", "60")
    code, out, _ = terry("list", "list")
    assert "signed by 1 of 2 keys" in out
    terry(*WITNESS)
    assert terry("verify", "list", "device")[0] == 0
    for place in ("list", "device"):
        code, out, _ = terry("list", place)
        assert code == 0
        for word in ("towels for autumn", "an incident", "shopper level, central trust, ε = 4", "notice"):
            assert word in out
    assert "0.0 days" in out
    entries = json.loads(terry("list", "device", "--json")[1])["entries"]
    assert [each["kind"] for each in entries] == ["task", "notice"]
    assert (entries[0]["most_runs"], entries[0]["task"]["settings"]["dim"]) == (2, 3)


def test_without_a_witness_it_is_said_that_split_views_stay_possible(terry):
    _, out, _ = terry("root", "alone", "--key", "root.pem", "--brand", "brand.pub")
    assert "can show different lists to different devices" in out
    assert terry("publish", "alone", *KEY, "--notice", "--title", "hello")[0] == 0
    _, out, _ = terry("verify", "alone", "device", "--root", "alone/metadata/1.root.json")
    assert "no witness is pinned: the brand and its server can show this device a list of its own" in out


BAD = {
    "nothing to publish": (PUBLISH, "name one thing to publish"),
    "two things": ([*TASK, "--notice"], "name one thing to publish"),
    "no title": ([*PUBLISH, "--notice"], "--title says what the entry is"),
    "a title of nothing": ([*PUBLISH, "--renew", "--title", "x"], "leave it out of --renew"),
    "an empty title": ([*PUBLISH, "--notice", "--title", ""], "--title has 0 characters"),
    "runs of a notice": ([*SIGN, "brand.pem", "--most-runs", "1"], "--most-runs is for a task"),
    "nothing to renew": ([*PUBLISH, "--renew"], "nothing to sign anew"),
    "no key": ([*SIGN, "no.pem"], "no.pem is not a private key"),
    "a public key": ([*SIGN, "brand.pub"], "not a private key"),
    "the wrong key": ([*SIGN, "root.pem"], "not the brand key"),
    "no list": (["publish", "device", *KEY, "--notice", "--title", "x"], "device holds no list"),
    "no run": ([*PUBLISH, "--run", "no", "--title", "x"], "no does not exist"),
    "a folder that is no run": ([*PUBLISH, "--run", "device", "--title", "x"], "device is not a run folder"),
    "no run config": ([*PUBLISH, "--run", "brand.pem", "--title", "x"], "brand.pem is not a run config"),
    "keys twice": (["keys", "brand"], "brand.pem exists"),
    "keys nowhere": (["keys", "no/brand"], "no is not a folder"),
    "a private key for a public one": (
        ["root", "list", "--key", "root.pem", "--brand", "brand.pem"], "brand.pem is not a public key",
    ),
    "one key twice": (["root", "list", "--key", "root.pem", "--brand", "root.pub"], "need a key each"),
    "nothing to witness": (WITNESS, "holds no list to sign"),
    "a list to show": (["list", "device"], "device holds no list"),
    "nothing pinned": (["verify", "list", "device"], "no root is pinned"),
    "a witness alone": (["verify", "list", "device", "--witness", "witness.pub"], "give both"),
    "no device": (["verify", "list", "nowhere", *PINS], "nowhere is not a folder"),
    "no root": (["verify", "list", "device", "--root", "no.json"], "no.json cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line_and_leaves_nothing(name, terry):
    arguments, reason = BAD[name]
    before = sorted(path for path in Path.cwd().rglob("*") if path.suffix != ".lock")
    code, out, err = terry(*arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert err.startswith("terry: ")
    assert err.count("\n") == 1
    assert sorted(path for path in Path.cwd().rglob("*") if path.suffix != ".lock") == before


def test_a_list_that_the_witness_has_not_signed_is_one_line(terry):
    terry(*TASK)
    code, out, err = terry("verify", "list", "device", *PINS)
    assert (code, out, err) == (2, "", "terry: the list cannot be trusted: targets was signed by 1/2 keys\n")


def test_without_the_library_it_is_said_what_to_install(terry, monkeypatch):
    monkeypatch.setitem(sys.modules, "tuf", None)
    code, _, err = terry("list", "list")
    assert code == 2
    assert 'pip install "terrycloth[federation]"' in err

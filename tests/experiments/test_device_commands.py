"""terry device: what the owner of a device types, and what happens."""

import io
import json
import stat
import sys
from pathlib import Path

import keyring.errors
import pytest

from terrycloth.client.policy import Policy
from terrycloth.client.receipts import Receipt
from terrycloth.client.store import DeviceStore
from terrycloth.client.store_tables import write_receipt
from tests.experiments.terry_command import Run, terry_command

CATALOGUE = "item,title,colour\ntowel-1,Sand towel,sand\ntowel-2,Moss towel,moss\n"
PURCHASES = "Artikelnummer;Datum;Menge\ntowel-1;31.05.2024;2\ntowel-9;01.06.2024;1,5\n"
MADE = ["init", "d", "--catalogue", "items.csv", "--key-file"]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`terry device ARGUMENTS…`: exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items.csv").write_text(CATALOGUE)
    (tmp_path / "purchases.csv").write_text(PURCHASES)

    return terry_command(monkeypatch, capfd, "device")


@pytest.fixture
def made(device: Run) -> Run:
    """The same, with a store in the folder d."""
    assert device(*MADE)[0] == 0
    return device


def test_a_life_of_a_device(made):
    """Consent, purchases, what is shown and exported, erasure, withdrawal, the end."""
    store = DeviceStore(Path("d"))
    assert made("show", "d")[1].splitlines()[:3] == [
        "0 events on this device, kept until they are erased; they never leave it",
        "no consent: nothing is trained; terry device consent d",
        "nothing has left this device",
    ]
    assert made("consent", "d", "--version", "2026-05")[0] == 0
    code, said, _ = made("add-events", "d", "purchases.csv")
    assert (code, said.splitlines()[0]) == (0, "d: 2 events added, 2 held")
    assert "1 of them are of items that the catalogue does not list" in said
    assert store.held() == [("towel-1", 1_717_113_600, 2.0), ("towel-9", 1_717_200_000, 1.5)]
    assert made("add-events", "d", "--item", "towel-2", "--time", "2024-06-02T10:00", "--weight", "3")[0] == 0
    assert store.held()[-1] == ("towel-2", 1_717_322_400, 3.0)
    assert "to withdraw: terry device withdraw d" in made("show", "d")[1]

    assert made("export", "d", "mine.json")[0] == 0
    mine = json.loads(Path("mine.json").read_text())
    assert stat.S_IMODE(Path("mine.json").stat().st_mode) == 0o600
    assert mine == json.loads(made("show", "d", "--json")[1])
    assert mine["events"][0] == {"item": "towel-1", "time": 1_717_113_600, "weight": 2.0}
    assert [consent["version"] for consent in mine["consents"]] == ["2026-05"]

    assert made("erase", "d", "--before", "2024-06-01", "--yes")[1].startswith("d: 1 events erased")
    assert [item for item, _, _ in store.held()] == ["towel-9", "towel-2"]
    assert made("withdraw", "d")[0] == 0
    assert store.consents()[0].withdrawn is not None
    assert made("erase", "d", "--all", "--yes")[0] == 0
    assert {path.name for path in Path("d").iterdir()} == {
        "catalogue.parquet", "policy.toml", "device.lock", "answering.lock",
    }  # fmt: skip
    code, _, error = made(*MADE)
    assert (code, "a store is made once" in error) == (2, True)


def test_receipts_are_shown_with_what_they_cost(made):
    with DeviceStore(Path("d")).database.writing("receipts") as transaction:
        for number in range(12):
            cost = {"epsilon": number / 2, "delta": 1e-5, "refused": ""}
            asked = {"time": 1_717_113_600, "task": "", "run": "r", "round": number + 1, "rounds": 12}
            promised = {"model": "mf", "unit": "shopper", "trust": "local", "sent_bytes": 128}
            write_receipt(transaction.connection, Receipt(**asked, **promised, **cost))
    said = made("show", "d")[1]
    assert "receipts, the newest 10 of 12:" in said
    assert "(round 2 of 12 of run r)" not in said
    assert "2024-05-31 00:00 UTC: an update with noise left the device: 128 bytes" in said
    assert "ε spent so far 5.50 for the shopper" in said
    receipts = json.loads(made("show", "d", "--json")[1])["receipts"]
    assert len(receipts) == 12
    assert set(receipts[0]) == set(Receipt.__dataclass_fields__)


def test_a_policy_is_for_the_promise_that_is_named_or_a_file(device):
    assert device(*MADE, "--epsilon", "3", "--unit", "shopper")[0] == 0
    policy = Policy.load(Path("d/policy.toml").resolve())
    assert (policy.units, policy.most_epsilon, policy.most_delta) == (("shopper",), 3.0, 1e-5)
    Path("own.toml").write_text("most_epsilon = 1.5\n")
    assert device("init", "e", *MADE[2:], "--policy", "own.toml")[0] == 0
    assert Policy.load(Path("e/policy.toml").resolve()).most_epsilon == 1.5


def test_only_so_many_events_as_the_policy_allows(made):
    path = Path("d/policy.toml")
    path.write_text("most_events = 1\n")
    said = made("add-events", "d", "purchases.csv")[1]
    assert said.startswith(
        "d: 2 events added, 1 held\nno more are kept than the 1 newest: most_events in d/pol"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "nowhere"], "make one with terry device init"),
        (["add-events", "d"], "either a file or --item"),
        (["add-events", "d", "purchases.csv", "--item", "a"], "either a file or --item"),
        (["add-events", "d", "missing.csv"], "missing.csv is not a file"),
        (["add-events", "d", "items.csv"], "has no column 'time'"),
        (["add-events", "d", "bad.csv"], "bad.csv, lines 3, 4: "),
        (["add-events", "d", "--item", "a", "--time", "yesterday"], "is not a time"),
        (["add-events", "d", "--item", "a", "--weight", "0"], "not above 0"),
        (["consent", "d", "--version", " "], "the version of the notice"),
        (["withdraw", "d"], "no consent to training"),
        (["withdraw", "d", "--purpose", "news"], "no consent to news"),
        (["erase", "d", "--before", "soon", "--yes"], "is not a time"),
        (["erase", "d", "--all", "--before", "2024-01-01"], "leave out --before"),
        (["export", "d", "items.csv"], "items.csv exists"),
        (["init", "d", *MADE[2:]], "a store is made once"),
        (["init", "e", *MADE[2:], "--policy", "missing.toml"], "cannot be used as a policy"),
        (["init", "e", "--catalogue", "missing.csv"], "missing.csv is not a file"),
        (["init", "items.csv/e", *MADE[2:]], "items.csv/e cannot be made (Not a directory)"),
        (["init", "e", *MADE[2:], "--retention-days", "0"], "retention-days"),
    ],
)
def test_what_the_owner_can_mend_is_one_line(arguments, said, made):
    Path("bad.csv").write_text("item,time,weight\na,2024-01-01,1\n,2024-01-01,1\nb,2024-01-01,-2\n")
    before = DeviceStore(Path("d")).held()
    code, _, error = made(*arguments)
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert DeviceStore(Path("d")).held() == before
    assert not Path("e").exists()


def test_without_a_key_ring_the_owner_is_told_of_the_flag(device, monkeypatch):
    def fail(*rest: str) -> None:
        raise keyring.errors.NoKeyringError

    monkeypatch.setattr("keyring.set_password", fail)
    code, _, error = device(*MADE[:-1])
    assert (code, "--key-file" in error, Path("d").exists()) == (2, True, False)


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_an_erasure_asks_first(answer, made, monkeypatch):
    made("add-events", "d", "purchases.csv")
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    code, _, error = made("erase", "d")
    assert (code, "nothing was erased" in error) == (2, True)
    assert len(DeviceStore(Path("d")).held()) == 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert made("erase", "d")[0] == 0
    assert not DeviceStore(Path("d")).held()


def test_a_run_s_own_catalogue_is_taken_as_it_is(made):
    assert made("init", "e", "--catalogue", "d/catalogue.parquet", "--key-file")[0] == 0
    assert Path("e/catalogue.parquet").read_bytes() == Path("d/catalogue.parquet").read_bytes()

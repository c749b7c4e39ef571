"""A shopper's list holds nothing bought before, is in order, and its reasons add up to the score."""

import json
from pathlib import Path

import pandas as pd
import pytest

import terrycloth.experiments.reports.recommendation
from terrycloth.client.events import Events
from terrycloth.experiments.reports.reasons import because
from terrycloth.experiments.reports.recommendation import (
    Bought,
    events_of,
    history,
    history_lines,
    print_recommendations,
    recommend,
    write_all,
)
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.runs.trained import load_trained
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.errors import UserError

DEVICES = (0, 7, 29)


def bought(folder: RunFolder, device: int) -> set[str]:
    names = Catalogue.load(folder.catalogue).table[ITEM]
    own = Events.load(folder.devices / "events").span(device, device + 1)
    return {names[item] for item in own.items.tolist()}


@pytest.mark.parametrize("device", DEVICES)
def test_a_list_is_in_order_and_of_the_requested_length(finished: RunFolder, device: int) -> None:
    found = recommend(finished.path, device, 10)
    assert [each.rank for each in found] == list(range(1, 11))
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert len({each.item for each in found}) == 10
    titles = Catalogue.load(finished.catalogue).table.set_index(ITEM)[TITLE]
    assert [each.title for each in found] == [titles[each.item] for each in found]


@pytest.mark.parametrize("device", DEVICES)
def test_reasons_add_up_to_the_score(finished: RunFolder, device: int) -> None:
    for each in recommend(finished.path, device, 10_000):
        parts = list(each.reasons.values())
        assert sum(parts) == pytest.approx(each.score, abs=1e-5)
        assert [abs(part) for part in parts] == sorted(map(abs, parts), reverse=True), (
            "the largest part is first"
        )
        assert "liked by everyone" in each.reasons
        assert len(parts) > 1


@pytest.mark.parametrize("device", DEVICES)
def test_a_list_holds_all_items_not_bought_and_no_others(finished: RunFolder, device: int) -> None:
    """Even if more items are requested than the catalogue holds."""
    own = bought(finished, device)
    everything = set(Catalogue.load(finished.catalogue).table[ITEM])
    assert own
    assert {each.item for each in recommend(finished.path, device, 10_000)} == everything - own


def test_a_longer_list_starts_with_the_shorter(finished: RunFolder) -> None:
    assert recommend(finished.path, 3, 20)[:5] == recommend(finished.path, 3, 5)


def test_devices_have_different_lists(finished: RunFolder) -> None:
    one, other = (recommend(finished.path, device, 300) for device in (0, 7))
    assert [each.score for each in one] != [each.score for each in other]


@pytest.mark.parametrize("device", [-1, 30])
def test_a_device_that_does_not_exist_is_refused(finished: RunFolder, device: int) -> None:
    with pytest.raises(UserError, match="0 to 29"):
        recommend(finished.path, device, 10)


@pytest.mark.slow
def test_a_neural_network_gives_no_reasons_and_the_table_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(model="neural-cf", devices=20, rounds=1, dim=2, central=False, evaluate_every=0)
    folder = simulate(config, tmp_path / "run")
    found = recommend(folder.path, 1, 5)
    assert [each.reasons for each in found] == [{}] * 5
    assert not {each.item for each in found} & bought(folder, 1)
    monkeypatch.setenv("COLUMNS", "200")
    print_recommendations(folder.path, 1, 5, as_json=False)
    assert capsys.readouterr().out.count("The model is a network") == 5


def test_the_json_holds_what_the_table_shows(
    finished: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    print_recommendations(finished.path, 7, 6, as_json=True)
    listed = json.loads(capsys.readouterr().out)
    assert [set(each) for each in listed] == [{"rank", "item", "title", "score", "reasons"}] * 6
    found = recommend(finished.path, 7, 6)
    assert [(each["item"], each["score"]) for each in listed] == [(each.item, each.score) for each in found]
    assert [each["reasons"] for each in listed] == [each.reasons for each in found]
    print_recommendations(finished.path, 7, 6, as_json=False)
    table = capsys.readouterr().out
    places = [table.index(each["title"], table.index("device 7")) for each in listed]
    assert places == sorted(places)
    assert "device 7" in table
    for each in listed:
        line = next(line for line in table[table.index("device 7") :].splitlines() if each["title"] in line)
        assert because(each["reasons"], each["score"]) in line
        assert f"{each['score']:.2f}" in line


def test_the_history_is_printed_before_the_list(
    finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    print_recommendations(finished.path, 7, 1, as_json=False)
    first, newest, *_ = capsys.readouterr().out.splitlines()
    trained, own = load_trained(finished), events_of(finished.path, 7)
    held = history(trained, own)
    assert first == f"The list is made from {len(held)} purchases, the newest first:"
    assert held[0].title in newest
    assert [each.time for each in held] == sorted((int(time) for time in own.times), reverse=True)
    assert {each.item for each in held} == bought(finished, 7)


def test_a_history_as_lines() -> None:
    one = Bought("t0", "sand towel", 86_400)
    assert history_lines([one]) == [
        "The list is made from 1 purchase, the newest first:",
        "  1970-01-02  sand towel",
    ]
    many = history_lines([one] * 1013)
    assert many[0] == "The list is made from 1,013 purchases, the newest first:"
    assert many[11:] == ["  and 1,003 before these"]
    assert history_lines([]) == [
        "No purchases are known, so the list is the one that everybody gets at first."
    ]


def test_a_shopper_without_purchases_gets_a_list(
    finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recommend(finished.path, None, 5)
    assert [each.rank for each in found] == [1, 2, 3, 4, 5]
    for each in found:
        assert sum(each.reasons.values()) == pytest.approx(each.score, abs=1e-5)
    print_recommendations(finished.path, None, 5, as_json=False)
    printed_text = capsys.readouterr().out
    assert "a shopper who has bought nothing" in printed_text
    assert "you like" not in printed_text, "nothing is known about what they like"


def test_the_lists_of_all_devices_equal_those_of_each_device(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terrycloth.experiments.reports.recommendation, "DEVICES_AT_ONCE", 8)
    path = tmp_path / "all.csv"
    assert write_all(finished.path, 3, path) == 30
    rows = pd.read_csv(path, dtype={"item": str})
    assert list(rows.columns) == ["device", "rank", "item", "title", "score"]
    assert len(rows) == 30 * 3
    for device in DEVICES:
        mine = rows[rows["device"] == device]
        assert list(mine["item"]) == [each.item for each in recommend(finished.path, device, 3)]
    assert path.stat().st_mode & 0o077 == 0, "readable by the owner only"
    with pytest.raises(UserError, match="exists: choose another --csv"):
        write_all(finished.path, 3, path)


@pytest.mark.parametrize("what", ["a setting", "the model", "the devices"])
def test_an_incomplete_run_folder_is_a_user_error(what: str, copied: RunFolder) -> None:
    if what == "a setting":
        copied.config.write_text(copied.config.read_text().replace("dim = 32\n", ""))
    elif what == "the model":
        copied.model.unlink()
    else:
        copied.devices.rename(copied.path / "elsewhere")
    with pytest.raises(UserError):
        recommend(copied.path, 0, 10)


@pytest.mark.slow
def test_reasons_of_the_linear_model_add_up_to_the_score(tmp_path: Path) -> None:
    config = RunConfig(
        devices=300, model="linear", unit="shopper", trust="central", epsilon=100.0, seed=7, central=False
    )
    folder = simulate(config, tmp_path / "run")
    seen = set()
    for each in recommend(folder.path, 7, 10_000):
        assert sum(each.reasons.values()) == pytest.approx(each.score, abs=1e-5)
        seen |= {name.split(" ")[0] + " " + name.split(" ")[1] for name in each.reasons}
    assert seen == {"popular with", "you have", "you like"}

"""Only what was published is answered: each device checks every query before it touches an event."""

import math
from pathlib import Path

import pytest

from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.policy import Policy
from terrycloth.client.task_list import TaskList, TaskRefused
from terrycloth.models.settings import RoundSettings
from terrycloth.models.tasks.published import PublishedList, UnusableList
from terrycloth.models.tasks.task import LEFT_OUT, task_of
from terrycloth.models.times import DAY
from terrycloth.models.update import Refusal, Request
from tests.published import entry, notice
from tests.settings_changes import BASE, CHANGES

NOON = 1_774_785_600.0  # 29 March 2026, 12:00 UTC
MONTH = int(NOON) + 30 * DAY


def policy(least_task_age: float | None) -> Policy:
    return Policy(most_delta=1.0, least_task_age=least_task_age)


@pytest.fixture
def folder(tmp_path, shop, held) -> Path:
    """Three devices that keep a list: a notice, and BASE's task, which they first saw at noon."""
    folder = tmp_path / "device-group"
    DeviceGroup.create(folder, shop, held([1, 4, 4], [], [6]), policy(7.0), seed=7)
    (folder / "tasks").mkdir()
    keep(folder, notice("an incident"), entry(1, task=task_of(BASE, shop)))
    return folder


def keep(folder: Path, *entries, now: float = NOON, expires: int = MONTH) -> TaskList:
    tasks = TaskList.open(folder)
    tasks.accept(PublishedList(entries=entries), expires, 0, now)
    return tasks


def check(folder: Path, catalogue, now: float, settings: RoundSettings = BASE, least_age: float = 7.0):
    return TaskList.open(folder).check(settings, catalogue, least_age, now)


def reason(
    folder: Path, catalogue, now: float, settings: RoundSettings = BASE, least_age: float = 7.0
) -> Refusal:
    with pytest.raises(TaskRefused) as raised:
        check(folder, catalogue, now, settings, least_age)
    return raised.value.reason


# The check


def test_a_published_task_is_allowed_and_named_in_the_receipt(folder, shop):
    listed = check(folder, shop, NOON + 7 * DAY)
    assert str(listed) == f"2, task 1 ({task_of(BASE, shop).digest})"
    assert listed.first_seen == NOON


@pytest.mark.parametrize("name", RoundSettings.model_fields)
def test_a_request_that_differs_in_one_setting_is_refused(name, folder, shop):
    other = BASE.model_copy(update={name: CHANGES[name]})
    if name in LEFT_OUT:
        assert check(folder, shop, NOON + 7 * DAY, other).place == 2
    else:
        assert reason(folder, shop, NOON + 7 * DAY, other) is Refusal.TASK_UNLISTED


def test_another_catalogue_or_other_code_is_refused(folder, catalogue, shop, monkeypatch):
    assert reason(folder, catalogue, NOON + 7 * DAY) is Refusal.TASK_UNLISTED
    monkeypatch.setattr("terrycloth.models.tasks.task.code_version", lambda: "another")
    assert reason(folder, shop, NOON + 7 * DAY) is Refusal.TASK_UNLISTED


@pytest.mark.parametrize(("least_age", "seconds"), [(7.0, 7 * DAY), (0.5, DAY // 2), (0.0, 0)])
def test_an_entry_too_young(least_age, seconds, folder, shop):
    assert reason(folder, shop, NOON + seconds - 1, least_age=least_age) is Refusal.TASK_YOUNG
    assert check(folder, shop, NOON + seconds, least_age=least_age).place == 2


def test_a_date_of_publication_makes_no_entry_older(tmp_path, shop):
    """The brand dates it years back, and every signature is good: its age counts from the first sight."""
    folder = tmp_path / "group"
    (folder / "tasks").mkdir(parents=True)
    keep(folder, entry(1, task=task_of(BASE, shop), published="2020-01-01T00:00:00Z"))
    assert reason(folder, shop, NOON + 6.9 * DAY) is Refusal.TASK_YOUNG


def test_the_first_sight_stays_when_the_list_grows(folder, shop):
    entries = TaskList.open(folder).kept.published.entries
    keep(folder, *entries, entry(2), now=NOON + 5 * DAY)
    assert TaskList.open(folder).kept.seen == (int(NOON), int(NOON), int(NOON) + 5 * DAY)
    assert check(folder, shop, NOON + 7 * DAY).place == 2


def test_a_clock_that_was_once_ahead_delays_and_never_hastens(tmp_path, shop):
    folder, ahead = tmp_path / "group", NOON + 365 * DAY
    (folder / "tasks").mkdir(parents=True)
    task = entry(1, task=task_of(BASE, shop))
    keep(folder, task, now=ahead, expires=int(ahead) + 30 * DAY)
    assert reason(folder, shop, NOON + 30 * DAY, least_age=0.0) is Refusal.TASK_YOUNG
    keep(folder, task, now=NOON, expires=MONTH)  # the next fetch, by the right clock
    assert reason(folder, shop, NOON + 7 * DAY - 1) is Refusal.TASK_YOUNG
    assert check(folder, shop, NOON + 7 * DAY).place == 1


def test_a_frozen_list_allows_nothing_once_it_has_expired(folder, shop):
    assert check(folder, shop, MONTH - 1).place == 2
    assert reason(folder, shop, MONTH) is Refusal.TASK_LIST_EXPIRED


def test_without_a_list_every_task_is_refused(tmp_path, shop):
    assert reason(tmp_path, shop, NOON) is Refusal.TASK_LIST


def test_a_list_that_lacks_an_entry_is_not_kept(folder):
    before = (folder / "tasks" / "kept.json").read_bytes()
    with pytest.raises(UnusableList, match="entry 2 is missing"):
        keep(folder, TaskList.open(folder).kept.published.entries[0])
    assert (folder / "tasks" / "kept.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{}", b'{"published": {"entries": []}}'])
def test_a_damaged_list_is_no_list(content, folder):
    (folder / "tasks" / "kept.json").write_bytes(content)
    with pytest.raises(UnusableList, match="is damaged"):
        TaskList.open(folder)


def test_a_list_without_a_first_sight_of_each_entry_is_damaged(folder):
    path = folder / "tasks" / "kept.json"
    path.write_text(path.read_text().replace(f"  {int(NOON)},\n", "", 1))
    with pytest.raises(UnusableList, match="is damaged"):
        TaskList.open(folder)


# How often


def test_a_task_is_answered_in_as_many_runs_as_published(tmp_path, shop):
    folder = tmp_path / "group"
    (folder / "tasks").mkdir(parents=True)
    keep(folder, entry(1, task=task_of(BASE, shop), most_runs=2))
    for run in ("a", "b", "a", "b"):  # a resumed run is the same run
        assert check(folder, shop, NOON, BASE.model_copy(update={"run": run}), 0.0).place == 1
    assert reason(folder, shop, NOON, BASE.model_copy(update={"run": "c"}), 0.0) is Refusal.TASK_RUNS
    keep(folder, *TaskList.open(folder).kept.published.entries, now=NOON + DAY)
    assert reason(folder, shop, NOON + DAY, BASE.model_copy(update={"run": "c"}), 0.0) is Refusal.TASK_RUNS


# When it is fetched


def test_the_list_is_due_once_a_day_at_a_time_of_its_own(folder):
    assert TaskList(folder / "tasks", None).due(NOON)
    hours = [hour for hour in range(72) if due_at(folder, NOON + 3600 * hour)]
    assert hours == [12, 36, 60]  # at midnight, for an offset of 0


def due_at(folder: Path, now: float) -> bool:
    tasks = TaskList.open(folder)
    if not tasks.due(now):
        return False
    keep(folder, *tasks.kept.published.entries, now=now)
    return True


def test_the_time_of_the_day_is_drawn_once(folder):
    tasks = TaskList.open(folder)
    tasks.accept(tasks.kept.published, MONTH, 12_345, NOON)
    assert tasks.kept.offset == 0


# In a device group


def group(folder: Path, now: float) -> DeviceGroup:
    return DeviceGroup(folder, clock=lambda: now)


@pytest.fixture
def asked(build, copied) -> Request:
    return Request(copied(build(BASE)), BASE)


def test_a_device_group_answers_what_was_published(folder, asked):
    devices = group(folder, NOON + 7 * DAY)
    assert devices.answer(asked).answered == 3
    assert devices.task.startswith("2, task 1 (")


@pytest.mark.parametrize(
    ("now", "changes", "refusal"),
    [
        (NOON + 7 * DAY - 1, {}, Refusal.TASK_YOUNG),
        (MONTH, {}, Refusal.TASK_LIST_EXPIRED),
        *(
            (NOON + 7 * DAY, {name: CHANGES[name]}, Refusal.TASK_UNLISTED)
            for name in ("dim", "epsilon", "rounds")
        ),
    ],
)
def test_a_refusal_comes_before_events_and_state(now, changes, refusal, folder, asked):
    for name in ("items", "times", "weights"):
        (folder / "events" / f"{name}.npy").write_bytes(b"unreadable")
    other = Request(asked.parameters, BASE.model_copy(update=changes))
    assert group(folder, now).answer(other).refused == {refusal: 3}
    assert not list(folder.glob("state-*"))


def test_a_device_group_without_a_usable_list_refuses(folder, asked, caplog):
    (folder / "tasks" / "kept.json").write_bytes(b"")
    assert group(folder, NOON + 7 * DAY).answer(asked).refused == {Refusal.TASK_LIST: 3}
    (folder / "tasks" / "kept.json").unlink()
    assert group(folder, NOON + 7 * DAY).answer(asked).refused == {Refusal.TASK_LIST: 3}
    first, second = (record.getMessage() for record in caplog.records)
    assert "kept.json, the list of tasks that the device keeps, is damaged" in first
    assert "no-usable-task-list" in second


def test_a_policy_that_does_not_ask_for_a_list_reads_none(folder, asked):
    (folder / "tasks" / "kept.json").write_bytes(b"")
    policy(None).save(folder)
    devices = group(folder, NOON)
    assert devices.answer(asked).answered == 3
    assert devices.listed is None


@pytest.mark.parametrize("age", [-1.0, math.inf, math.nan])
def test_an_age_that_is_none_is_no_policy(age):
    with pytest.raises(ValueError, match="least_task_age"):
        policy(age)


def test_without_another_clock_it_is_the_systems(folder, asked):
    keep(folder, *TaskList.open(folder).kept.published.entries, expires=1)
    assert DeviceGroup(folder).answer(asked).refused == {Refusal.TASK_LIST_EXPIRED: 3}


def test_all_rounds_of_a_task_are_one_task(shop):
    digests = {task_of(BASE.at(number), shop).digest for number in range(1, 11)}
    runs = {task_of(BASE.model_copy(update={"run": run}), shop).digest for run in ("", "x", "y")}
    assert digests == runs == {task_of(BASE, shop).digest}

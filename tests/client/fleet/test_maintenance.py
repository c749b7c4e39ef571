"""A serving device deletes old events and fetches the list of tasks by its clock, whatever it is asked."""

import logging
import threading
import time

import pytest

from terrycloth.client import task_fetch
from terrycloth.client.fleet import maintenance
from terrycloth.client.fleet.maintenance import Maintenance, maintain
from terrycloth.client.policy import Policy
from terrycloth.client.store import DeviceStore
from terrycloth.client.task_list import TaskList
from terrycloth.models.tasks.published import UnusableList
from terrycloth.models.times import DAY
from tests.published import Publisher, entry

HOUR = 3_600


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def days_of(device: Maintenance, clock: Clock, days: float) -> None:
    """Let the clock run, and the device look at it as often as it does, but every ten minutes."""
    until = clock.now + days * DAY
    while clock.now < until:
        device.do_what_is_due()
        clock.now += 600


@pytest.fixture
def fetched(monkeypatch) -> list[float]:
    """The times at which a list was fetched, by a fetch that always succeeds."""
    times: list[float] = []
    kept = {"day": None}

    def fetch(folder, source, now):
        assert source == "https://towels.example/tasks"
        times.append(now)
        kept["day"] = now // DAY

    monkeypatch.setattr(task_fetch, "fetch", fetch)
    monkeypatch.setattr(TaskList, "due", lambda kept_list, now: kept["day"] != now // DAY)
    return times


def test_old_events_are_deleted_once_a_day(tmp_path, catalogue, monkeypatch):
    clock, calls = Clock(100 * DAY), []
    DeviceStore.create(tmp_path / "device", catalogue, Policy(), key_file=True, retention_days=2)
    store = DeviceStore(tmp_path / "device", clock)
    store.add_events([("t0", 99 * DAY, 1.0), ("t1", 100 * DAY, 1.0)], 10)
    real = DeviceStore.expire
    monkeypatch.setattr(DeviceStore, "expire", lambda own: (calls.append(clock.now), real(own)))
    days_of(Maintenance(store.folder, "", clock), clock, 2.5)
    assert calls == [100 * DAY, 101 * DAY, 102 * DAY]
    assert [item for item, _, _ in store.held()] == ["t1"]


def test_the_list_is_fetched_once_a_day_and_only_if_the_owner_names_a_source(tmp_path, fetched):
    clock = Clock(100 * DAY)
    days_of(Maintenance(tmp_path, "https://towels.example/tasks", clock), clock, 3.0)
    assert fetched == [100 * DAY, 101 * DAY, 102 * DAY]
    days_of(Maintenance(tmp_path, "", clock), clock, 3.0)
    assert len(fetched) == 3


def test_after_a_failure_the_list_is_fetched_an_hour_later_and_the_log_has_one_line(
    tmp_path, fetched, monkeypatch, caplog
):
    clock, tried = Clock(100 * DAY), []

    def fail(folder, source, now):
        tried.append(now)
        raise UnusableList("the list cannot be fetched:\nno route") if len(tried) == 1 else RuntimeError("s")

    monkeypatch.setattr(task_fetch, "fetch", fail)
    days_of(Maintenance(tmp_path, "https://towels.example/tasks", clock), clock, 2 * HOUR / DAY)
    assert tried == [100 * DAY, 100 * DAY + HOUR]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path.name}: the list of tasks was not fetched: the list cannot be fetched: no route",
        f"{tmp_path.name}: the list of tasks was not fetched: RuntimeError",
    ]


def test_a_clock_that_was_once_ahead_puts_nothing_off(tmp_path, fetched):
    clock = Clock(500 * DAY)
    device = Maintenance(tmp_path, "https://towels.example/tasks", clock)
    device.do_what_is_due()
    clock.now = 100 * DAY
    device.do_what_is_due()
    assert fetched == [500 * DAY, 100 * DAY]
    assert device.expired == 100 * DAY


def test_a_damaged_store_or_list_does_not_stop_the_thread(tmp_path, monkeypatch, caplog):
    """It looks at the clock again and again, and at the second device after the first one failed."""
    for name in ("broken", "sound"):
        (tmp_path / name / "tasks").mkdir(parents=True)
        (tmp_path / name / "device.db").write_bytes(b"")
        (tmp_path / name / "tasks" / "kept.json").write_text("{")
    stop, looked = threading.Event(), []
    monkeypatch.setattr(maintenance, "LOOK", 0.0)

    class Counted(Maintenance):
        def do_what_is_due(self):
            super().do_what_is_due()
            looked.append(self.folder.name)
            if len(looked) == 4:
                stop.set()

    maintain([Counted(tmp_path / name, "somewhere", time.time) for name in ("broken", "sound")], stop)
    assert looked == ["broken", "sound"] * 2
    said = [record.getMessage().partition(": ") for record in caplog.records]
    assert len(said) == 4  # the second look is too soon to try again
    assert {name for name, _, _ in said} == {"broken", "sound"}
    assert {text.partition(":")[0] for _, _, text in said} == {
        "old events were not deleted", "the list of tasks was not fetched",
    }  # fmt: skip


def test_a_published_list_is_fetched_and_kept(tmp_path, caplog):
    """With the real library: due at once, then not again before the device's own time of the next day."""
    caplog.set_level(logging.INFO)
    shop, device = Publisher(tmp_path / "shop"), tmp_path / "device"
    shop.both(entry(1))
    device.mkdir()
    shop.pin(device)
    clock = Clock(time.time())
    own = Maintenance(device, str(shop.list.path), clock)
    own.do_what_is_due()
    kept = TaskList.open(device).kept
    assert kept is not None
    assert [each.title for each in kept.published.entries] == ["task 1"]
    begins = (int(clock.now) - kept.offset) // DAY * DAY + DAY + kept.offset  # of the device's next day
    fetches = "fetched the list of tasks"
    clock.now = max(clock.now, begins - 1)
    own.do_what_is_due()
    assert caplog.text.count(fetches) == 1
    clock.now = max(begins, clock.now + HOUR)
    own.do_what_is_due()
    assert caplog.text.count(fetches) == 2

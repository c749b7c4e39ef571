"""The list: what it reads and writes, and that entries are only ever added."""

import json

import pytest

from terrycloth.models.tasks.published import PublishedList, UnusableList, check_extends
from tests.published import entry, notice

FIRST, SECOND, THIRD = entry(1), notice("an incident"), entry(3)


def of(*entries) -> PublishedList:
    return PublishedList(entries=entries)


@pytest.mark.parametrize("newer", [of(FIRST, SECOND), of(FIRST, SECOND, THIRD)])
def test_a_list_with_all_earlier_entries_extends_them(newer):
    check_extends(newer, of(FIRST, SECOND))
    check_extends(newer, of())


@pytest.mark.parametrize(
    ("newer", "reason"),
    [
        (of(), "entry 1 is missing"),
        (of(FIRST), "entry 2 is missing"),
        (of(FIRST, THIRD), "entry 2 is not the one"),
        (of(SECOND, FIRST), "entry 1 is not the one"),
        (of(THIRD, FIRST, SECOND), "entry 1 is not the one"),
        (of(FIRST, notice("an incident."), THIRD), "entry 2 is not the one"),
        (of(entry(1, title="task one"), SECOND), "entry 1 is not the one"),
        (of(entry(1, most_runs=1), SECOND), "entry 1 is not the one"),
        (
            of(entry(1, task=FIRST.task.model_copy(update={"settings": {"dim": True}})), SECOND),
            "entry 1 is not",
        ),
        (
            of(entry(1, task=FIRST.task.model_copy(update={"settings": {"dim": 1.0}})), SECOND),
            "entry 1 is not",
        ),
    ],
)
def test_whatever_is_removed_or_changed_is_found(newer, reason):
    assert FIRST.task.settings == {"dim": 1}
    with pytest.raises(UnusableList, match=reason):
        check_extends(newer, of(FIRST, SECOND))


def test_a_list_reads_back_to_the_byte():
    written = of(FIRST, SECOND, THIRD).to_bytes()
    assert PublishedList.from_bytes(written).to_bytes() == written
    assert PublishedList.from_bytes(written) == of(FIRST, SECOND, THIRD)


def broken(**changes: object) -> bytes:
    values = json.loads(of(FIRST).to_bytes())
    values["entries"][0] |= changes
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"format": 2, "entries": []}',
        broken(kind="order"),
        broken(title=""),
        broken(title="x" * 4_001),
        broken(most_runs=0),
        broken(published="2026-01-01T00:00:00"),  # of no zone
        broken(withdrawn=True),
        broken(task={"code": "a", "settings": {}, "promise": {}, "catalogue": "short"}),
        broken(task={"code": "a", "settings": {"dim": float("nan")}, "promise": {}, "catalogue": "0" * 64}),
        broken(task={"code": "a", "settings": {}, "promise": {"x": float("inf")}, "catalogue": "0" * 64}),
    ],
    ids=range(12),
)
def test_what_is_no_list_is_told_in_one_line(content):
    with pytest.raises(UnusableList) as raised:
        PublishedList.from_bytes(content)
    assert "\n" not in str(raised.value)


def test_a_task_is_listed_once():
    with pytest.raises(UnusableList, match="in the list already, at place 1"):
        of(FIRST, SECOND).with_entry(entry(1, title="again"))
    assert of(FIRST, SECOND).with_entry(THIRD) == of(FIRST, SECOND, THIRD)
    assert of(FIRST, SECOND, THIRD).place(THIRD.task.digest) == 3
    assert of(FIRST).place(THIRD.task.digest) is None

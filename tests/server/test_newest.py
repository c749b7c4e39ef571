"""An older checkpoint is refused, so that no sum is released twice for the ε of one release."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

import terrycloth.server.strategy
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.update import Request
from terrycloth.server.app import alone_in
from terrycloth.server.checkpoint import FILE, RoundRecord
from terrycloth.server.newest import NEWEST, check_newest, note_newest
from tests.server.test_strategy import Nodes, noisy, strategy, superlink  # noqa: F401

CENTRAL: dict[str, Any] = {"unit": "shopper", "trust": "central", "run": "a"}


class Killed(KeyboardInterrupt):
    """This stands for a process that ends."""


def test_only_the_newest_checkpoint_is_accepted(tmp_path: Path) -> None:
    note_newest(tmp_path, "a", 3)
    check_newest(tmp_path, "a", 3)
    check_newest(tmp_path, "a", 4)  # killed before it was recorded as the newest
    for run, number in (("a", 2), ("a", 0), ("b", 3), ("b", 9)):
        with pytest.raises(UserError, match="is older than"):
            check_newest(tmp_path, run, number)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"run": "a", "number": null}', b"[1]", b"\xff"])
def test_without_a_readable_count_no_checkpoint_is_accepted(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / NEWEST).write_bytes(content)
    with pytest.raises(UserError, match="lost or damaged"):
        check_newest(tmp_path, "a", 3)


def stopped_after(round: int, folder: Path, **changes: Any) -> None:
    def stop(record: RoundRecord, parameters: Parameters) -> None:
        if record.round == round:
            raise Killed

    with pytest.raises(Killed):
        strategy(stop, CENTRAL, folder=folder, **changes).run(Nodes(1, noisy).grid)


@pytest.mark.slow
@pytest.mark.parametrize(("kept_after", "stopped"), [(1, 2), (1, 3), (2, 3)])
def test_a_restored_older_checkpoint_is_refused(kept_after: int, stopped: int, tmp_path: Path) -> None:
    stopped_after(kept_after, tmp_path)
    kept = (tmp_path / FILE).read_bytes()
    stopped_after(stopped, tmp_path, resume=True)
    (tmp_path / FILE).write_bytes(kept)
    with pytest.raises(UserError, match="is older than"):
        strategy(settings=CENTRAL, folder=tmp_path, resume=True)


def test_a_checkpoint_of_a_replaced_run_is_refused(tmp_path: Path) -> None:
    stopped_after(2, tmp_path)
    kept = (tmp_path / FILE).read_bytes()
    strategy(settings={**CENTRAL, "run": "b"}, folder=tmp_path).run(Nodes(1, noisy).grid)
    (tmp_path / FILE).write_bytes(kept)
    with pytest.raises(UserError, match="is older than"):
        strategy(settings=CENTRAL, folder=tmp_path, resume=True)


def test_nothing_depends_on_a_checkpoint_before_it_is_recorded_as_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither devices nor observers of rounds see it first, so a crash between the two releases nothing."""
    happened: list[str] = []

    def answer(node: int, request: Request) -> RecordDict:
        happened.append(f"asked {request.settings.round}")
        return noisy(node, request)

    for name in ("save_checkpoint", "note_newest"):
        real = getattr(terrycloth.server.strategy, name)

        def noting(*arguments: Any, name: str = name, real: Any = real) -> Any:
            happened.append(name)
            return real(*arguments)

        monkeypatch.setattr(terrycloth.server.strategy, name, noting)
    run = strategy(lambda record, parameters: happened.append("told"), CENTRAL, folder=tmp_path)
    run.run(Nodes(1, answer).grid)
    kept = ["save_checkpoint", "note_newest"]
    rounds = [event for round in (1, 2, 3) for event in (f"asked {round}", *kept, "told")]
    assert happened == ["note_newest", *kept, *rounds]


def test_an_unrecorded_checkpoint_is_resumed_and_recorded_before_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = terrycloth.server.strategy.note_newest, []

    def killed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 4:  # begun, saved, round 1, and only the checkpoint of round 2
            raise Killed
        real(*arguments)

    monkeypatch.setattr(terrycloth.server.strategy, "note_newest", killed)
    with pytest.raises(Killed):
        strategy(settings=CENTRAL, folder=tmp_path).run(Nodes(1, noisy).grid)
    monkeypatch.setattr(terrycloth.server.strategy, "note_newest", real)
    kept = (tmp_path / FILE).read_bytes()
    stopped_after(2, tmp_path, resume=True)  # reported again, and killed at once
    assert (tmp_path / FILE).read_bytes() == kept
    check_newest(tmp_path, "a", 3)
    with pytest.raises(UserError, match="is older than"):
        check_newest(tmp_path, "a", 2)


def test_two_servers_cannot_work_in_one_folder(tmp_path: Path) -> None:
    """Both would get the same sum, and each would release it with its own noise."""
    with alone_in(tmp_path), pytest.raises(UserError, match="another server is using"), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass

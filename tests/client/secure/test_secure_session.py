"""A session's state survives the disk, goes through its stages in order, and holds no secret at the end."""

import json

import pytest

from terrycloth.client.secure.secure_session import Session, Stage
from terrycloth.models.secure_aggregation.messages import ProtocolError
from tests.secure_round import Rehearsal


@pytest.mark.parametrize("stage", ["share", "mask", "confirm", "unmask", "end"])
def test_a_session_survives_the_disk_at_every_stage(stage: str) -> None:
    rehearsal = Rehearsal(3)
    rehearsal.until(stage)
    session = Session.from_dict(json.loads(rehearsal.sessions[0]))
    assert Session.from_dict(json.loads(json.dumps(session.to_dict()))) == session
    assert bool(session.seed) == (stage != "end")


def new_session() -> Session:
    rehearsal = Rehearsal(3)
    return rehearsal.nodes[0].advertise(rehearsal.task, devices=1)[0]


def test_the_stage_advances_before_it_is_answered() -> None:
    session = new_session()
    with session.answering(Stage.SHARED):
        assert session.stage == Stage.SHARED
        with (
            pytest.raises(ProtocolError, match="shared requested after shared"),
            session.answering(Stage.SHARED),
        ):
            pass
    assert session.stage == Stage.SHARED
    assert session.seed


@pytest.mark.parametrize("stage", [Stage.ADVERTISED, Stage.MASKED, Stage.CONFIRMED, Stage.CLOSED])
def test_a_stage_out_of_order_is_refused_and_changes_nothing(stage: Stage) -> None:
    session = new_session()
    before = session.to_dict()
    with pytest.raises(ProtocolError, match="requested after advertised"), session.answering(stage):
        pass
    assert session.to_dict() == before


def test_an_answer_that_fails_closes_the_session() -> None:
    session = new_session()
    with pytest.raises(KeyboardInterrupt), session.answering(Stage.SHARED):
        raise KeyboardInterrupt
    assert session.stage == Stage.CLOSED
    assert (session.seed, session.mask_private, session.share_private, session.held) == (b"", b"", b"", {})
    for stage in Stage:
        with pytest.raises(ProtocolError, match="requested after closed"), session.answering(stage):
            pass

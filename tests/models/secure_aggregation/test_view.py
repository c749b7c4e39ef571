"""What a node derives from the adverts: which nodes are neighbours, and which node holds which share."""

from dataclasses import replace

import pytest

from terrycloth.models.secure_aggregation import thresholds
from terrycloth.models.secure_aggregation.messages import Advert, ProtocolError
from terrycloth.models.secure_aggregation.view import View, check_names
from tests.secure_round import new_task

TASK = new_task()
ADVERTS = [Advert(bytes([k]), k + 1, b"s", b"m", b"c", b"sig") for k in range(16)]
NAMES = sorted(advert.name for advert in ADVERTS)


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a sparse graph with three neighbours on either side, of which any three in a row keep two in U3."""
    monkeypatch.setattr(thresholds, "COMPLETE_UP_TO", 8)
    monkeypatch.setattr(thresholds, "sparse", lambda nodes, colluding, dropped: (3, 2))


def test_on_the_complete_graph_all_others_are_neighbours() -> None:
    view = View(TASK, ADVERTS, 2 / 3)
    assert view.neighbours(NAMES[3]) == NAMES[:3] + NAMES[4:]
    assert view.holders(NAMES[3]) == view.names == NAMES
    assert view.linked([])
    assert view.devices(view.names) == 136
    assert view.plan.tolerated == 5
    assert view.honest_devices(view.names) == 66, "1 + 2 + … + 11"
    assert view.honest_devices(view.names[:5]) == 0


def test_the_digest_depends_on_everything_except_the_order_of_adverts() -> None:
    digest = View(TASK, ADVERTS, 2 / 3).digest
    assert View(TASK, ADVERTS[::-1], 2 / 3).digest == digest
    others = {View(TASK, ADVERTS[1:], 2 / 3).digest, View(new_task(), ADVERTS, 2 / 3).digest}
    for change in (
        {"devices": 9},
        {"share_key": b"x"},
        {"mask_key": b"x"},
        {"commitment": b"x"},
    ):
        others.add(View(TASK, [replace(ADVERTS[0], **change), *ADVERTS[1:]], 2 / 3).digest)
    assert len(others | {digest}) == 7


@pytest.mark.usefixtures("sparse")
def test_another_signature_of_an_advert_does_not_change_the_ring() -> None:
    """Otherwise a server without colluding nodes could try 2ⁿ rings, by choosing (r, s) or (r, −s)."""
    view = View(TASK, ADVERTS, 2 / 3)
    signed_again = View(TASK, [replace(ADVERTS[0], signature=b"x"), *ADVERTS[1:]], 2 / 3)
    assert (signed_again.ring, signed_again.digest) == (view.ring, view.digest)
    assert View(TASK, [replace(ADVERTS[0], commitment=b"x"), *ADVERTS[1:]], 2 / 3).ring != view.ring


def test_a_duplicate_name_is_refused() -> None:
    with pytest.raises(ProtocolError, match="duplicate name"):
        View(TASK, [*ADVERTS, replace(ADVERTS[0], devices=7)], 2 / 3)


@pytest.mark.usefixtures("sparse")
def test_on_the_sparse_graph_neighbours_are_the_nearest_on_the_ring() -> None:
    view = View(TASK, ADVERTS, 2 / 3)
    assert sorted(view.ring) == NAMES
    assert view.ring != NAMES
    assert view.ring != View(new_task(), ADVERTS, 2 / 3).ring
    for place, name in enumerate(view.ring):
        near = {view.ring[(place + step) % 16] for step in (-3, -2, -1, 1, 2, 3)}
        assert set(view.neighbours(name)) == near
        assert all(name in view.neighbours(other) for other in near)
        assert view.holders(name) == sorted(near | {name})


@pytest.mark.usefixtures("sparse")
def test_every_row_of_the_ring_needs_members() -> None:
    ring = (view := View(TASK, ADVERTS, 2 / 3)).ring
    assert view.linked(ring)
    assert view.linked(ring[1:])
    # every third node is gone
    assert view.linked([name for place, name in enumerate(ring) if place % 3 != 1])
    assert not view.linked(ring[2:])  # two neighbours are gone
    assert not view.linked(ring[1:-1])  # two neighbours are gone, across the end of the list
    assert not view.linked(ring[:5] + ring[6:7] + ring[8:])  # two of three neighbours are gone


def test_names_must_be_sorted_known_and_enough() -> None:
    check_names(["a", "b"], "abc", 2)
    for names, least in ((["b", "a"], 1), (["a", "a"], 1), (["a", "d"], 1), (["a"], 2)):
        with pytest.raises(ProtocolError):
            check_names(names, "abc", least)

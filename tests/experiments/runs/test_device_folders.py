"""A device group of one device gets a store with its events; one of several gets arrays."""

import pytest

from terrycloth.client.device_group import open_storage
from terrycloth.client.events import COLUMNS
from terrycloth.client.storage import ArrayStorage
from terrycloth.client.store import DeviceStore
from terrycloth.experiments.federation import device_process
from terrycloth.experiments.runs.device_folders import NOTICE, device_groups, lay_out_devices
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import RunPlan, make_plan
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.catalogue import ITEM
from terrycloth.models.errors import UserError


def planned(**settings) -> RunPlan:
    """A federation of three devices in two groups: the first has one device, the second two."""
    return make_plan(
        RunConfig(data="towels", devices=3, nodes=2, rounds=1, engine="federation", seed=7, **settings)
    )


@pytest.fixture(scope="module")
def plan() -> RunPlan:
    return planned()


@pytest.fixture
def folder(plan, tmp_path) -> RunFolder:
    made = RunFolder(tmp_path)
    lay_out_devices(plan, made)
    return made


def test_a_store_and_arrays_hold_the_same_events_as_the_split(plan, folder):
    (own, _), (farm, _) = device_groups(plan, folder)
    kinds = {own: DeviceStore, farm: ArrayStorage}
    for path, (start, stop) in device_groups(plan, folder):
        storage = open_storage(path, 0, 1, lambda: 0.0)
        assert type(storage) is kinds[path]
        if path == own:
            with storage.database.writing("state") as booking:  # events count once a query is booked
                booking.connection.execute("UPDATE state SET booked = ?", (booking.number,))
        held, expected = (
            storage.events(plan.dataset.catalogue.table[ITEM]),
            plan.split.train.span(start, stop),
        )
        assert len(expected) > 0
        for column in COLUMNS:
            assert getattr(held, column).tolist() == getattr(expected, column).tolist()
            assert getattr(held, column).dtype == getattr(expected, column).dtype
    assert not list(own.glob("**/*.npy"))
    assert (own / "seed").read_text() == "7 0"
    assert (farm / "seed").read_text() == "7 1"


def test_a_simulated_shopper_consents_and_its_store_holds_no_more_than_the_policy_allows(tmp_path):
    plan = planned(most_events=2)
    lay_out_devices(plan, RunFolder(tmp_path))
    store = DeviceStore(tmp_path / "devices" / "device-0")
    assert [consent.version for consent in store.consents()] == [NOTICE]
    newest = plan.split.train.span(0, 1).newest(2)
    assert [(time, weight) for _, time, weight in store.held()] == [
        *zip(newest.times.tolist(), newest.weights.tolist(), strict=True)
    ]


def test_devices_with_stores_do_not_count_hits(plan, tmp_path):
    config = plan.config.model_copy(update={"evaluate": "released"})
    with pytest.raises(UserError, match="holds no item out"):
        lay_out_devices(RunPlan(config, plan.dataset, plan.split, plan.promise), RunFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_trainer_follows_from_what_a_folder_holds(plan, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(device_process, "make_app", lambda path, trainer: trainer)
    own, farm = (path for path, _ in device_groups(plan, folder))
    assert [device_process.app_of(path) for path in (own, farm)] == ["reference", "fast"]
    assert device_process.app_of(farm, "reference") == "reference"
    with pytest.raises(UserError, match="neither a store nor events"):
        device_process.app_of(tmp_path / "empty")

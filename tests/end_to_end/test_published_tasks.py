"""What a run's devices are really asked is the task that is published from its folder."""

import pytest

from terrycloth.client.device_group import DeviceGroup
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.tasks.source import settings_and_catalogue
from terrycloth.models.tasks.task import task_of

RUNS = {
    "local": {"unit": "interaction", "trust": "local"},
    "adapted clip": {"unit": "shopper", "trust": "central", "clip_quantile": 0.5, "evaluate": "released"},
    "linear": {"unit": "shopper", "trust": "central", "model": "linear"},
    "no promise": {"unit": "none"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_request_of_a_run_is_the_task_of_its_folder(name, tmp_path, monkeypatch):
    asked = []
    allow = DeviceGroup.allow

    def recorded(group, settings):
        asked.append((settings.round, task_of(settings, group.catalogue).digest))
        return allow(group, settings)

    monkeypatch.setattr(DeviceGroup, "allow", recorded)
    values = {"devices": 40, "epsilon": 8.0, "rounds": 3, "central": False, **RUNS[name]}
    for dropped in ("rounds",) if name == "linear" else ("epsilon",) if name == "no promise" else ():
        del values[dropped]
    simulate(RunConfig(data="towels", **values), tmp_path / "run")
    assert len(asked) >= 2
    published = task_of(*settings_and_catalogue(tmp_path / "run"))
    assert {digest for _, digest in asked} == {published.digest}

"""The search over an artificial objective: its proposals, records, continuation and conclusion."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import ResolvedConfig, resolve
from terrycloth.experiments.tune.folder import SearchFolder
from terrycloth.experiments.tune.search import (
    CONFIRMED,
    CONFIRMING_SEEDS,
    MINIMUM_TRIALS,
    Search,
    SearchResult,
)
from terrycloth.experiments.tune.space import NO_DECAY, SPACES, space_of, start_of, to_parameters, to_settings
from terrycloth.experiments.tune.trial import METRICS, Outcome, Run
from terrycloth.models.errors import UserError
from tests.full_disk import full_at

CONFIG = RunConfig(model="linear", unit="shopper", trust="central", epsilon=2.0, devices=500)
DEFAULT: ResolvedConfig = resolve(CONFIG, 500, 200)
SPACE = space_of(CONFIG, DEFAULT, times_known=True)
DESCRIPTION: dict[str, Any] = {"settings": {"devices": 500}, "space": {name: [0, 1] for name in SPACE}}
Objective = Callable[[Run], float | None]


class Stopped(Exception):
    """This stands for a kill."""


def searched(
    path: Path, objective: Objective, trials: int, seeds: int = 2, stop_after: int | None = None
) -> tuple[SearchResult, SearchFolder, list[Run]]:
    """Run a search whose runs are `objective`, and stop it after `stop_after` of them."""
    done: list[Run] = []

    def run(runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
        for each in reversed(runs):  # processes end in any order
            if len(done) == stop_after:
                raise Stopped
            done.append(each)
            value = objective(each)
            metrics = {} if value is None else dict.fromkeys(METRICS, value)
            yield each, Outcome(metrics, 0.0, "refused" if value is None else "")

    folder = SearchFolder(path)
    with folder.open(DESCRIPTION):
        search = Search(folder, SPACE, DEFAULT, "ndcg@10", seeds, run)
        search.trials(trials)
        return search.confirm(), folder, done


def near_half(run: Run) -> float:
    """The best share is a half, whatever the rest; the noise of a seed changes all trials equally."""
    return 1.0 - abs(run.settings["popularity_share"] - 0.5) + 0.01 * run.seed


def table(folder: SearchFolder) -> str:
    return folder.trials.read_text()


def test_the_first_trial_is_the_defaults(tmp_path: Path) -> None:
    _, folder, _ = searched(tmp_path / "s", near_half, 1)
    given = {name: getattr(DEFAULT, name) for name in SPACE}
    assert given["kernel_half_life"] == given["recency_half_life"] == 0.0
    assert folder.settings[0] == given


def test_the_search_finds_better_settings_and_states_the_gain(tmp_path: Path) -> None:
    found, folder, _ = searched(tmp_path / "s", near_half, 25)
    share = folder.settings[found.best]["popularity_share"]
    assert abs(share - 0.5) < 0.05
    assert found.gain == pytest.approx(abs(DEFAULT.popularity_share - 0.5) - abs(share - 0.5))
    assert found.error == pytest.approx(0.0, abs=1e-12), "paired by seed"
    assert max(found.importance, key=lambda name: found.importance[name]) == "popularity_share"


def test_every_run_is_made_once(tmp_path: Path) -> None:
    _, folder, done = searched(tmp_path / "s", near_half, 12)
    keys = [(run.trial, run.seed) for run in done]
    assert len(keys) == len(set(keys)) == len(folder.outcomes)
    assert {seed for trial, seed in keys} == set(range(2 + CONFIRMING_SEEDS * 2))
    assert len({trial for trial, seed in keys if seed >= 2}) in (CONFIRMED, CONFIRMED + 1)


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 15, 24, 27])
def test_a_stopped_search_ends_like_an_unbroken_one(tmp_path: Path, stop_after: int) -> None:
    whole, unbroken, _ = searched(tmp_path / "whole", near_half, 12)
    with pytest.raises(Stopped):
        searched(tmp_path / "broken", near_half, 12, stop_after=stop_after)
    again, resumed, done = searched(tmp_path / "broken", near_half, 12)
    assert again == whole
    assert table(resumed) == table(unbroken)
    assert len(done) == len(unbroken.outcomes) - stop_after, "no run is repeated"


def test_more_trials_continue_from_the_existing_ones(tmp_path: Path) -> None:
    searched(tmp_path / "grown", near_half, 5)
    _, grown, _ = searched(tmp_path / "grown", near_half, 12)
    _, whole, _ = searched(tmp_path / "whole", near_half, 12)
    assert all(grown.outcomes[key] == outcome for key, outcome in whole.outcomes.items())


def test_confirmation_with_new_seeds_removes_lucky_trials(tmp_path: Path) -> None:
    """Trial 3 looks best with the seeds that every trial has, and is the worst with new ones."""

    def lucky(run: Run) -> float:
        return (2.0 if run.seed < 2 else 0.0) if run.trial == 3 else near_half(run)

    found, _, _ = searched(tmp_path / "s", lucky, 8)
    assert found.means[3] == 0.0
    assert found.best != 3


def test_the_defaults_are_kept_if_nothing_is_better(tmp_path: Path) -> None:
    found, _, _ = searched(tmp_path / "s", lambda run: 0.5, 6)
    assert (found.best, found.gain, found.error) == (0, 0.0, 0.0)


def test_a_trial_that_fails_is_recorded_and_the_search_continues(tmp_path: Path) -> None:
    def refused(run: Run) -> float | None:
        return None if run.trial in (1, 2) else near_half(run)

    found, folder, _ = searched(tmp_path / "s", refused, 5)
    assert not {1, 2} & found.means.keys()
    assert folder.outcomes[1, 0] == Outcome({}, 0.0, "refused")
    assert ",refused," in table(folder)


def test_nothing_is_claimed_if_all_trials_fail(tmp_path: Path) -> None:
    found, _, _ = searched(tmp_path / "s", lambda run: None, 3)
    assert (found.best, found.means, found.importance) == (0, {}, {})


def test_a_metric_that_is_nan_is_a_failed_trial(tmp_path: Path) -> None:
    found, _, _ = searched(tmp_path / "s", lambda run: float("nan") if run.trial else 0.25, 4)
    assert (found.best, found.means) == (0, {0: 0.25})


def test_few_trials_give_no_importances(tmp_path: Path) -> None:
    assert searched(tmp_path / "s", near_half, MINIMUM_TRIALS - 1)[0].importance == {}


# --- The folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"settings": {"devices": 501}}, "devices"),
        ({"settings": {"devices": 500, "dim": 3}}, "dim"),
        ({"space": DESCRIPTION["space"] | {"head_scale": [0, 2]}}, "space of head_scale"),
        ({"metric": "hr@10"}, "metric"),
    ],
    ids=str,
)
def test_the_folder_of_another_search_is_not_changed(
    tmp_path: Path, changed: dict[str, Any], differs: str
) -> None:
    _, folder, _ = searched(tmp_path / "s", near_half, 1)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    expected = rf"another search \(.*{differs} differs\): choose another --out"
    with pytest.raises(UserError, match=expected), SearchFolder(folder.path).open(DESCRIPTION | changed):
        pass
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


@pytest.mark.parametrize("name", ["search.toml", "trials.csv"])
def test_a_full_disk_ends_the_search_without_losing_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole, _ = searched(tmp_path / "whole", near_half, 2)
    with monkeypatch.context() as patched:
        full_at(name, patched)
        reason = rf"{name} cannot be written \(No space left on device\): fix this and run again"
        with pytest.raises(UserError, match=reason):
            searched(tmp_path / "s", near_half, 2)
    _, folder, _ = searched(tmp_path / "s", near_half, 2)
    assert table(folder) == table(whole)


def test_two_simultaneous_searches_in_one_folder_are_refused(tmp_path: Path) -> None:
    """A lock does not exclude its own process, so the test uses a second process."""
    program = (
        "import json, sys; from pathlib import Path\n"
        "from terrycloth.experiments.tune.folder import SearchFolder\n"
        "with SearchFolder(Path(sys.argv[1])).open(json.loads(sys.argv[2])): pass"
    )
    with SearchFolder(tmp_path / "s").open(DESCRIPTION):
        other = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "s"), json.dumps(DESCRIPTION)],
            capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[3],
        )  # fmt: skip
    assert other.stderr.splitlines()[-1].startswith("terrycloth.models.errors.UserError: ")
    assert "another terry tune is running in" in other.stderr


def test_a_folder_that_is_no_search_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("not ours")
    for path in (tmp_path, tmp_path / "theirs.txt"):
        with pytest.raises(UserError, match="something else"), SearchFolder(path).open(DESCRIPTION):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]


def test_a_table_that_cannot_be_read_is_kept(tmp_path: Path) -> None:
    _, folder, _ = searched(tmp_path / "s", near_half, 1)
    folder.trials.write_text(table(folder).replace("0.25", "much", 1))
    broken = table(folder).replace("seed", "sead", 1)
    folder.trials.write_text(broken)
    with pytest.raises(UserError, match="cannot be read"), SearchFolder(folder.path).open(DESCRIPTION):
        pass
    assert table(folder) == broken


# --- The space --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [500, 100_000], ids=str)
@pytest.mark.parametrize(("family", "unit"), SPACES, ids=str)
def test_the_defaults_are_in_every_space(family: str, unit: str, devices: int) -> None:
    given = RunConfig.model_validate({"model": "mf" if family == "factorisation" else family, "unit": unit}
                                    | ({"trust": "central"} if unit == "shopper" else {}))  # fmt: skip
    default = resolve(given, devices, 30)
    space = space_of(given, default, times_known=True)
    start = start_of(space, default)
    assert start == {name: getattr(default, name) for name in space}
    for name, value in to_parameters(start).items():
        assert space[name]._contains(space[name].to_internal_repr(value)), name
    assert to_settings(to_parameters(start)) == start


def test_a_half_life_at_the_end_of_its_range_means_no_decay() -> None:
    assert to_settings({"recency_half_life": NO_DECAY, "regularisation": NO_DECAY}) == {
        "recency_half_life": 0.0, "regularisation": NO_DECAY,
    }  # fmt: skip
    assert to_parameters({"recency_half_life": 0.0, "server_momentum": 0.0}) == {
        "recency_half_life": NO_DECAY, "server_momentum": 0.0,
    }  # fmt: skip


def test_given_settings_are_not_searched() -> None:
    given = CONFIG.model_copy(update={"head_size": 100})
    assert "head_scale" in SPACE
    assert "head_scale" not in space_of(given, DEFAULT, times_known=True)


def test_half_lives_are_not_searched_without_times() -> None:
    without = space_of(CONFIG, DEFAULT, times_known=False)
    assert SPACE.keys() - without.keys() == {"kernel_half_life", "recency_half_life"}


def test_rounds_computed_from_epsilon_are_not_searched() -> None:
    given = RunConfig(unit="interaction", epsilon=4.0, noise_multiplier=2.0)
    assert "rounds" not in space_of(given, resolve(given, 500, 200), times_known=True)

"""`terry bench`: its counts, ratios and requirements by hand, and that all contenders do the same work."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError

import terrycloth.experiments.bench.command
from terrycloth.client.training.compiled.compiled_streams import LANES, NORMALS, UNIFORMS, WORDS, key_words
from terrycloth.experiments.bench.command import read_requirements, unmet
from terrycloth.experiments.bench.contender import interleaved
from terrycloth.experiments.bench.floor import IN_CACHE, Work, count_work, work_alone
from terrycloth.experiments.bench.flower_ray import train_privately
from terrycloth.experiments.bench.measure import device_counts
from terrycloth.experiments.bench.opacus_by_device import plain_opacus, reference
from terrycloth.experiments.bench.plain_model import PlainFactorisation, plain_model
from terrycloth.experiments.bench.report import RATIOS, Bench, Point, Timing, ratios
from terrycloth.experiments.bench.sizes import QUICK, Sizes, read_sizes
from terrycloth.experiments.bench.workers import Workers
from terrycloth.experiments.bench.workload import Workload, draw_events, make_workload
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import interaction_loss
from tests.experiments.test_cli import Terry, terry  # noqa: F401 (fixture)

TINY = Sizes(devices=6, events=8, items=20, dim=3, batch=8, negatives=2, steps=2)
FLAGS = [
    "bench",
    *("--devices", "30", "--events", "8", "--batch", "4", "--items", "20", "--dim", "4", "--repeats", "2"),
    *("--reference-devices", "0", "--flower-clients", "0", "--pfl-users", "0", "--neural-devices", "2"),
    *("--sweep-devices", "4", "--devices-most", "2000", "--linear-devices", "50", "--out", "new"),
]


def without_draws(**changes: Any) -> Workload:
    """Return a workload without effective draws: whole batches, no weight on negatives, no noise."""
    workload = make_workload(TINY, devices=6, unit="interaction", noise_multiplier=1.0)
    plain = {"negative_weight": 0.0, "noise_multiplier": 0.0, "epsilon": np.inf, "clip": 0.3, **changes}
    settings = workload.settings.model_copy(update=plain)
    return Workload(settings, workload.num_items, workload.cohort, workload.parameters)


def timing(seconds: float, devices: int) -> Timing:
    return Timing.of("", devices, [seconds])


# The workload


def test_popularity_follows_zipfs_law():
    events = draw_events(2000, 50, 100)
    counts = np.bincount(events.items, minlength=100)
    assert (events.counts == 50).all()
    expected = np.arange(1, 101) ** -0.8
    expected *= len(events) / expected.sum()
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_parts_make_up_the_whole_and_share_no_memory():
    workload = make_workload(TINY, devices=5, unit="interaction", noise_multiplier=1.0)
    parts = workload.split(2)
    assert [part.devices for part in parts] == [2, 3]
    assert np.concatenate([part.cohort.events.items for part in parts]).tolist() == list(
        workload.cohort.events.items
    )
    assert [list(part.cohort.devices) for part in parts] == [[0, 1], [2, 3, 4]]
    assert not np.shares_memory(parts[0].cohort.events.items, workload.cohort.events.items)
    assert len(workload.split(9)) == 5


@pytest.mark.parametrize(
    ("unit", "trust", "noise"),
    [("interaction", "local", 1.5), ("shopper", "central", 1.5), ("none", "none", 0)],
)
def test_a_unit_determines_trust_and_noise(unit, trust, noise):
    settings = make_workload(TINY, devices=5, unit=unit, noise_multiplier=1.5).settings
    assert (settings.unit, settings.trust, settings.noise_multiplier) == (unit, trust, noise)


# All contenders do the same work


def test_the_plain_model_is_the_factorisation():
    workload = make_workload(TINY, devices=2, unit="interaction", noise_multiplier=1.0)
    ours, plain = workload.model(), plain_model(workload)
    ours.load_shared(workload.parameters)
    with torch.no_grad():
        ours.shopper.weight.copy_(workload.cohort.vectors[1])
    plain.load(workload.parameters, workload.cohort.vectors[1])
    candidates = torch.tensor([[3, 0, 7], [1, 1, 19]])
    weights = torch.tensor([1.0, 2.5])
    torch.testing.assert_close(plain(candidates), ours(candidates))
    loss = interaction_loss(ours(candidates), weights, workload.settings.negative_weight, "squared").sum()
    torch.testing.assert_close(plain.summed_loss(plain(candidates), weights), loss)


def test_plain_opacus_gives_the_sum_of_the_reference():
    workload = without_draws()
    with plain_opacus(workload) as plain, reference(workload) as ours:
        theirs, expected = plain(), ours()
        again = plain()
    for name, part in expected.items():
        assert float(part.norm()) > 0
        torch.testing.assert_close(theirs[name], part, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(again[name], part, rtol=1e-3, atol=1e-6)


def test_a_flower_client_takes_the_same_steps():
    workload = without_draws().part(0, 1)
    model = plain_model(workload)
    model.load(workload.parameters, workload.cohort.vectors[0])
    train_privately(model, workload.cohort.events, workload.settings)
    with reference(workload) as ours:
        expected = ours()["table.weight"]
    moved = model.table.weight.detach() - workload.parameters["table.weight"]
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("contender", ["plain", "flower"])
def test_other_contenders_add_noise(contender):
    workload = without_draws(noise_multiplier=100.0, epsilon=1.0).part(0, 1)
    model: PlainFactorisation = plain_model(workload)
    model.load(workload.parameters, workload.cohort.vectors[0])
    if contender == "flower":
        train_privately(model, workload.cohort.events, workload.settings)
        moved = model.table.weight.detach() - workload.parameters["table.weight"]
    else:
        with plain_opacus(workload) as plain:
            moved = plain()["table.weight"]
    # Two steps have noise 100 · 0.3 at rate 0.05 in each of 60 coordinates.
    assert_allclose(float(moved.std()), 0.05 * 30 * 2**0.5, rtol=0.4)


# The floor


def test_the_work_of_the_floor_by_hand():
    """With two items and twenty negatives every step reads both rows, and the second reads both again."""
    sizes = Sizes(events=3, items=2, dim=5, batch=3, negatives=20, steps=2)
    work = count_work(make_workload(sizes, devices=10, unit="interaction", noise_multiplier=1.0))
    scores, vector, norm_and_sum, moves, noise = 2 * 2, 2 * 3 * 21, 4 * 3, 2 * 2, 2 * 2
    step = scores + vector + norm_and_sum + moves
    assert work.operations == 10 * 5 * (2 * step + noise + 2)
    assert work.uniforms == 10 * 2 * (3 + 3 * 20)
    assert work.normals == 10 * (2 * 5 + 2 * (5 + 1)) + 2 * (5 + 1)


@pytest.mark.slow
def test_the_floor_counts_the_noise_of_earlier_steps_for_rows_read_later():
    """Of a million items one event hardly draws any twice, so the second step reads only new rows."""
    sizes = Sizes(events=1, items=1_000_000, dim=5, batch=1, negatives=3, steps=2)
    work = count_work(make_workload(sizes, devices=10, unit="interaction", noise_multiplier=1.0))
    assert work.normals == 10 * (2 * 5 + 4 * (5 + 1)) + 1_000_000 * (5 + 1)


def test_without_privacy_the_floor_has_no_normals():
    sizes = Sizes(events=3, items=2, dim=5, batch=3, negatives=20, steps=2)
    assert count_work(make_workload(sizes, devices=10, unit="none", noise_multiplier=0.0)).normals == 0


def test_the_floor_divides_its_work_among_threads():
    work = Work(operations=2 * IN_CACHE * 10, uniforms=UNIFORMS * 7, normals=NORMALS * 4 + 1)
    assert work.passes(2) == (5, 4, 3)


@pytest.mark.slow
def test_the_floor_does_all_its_work():
    """Every thread does every part, and repeats the additions once a pass."""
    numbers = np.ones((2, 2, IN_CACHE), np.float32)
    words = np.zeros((2, WORDS, LANES), np.uint32)
    uniforms, normals = np.zeros((2, UNIFORMS)), np.zeros((2, NORMALS), np.float32)
    numbers[:, 1] = 1e9
    work_alone(key_words(bytes(32)), (3, 1, 1), numbers, words, uniforms, normals)
    assert_allclose(numbers[:, 0], 4.0, rtol=1e-6)
    assert (uniforms > 0).all()
    assert (normals != 0).all()


# Ratios


def test_ratios_compare_median_times_a_device():
    timings = {
        "cohort": Timing.of("", 100, [2.0, 9.0, 1.0]),
        "opacus": timing(6.0, 4),
        "non_private": timing(1.0, 100),
        "floor": timing(0.5, 100),
    }
    points = [
        Point(size=size, timing=timing(cost, size)) for size, cost in ((1000, 9), (10_000, 2), (40_000, 10))
    ]
    found = ratios(timings, points)
    assert found.keys() == RATIOS.keys()
    measured = {name: value for name, value in found.items() if value is not None}
    assert measured == pytest.approx({"opacus": 75.0, "non_private": 2.0, "floor": 4.0, "growth": 1.25})


def test_growth_needs_more_than_ten_thousand_devices():
    points = [Point(size=size, timing=timing(1.0, size)) for size in (1000, 10_000)]
    assert ratios({}, points)["growth"] is None


@pytest.mark.parametrize(
    ("most", "counts"),
    [(0, []), (500, [500]), (1000, [1000]), (20_000, [1000, 10_000, 20_000]), (10_000, [1000, 10_000])],
)
def test_the_sweep_ends_with_the_most_devices(most, counts):
    assert device_counts(most) == counts


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("opacus=75", None),
        ("opacus=76", "opacus must be ≥ 76× but is 75×"),
        ("floor=4", None),
        ("floor=3.5", "floor must be ≤ 3.5× but is 4×"),
        ("pfl=1", "pfl must be ≥ 1× but was not measured: it is not there"),
        ("growth=1.2", "growth must be ≤ 1.2× but was not measured: too few devices"),
    ],
)
def test_unmet_requirements_are_reported(requirement, message):
    bench = Bench.model_construct(
        ratios=dict.fromkeys(RATIOS) | {"opacus": 75.0, "floor": 4.0}, skipped={"pfl": "it is not there"}
    )
    assert unmet(bench, read_requirements([requirement])) == ([] if message is None else [message])


# The order of contenders


class RecordingContender:
    """A contender that records its calls."""

    devices = 1

    def __init__(self, name: str, notes: list[str], fails: bool = False) -> None:
        self.name, self.notes, self.fails = name, notes, fails

    def start(self) -> None:
        self.notes.append(f"start {self.name}")
        if self.fails:
            raise RuntimeError("it does not start")

    def round(self) -> None:
        self.notes.append(self.name)

    def stop(self) -> None:
        self.notes.append(f"stop {self.name}")


def test_contenders_take_turns_after_one_uncounted_round():
    notes: list[str] = []
    seconds = interleaved(
        [RecordingContender("a", notes), RecordingContender("b", notes)], 2, lambda what: None
    )
    assert notes == ["start a", "a", "start b", "b", "a", "b", "a", "b", "stop a", "stop b"]
    assert {name: len(each) for name, each in seconds.items()} == {"a": 2, "b": 2}


def test_all_contenders_are_stopped_if_one_fails_to_start():
    notes: list[str] = []
    with pytest.raises(RuntimeError, match="does not start"):
        interleaved(
            [RecordingContender("a", notes), RecordingContender("b", notes, fails=True)], 2, lambda what: None
        )
    assert notes[-2:] == ["stop a", "stop b"]


# The command


def test_flags_win_over_quick():
    quick = read_sizes({"devices": 7}, quick=True)
    assert (quick.devices, quick.opacus_devices) == (7, QUICK["opacus_devices"])
    assert (quick.items, quick.dim) == (Sizes().items, Sizes().dim)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--devices", "0"], "--devices 0:"),
        (["--batch", "200"], "--batch 200 is more than the 147"),
        (["--epsilon", "-1"], "--epsilon -1.0:"),
        (["--require", "speed=3"], "choose one of opacus, flower_ray_opacus, pfl"),
        (["--require", "opacus=fast"], "use opacus=NUMBER"),
        (["--out", "there"], "there exists"),
    ],
)
def test_bad_input_is_reported_in_one_line(flags, message, terry: Terry, tmp_path: Path):  # noqa: F811
    ended = terry("bench", *flags)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_benchmark_writes_what_it_measured(terry: Terry, tmp_path: Path):  # noqa: F811
    """Everything is measured except contenders that start processes."""
    ended = terry(*FLAGS, "--opacus-devices", "0", "--require", "opacus=50")
    assert ended.code == 1
    assert ended.err == "terry: opacus must be ≥ 50× but was not measured: not requested\n"
    text = (tmp_path / "new" / "bench.json").read_text(encoding="utf-8")
    bench = Bench.model_validate_json(text)
    neural = {"neural_cf", "neural_cf_by_device"}
    assert (
        bench.timings.keys()
        == {"cohort", "non_private", "cohort_shopper", "least_squares_shopper", "floor"} | neural
    )
    assert bench.skipped.keys() == {"opacus", "reference", "flower_ray_opacus", "pfl"}
    cohort, floor = bench.timings["cohort"], bench.timings["floor"]
    assert (cohort.devices, len(cohort.seconds)) == (30, 2)
    assert cohort.median == pytest.approx(sum(cohort.seconds) / 2)
    assert cohort.least <= cohort.median <= cohort.most
    assert bench.ratios["floor"] == pytest.approx(cohort.median / floor.median)
    assert bench.ratios["opacus"] is None
    assert [point.size for point in bench.sweeps["devices"]] == [1000, 2000]
    assert [point.size for point in bench.sweeps["events"]] == [2, 4, 8, 16, 32]
    assert [(point.size, point.timing.devices) for point in bench.sweeps["alone"]] == [
        (1, 1), (10, 1), (100, 1), (1_000, 1)
    ]  # fmt: skip
    assert bench.linear.keys() == {"popularity", "gram"}
    assert bench.peak_memory_bytes.all >= bench.peak_memory_bytes.comparison > 2**20
    for name in ("bench.png", "bench.svg"):
        assert (tmp_path / "new" / name).stat().st_size > 1000
    assert "cohort, by interaction" in ended.out
    with pytest.raises(ValidationError):
        Bench.model_validate({**json.loads(text), "schema": 2})


def test_a_benchmark_that_fails_writes_nothing(terry: Terry, tmp_path: Path, monkeypatch):  # noqa: F811
    def fails(*_: Any) -> None:
        raise UserError("no more")

    monkeypatch.setattr(terrycloth.experiments.bench.command, "measure", fails)
    assert terry(*FLAGS).code == 2
    assert not (tmp_path / "new").exists()


# Processes


@pytest.mark.federation
def test_opacus_runs_in_two_processes(terry: Terry, tmp_path: Path):  # noqa: F811
    ended = terry(*FLAGS, "--opacus-devices", "4", "--require", "opacus=1e9")
    bench = Bench.model_validate_json((tmp_path / "new" / "bench.json").read_text(encoding="utf-8"))
    value = bench.ratios["opacus"]
    assert value == pytest.approx(bench.timings["opacus"].median / 4 / (bench.timings["cohort"].median / 30))
    assert (ended.code, ended.err) == (1, f"terry: opacus must be ≥ 1e+09× but is {value:.4g}×\n")


@pytest.mark.federation
def test_a_process_that_exits_is_an_error():
    workers = Workers("nobody", 1, reference, ["no workload"])
    with pytest.raises(RuntimeError, match="a process of nobody exited with code 1"):
        interleaved([workers], 1, lambda what: None)
    assert workers.processes == []


@pytest.mark.federation
def test_flower_on_ray_asks_every_client_and_ends(tmp_path: Path, monkeypatch):
    pytest.importorskip("ray")
    from terrycloth.experiments.bench.flower_ray import FlowerOnRay

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    workload = make_workload(TINY, devices=3, unit="interaction", noise_multiplier=1.0)
    flower = FlowerOnRay("flower", workload)
    seconds = interleaved([flower], 2, lambda what: None)["flower"]
    assert len(seconds) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.federation
def test_pfl_runs_in_as_many_processes_as_cores():
    pytest.importorskip("pfl")
    from terrycloth.experiments.bench.pfl_research import PflResearch

    workload = make_workload(TINY, devices=5, unit="shopper", noise_multiplier=1.0)
    assert len(interleaved([PflResearch("pfl", workload)], 2, lambda what: None)["pfl"]) == 2

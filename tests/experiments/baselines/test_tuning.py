"""The budget of tuning, which settings are chosen on which data, and that the order of rows has no effect."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import terrycloth.experiments.baselines.tuning
from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.row import TRIALS, BaselineRow, Context
from terrycloth.experiments.baselines.tuning import best_of, hit_rate, ranks_among, tuned_baselines
from terrycloth.experiments.evaluation.evaluate import evaluate
from terrycloth.experiments.evaluation.split import Holdout, Rule, Split, split_events, validation_split
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.metrics import ranks_alone
from terrycloth.models.times import DAY
from tests.experiments.baselines.shop import bought, catalogue_of, context_of

ITEMS = 30


def shop(seed: int = 0) -> Events:
    """Return events of forty shoppers with twelve visits of one to three items."""
    draws = np.random.default_rng(seed)
    rows = [
        (device, int(item), int(100 + day))
        for device in range(40)
        for day in draws.choice(60, 12, replace=False)
        for item in draws.integers(0, ITEMS, draws.integers(1, 4))
    ]
    return bought(rows, 40)


def known() -> Catalogue:
    """Return a catalogue with five words, three colours, and numbers as identifiers."""
    return catalogue_of(
        ITEMS,
        titles=[f"thing{item % 5} of {item}" for item in range(ITEMS)],
        items=[str(1000 + 3 * item) for item in range(ITEMS)],
        colour=[(f"c{item % 3}",) for item in range(ITEMS)],
    )


def split_shop(name: str, *, repeats: bool = False) -> Split:
    at = 145 * DAY if name == "date" else None
    return split_events(shop(), ITEMS, Rule(name, at=at, repeats=repeats), 0, 0)


def usable(names: list[str]) -> list[str]:
    return [name for name in names if BASELINES[name].missing() is None]


def test_every_baseline_that_is_tuned_has_the_same_budget_of_different_trials() -> None:
    for name, row in BASELINES.items():
        trials = [tuple(sorted((fit | serve).items())) for fit, serve in row.trials]
        assert len(set(trials)) == len(trials), name
        assert len(trials) == (1 if name == "popularity" else TRIALS), name


def test_labels_are_unique_and_descriptions_are_sentences() -> None:
    assert len({row.label for row in BASELINES.values()}) == len(BASELINES)
    for row in BASELINES.values():
        assert row.sentence.endswith(".")
        assert row.sentence[0].isupper()


# It starts a process, and is slow.
@pytest.mark.parametrize("name", [name for name in BASELINES if name != "sasrec"])
def test_a_shuffled_file_gives_the_same_scores_to_the_last_bit(name: str) -> None:
    row = BASELINES[name]
    if (reason := row.missing()) is not None:
        pytest.skip(reason)
    events, order = shop(), np.random.default_rng(1).permutation(len(shop()))
    shuffled = Events.from_columns(
        events.devices[order], events.items[order], events.times[order], events.weights[order], 40
    )
    fit, serve = row.trials[-1]
    scores = [
        row.scorer(context_of(of, known(), 160, repeats=True), fit | serve)(of) for of in (events, shuffled)
    ]
    assert scores[0].dtype == torch.float32
    assert scores[0].shape == (40, ITEMS)
    assert torch.equal(*scores)
    assert len(scores[0].unique()) > 5


@pytest.mark.parametrize("split", ["date", "next-visit", "basket", "last-item"])
def test_settings_never_see_the_test(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the test's targets are, the same is fitted and ranked until everything is chosen."""
    seen: list[tuple] = []

    def recording(row, validation, catalogue, sample, step):
        arrays = validation.train.items, validation.test.targets.items, validation.test.history.items
        seen.append((row.label, *(array.tolist() for array in arrays)))
        return best_of(row, validation, catalogue, sample, step)

    monkeypatch.setattr(terrycloth.experiments.baselines.tuning, "best_of", recording)
    one = split_shop(split)
    moved = Targets.from_pairs(one.test.targets.devices, (one.test.targets.items + 7) % ITEMS, 40)
    other = replace(one, test=replace(one.test, targets=moved))
    names = usable(["recent_popularity", "nothing_released", "co_occurrence", "item_knn"])
    chosen = [
        {
            name: tuned.settings
            for name, tuned in tuned_baselines(of, validation_split(of, ITEMS), known(), names)[0].items()
        }
        for of in (one, other)
    ]
    assert chosen[0] == chosen[1]
    assert seen[: len(names)] == seen[len(names) :]
    assert all(len(items) < len(one.train) for _, items, _, _ in seen)


def test_the_best_of_a_grid_has_most_hits_and_each_fit_is_made_once() -> None:
    """Only λ = 2 served with h = 1 ranks shopper 0's target first; of equal settings the first is chosen."""
    train = bought([(0, 0)], 1)
    split = Split(
        Rule("next-visit"), train, Holdout(train, Targets.from_pairs(np.array([0]), np.array([2]), 1))
    )
    fitted = []

    def fit(context, settings):
        assert context.train is train
        fitted.append(settings)

        def serve(served):
            scores = torch.arange(12.0).repeat(1, 1)
            scores[0, 2] = 100.0 if settings["lambda"] >= 2.0 and served["h"] >= 1.0 else -1.0
            return lambda held: scores

        return serve

    grid = tuple({"lambda": value} for value in (1.0, 2.0, 3.0))
    row = BaselineRow("one", "One.", fit, fits=grid, serves=({"h": 0.0}, {"h": 1.0}, {"h": 2.0}))
    assert best_of(row, split, catalogue_of(12)) == ({"lambda": 2.0, "h": 1.0}, 1.0)
    assert fitted == list(grid)
    nobody = replace(split, test=replace(split.test, targets=Targets.none(1)))
    assert best_of(row, nobody, catalogue_of(12)) == ({"lambda": 1.0, "h": 0.0}, 0.0)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_the_quick_hit_rate_equals_that_of_the_metrics(levels: int, repeats: bool) -> None:
    """This holds with many ties, and for a part of the shoppers."""
    split = split_shop("date", repeats=repeats)
    table = torch.from_numpy(np.random.default_rng(2).integers(0, levels, (ITEMS, ITEMS))).float()

    def scorer(held: Events) -> torch.Tensor:
        return table[torch.from_numpy(held.items[held.offsets[:-1]].astype(np.int64))]

    for sample in (0, 7):
        expected = evaluate(scorer, split, ITEMS, sample=sample)["full"]["hr@10"]
        found = hit_rate(scorer, split.test, ITEMS, repeats, sample)
        assert found == pytest.approx(expected, abs=1e-12)
    assert 0.0 < found < 1.0


def test_quick_ranks_are_exact_up_to_ten_and_above_ten_otherwise() -> None:
    scores = torch.from_numpy(np.random.default_rng(3).integers(0, 12, (50, 100))).float()
    shoppers, items = torch.arange(50), torch.from_numpy(np.random.default_rng(4).integers(0, 100, 50))
    exact = ranks_alone(scores, shoppers, items)
    own = scores[shoppers, items]
    scores[shoppers, items] = -torch.inf
    quick = ranks_among(scores, own, shoppers)
    assert torch.equal(quick[exact <= 10], exact[exact <= 10])
    assert bool((quick[exact > 10] > 10).all())


def test_now_is_the_date_or_the_midnight_after_all_events() -> None:
    assert split_shop("date").now == 145 * DAY
    split = split_shop("next-visit")
    last = int(shop().times.max())
    assert last < split.now <= last + DAY
    assert split.now % DAY == 0
    assert Context.of(split, known()).train is split.train


def test_baselines_that_are_left_out_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_shop("last-item")
    untimed = replace(split, rule=replace(split.rule, timed=False))
    names = ["popularity", "recent_popularity", "own_frequency", "nothing_released"]
    found, reasons = tuned_baselines(untimed, untimed, catalogue_of(ITEMS), names)
    assert list(found) == ["popularity"]
    assert found["popularity"].settings == {}
    assert [reason.split(" needs ")[0].split(" names ")[0].split(" reads ")[0] for reason in reasons] == [
        "recent popularity",
        "own frequency",
        "nothing released",
    ]
    assert BASELINES["own_frequency"].left_out(split_shop("date", repeats=True), known()) is None


def test_ease_is_left_out_beyond_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    split, row = split_shop("last-item"), replace(BASELINES["ease"], libraries=())
    assert row.left_out(split, known()) is None
    reason = replace(row, most_items=ITEMS - 1).left_out(split, known())
    assert reason is not None
    assert "30 items are more than 29" in reason
    assert row.most_items == 20_000


def test_a_sequence_model_is_left_out_where_its_tuning_would_take_hours() -> None:
    split, row = split_shop("last-item"), replace(BASELINES["sasrec"], absent=None)
    assert row.left_out(split, known()) is None
    events = len(split.train)
    reason = replace(row, most_events=events - 1).left_out(split, known())
    assert reason == (
        "SASRec is left out because its tuning would take hours: "
        f"{events} training events are more than {events - 1}"
    )


def test_a_missing_library_is_reported_in_one_line() -> None:
    row = replace(BASELINES["ials"], libraries=("a_module_that_is_not",))
    reason = row.left_out(split_shop("last-item"), known())
    assert reason == 'iALS needs a_module_that_is_not: pip install "terrycloth[baselines]"'
    split = split_shop("last-item")
    found, reasons = tuned_baselines(split, split, known(), ["popularity"])
    assert (list(found), reasons) == (["popularity"], [])


def test_without_its_environment_the_sequence_model_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRYCLOTH_SEQUENCE_PYTHON", "/not/here/python")
    split = split_shop("next-visit")
    found, (reason,) = tuned_baselines(split, split, known(), ["sasrec"])
    assert not found
    assert reason == (
        "SASRec needs its own environment, but /not/here/python does not exist: run make install-sequence"
    )

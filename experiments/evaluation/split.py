"""What trains and what tests: data parted by one of four rules, and validation one step earlier."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from terrycloth.client.events import Array, Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.negatives import SAMPLED, sample_negatives
from terrycloth.experiments.evaluation.split_rules import (
    Parted,
    basket,
    by_date,
    last_item,
    next_visit,
    pairs_in_visits,
    pairs_of,
)
from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.models.errors import UserError

QUANTILE = 0.8  # of the events, before the date that parts them where none is said; of the validation always
DAY = 86_400  # seconds
ALMOST_ALL = 0.999  # of the events
FIRST_VISIT, LATER_VISITS = "first visit", "later visits"


@dataclass(frozen=True)
class Rule:
    """How data are parted.

    at: for `date`, the midnight (UTC, in seconds since 1970) from which on purchases are the test. repeats:
    whether what was bought before counts as a target. published: the data set's own test is taken. timed:
    whether the order of visits is known.
    """

    name: SplitName
    at: int | None = None
    repeats: bool = False
    published: bool = False
    timed: bool = True

    @property
    def date(self) -> str | None:
        """`at` as a date: 2011-11-02."""
        return None if self.at is None else datetime.fromtimestamp(self.at, UTC).date().isoformat()

    @property
    def sentence(self) -> str:
        """What trains and what tests, wherever a figure of it stands."""
        new = "all items" if self.repeats else "items new to them"
        if self.published:
            return "Published test: the item held out of each shopper by the data set itself."
        if self.name == "date":
            return (
                f"By date: what happened before {self.date} trains; the test is what shoppers seen before "
                f"then bought since, {new}."
            )
        if self.name == "next-visit":
            last = "last visit, all its items" if self.repeats else "last visit with items new to them"
            return (
                f"By next visit: the test is each shopper's {last}; nothing of it or later is "
                "known of that shopper, but what other shoppers bought later trains."
            )
        if self.name == "basket":
            return (
                "By basket: of each shopper's last visit half is given and trains, and one other item, "
                f"{'new or not' if self.repeats else 'a new one'}, is to be found."
            )
        if not self.timed:
            return "By last item, without times: one item of each shopper, drawn at random, is to be found."
        return (
            "By last item, as in published tables: one new item of each shopper's last visit is to be found; "
            "the rest of that visit trains."
        )


@dataclass(frozen=True)
class Holdout:
    """A test: what is known of each row's shopper, and what the shopper bought next.

    history: what the row is served by. targets: of each row. negatives: int32 [n, draws, 99], items that
    shoppers never had, for the sampled protocol; NONE pads. sample: int64 [n], ascending, the rows that they
    are of.
    """

    history: Events
    targets: Targets
    negatives: npt.NDArray[np.int32] = field(
        default_factory=lambda: np.empty((0, 0, SAMPLED), dtype=np.int32)
    )
    sample: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def tested(self, most: int = 0) -> npt.NDArray[np.int64]:
        """Rows with a target, ascending; where they pass `most` (0: no limit), a fixed choice of them."""
        return chosen(np.flatnonzero(self.targets.counts), most)

    def negatives_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """[rows, draws, 99], of rows in `sample`. Raises ValueError where one is not."""
        if not np.isin(rows, self.sample).all():
            raise ValueError("no negatives were drawn for some of these rows: draw them for all tested")
        return self.negatives[np.searchsorted(self.sample, rows)]


def chosen(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many of the rows, always the same ones; 0: all."""
    if 0 < most < len(rows):
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    return rows


@dataclass(frozen=True)
class Split:
    """train: what devices hold. test: a row a device. unseen: those first seen after the date, apart.

    left_out: events that neither train nor are of a target. most: for how many of the tested there are
    negatives at most; 0: for all shoppers. now: the public instant that ages are counted from, in seconds
    since 1970: the date that parts the data, or the midnight (UTC) after almost all of them (one wrong clock
    would else make every purchase old); 0 without times.
    """

    rule: Rule
    train: Events
    test: Holdout
    unseen: dict[str, Holdout] = field(default_factory=dict)
    left_out: int = 0
    most: int = 0
    now: int = 0


def rule_for(
    dataset: Dataset, name: SplitName | None, at: str | float | None = None, *, repeats: bool = False
) -> Rule:
    """The rule of a run. name: None: `last-item` where the data have no times, else `date`. Raises UserError.

    at: a date, or the part of the events that trains; only for `date`.
    """
    if not dataset.times_known and name in ("date", "next-visit", "basket"):
        raise UserError(f"--split {name} needs times, and {dataset.name} has none: say --split last-item")
    name = name or ("date" if dataset.times_known else "last-item")
    if at is not None and name != "date":
        raise UserError(f"--at is for --split date, and this is --split {name}: leave it out")
    if repeats and name == "last-item":
        raise UserError("--repeats include is for --split date, next-visit or basket: say one of them")
    published = dataset.published is not None and name == "last-item"
    rule = Rule(name, repeats=repeats, published=published, timed=dataset.times_known)
    return with_date(rule, dataset.events, at) if name == "date" else rule


def with_date(rule: Rule, events: Events, at: str | float | None) -> Rule:
    """The rule with its date. Raises UserError where it leaves nothing to train on, or nothing to test."""
    if (instant := midnight_of(at)) is not None:
        rule = replace(rule, at=instant)
    else:
        try:
            quantile = QUANTILE if at is None else float(at)
        except ValueError:
            raise UserError(
                f"--at {at} is not a date: write 2025-09-01, or a fraction of the events such as 0.8"
            ) from None
        if not 0.0 < quantile < 1.0:
            raise UserError(f"--at {quantile:g} must be between 0 and 1, or a date such as 2025-09-01")
        rule = replace(rule, at=midnight(events, quantile))
    before = int((events.times < rule.at).sum())
    if before == 0 or before == len(events):
        side = "before" if before == 0 else "after"
        raise UserError(
            f"--split date: nothing was bought {side} {rule.date}: say another --at, or --split next-visit"
        )
    return rule


def midnight_of(at: str | float | None) -> int | None:
    """The midnight (UTC) that begins a written date; None where it is none: a flag says 0.8 as text too."""
    try:
        return int(datetime.fromisoformat(str(at)).replace(tzinfo=UTC).timestamp()) // DAY * DAY
    except ValueError:
        return None


def midnight(events: Events, quantile: float) -> int:
    """The midnight (UTC) before the instant that so many of the events precede."""
    if len(events) == 0:
        return 0
    return int(np.quantile(events.times, quantile, method="lower")) // DAY * DAY


def make_split(dataset: Dataset, rule: Rule, seed: int = 0, most: int = 0) -> Split:
    """Part a data set. most: negatives are drawn for so many tested shoppers (0: for all shoppers)."""
    if rule.published:
        assert dataset.published is not None
        items = dataset.published.items.astype(np.int64)
        tested = np.flatnonzero(items >= 0)
        targets = Targets.from_pairs(tested, items[tested], len(items))
        everyone = np.arange(len(items))
        test = Holdout(dataset.events, targets, dataset.published.negatives[:, None, :], everyone)
        return Split(rule, dataset.events, test)
    return split_events(dataset.events, len(dataset.catalogue), rule, seed, most)


def validation_split(split: Split, num_items: int, seed: int = 0) -> Split:
    """The same rule one step earlier: what is chosen by it has seen nothing of the test.

    Of `date`, with QUANTILE of the training events before its own date, whatever `--at` said: config.toml
    keeps the date alone, and a run that goes on, or is repeated, has to find the same validation.

    Its events are the training events, and a target of the test is to it an item that the shopper never had.
    At most as many shoppers have negatives as was said for `split`, though it may test fewer.
    """
    events, rule = split.train, replace(split.rule, published=False)
    if rule.name == "date":
        rule = replace(rule, at=midnight(events, QUANTILE))
    return split_events(events, num_items, rule, seed, split.most)


def split_events(events: Events, num_items: int, rule: Rule, seed: int, most: int) -> Split:
    """Part events by a rule that is not a published test."""
    trains, targets = parted(events, rule, seed)
    sample = np.arange(events.num_devices)
    if 0 < most < events.num_devices:
        sample = chosen(np.flatnonzero(targets.counts), most)
    negatives = sample_negatives(events.take(sample), num_items, seed)
    train = events.keep(trains)
    unseen = unseen_shoppers(events, rule, most) if rule.name == "date" else {}
    used = np.isin(pair_of(events), pair_of(targets))
    left_out = int((~trains & ~used).sum())
    now = midnight(events, ALMOST_ALL) + DAY if rule.at is None else rule.at
    now = now if rule.timed else 0
    return Split(rule, train, Holdout(train, targets, negatives, sample), unseen, left_out, most, now)


def pair_of(held: Events | Targets) -> Array:
    """One number a pair of device and item: int64."""
    return held.devices * 2**32 + held.items


def parted(events: Events, rule: Rule, seed: int) -> Parted:
    """By the rule's name."""
    if rule.name == "date":
        assert rule.at is not None
        return by_date(events, rule.at, repeats=rule.repeats)
    if rule.name == "next-visit":
        return next_visit(events, repeats=rule.repeats)
    if rule.name == "basket":
        return basket(events, seed, repeats=rule.repeats)
    return last_item(events, seed)


def unseen_shoppers(events: Events, rule: Rule, most: int) -> dict[str, Holdout]:
    """Shoppers first seen after the date: a row a visit, served by what they bought since in earlier visits.

    Of a first visit nothing is known, so everyone is served alike. most: of so many shoppers (0: all).
    """
    before = np.bincount(events.devices[events.times < rule.at], minlength=events.num_devices)
    new = events.take(chosen(np.flatnonzero((before == 0) & (events.counts > 0)), most))
    pairs, visits = pairs_in_visits(new) if rule.repeats else pairs_of(new), new.visits
    found = {}
    for name in (FIRST_VISIT, LATER_VISITS):
        wanted = (pairs.first == 0) if name == FIRST_VISIT else (pairs.first > 0)
        width = int(visits.max(initial=0)) + 1
        rows, row_of = np.unique(
            pairs.devices[wanted] * width + pairs.first[wanted], return_inverse=True
        )  # a row a visit
        whole = new.take(rows // width)
        history = whole.keep(whole.visits < (rows % width)[whole.devices])
        found[name] = Holdout(history, Targets.from_pairs(row_of, pairs.items[wanted], len(rows)))
    return found

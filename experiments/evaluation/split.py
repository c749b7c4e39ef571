"""Split data into training and test by one of four rules, and split off validation one step earlier."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from terrycloth.client.events import Array, Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.datasets.event_pairs import pairs_of
from terrycloth.experiments.evaluation.negatives import SAMPLED, sample_negatives
from terrycloth.experiments.evaluation.split_rules import (
    Parted,
    basket,
    by_date,
    last_item,
    next_visit,
    pairs_in_visits,
)
from terrycloth.experiments.settings.split_names import SplitName
from terrycloth.models.errors import UserError
from terrycloth.models.times import DAY

QUANTILE = 0.8  # share of the events before the default date; always used for the validation's date
ALMOST_ALL = 0.999  # share of the events before `now`
FIRST_VISIT, LATER_VISITS = "first visit", "later visits"


@dataclass(frozen=True)
class Rule:
    """How data are split.

    at: for `date`, the midnight (UTC, in seconds since 1970) at which the test begins. repeats: whether items
    bought before count as targets. published: whether the data set's own test is used. timed: whether the
    order of visits is known.
    """

    name: SplitName
    at: int | None = None
    repeats: bool = False
    published: bool = False
    timed: bool = True

    @property
    def date(self) -> str | None:
        """`at` as a date, as in 2011-11-02; None if there is none."""
        return None if self.at is None else datetime.fromtimestamp(self.at, UTC).date().isoformat()

    @property
    def sentence(self) -> str:
        """The split in one sentence, which is printed wherever a figure of it is."""
        which = "all items" if self.repeats else "only items new to them"
        if self.published:
            return "Published test: the test is the item of each shopper that the data set itself holds out."
        if self.name == "date":
            return (
                f"By date: the model trains on events before {self.date}; the test is what shoppers seen "
                f"before that date bought from then on, {which}."
            )
        if self.name == "next-visit":
            last = "last visit, with all its items" if self.repeats else "last visit with items new to them"
            return (
                f"By next visit: the test is each shopper's {last}; the model does not train on that visit "
                "or the shopper's later ones, but it does on what other shoppers bought later."
            )
        if self.name == "basket":
            return (
                "By basket: half of each shopper's last visit is given and used for training; the test is "
                f"one other item of that visit, {'new or not' if self.repeats else 'new to the shopper'}."
            )
        if not self.timed:
            return "By last item, without times: the test is one item of each shopper, drawn at random."
        return (
            "By last item, as in published tables: the test is one new item of each shopper's last visit; "
            "the rest of that visit is used for training."
        )


@dataclass(frozen=True)
class Holdout:
    """A test: for each row, a shopper's history and what the shopper bought next.

    history: the events from which each row is served. targets: the targets of each row. negatives: int32
    [n, draws, 99], sampled negatives, padded with NONE. sample: int64 [n], ascending, the rows to which the
    negatives belong.
    """

    history: Events
    targets: Targets
    negatives: npt.NDArray[np.int32] = field(
        default_factory=lambda: np.empty((0, 0, SAMPLED), dtype=np.int32)
    )
    sample: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def tested(self, most: int = 0) -> npt.NDArray[np.int64]:
        """The rows with a target, ascending; a fixed choice if there are more than `most` (0: no limit)."""
        return chosen(np.flatnonzero(self.targets.counts), most)

    def negatives_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The negatives of rows: int32 [rows, draws, 99]. Raises ValueError if a row is not in `sample`."""
        if not np.isin(rows, self.sample).all():
            raise ValueError("no negatives were drawn for some of these rows: draw them for all tested")
        return self.negatives[np.searchsorted(self.sample, rows)]


def chosen(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """A fixed random choice of at most `most` rows (0: all)."""
    if 0 < most < len(rows):
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    return rows


@dataclass(frozen=True)
class Split:
    """Training and test data.

    train: the events that devices hold. test: one row per device. unseen: tests on shoppers first seen after
    the date, measured separately. left_out: the number of events that are neither for training nor of a
    target. most: the largest number of tested shoppers with negatives; 0: all shoppers have negatives. now:
    the public instant from which ages are counted, in seconds since 1970. It is the date of the split, or the
    midnight (UTC) after almost all events, because one wrong clock would otherwise make every purchase old; 0
    without times.
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
    """The rule of a run. Raises UserError if the options or the data do not allow it.

    name: None means `date`, or `last-item` if the data have no times. at: only for `date`, a date or the
    share of the events that are for training.
    """
    if not dataset.times_known and name in ("date", "next-visit", "basket"):
        raise UserError(f"--split {name} needs times, and {dataset.name} has none: use --split last-item")
    name = name or ("date" if dataset.times_known else "last-item")
    if at is not None and name != "date":
        raise UserError(f"--at is for --split date, and this is --split {name}: remove it")
    if repeats and name == "last-item":
        raise UserError("--repeats include is for --split date, next-visit or basket: use one of them")
    published = dataset.published is not None and name == "last-item"
    rule = Rule(name, repeats=repeats, published=published, timed=dataset.times_known)
    return with_date(rule, dataset.events, at) if name == "date" else rule


def with_date(rule: Rule, events: Events, at: str | float | None) -> Rule:
    """The rule with its date. Raises UserError if `at` is wrong, or leaves nothing to train on or to test."""
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
            f"--split date: nothing was bought {side} {rule.date}: use another --at, or --split next-visit"
        )
    return rule


def midnight_of(at: str | float | None) -> int | None:
    """The midnight (UTC) that begins a written date; None if `at` is not a date (0.8 may be text, too)."""
    try:
        return int(datetime.fromisoformat(str(at)).replace(tzinfo=UTC).timestamp()) // DAY * DAY
    except ValueError:
        return None


def midnight(events: Events, quantile: float) -> int:
    """The midnight (UTC) before the instant that this share of the events precedes."""
    if len(events) == 0:
        return 0
    return int(np.quantile(events.times, quantile, method="lower")) // DAY * DAY


def make_split(dataset: Dataset, rule: Rule, seed: int = 0, most: int = 0) -> Split:
    """Split a data set. most: the number of tested shoppers with negatives (0: all shoppers have some)."""
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
    """Apply the same rule one step earlier, so that a choice made on validation sees nothing of the test.

    Its events are the training events, so it treats a target of the test as an item that the shopper never
    had. With `date`, QUANTILE of the training events are before its own date, whatever `--at` is: config.toml
    keeps only the date, and a run that is continued or repeated has to use the same validation.

    At most as many shoppers have negatives as in `split`, though fewer may be tested.
    """
    events, rule = split.train, replace(split.rule, published=False)
    if rule.name == "date":
        rule = replace(rule, at=midnight(events, QUANTILE))
    return split_events(events, num_items, rule, seed, split.most)


def one_step_earlier(dataset: Dataset, split: Split, seed: int = 0) -> tuple[Dataset, Split]:
    """Return the data set without its test, and the validation split: what a choice may see."""
    seen = replace(dataset, events=split.train, published=None, ceiling=None)
    return seen, validation_split(split, len(dataset.catalogue), seed)


def split_events(events: Events, num_items: int, rule: Rule, seed: int, most: int) -> Split:
    """Split events by a rule that is not a published test. most: as in `make_split`."""
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


def pair_of(rows: Events | Targets) -> Array:
    """One number per pair of device and item: int64."""
    return rows.devices * 2**32 + rows.items


def parted(events: Events, rule: Rule, seed: int) -> Parted:
    """Split events into training events and targets by the rule's function."""
    if rule.name == "date":
        assert rule.at is not None
        return by_date(events, rule.at, repeats=rule.repeats)
    if rule.name == "next-visit":
        return next_visit(events, repeats=rule.repeats)
    if rule.name == "basket":
        return basket(events, seed, repeats=rule.repeats)
    return last_item(events, seed)


def unseen_shoppers(events: Events, rule: Rule, most: int) -> dict[str, Holdout]:
    """The tests on shoppers first seen after the date: one row per visit, served from their earlier visits.

    At a first visit nothing is known, so everyone is served the same. most: the number of shoppers (0: all).
    """
    before = np.bincount(events.devices[events.times < rule.at], minlength=events.num_devices)
    new = events.take(chosen(np.flatnonzero((before == 0) & (events.counts > 0)), most))
    pairs, visits = pairs_in_visits(new) if rule.repeats else pairs_of(new), new.visits
    holdouts = {}
    for name in (FIRST_VISIT, LATER_VISITS):
        wanted = (pairs.first == 0) if name == FIRST_VISIT else (pairs.first > 0)
        width = int(visits.max(initial=0)) + 1
        rows, row_of = np.unique(
            pairs.devices[wanted] * width + pairs.first[wanted], return_inverse=True
        )  # one row per visit
        whole = new.take(rows // width)
        history = whole.keep(whole.visits < (rows % width)[whole.devices])
        holdouts[name] = Holdout(history, Targets.from_pairs(row_of, pairs.items[wanted], len(rows)))
    return holdouts

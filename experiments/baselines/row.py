"""The definition of a baseline: how it is fitted and served, its settings, and when it is left out."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from terrycloth.client.events import Events
from terrycloth.experiments.evaluation.evaluate import Scorer
from terrycloth.experiments.evaluation.split import Split
from terrycloth.models.catalogue import Catalogue

HALF_LIFE = "half-life"  # of a purchase's weight when serving, in visits; 0: all purchases weigh the same
TRIALS = 24  # the number of settings among which validation may choose, the same for every baseline

Settings = dict[str, float]


@dataclass(frozen=True)
class Context:
    """The data that a baseline may use, without any target.

    train: the training events. now: `Split.now`, from which ages are counted. repeats: whether an item that
    the shopper bought before may be a target.
    """

    train: Events
    catalogue: Catalogue
    now: int
    repeats: bool = False

    @property
    def num_items(self) -> int:
        """The number of items in the whole catalogue."""
        return len(self.catalogue)

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> "Context":
        """Return the context of a split's training part."""
        return cls(split.train, catalogue, split.now, split.rule.repeats)


Serve = Callable[[Settings], Scorer]  # serves one fit with settings that need no new fit
Fit = Callable[[Context, Settings], Serve]


@dataclass(frozen=True)
class BaselineRow:
    """One baseline.

    label: the name shown to users. sentence: a description. fits: the settings to fit with. serves: the
    settings to serve each fit with. Tuning tries len(fits) · len(serves) settings, at most TRIALS. floor:
    whether the baseline uses only public data and counts of items; a model that does not pass a floor has
    learned nothing useful.

    The other fields decide when the baseline is left out. needs_times: visits must have an order.
    needs_repeats: the baseline can only recommend items that the shopper already has. libraries: modules that
    must be installed. most_items: the largest catalogue whose cost is acceptable; most_events: the same for
    the number of training events. unusable: returns why the baseline cannot use a catalogue, or None; its
    second argument is whether items bought before may be targets. absent: returns why the environment that
    the baseline runs in is missing on this machine, or None.
    """

    label: str
    sentence: str
    fit: Fit
    fits: tuple[Settings, ...] = ({},)
    serves: tuple[Settings, ...] = ({},)
    floor: bool = False
    needs_times: bool = False
    needs_repeats: bool = False
    libraries: tuple[str, ...] = ()
    most_items: int | None = None
    most_events: int | None = None
    unusable: Callable[[Catalogue, bool], str | None] | None = None
    absent: Callable[[], str | None] | None = None

    @property
    def trials(self) -> list[tuple[Settings, Settings]]:
        """Every pair of settings to fit with and to serve with, grouped by fit."""
        return [(fit, serve) for fit in self.fits for serve in self.serves]

    def scorer(self, context: Context, settings: Settings) -> Scorer:
        """Fit and serve with one dictionary that holds both kinds of settings, as results keep them."""
        return self.fit(context, settings)(settings)

    def missing(self) -> str | None:
        """Return why the baseline cannot be fitted on this machine, or None."""
        for name in self.libraries:
            if find_spec(name) is None:
                return f'{self.label} needs {name}: pip install "terrycloth[baselines]"'
        return None if self.absent is None else self.absent()

    def left_out(self, split: Split, catalogue: Catalogue) -> str | None:
        """Return a sentence that says why the baseline is left out for this split, or None."""
        if self.needs_times and not split.rule.timed:
            return f"{self.label} needs times, but these data have none"
        if self.needs_repeats and not split.rule.repeats:
            return (
                f"{self.label} recommends only items that the shopper has, but this split excludes them; "
                "--repeats include counts them"
            )
        if self.most_items is not None and len(catalogue) > self.most_items:
            return (
                f"{self.label} is left out because it keeps dense arrays of items² numbers, and "
                f"{len(catalogue):,} items are more than {self.most_items:,}; use a part of the catalogue"
            )
        if self.most_events is not None and len(split.train) > self.most_events:
            return (
                f"{self.label} is left out because its tuning would take hours: "
                f"{len(split.train):,} training events are more than {self.most_events:,}"
            )
        if self.unusable is not None and (reason := self.unusable(catalogue, split.rule.repeats)) is not None:
            return f"{self.label} {reason}"
        return self.missing()

"""What a baseline is: how it is fitted and served, what is tried of it, and when it has to be left out."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from terrycloth.client.events import Events
from terrycloth.experiments.evaluation.evaluate import Scorer
from terrycloth.experiments.evaluation.split import Split
from terrycloth.models.catalogue import Catalogue

HALF_LIFE = "half-life"  # of a purchase at serving, in visits; 0: all purchases weigh the same
TRIALS = 24  # settings of one baseline that validation may choose between, the same for all

Settings = dict[str, float]


@dataclass(frozen=True)
class Context:
    """What a baseline may know. No target is in it.

    train: the training events. now: `Split.now`, from which ages are counted. repeats: whether
    what was bought before may be a target.
    """

    train: Events
    catalogue: Catalogue
    now: int
    repeats: bool = False

    @property
    def num_items(self) -> int:
        """Of the whole catalogue."""
        return len(self.catalogue)

    @classmethod
    def of(cls, split: Split, catalogue: Catalogue) -> "Context":
        """Of a split's training part."""
        return cls(split.train, catalogue, split.now, split.rule.repeats)


Serve = Callable[[Settings], Scorer]  # settings that need no other fit → scores
Fit = Callable[[Context, Settings], Serve]


@dataclass(frozen=True)
class BaselineRow:
    """One baseline.

    label: what people call it. sentence: what it is. fits: settings to fit with; serves: settings to serve
    each fit with, so that len(fits) · len(serves) are tried, TRIALS at most. floor: it uses only public data
    and counts of items, so a model that does not pass it has learned nothing worth having.

    The rest says when it is left out. needs_times: visits must have an order. needs_repeats: it can only
    name what a shopper has. libraries: modules that must be installed. most_items: its cost grows too fast
    beyond. unusable: of a catalogue, why it does not do. absent: why what it runs in is not on this machine.
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
    unusable: Callable[[Catalogue], str | None] | None = None
    absent: Callable[[], str | None] | None = None

    @property
    def trials(self) -> list[tuple[Settings, Settings]]:
        """Every pair of settings to fit and to serve with, those of one fit together."""
        return [(fit, serve) for fit in self.fits for serve in self.serves]

    def scorer(self, context: Context, settings: Settings) -> Scorer:
        """Fitted and served with one pair of settings as a result keeps them: both in one."""
        return self.fit(context, settings)(settings)

    def missing(self) -> str | None:
        """Why it cannot be fitted on this machine, or None."""
        for name in self.libraries:
            if find_spec(name) is None:
                return f'{self.label} needs {name}: pip install "terrycloth[baselines]"'
        return None if self.absent is None else self.absent()

    def left_out(self, split: Split, catalogue: Catalogue) -> str | None:
        """Why it is left out of this split, in a sentence, or None."""
        if self.needs_times and not split.rule.timed:
            return f"{self.label} needs times, and these data have none"
        if self.needs_repeats and not split.rule.repeats:
            return f"{self.label} recommends only items that the shopper already has, which do not count here"
        if self.most_items is not None and len(catalogue) > self.most_items:
            return (
                f"{self.label} keeps dense arrays of items² numbers, and {len(catalogue):,} items are more "
                f"than {self.most_items:,}, so it is left out; a part of the catalogue would fit"
            )
        if self.unusable is not None and (reason := self.unusable(catalogue)) is not None:
            return f"{self.label} {reason}"
        return self.missing()

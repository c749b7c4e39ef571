"""`--model auto`: the model that does best under a promise, from what is public and nothing else.

The choice reads the number of items, whether the catalogue has attributes, and the promise's unit. It never
reads an event, so it costs no privacy where the catalogue does not come of events (`Dataset`). What it rests
on was measured on validation purchases of MovieLens, the towel shop, Online Retail and Complete Journey.
"""

from typing import NamedTuple

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.catalogue import Catalogue


class PublicFacts(NamedTuple):
    """All that the choice may depend on, besides the promise."""

    items: int
    attributes: bool

    @classmethod
    def of(cls, catalogue: Catalogue) -> "PublicFacts":
        """Of a catalogue."""
        return cls(len(catalogue), bool(catalogue.attributes))


# Items: between the shop where attributes win (300) and the smallest where they lose (1,682).
SMALL_CATALOGUE = 1_000


def choose(facts: PublicFacts, unit: str) -> tuple[str, str]:
    """A model, and what speaks for it."""
    if unit == "interaction":
        if facts.attributes:
            return "attributes", "of the models that learn interaction by interaction it has least to noise"
        return "mf", "the catalogue has no attributes, and the linear model does not learn by interactions"
    if facts.attributes and facts.items <= SMALL_CATALOGUE:
        return "attributes", f"attributes say most of what is to know of {facts.items:,} items"
    lacks = f"of {facts.items:,} items attributes say too little"
    if not facts.attributes:
        lacks = "the catalogue has no attributes"
    if unit == "none":
        return "linear", f"{lacks}, and it does best without a promise too"
    return "linear", f"{lacks}, and two releases lose least to noise"


def with_model(config: RunConfig, facts: PublicFacts) -> RunConfig:
    """The configuration with the model chosen, and the line that says which and why."""
    model, reason = choose(facts, config.unit)
    line = (
        f"--model auto took {model}: {reason}. It looked at the number of items, {facts.items:,}, at whether "
        f"they have attributes ({'yes' if facts.attributes else 'no'}), and at the promise's unit."
    )
    return config.model_copy(update={"model": model, "model_reason": line})

"""`--model auto`: choose the best model for a promise from public facts alone.

The choice depends on the number of items, whether the catalogue has attributes, and the promise's unit. It
never reads an event, so it costs no privacy unless the catalogue is derived from events (see `Dataset`). The
rules are based on validation purchases of MovieLens, the towel shop, Online Retail and Complete Journey.
"""

from typing import NamedTuple

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.catalogue import Catalogue


class PublicFacts(NamedTuple):
    """All facts, besides the promise, on which the choice may depend."""

    items: int
    attributes: bool

    @classmethod
    def of(cls, catalogue: Catalogue) -> "PublicFacts":
        """The facts of a catalogue."""
        return cls(len(catalogue), bool(catalogue.attributes))


# Between the size of the shop where `attributes` wins (300 items) and the smallest where it loses (1,682).
SMALL_CATALOGUE = 1_000


def choose(facts: PublicFacts, unit: str) -> tuple[str, str]:
    """Choose a model; return its name and the reason."""
    if unit == "interaction":
        if facts.attributes:
            return "attributes", "of the models for interactions, it has the fewest parameters to noise"
        return "mf", "the catalogue has no attributes, and the linear model is not for interactions"
    if facts.attributes and facts.items <= SMALL_CATALOGUE:
        return "attributes", f"attributes describe {facts.items:,} items well enough"
    not_attributes = f"attributes describe {facts.items:,} items too coarsely"
    if not facts.attributes:
        not_attributes = "the catalogue has no attributes"
    if unit == "none":
        return "linear", f"{not_attributes}, and it is the best model without a promise"
    return "linear", f"{not_attributes}, and its two releases lose least to noise"


def with_model(config: RunConfig, facts: PublicFacts) -> RunConfig:
    """The configuration with the chosen model, and a line that gives the choice and the reason."""
    model, reason = choose(facts, config.unit)
    line = (
        f"--model auto chose {model}: {reason}. The choice depends only on the number of items, "
        f"{facts.items:,}, on whether they have attributes ({'yes' if facts.attributes else 'no'}), and on "
        "the promise's unit."
    )
    return config.model_copy(update={"model": model, "model_reason": line})

"""What an attacker can do under a promise, as one of the key numbers of a page."""

from terrycloth.experiments.pages.page import Tile
from terrycloth.models.privacy.promise import FALSE_ALARMS, rounded_up

WHO = {"shopper": "shoppers", "interaction": "purchases"}


def attacker_tile(caught: float, unit: str) -> Tile:
    """Return the tile. caught: the largest share of units that an attacker recognises as part of the data."""
    return Tile(
        f"{rounded_up(100 * caught)} of 100",
        f"{WHO[unit]} can be told to be in the data, at most",
        f"by an attacker who wrongly says so of {100 * FALSE_ALARMS:g} in 100 others",
    )

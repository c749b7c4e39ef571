"""The accountant of a run: every release so far, and the ε of all of them together.

It keeps the releases as `models/privacy/accounting.py` composes them, with the real sampling rate. Flower's
event and configuration types want a sample and a population in whole numbers, and Flower's own accountant
gives a larger ε, so neither is used here.
"""

import math
from typing import Any

from terrycloth.models.privacy.accounting import epsilon_composed
from terrycloth.models.settings import RoundSettings


class RunAccountant:
    """The accountant of a run, for a device that takes part in as many rounds as it may.

    Under local and distributed trust, only the rounds that a device's ledger lets it take part in count. If a
    run's rounds have no noise there is nothing to record: its ε is infinite.
    """

    def __init__(self, settings: RoundSettings) -> None:
        self.delta = settings.delta
        self.only_renyi = settings.only_renyi
        self.covered = settings.covered
        self.unprotected = False
        self.releases: list[tuple[float, float, int]] = []  # noise multiplier, sampling rate, Gaussian steps

    def book(self, settings: RoundSettings) -> float:
        """Record a round and return ε over all rounds so far, including this one.

        A round that was requested is recorded whatever came of it.
        """
        noise, rate, steps = settings.mechanism
        if noise == 0:
            self.unprotected = True
        elif settings.round <= self.covered or settings.evaluates:
            self._record(noise, rate, steps)
        return math.inf if self.unprotected else self.epsilon

    @property
    def epsilon(self) -> float:
        """ε of the recorded releases: the tightest of the valid bounds; 0 if there are none."""
        return epsilon_composed(tuple(self.releases), self.delta, only_renyi=self.only_renyi).epsilon

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint. JSON keeps each number to the last bit."""
        return {"unprotected": self.unprotected, "releases": [list(release) for release in self.releases]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises ValueError if it cannot be read."""
        try:
            unprotected, releases = state["unprotected"], [tuple(release) for release in state["releases"]]
            sound = isinstance(unprotected, bool) and all(is_release(*release) for release in releases)
        except (KeyError, TypeError):
            sound = False
        if not sound:
            raise ValueError("the accountant's state cannot be read")
        self.unprotected, self.releases = unprotected, releases

    def _record(self, noise: float, rate: float, steps: int) -> None:
        """Add a release, together with the last one if their mechanisms are the same."""
        if self.releases and self.releases[-1][:2] == (noise, rate):
            steps += self.releases.pop()[2]
        self.releases.append((noise, rate, steps))


def is_release(noise: float, rate: float, steps: int) -> bool:
    """Whether these numbers describe a release that can be composed."""
    return 0.0 < noise < math.inf and 0.0 < rate <= 1.0 and type(steps) is int and steps >= 1

"""The server's accountant: Flower's accountant types on top of `models/privacy/accounting.py`."""

import math
from dataclasses import asdict
from fractions import Fraction
from itertools import count as counting
from typing import Any

import numpy as np
from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    PrivacySpent,
    SamplingMethod,
)

from terrycloth.models.privacy.accounting import History, Spent, delta_composed, epsilon_composed
from terrycloth.models.settings import RoundSettings

SCHEMA = 1


def whole_numbers(sampling_rate: float, devices: int) -> tuple[int, int]:
    """Return a sample size and a population size whose quotient is exactly the sampling rate.

    Flower's types want whole numbers, but q·N need not be whole. Both numbers are scaled by the smallest
    power of ten at which their quotient equals the rate to the last bit, so that the accountant charges
    neither more nor less than it should: 0.05 of 30 devices becomes 15 of 300.
    """
    for power in counting():
        population = devices * 10**power
        sample = round(Fraction(sampling_rate) * population)
        if sample / population == sampling_rate:
            return sample, population
    raise AssertionError("some power of ten is finer than any double")


class Accountant:
    """Flower's PrivacyAccountant: it keeps the history of releases and computes ε on request.

    Set `only_renyi` if the releases are not Gaussian but have a Gaussian's Rényi curve; see
    `epsilon_composed`. Raises ValueError if the neighbouring relation is not to add or remove one unit.
    """

    def __init__(self, config: PrivacyConfig, *, only_renyi: bool = False) -> None:
        if config.neighboring_relation != NeighboringRelation.ADD_OR_REMOVE_ONE:
            raise ValueError(
                f"the neighbouring relation {config.neighboring_relation.value} is not supported"
            )
        self._config = config
        self._only_renyi = only_renyi
        self._releases: list[tuple[GaussianPrivacyEvent, int]] = []

    @property
    def config(self) -> PrivacyConfig:
        """The promise about the releases."""
        return self._config

    @property
    def num_releases(self) -> int:
        """The number of releases so far."""
        return sum(count for _, count in self._releases)

    def compose(self, event: GaussianPrivacyEvent, count: int = 1) -> None:
        """Record `count` equal releases. Raises ValueError if the configuration does not cover them."""
        self._releases = self._with(event, count)

    def get_epsilon(self, delta: float) -> float:
        """Return the ε spent so far at `delta`: the tightest of the valid bounds."""
        return self._spent(self._releases, delta).epsilon

    def get_delta(self, epsilon: float) -> float:
        """Return the δ of the releases so far at `epsilon`."""
        if not epsilon >= 0.0:
            raise ValueError(f"ε = {epsilon:g} is below 0")
        profile = delta_composed(
            self._history(self._releases), np.array([epsilon]), only_renyi=self._only_renyi
        )
        return float(profile[0])

    def get_privacy_spent(self, delta: float | None = None) -> PrivacySpent:
        """Return the ε spent so far, with the name of the accountant that gave the bound."""
        delta = self._config.target_delta if delta is None else delta
        epsilon, accountant = self._spent(self._releases, delta)
        return PrivacySpent(epsilon, delta, self.num_releases, accountant)

    def would_exceed(
        self, event: GaussianPrivacyEvent, max_epsilon: float | None = None, count: int = 1
    ) -> bool:
        """Return whether `count` more releases would pass the limit on ε. Records nothing."""
        limit = self._config.max_epsilon if max_epsilon is None else max_epsilon
        if limit is None or not limit > 0.0:
            raise ValueError(f"the limit {limit} is not above 0: pass max_epsilon")
        return self._spent(self._with(event, count), self._config.target_delta).epsilon > limit

    def state_dict(self) -> dict[str, object]:
        """Return the whole state in JSON types; JSON keeps each number to the last bit."""
        return {**self._promise(), "releases": [[asdict(event), count] for event, count in self._releases]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises ValueError if the state belongs to another promise or cannot be read.
        """
        if {name: state.get(name) for name in self._promise()} != self._promise():
            raise ValueError("the accountant was saved under another promise")
        try:
            releases = [(GaussianPrivacyEvent(**event), count) for event, count in state["releases"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the accountant's state cannot be read: {error}") from None
        restored = Accountant(self._config, only_renyi=self._only_renyi)
        for event, count in releases:
            restored.compose(event, count)
        self._releases = restored._releases

    def _promise(self) -> dict[str, object]:
        return {"schema": SCHEMA, "config": asdict(self._config), "only_renyi": self._only_renyi}

    def _with(self, event: GaussianPrivacyEvent, count: int) -> list[tuple[GaussianPrivacyEvent, int]]:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"the count {count!r} is not a whole number of at least 1")
        if event.population_size != self._config.population_size:
            raise ValueError(
                f"the population {event.population_size} is not the promised {self._config.population_size}"
            )
        if self._releases and self._releases[-1][0] == event:
            return [*self._releases[:-1], (event, self._releases[-1][1] + count)]
        return [*self._releases, (event, count)]

    def _history(self, releases: list[tuple[GaussianPrivacyEvent, int]]) -> History:
        """Return the releases as a history for `models/privacy/accounting.py`.

        The configuration, not the single event, says whether amplification by sampling counts.
        """
        poisson = self._config.sampling_method == SamplingMethod.POISSON
        return tuple(
            (event.noise_multiplier, event.sample_size / event.population_size if poisson else 1.0, count)
            for event, count in releases
        )

    def _spent(self, releases: list[tuple[GaussianPrivacyEvent, int]], delta: float) -> Spent:
        if not 0.0 < delta < 1.0:
            raise ValueError(f"δ = {delta:g} is not between 0 and 1")
        return epsilon_composed(self._history(releases), delta, only_renyi=self._only_renyi)


class RunAccountant:
    """The accountant of a run, for a device that takes part in as many rounds as it may.

    Under local and distributed trust, only the rounds that a device's ledger lets it take part in count. If a
    run's rounds have no noise there is nothing to record: its ε is infinite.
    """

    def __init__(self, settings: RoundSettings) -> None:
        _, rate, _ = settings.mechanism
        sample, self.population = whole_numbers(rate, settings.devices)
        self.rate, self.sample = rate, sample
        poisson, unsampled = SamplingMethod.POISSON, SamplingMethod.NO_AMPLIFICATION
        self.accountant = Accountant(
            PrivacyConfig(
                target_delta=settings.delta,
                population_size=self.population,
                neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
                sampling_method=poisson if sample < self.population else unsampled,
            ),
            only_renyi=settings.only_renyi,
        )
        self.covered = settings.covered
        self.unprotected = False

    def book(self, settings: RoundSettings) -> float:
        """Record a round and return ε over all rounds so far, including this one.

        A round that was requested is recorded whatever came of it.
        """
        noise, rate, steps = settings.mechanism
        if noise == 0:
            self.unprotected = True
        elif settings.round <= self.covered or settings.evaluates:
            # The evaluation may involve every device.
            sample = self.sample if rate == self.rate else self.population
            self.accountant.compose(GaussianPrivacyEvent(noise, sample, self.population), steps)
        return math.inf if self.unprotected else self.accountant.get_epsilon(settings.delta)

    def state_dict(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        return {"unprotected": self.unprotected, "accountant": self.accountant.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.unprotected = state["unprotected"]
        self.accountant.load_state_dict(state["accountant"])

"""What each device has spent: a count of steps for each mechanism it ran, and ε of them all."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.models.privacy.accounting import epsilon_composed

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST_MECHANISMS = 8  # of a ledger: what one costs to compose is seconds
MOST_STEPS = 2**53  # more than any device takes; far from where sums of int64 turn negative


@dataclass
class Ledger:
    """One row a device. mechanisms: float64 [k, 2] of (noise multiplier, sampling rate); steps: int64 [n, k].

    A row is all that composition needs, so ε goes on where it stopped after any pause. Rows that are equal
    are composed once, so a million devices cost as much as the handful of different histories among them.

    How many mechanisms there are is bounded, or a server could ask for ever others until each query took
    minutes. Where there is no place for a new one, the nearest is moved to the smaller noise and the larger
    sampling rate of the two, and both are booked there: ε may be told too large, and never too small. A run
    has at most three, so the first runs of a device are told exactly.
    """

    mechanisms: Doubles
    steps: Integers

    @classmethod
    def empty(cls, devices: int) -> "Ledger":
        """Nothing spent yet."""
        return cls(np.empty((0, 2)), np.empty((devices, 0), dtype=np.int64))

    def after(self, took_part: Mask, noise_multiplier: float, sampling_rate: float, steps: int) -> "Ledger":
        """The ledger with `steps` more steps booked for the devices where took_part [n] is true."""
        if not took_part.any():
            return self
        mechanisms, booked = self.mechanisms, self.steps.copy()
        mechanism = np.array([noise_multiplier, sampling_rate])
        apart = _distances(mechanisms, mechanism)
        if len(mechanisms) < MOST_MECHANISMS and not (apart == 0).any():
            mechanisms = np.concatenate([mechanisms, [mechanism]])
            booked = np.concatenate([booked, np.zeros((len(booked), 1), dtype=np.int64)], axis=1)
            apart = np.append(apart, 0.0)
        nearest = int(apart.argmin())
        mechanisms = mechanisms.copy()
        mechanisms[nearest] = _dominating(mechanisms[nearest], mechanism)
        booked[:, nearest] += steps * took_part
        return Ledger(mechanisms, booked)

    def since(self, earlier: Integers) -> "Ledger":
        """Only what was booked after these steps: [n, j], of the first j mechanisms (new ones come last)."""
        steps = self.steps.copy()
        steps[:, : earlier.shape[1]] -= earlier
        return Ledger(self.mechanisms, steps)

    def is_sound(self, devices: int) -> bool:
        """Whether this can be a ledger of so many devices: sizes, types, and numbers that can be composed."""
        return (
            self.mechanisms.dtype == np.float64
            and self.steps.dtype == np.int64
            and self.mechanisms.shape == (self.steps.shape[-1], 2)
            and self.steps.shape == (devices, len(self.mechanisms))
            and bool(np.isfinite(self.mechanisms).all())
            and bool((self.mechanisms >= 0).all())
            and bool((self.mechanisms[:, 1] <= 1).all())
            and bool(((self.steps >= 0) & (self.steps < MOST_STEPS)).all())
        )

    def epsilon(self, delta: float, *, only_renyi: bool = False) -> Doubles:
        """ε spent by each device at δ: [n]; inf for one that ever trained without noise.

        only_renyi: of `epsilon_composed`, for what is known of shares of noise.
        """
        row_of, first = _groups(self.steps)
        histories = self.steps[first]
        spent = [
            epsilon_composed(
                tuple(
                    (float(noise), float(rate), int(count))
                    for (noise, rate), count in zip(self.mechanisms, history, strict=True)
                ),
                delta,
                only_renyi=only_renyi,
            ).epsilon
            for history in histories
        ]
        return np.array(spent, dtype=np.float64)[row_of]


def _distances(mechanisms: Doubles, mechanism: Doubles) -> Doubles:
    """How far apart in the logarithms of noise and rate; 0 for what is equal, and for nothing else: [k]."""
    least = np.finfo(np.float64).tiny  # no noise is far from any
    apart = np.abs(np.log(np.maximum(mechanisms, least)) - np.log(np.maximum(mechanism, least))).sum(axis=1)
    same = (mechanisms == mechanism).all(axis=1)
    return np.where(same, 0.0, np.maximum(apart, least))


def _dominating(one: Doubles, other: Doubles) -> Doubles:
    """The mechanism with the smaller noise and the larger rate, which costs at least as much as either.

    More noise can be added to what is released. At a rate q < q' a step is one at q' whose sample may then
    leave the unit out, and no divergence grows by mixing (joint convexity). What dominates every step
    dominates all of them composed (Zhu, Dong & Wang 2022, "Optimal accounting of differential privacy via
    characteristic function", on dominating pairs).
    """
    return np.array([min(one[0], other[0]), max(one[1], other[1])])


def _groups(rows: Integers) -> tuple[Integers, Integers]:
    """Which of the different rows each of rows [n, k] is: [n]; and where each first stands: [different]."""
    group = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        codes, values = pd.factorize(column)
        group, _ = pd.factorize(group * len(values) + codes)
    last = np.full(int(group.max(initial=-1)) + 1, 0, dtype=np.int64)
    last[group[::-1]] = np.arange(len(group))[::-1]
    return group, last

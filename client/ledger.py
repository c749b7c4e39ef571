"""What each device has spent: its number of steps with each mechanism, and the ε of all of them together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.models.privacy.accounting import epsilon_composed

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST_MECHANISMS = 8  # per ledger: composing one mechanism takes seconds
MOST_STEPS = 2**53  # more than any device takes, and far below where sums of int64 overflow


@dataclass
class Ledger:
    """The steps that each device took with each mechanism, one row per device.

    mechanisms: float64 [k, 2] of (noise multiplier, sampling rate). steps: int64 [n, k].

    A row holds all that composition needs, so accounting continues exactly after any pause. Equal rows are
    composed only once, so a million devices cost as much as the few different histories among them.

    A ledger holds at most MOST_MECHANISMS mechanisms. Otherwise a server could request new ones until each
    query took minutes. In a full ledger, a new mechanism is merged with the nearest one: both are charged as
    the mechanism with the smaller noise and the larger sampling rate of the two. The reported ε may then be
    too large, but never too small. A run has at most three mechanisms, so ε is exact for a device's first
    runs.
    """

    mechanisms: Doubles
    steps: Integers

    @classmethod
    def empty(cls, devices: int) -> "Ledger":
        """A ledger of `devices` devices that have spent nothing."""
        return cls(np.empty((0, 2)), np.empty((devices, 0), dtype=np.int64))

    def after(self, took_part: Mask, noise_multiplier: float, sampling_rate: float, steps: int) -> "Ledger":
        """Return the ledger with `steps` more steps charged to the devices where took_part [n] is true."""
        if not took_part.any():
            return self
        mechanisms, charged = self.mechanisms, self.steps.copy()
        mechanism = np.array([noise_multiplier, sampling_rate])
        distances = _distances(mechanisms, mechanism)
        if len(mechanisms) < MOST_MECHANISMS and not (distances == 0).any():
            mechanisms = np.concatenate([mechanisms, [mechanism]])
            charged = np.concatenate([charged, np.zeros((len(charged), 1), dtype=np.int64)], axis=1)
            distances = np.append(distances, 0.0)
        nearest = int(distances.argmin())
        mechanisms = mechanisms.copy()
        mechanisms[nearest] = _dominating(mechanisms[nearest], mechanism)
        charged[:, nearest] += steps * took_part
        return Ledger(mechanisms, charged)

    def since(self, earlier: Integers) -> "Ledger":
        """Return a ledger of the steps charged since `earlier`.

        earlier: int64 [n, j], the steps of the first j mechanisms at that time; later mechanisms come last.
        """
        steps = self.steps.copy()
        steps[:, : earlier.shape[1]] -= earlier
        return Ledger(self.mechanisms, steps)

    def is_sound(self, devices: int) -> bool:
        """Whether this is a valid ledger of `devices` devices: sizes, types and composable numbers."""
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
        """ε spent by each device at δ: float64 [n]; inf for a device that ever trained without noise.

        only_renyi: as in `epsilon_composed`; for noise that devices add in shares.
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
    """Distance of each mechanism from `mechanism` in log noise and log rate, 0 only for an equal one: [k]."""
    tiny = np.finfo(np.float64).tiny  # puts noise 0 far from any other noise
    distances = np.abs(np.log(np.maximum(mechanisms, tiny)) - np.log(np.maximum(mechanism, tiny))).sum(axis=1)
    same = (mechanisms == mechanism).all(axis=1)
    return np.where(same, 0.0, np.maximum(distances, tiny))


def _dominating(one: Doubles, other: Doubles) -> Doubles:
    """The mechanism with the smaller noise and the larger rate, which costs at least as much as either.

    Larger noise amounts to adding noise after the release, which is post-processing. A step at a rate q < q'
    is a step at q' whose sample may afterwards leave the unit out, and mixing increases no divergence (joint
    convexity). What dominates every step also dominates their composition (Zhu, Dong & Wang 2022, "Optimal
    accounting of differential privacy via characteristic function", on dominating pairs).
    """
    return np.array([min(one[0], other[0]), max(one[1], other[1])])


def _groups(rows: Integers) -> tuple[Integers, Integers]:
    """Group equal rows of rows [n, k]: each row's group, [n], and each group's first row, [groups]."""
    group = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        codes, values = pd.factorize(column)
        group, _ = pd.factorize(group * len(values) + codes)
    first = np.full(int(group.max(initial=-1)) + 1, 0, dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]  # of equal indices, the last assignment stays
    return group, first

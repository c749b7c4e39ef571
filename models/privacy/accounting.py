"""ε and δ of Gaussian steps, by Opacus's accountants and Google's dp-accounting.

A history is a tuple of (noise multiplier, sampling rate, steps). Each entry is that many sums over a Poisson
sample, each with Gaussian noise. Neighbouring data sets differ by adding or removing one unit.

analytic-gaussian    exact, if nothing is sampled (Balle & Wang 2018, theorem 8). Sampling only lowers ε, so
                     it is an upper bound for sampled steps too
dp-accounting-pld    privacy loss distributions, rounded up, for adding and for removing (Koskela, Jälkö &
                     Honkela 2020; Doroshenko, Ghazi, Kamath, Kumar & Manurangsi 2022)
opacus-rdp and       Rényi curves (Mironov, Talwar & Zhang 2019), converted as by Canonne, Kamath & Steinke
dp-accounting-rdp    2020, proposition 12
opacus-prv           privacy random variables, for removing (Gopi, Lee & Wutschitz 2021). It returns the
                     upper end of its error band, 0.01 above its estimate and so above PLD: only a check
"""

import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from terrycloth.models.errors import UserError

Doubles = npt.NDArray[np.float64]
History = tuple[tuple[float, float, int], ...]

MOST_NOISE = 1e6
MOST_ROUNDS = 1_000_000
NOISE_TOLERANCE = 1e-3  # of ε, when searching for noise

# PLD adds up many cells by Fourier transforms in double precision, so it cannot resolve a smaller δ. A larger
# ε, which promises nothing, comes close to overflow.
LEAST_DELTA_OF_PLD = 1e-10
MOST_EPSILON_OF_PLD = 500.0

# PLD's arrays grow with the steps: a million steps take seconds, and ten million a minute.
MOST_STEPS_OF_PLD = 1_000_000

# Without sampling a Rényi curve is a straight line, so many orders cost nothing. Large noise needs large
# orders. The formulas are unstable at orders below 1.01.
UNSAMPLED_ORDERS = 1.0 + np.geomspace(0.011, 1e8, 2000)

# With sampling, Opacus's orders end at 63 and dp-accounting's at 1024, with wide gaps. No ε below about
# ln(1/δ) / order is found at an order, however much noise there is, so a small ε needs large orders.
MORE_SAMPLED_ORDERS = (80, 96, 160, 192, 320, 384, 640, 768, 1536, 2048, 3072, 4096, 8192)


class Spent(NamedTuple):
    """A valid ε, and the name of the accountant that gave it."""

    epsilon: float
    accountant: str


NOTHING, EVERYTHING = Spent(0.0, "none"), Spent(math.inf, "none")


def epsilon_spent(
    noise_multiplier: float, sampling_rate: float, steps: int, delta: float, *, only_renyi: bool = False
) -> Spent:
    """Return ε at δ after `steps` Poisson-sampled Gaussian steps: the tightest of several valid bounds."""
    return epsilon_composed(((noise_multiplier, sampling_rate, steps),), delta, only_renyi=only_renyi)


@lru_cache(maxsize=4096)
def epsilon_composed(history: History, delta: float, *, only_renyi: bool = False) -> Spent:
    """Return ε at δ of a history, composed over all of it: the tightest of several valid bounds.

    Set `only_renyi` if the steps are not Gaussian, but have a Gaussian's Rényi curve. This is what is proved
    for the distributed discrete Gaussian: ½ε²-concentrated privacy (Kairouz, Liu & Steinke 2021, theorem 1).
    Nothing is proved about sampling such steps, so a rate below 1 then raises ValueError.
    """
    history = reduced(history, only_renyi=only_renyi)
    if not history:
        return NOTHING
    if delta <= 0 or not protected(history):
        return EVERYTHING
    if only_renyi:
        return min(by_dp_accounting_rdp(history, delta), by_opacus_rdp(history, delta))
    if not sampled(history):
        return by_analytic_gaussian(history, delta)
    tightest = by_dp_accounting_pld(history, delta)
    if math.isfinite(tightest.epsilon):
        return min(tightest, by_opacus_rdp(history, delta))
    # PLD cannot resolve this δ or this many steps, and which of the others is the tightest depends on both.
    others = (by_analytic_gaussian, by_dp_accounting_rdp, by_opacus_rdp)
    return min(by(history, delta) for by in others)


def epsilon_by_each(history: History, delta: float, *, only_renyi: bool = False) -> list[Spent]:
    """Return ε by each accountant whose bound is valid and finite, the tightest first."""
    history = reduced(history, only_renyi=only_renyi)
    if not history:
        return [NOTHING]
    if delta <= 0 or not protected(history):
        return []
    accountants: list[Callable[[History, float], Spent]] = [by_opacus_rdp, by_dp_accounting_rdp]
    if not only_renyi:
        accountants += [by_analytic_gaussian, by_dp_accounting_pld]
        if delta >= LEAST_DELTA_OF_PLD:  # PRV adds up its cells as PLD does
            accountants.append(by_opacus_prv)
    found = sorted(spent for by in accountants if math.isfinite((spent := by(history, delta)).epsilon))
    # The exact bound comes first, even if another rounds to a value just below it.
    exact = not only_renyi and not sampled(history)
    return sorted(found, key=lambda spent: not exact or spent.accountant != "analytic-gaussian")


def delta_composed(history: History, epsilons: Doubles, *, only_renyi: bool = False) -> Doubles:
    """Return the smallest known δ at each ε ≥ 0 of a history: its privacy profile.

    It holds for adding and for removing a unit.
    """
    history = reduced(history, only_renyi=only_renyi)
    if not history or not protected(history):
        return np.full(len(epsilons), 1.0 if history else 0.0)
    if not only_renyi and fits_pld(history):
        deltas = privacy_loss(history).get_delta(epsilons)
    else:
        from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

        orders, curve = renyi_curve(history)
        deltas = [compute_delta(orders, curve, float(epsilon))[0] for epsilon in epsilons]
    return np.clip(np.asarray(deltas, dtype=np.float64), 0.0, 1.0)


def reduced(history: History, *, only_renyi: bool = False) -> History:
    """Return the history in its shortest form: equal steps merged, and all unsampled steps as one.

    Gaussians compose to one Gaussian, of multiplier (Σ steps / σ²)^−½, and so do their Rényi curves.
    """
    counts: Counter[tuple[float, float]] = Counter()
    inverse_variance = 0.0
    for noise, rate, steps in sorted(history):
        if steps <= 0:
            continue
        if rate == 1.0:
            inverse_variance += steps / noise**2 if noise > 0 else math.inf
        elif only_renyi:
            raise ValueError(f"amplification by a sampling rate of {rate:g} is known for Gaussian noise only")
        else:
            counts[noise, rate] += steps
    unsampled = ((inverse_variance**-0.5, 1.0, 1),) if inverse_variance > 0 else ()
    return unsampled + tuple((noise, rate, steps) for (noise, rate), steps in counts.items())


def sampled(history: History) -> bool:
    """Return whether sampling amplifies any step of the history."""
    return any(rate < 1.0 for _, rate, _ in history)


def protected(history: History) -> bool:
    """Return whether every step has noise."""
    return all(noise > 0 for noise, _, _ in history)


def upper_bound(epsilon: float, accountant: str) -> Spent:
    """Return an accountant's result, or an infinite ε if the accountant gave no number."""
    return Spent(max(0.0, float(epsilon)) if math.isfinite(epsilon) else math.inf, accountant)


def by_analytic_gaussian(history: History, delta: float) -> Spent:
    """Return the exact ε of a reduced history without sampling, or else an upper bound.

    A sampled step reveals less than the same step on everything: who sees the latter can replace it by noise
    alone with the probability that the unit is not in the sample.
    """
    from dp_accounting import get_epsilon_gaussian

    ((noise, _, _),) = reduced(tuple((noise, 1.0, steps) for noise, _, steps in history))
    with quiet():
        return upper_bound(get_epsilon_gaussian(noise, delta), "analytic-gaussian")


@lru_cache(maxsize=256)
def by_opacus_rdp(history: History, delta: float) -> Spent:
    """Return an upper bound on ε, quick and loose."""
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis.rdp import get_privacy_spent

    amplified = sampled(history)
    orders = RDPAccountant.DEFAULT_ALPHAS if amplified else UNSAMPLED_ORDERS
    with quiet():
        curve = sum(steps * opacus_curve(noise, rate, amplified) for noise, rate, steps in history)
        return upper_bound(get_privacy_spent(orders=orders, rdp=curve, delta=delta)[0], "opacus-rdp")


@lru_cache(maxsize=256)
def opacus_curve(noise_multiplier: float, sampling_rate: float, amplified: bool) -> Doubles:
    """Return the Rényi divergence of one step at each order.

    Steps add up, and a long run makes the same call again and again, so the result is cached.
    """
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis.rdp import compute_rdp

    orders = RDPAccountant.DEFAULT_ALPHAS if amplified else UNSAMPLED_ORDERS
    return np.asarray(compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=1, orders=orders))


def by_dp_accounting_rdp(history: History, delta: float) -> Spent:
    """Return an upper bound on ε, quick and loose."""
    from dp_accounting.rdp import compute_epsilon

    orders, curve = renyi_curve(history)
    if not len(orders):
        return Spent(math.inf, "dp-accounting-rdp")
    return upper_bound(compute_epsilon(orders, curve, delta)[0], "dp-accounting-rdp")


def by_dp_accounting_pld(history: History, delta: float) -> Spent:
    """Return an upper bound on ε, about 1e-4 of ε above the truth."""
    if delta < LEAST_DELTA_OF_PLD or not fits_pld(history):
        return Spent(math.inf, "dp-accounting-pld")
    return upper_bound(privacy_loss(history).get_epsilon(delta), "dp-accounting-pld")


def fits_pld(history: History) -> bool:
    """Return whether the history is small enough for PLD."""
    few = sum(steps for _, _, steps in history) <= MOST_STEPS_OF_PLD
    return few and by_opacus_rdp(history, 1e-5).epsilon < MOST_EPSILON_OF_PLD


def by_opacus_prv(history: History, delta: float) -> Spent:
    """Return the upper end of an error band of 0.01, or an infinite ε if the mesh breaks down.

    The mesh reaches as far as the ε that RDP reports at δ / 4000. Beyond 700 the exponential of a loss
    overflows, and PRV returns 709.8 whatever was spent.
    """
    from opacus.accountants import PRVAccountant

    if by_opacus_rdp(history, delta / 4000.0).epsilon > 700.0:
        return Spent(math.inf, "opacus-prv")
    accountant = PRVAccountant()
    accountant.history = list(history)
    try:
        with quiet():
            return upper_bound(accountant.get_epsilon(delta), "opacus-prv")
    except (RuntimeError, ValueError, OverflowError, MemoryError):
        return Spent(math.inf, "opacus-prv")


def renyi_curve(history: History) -> tuple[Doubles, Doubles]:
    """Return the orders, and the Rényi divergence at each, by dp-accounting.

    dp-accounting reads a divergence below 0, which is a rounding error, as ε = 0. Such orders are left out.
    """
    amplified = sampled(history)
    orders = np.asarray(sampled_orders() if amplified else UNSAMPLED_ORDERS, dtype=np.float64)
    curve = np.zeros(len(orders))
    with quiet():
        for noise, rate, steps in history:
            curve += steps * dp_accounting_curve(noise, rate, amplified)
    usable = (curve > 0) & np.isfinite(curve)
    return orders[usable], curve[usable]


def sampled_orders() -> list[float]:
    """Return the orders at which dp-accounting computes a curve of sampled steps."""
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    return [*DEFAULT_RDP_ORDERS, *MORE_SAMPLED_ORDERS]


@lru_cache(maxsize=256)
def dp_accounting_curve(noise_multiplier: float, sampling_rate: float, amplified: bool) -> Doubles:
    """Return the Rényi divergence of one step at each order, as `opacus_curve` does."""
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(orders=sampled_orders() if amplified else UNSAMPLED_ORDERS)
    compose(accountant, ((noise_multiplier, sampling_rate, 1),))
    return np.asarray(accountant.rdp)


@lru_cache(maxsize=4)
def privacy_loss(history: History) -> Any:
    """Return a composed PLDAccountant for a history that `fits_pld` accepts.

    A cell is 1e-5 to 1e-4 of the ε that RDP reports, or of the largest loss of one step. Rounding is
    pessimistic at any cell size, but many cells cost seconds.
    """
    from dp_accounting.pld import PLDAccountant

    largest = max(largest_loss(noise, rate) for noise, rate, _ in history)
    scale = max(by_opacus_rdp(history, 1e-5).epsilon, largest, 0.1)
    accountant = PLDAccountant(value_discretization_interval=10.0 ** (math.floor(math.log10(scale)) - 4))
    with quiet():
        compose(accountant, history)
    return accountant


def largest_loss(noise_multiplier: float, sampling_rate: float) -> float:
    """Return the loss of one step if the noise is ten standard deviations off."""
    exponent = 10.0 / noise_multiplier + 0.5 / noise_multiplier**2
    return exponent if exponent > 500.0 else math.log1p(sampling_rate * math.expm1(exponent))


def compose(accountant: Any, history: History) -> None:
    """Compose a history with one of dp-accounting's accountants."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

    for noise, rate, steps in history:
        event = GaussianDpEvent(noise)
        accountant.compose(event if rate == 1.0 else PoissonSampledDpEvent(rate, event), steps)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the accountants' warnings inside the block.

    They warn about orders, series and overflow even when another order or accountant gives the result.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def noise_for(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    *,
    factors: tuple[float, ...] = (1.0,),
    besides: History = (),
    only_renyi: bool = False,
) -> float:
    """Return the smallest noise multiplier whose steps together spend at most ε at δ.

    The ε spent is never above the given one. It is within 1e-6 of it if nothing is sampled, and otherwise
    within 0.1%.

    factors: each stands for `steps` steps with that many times the noise; their inverse squares add up to 1.
    besides: the history of what is also released, at the same ε. Raises UserError if `besides` spends all of
    ε, or if no noise suffices.
    """

    def spent(noise: float) -> float:
        history = (*((noise * factor, sampling_rate, steps) for factor in factors), *besides)
        return epsilon_composed(history, delta, only_renyi=only_renyi).epsilon

    if besides and epsilon_composed(besides, delta, only_renyi=only_renyi).epsilon >= epsilon:
        raise UserError(f"the evaluation spends all of ε = {epsilon:g}: raise --epsilon, or evaluation_noise")
    noise = noise_in_the_limit(epsilon, delta, sampling_rate, steps, besides)
    if sampling_rate < 1.0 or only_renyi:
        return search_noise(spent, epsilon, noise)
    step = 1e-10
    while spent(noise) > epsilon:
        noise, step = noise * (1.0 + step), 2.0 * step
    return noise if noise <= MOST_NOISE else no_noise(epsilon)


def noise_in_the_limit(
    epsilon: float, delta: float, sampling_rate: float, steps: int, besides: History = ()
) -> float:
    """Return the noise that spends ε: exact without sampling, otherwise an approximation.

    With sampling, T steps approach one step of noise 1/μ, μ = q √(T (e^(1/σ²) − 1)) (Bu, Dong, Long & Su
    2020). This is a starting point for a search, not a bound.
    """
    from dp_accounting import get_sigma_gaussian

    with quiet():
        one_step = float(get_sigma_gaussian(epsilon, delta))
    left = one_step**-2 - sum(number / noise**2 for noise, rate, number in besides if rate == 1.0)
    if left > 0:  # otherwise the search starts from the noise that all of ε allows
        one_step = left**-0.5
    if sampling_rate == 1.0:
        return one_step * math.sqrt(steps)
    return float(math.log1p(1.0 / (one_step * sampling_rate) ** 2 / steps) ** -0.5)


def search_noise(spent: Callable[[float], float], epsilon: float, start: float) -> float:
    """Return the smallest noise that spends at most ε.

    The search interpolates, because the logarithms of noise and ε are nearly on a line.
    """
    target = epsilon * (1.0 - 0.5 * NOISE_TOLERANCE)
    low, high = (0.0, math.inf), (math.inf, 0.0)  # (noise, its ε): too little noise, and enough
    noise = min(start, MOST_NOISE)
    while high[1] < epsilon * (1.0 - NOISE_TOLERANCE) and high[0] > low[0] * (1.0 + 1e-6):
        reached = spent(noise)
        if reached > epsilon and noise >= MOST_NOISE:
            return no_noise(epsilon)
        low, high = ((noise, reached), high) if reached > epsilon else (low, (noise, reached))
        if low[0] == 0.0:
            noise = high[0] * min(max(high[1] / target, 0.5), 0.99)
        elif math.isinf(high[0]):
            noise = min(low[0] * min(max(low[1] / target, 1.01), 2.0), MOST_NOISE)
        else:
            fraction = 0.5
            if high[1] > 0.0 and math.isfinite(low[1]):
                fraction = math.log(low[1] / target) / math.log(low[1] / high[1])
            noise = low[0] * (high[0] / low[0]) ** min(max(fraction, 0.02), 0.98)
    return high[0]


def no_noise(epsilon: float) -> float:
    """Raise UserError because no noise multiplier suffices."""
    raise UserError(f"no noise multiplier below 1e6 keeps ε = {epsilon:g}: use a larger --epsilon")


def rounds_for(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    noise_multiplier: float,
    steps_per_round: int,
    *,
    besides: History = (),
    only_renyi: bool = False,
) -> int:
    """Return the most rounds that together spend at most ε at δ.

    besides: the history of what is also released, at the same ε. Raises UserError if not even one round fits,
    or if more than a million do.
    """

    def spent(rounds: int) -> float:
        history = ((noise_multiplier, sampling_rate, rounds * steps_per_round), *besides)
        return epsilon_composed(history, delta, only_renyi=only_renyi).epsilon

    low, high = (1, spent(1)), (MOST_ROUNDS + 1, math.inf)  # (rounds, their ε): few enough, and too many
    if low[1] > epsilon:
        raise UserError(
            f"one round at --noise-multiplier {noise_multiplier:g} spends more than ε = {epsilon:g}: "
            "raise one of the two"
        )
    rounds = rounds_in_the_limit(epsilon, delta, sampling_rate, noise_multiplier, steps_per_round)
    while high[0] - low[0] > 1:
        rounds = min(max(rounds, low[0] + 1), high[0] - 1)
        reached = spent(rounds)
        low, high = ((rounds, reached), high) if reached <= epsilon else (low, (rounds, reached))
        if low[0] > 1 and math.isfinite(high[1]):
            fraction = math.log(epsilon / low[1]) / math.log(high[1] / low[1]) if low[1] > 0.0 else 0.5
            rounds = round(low[0] * (high[0] / low[0]) ** fraction)
        else:
            # ε grows roughly with the square root of the rounds. Go 2% further, so as to bracket the answer.
            factor = (epsilon / reached) ** 2 if reached > 0.0 else 2.0
            beyond = 1.02 if reached <= epsilon else 0.98
            rounds = round(rounds * min(max(factor * beyond, 0.5), 2.0))
    if low[0] == MOST_ROUNDS:
        raise UserError(
            f"more than {MOST_ROUNDS:,} rounds fit: set their number with --rounds, and remove --epsilon or "
            "--noise-multiplier"
        )
    return low[0]


def rounds_in_the_limit(
    epsilon: float, delta: float, sampling_rate: float, noise_multiplier: float, steps_per_round: int
) -> int:
    """Return the number of rounds by the same central limit."""
    from dp_accounting import get_sigma_gaussian

    squared = noise_multiplier**-2
    of_a_step = squared if sampling_rate == 1.0 else sampling_rate**2 * math.expm1(min(squared, 500.0))
    with quiet():
        of_all = float(get_sigma_gaussian(epsilon, delta)) ** -2
    return int(min(of_all / of_a_step / steps_per_round, MOST_ROUNDS))

"""ε against closed forms, against the other accountant, and against a published value."""

import math

import numpy as np
import pytest
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from models.accounting import epsilon_composed, epsilon_spent, noise_for
from models.errors import UserError

PRV_ERROR = 0.01  # Opacus's PRV answers with an upper bound, this far above its estimate

# Opacus's accountants warn of orders and of overflow where the other of the two decides.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Optimal order:UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Balle & Wang 2018, theorem 8: the exact δ of a Gaussian mechanism of sensitivity / noise = mu."""
    tail = math.exp(epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))
    return float(ndtr(mu / 2 - epsilon / mu)) - tail


def gaussian_epsilon(noise: float, steps: int, delta: float) -> float:
    """Its inverse. Without sampling, T steps at noise σ are one step at σ / √T."""
    mu = math.sqrt(steps) / noise
    return float(brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0.0, 1000.0, xtol=1e-10))


def sampled_epsilon(noise: float, rate: float, delta: float) -> float:
    """One Poisson-sampled step, exactly, for removing one: δ(ε) = q · δ_Gauss(ln(1 + (e^ε − 1) / q)).

    Balle, Barthe & Gaboardi 2018, theorem 2.
    """

    def excess(epsilon: float) -> float:
        return rate * gaussian_delta(math.log1p(math.expm1(epsilon) / rate), 1 / noise) - delta

    return float(brentq(excess, 0.0, 100.0, xtol=1e-10))


@pytest.mark.parametrize("steps", [1, 5, 50])
@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0, 8.0, 20.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-7])
def test_without_sampling_never_below_the_closed_form_and_close_above(
    noise: float, steps: int, delta: float
) -> None:
    exact = gaussian_epsilon(noise, steps, delta)
    ours = epsilon_spent(noise, 1.0, steps, delta).epsilon
    assert exact <= ours <= exact * 1.02 + 1.1 * PRV_ERROR


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("noise", [0.6, 1.0, 3.0])
def test_one_sampled_step_never_below_the_closed_form_and_close_above(noise: float, rate: float) -> None:
    exact = sampled_epsilon(noise, rate, 1e-5)
    ours = epsilon_spent(noise, rate, 1, 1e-5).epsilon
    assert exact <= ours <= exact * 1.02 + 1.5 * PRV_ERROR


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [(1.0, 0.01, 1000), (1.9, 0.2, 90), (1.0, 0.1, 300), (4.0, 0.05, 2000)],
)
def test_the_two_accountants_agree_and_the_tighter_is_reported(noise: float, rate: float, steps: int) -> None:
    rdp, prv = RDPAccountant(), PRVAccountant()
    rdp.history = prv.history = [(noise, rate, steps)]
    by_rdp, by_prv = rdp.get_epsilon(1e-5), prv.get_epsilon(1e-5)
    # Rényi accounting is valid and loose: never under PRV's lower estimate, and at most a quarter above it.
    assert by_prv - 2 * PRV_ERROR < by_rdp < 1.25 * by_prv
    spent = epsilon_spent(noise, rate, steps, 1e-5)
    assert spent.epsilon == min(by_rdp, by_prv)
    assert spent.accountant == ("opacus-prv" if by_prv <= by_rdp else "opacus-rdp")


def test_where_the_mesh_of_prv_breaks_down_rdp_answers() -> None:
    spent = epsilon_spent(0.05, 1.0, 1, 1e-5)
    rdp = RDPAccountant()
    rdp.history = [(0.05, 1.0, 1)]
    assert math.isfinite(spent.epsilon)
    assert spent.epsilon <= rdp.get_epsilon(1e-5)
    assert spent.epsilon >= gaussian_epsilon(0.05, 1, 1e-5)


def test_published_value_of_abadi_et_al() -> None:
    """Abadi et al. 2016, section 3.2: q = 0.01, σ = 4, T = 10000, δ = 1e-5 costs ε ≈ 1.26 by the moments
    accountant. Accountants since are tighter, not looser.
    """
    assert 0.9 < epsilon_spent(4.0, 0.01, 10_000, 1e-5).epsilon <= 1.26


def test_nothing_done_costs_nothing_and_no_noise_costs_everything() -> None:
    assert epsilon_spent(1.0, 0.5, 0, 1e-5) == (0.0, "none")
    assert epsilon_spent(0.0, 0.5, 0, 1e-5) == (0.0, "none")
    assert epsilon_composed((), 1e-5) == (0.0, "none")
    assert epsilon_spent(0.0, 0.01, 1, 1e-5) == (math.inf, "none")
    assert epsilon_composed(((1.0, 0.1, 10), (0.0, 0.1, 1)), 1e-5) == (math.inf, "none")


def test_more_steps_less_noise_more_sampling_and_less_delta_cost_more() -> None:
    def epsilon(noise: float = 1.0, rate: float = 0.1, steps: int = 10, delta: float = 1e-5) -> float:
        return epsilon_spent(noise, rate, steps, delta).epsilon

    for costs in (
        [epsilon(steps=steps) for steps in (1, 2, 10, 100)],
        [epsilon(noise=noise) for noise in (4.0, 2.0, 1.0, 0.7)],
        [epsilon(rate=rate) for rate in (0.01, 0.1, 0.5, 1.0)],
        [epsilon(delta=delta) for delta in (1e-3, 1e-5, 1e-7)],
    ):
        assert all(np.diff(costs) > 0)


def test_a_history_composes_as_a_whole() -> None:
    together = epsilon_spent(1.0, 0.1, 30, 1e-5).epsilon
    pieces = epsilon_composed(((1.0, 0.1, 10), (1.0, 0.1, 20)), 1e-5).epsilon
    assert pieces == pytest.approx(together, abs=2 * PRV_ERROR)
    mixed = epsilon_composed(((1.0, 0.1, 30), (2.0, 0.5, 5)), 1e-5).epsilon
    turned = epsilon_composed(((2.0, 0.5, 5), (1.0, 0.1, 30)), 1e-5).epsilon
    assert mixed == pytest.approx(turned, abs=2 * PRV_ERROR)
    assert together < mixed < together + epsilon_spent(2.0, 0.5, 5, 1e-5).epsilon
    # Gaussian mechanisms compose exactly: noises σ₁ and σ₂ are one of (σ₁⁻² + σ₂⁻²)^−½.
    exact = gaussian_epsilon((2.0**-2 + 4.0**-2) ** -0.5, 1, 1e-5)
    ours = epsilon_composed(((2.0, 1.0, 1), (4.0, 1.0, 1)), 1e-5).epsilon
    assert exact <= ours <= exact + 2 * PRV_ERROR


@pytest.mark.parametrize(
    ("epsilon", "rate", "steps", "delta"),
    [
        (0.3, 1.0, 5, 1e-5),
        (1.0, 1.0, 1, 1e-7),
        (8.0, 1.0, 5, 1e-5),
        (30.0, 1.0, 5, 1e-5),
        (1.0, 0.2, 90, 1e-5),
        (2.0, 0.01, 1000, 1e-7),
        (8.0, 0.01, 1000, 1e-5),
    ],
)
def test_noise_found_for_epsilon_spends_it_and_never_more(
    epsilon: float, rate: float, steps: int, delta: float
) -> None:
    noise = noise_for(epsilon, delta, rate, steps)
    spent = epsilon_spent(noise, rate, steps, delta).epsilon
    assert 0.99 * epsilon <= spent <= epsilon


@pytest.mark.parametrize("epsilon", [1e-3, 1e-6])
def test_an_epsilon_too_small_to_reach_is_told_to_the_user(epsilon: float) -> None:
    with pytest.raises(UserError, match="--epsilon"):
        noise_for(epsilon, 1e-5, 1.0, 5)


@pytest.mark.parametrize("delta", [0.0, -1e-5])
def test_a_gaussian_keeps_no_promise_without_delta(delta: float) -> None:
    assert epsilon_spent(1.0, 1.0, 1, delta) == (math.inf, "none")
    assert epsilon_spent(1.0, 1.0, 0, delta) == (0.0, "none"), "nothing done costs nothing"

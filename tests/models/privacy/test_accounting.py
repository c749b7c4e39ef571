"""ε and δ are checked against closed forms, between independent libraries, and against published values."""

import logging
import math
import subprocess
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

import terrycloth.models.privacy.accounting
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import (
    MOST_STEPS_OF_PLD,
    by_analytic_gaussian,
    by_dp_accounting_pld,
    by_dp_accounting_rdp,
    by_opacus_prv,
    by_opacus_rdp,
    delta_composed,
    epsilon_by_each,
    epsilon_composed,
    epsilon_spent,
    fits_pld,
    noise_for,
    reduced,
    rounds_for,
)

PRV_ERROR = 0.01  # Opacus's PRV accountant answers with an upper bound, which is this far above its estimate.


@pytest.fixture(autouse=True)
def no_cached_results() -> Iterator[None]:
    """Empty the cache, so that a test that replaces a part of the accounting leaves none to the next test."""
    yield
    accounting = terrycloth.models.privacy.accounting
    for kept in (epsilon_composed, by_opacus_rdp, accounting.dp_accounting_curve, accounting.privacy_loss):
        kept.cache_clear()


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Balle & Wang 2018, theorem 8: the exact δ of a Gaussian mechanism of sensitivity / noise = mu."""
    tail = math.exp(epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))
    return float(ndtr(mu / 2 - epsilon / mu)) - tail


def gaussian_epsilon(noise: float, steps: int, delta: float) -> float:
    """Return the inverse in ε. Without sampling, T steps at noise σ equal one step at noise σ / √T."""
    mu = math.sqrt(steps) / noise
    return float(brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0.0, 1000.0, xtol=1e-10))


def sampled_epsilon(noise: float, rate: float, delta: float) -> float:
    """Return the exact ε of one Poisson-sampled step for removing a unit.

    δ(ε) = q · δ_Gauss(ln(1 + (e^ε − 1) / q)), by Balle, Barthe & Gaboardi 2018, theorem 2.
    """

    def excess(epsilon: float) -> float:
        return rate * gaussian_delta(math.log1p(math.expm1(epsilon) / rate), 1 / noise) - delta

    return float(brentq(excess, 0.0, 100.0, xtol=1e-10))


@pytest.mark.parametrize("steps", [1, 50])
@pytest.mark.parametrize("noise", [0.03, 0.5, 2.0, 20.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-12])
def test_epsilon_without_sampling_is_the_closed_form(noise: float, steps: int, delta: float) -> None:
    ours = epsilon_spent(noise, 1.0, steps, delta)
    assert ours.accountant == "analytic-gaussian"
    if ours.epsilon < 500:  # above 500 the closed form overflows
        assert ours.epsilon == pytest.approx(gaussian_epsilon(noise, steps, delta), rel=1e-6, abs=1e-8)
    # Every other accountant gives only an upper bound.
    for other in epsilon_by_each(((noise, 1.0, steps),), delta):
        assert other.epsilon >= ours.epsilon * (1.0 - 1e-9)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("noise", [0.6, 1.0, 3.0])
def test_epsilon_of_one_sampled_step_is_at_or_just_above_the_closed_form(noise: float, rate: float) -> None:
    exact = sampled_epsilon(noise, rate, 1e-5)
    ours = epsilon_spent(noise, rate, 1, 1e-5)
    assert exact <= ours.epsilon <= exact * 1.001 + 1e-5
    assert ours.accountant == "dp-accounting-pld"


@pytest.mark.parametrize("delta", [1e-5, pytest.param(1e-7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("steps", [1, 30, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("noise", [1.0, 4.0])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 1.0])
def test_independent_accountants_agree_within_their_known_slack(
    rate: float, noise: float, steps: int, delta: float
) -> None:
    history = ((noise, rate, steps),)
    pld = by_dp_accounting_pld(history, delta).epsilon
    prv = by_opacus_prv(history, delta).epsilon
    rdp, other_rdp = by_opacus_rdp(history, delta).epsilon, by_dp_accounting_rdp(history, delta).epsilon
    # PRV's estimate (its bound less its error) equals PLD's, and PLD is the tighter upper bound.
    assert pld == pytest.approx(prv - PRV_ERROR, rel=1e-3, abs=0.1 * PRV_ERROR)
    assert pld < prv
    # Rényi accounting is valid but loose. Far from ε = 1 both libraries have too few orders.
    assert pld < min(rdp, other_rdp)
    if pld < 20:
        assert max(rdp, other_rdp) < 1.3 * pld + 1.0
    by_each = epsilon_by_each(history, delta)
    assert by_each[0] == epsilon_composed(history, delta)


@pytest.mark.parametrize("noise", [0.024, 0.03, 0.05, 0.1])
def test_a_large_epsilon_is_never_underestimated(noise: float) -> None:
    """Opacus's PRV accountant alone answers 709.8 for every loss that is larger."""
    exact = epsilon_spent(noise, 1.0, 1, 1e-5).epsilon
    assert all(spent.epsilon >= exact for spent in epsilon_by_each(((noise, 1.0, 1),), 1e-5))
    history = ((noise, 0.999999, 1),)
    assert epsilon_composed(history, 1e-5).epsilon >= exact - 1e-3
    names = [spent.accountant for spent in epsilon_by_each(history, 1e-5)]
    assert ("dp-accounting-pld" in names) == (noise >= 0.04)
    assert ("opacus-prv" in names) == (noise >= 0.04)


def test_published_values_of_the_moments_accountant() -> None:
    """Abadi et al. 2016, section 3.2: q = 0.01, σ = 4, T = 10000 and δ = 1e-5 cost ε ≈ 1.26.

    The conversion known then (Mironov 2017, proposition 3: ε = ρ(α) + ln(1/δ) / (α − 1)) turns
    dp-accounting's curve into the published number. Later conversions are tighter, never looser.
    """
    history = ((4.0, 0.01, 10_000),)
    orders, curve = terrycloth.models.privacy.accounting.renyi_curve(history)
    assert float(np.min(curve + math.log(1e5) / (orders - 1))) == pytest.approx(1.26, abs=0.005)
    assert 0.9 < epsilon_composed(history, 1e-5).epsilon < by_opacus_rdp(history, 1e-5).epsilon < 1.26


@pytest.mark.parametrize(
    ("noise", "epochs", "published"), [(1.12, 60, 2.92), (1.2, 10, 1.20), (1.12, 1, 1.00), (1.12, 2, 1.04)]
)
def test_published_values_of_tensorflow_privacy(noise: float, epochs: int, published: float) -> None:
    """The tutorial on MNIST (tutorials/README.md) has 60000 examples, 234 batches of 256 an epoch and δ =
    1e-5.

    Its values were found with the same older conversion.
    """
    history = ((noise, 256 / 60_000, 234 * epochs),)
    orders, curve = terrycloth.models.privacy.accounting.renyi_curve(history)
    assert float(np.min(curve + math.log(1e5) / (orders - 1))) == pytest.approx(published, abs=0.005)
    assert epsilon_composed(history, 1e-5).epsilon < published


def test_no_steps_cost_nothing_and_no_noise_costs_an_infinite_epsilon() -> None:
    assert epsilon_spent(1.0, 0.5, 0, 1e-5) == (0.0, "none")
    assert epsilon_spent(0.0, 0.5, 0, 1e-5) == (0.0, "none")
    assert epsilon_composed((), 1e-5) == (0.0, "none")
    assert epsilon_by_each((), 1e-5) == [(0.0, "none")]
    assert delta_composed((), np.array([0.0, 1.0])).tolist() == [0.0, 0.0]
    for history in (((0.0, 0.01, 1),), ((0.0, 1.0, 1),), ((1.0, 0.1, 10), (0.0, 0.1, 1))):
        assert epsilon_composed(history, 1e-5) == (math.inf, "none")
        assert epsilon_by_each(history, 1e-5) == []
        assert delta_composed(history, np.array([0.0, 1.0])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("delta", [0.0, -1e-5])
def test_a_gaussian_mechanism_has_infinite_epsilon_at_delta_zero(delta: float) -> None:
    assert epsilon_spent(1.0, 1.0, 1, delta) == (math.inf, "none")
    assert epsilon_by_each(((1.0, 1.0, 1),), delta) == []
    assert epsilon_spent(1.0, 1.0, 0, delta) == (0.0, "none"), "no steps cost nothing"


@pytest.mark.slow
def test_more_steps_less_noise_more_sampling_and_less_delta_cost_more() -> None:
    def epsilon(noise: float = 3.0, rate: float = 0.1, steps: int = 10, delta: float = 1e-5) -> float:
        return epsilon_spent(noise, rate, steps, delta).epsilon

    for costs in (
        [epsilon(steps=steps) for steps in (1, 2, 10, 100)],
        [epsilon(noise=noise) for noise in (4.0, 3.0, 2.0)],
        [epsilon(rate=rate) for rate in (0.01, 0.1, 0.5, 1.0)],
        [epsilon(delta=delta) for delta in (1e-3, 1e-5, 1e-7)],
    ):
        assert all(np.diff(costs) > 0)


@pytest.mark.slow
def test_epsilon_grows_with_each_step_even_where_the_cells_of_pld_grow() -> None:
    """A device must not be refused its last round because ε fell by the accountant's rounding error."""
    about = [by_opacus_rdp(((1.0, 0.1, steps),), 1e-5).epsilon for steps in (162, 168)]
    assert about[0] < 10 < about[1], "the size of the cells must change for this test to mean something"
    costs = [epsilon_spent(1.0, 0.1, steps, 1e-5).epsilon for steps in range(162, 169)]
    assert all(np.diff(costs) > 0)


@pytest.mark.slow
def test_a_history_of_mechanisms_is_composed_as_a_whole() -> None:
    pieces = ((1.0, 0.1, 10), (1.0, 0.1, 20))
    assert epsilon_composed(pieces, 1e-5) == epsilon_spent(1.0, 0.1, 30, 1e-5)
    together = epsilon_spent(1.0, 0.1, 30, 1e-5).epsilon
    mixed = epsilon_composed(((1.0, 0.1, 30), (2.0, 0.5, 5)), 1e-5)
    assert mixed == epsilon_composed(((2.0, 0.5, 5), (1.0, 0.1, 30)), 1e-5)
    assert together < mixed.epsilon < together + epsilon_spent(2.0, 0.5, 5, 1e-5).epsilon
    # Gaussian mechanisms compose exactly: noises σ₁ and σ₂ equal one noise of (σ₁⁻² + σ₂⁻²)^−½.
    assert reduced(((2.0, 1.0, 1), (4.0, 1.0, 1), (3.0, 0.5, 0))) == (((2**-2 + 4**-2) ** -0.5, 1.0, 1),)
    exact = gaussian_epsilon((2.0**-2 + 4.0**-2) ** -0.5, 1, 1e-5)
    ours = epsilon_composed(((2.0, 1.0, 1), (4.0, 1.0, 1)), 1e-5).epsilon
    assert ours == pytest.approx(exact, rel=1e-8)
    # PLD also composes them with a sampled mechanism.
    half = epsilon_composed(((2.0, 1.0, 1), (1.0, 0.1, 30)), 1e-5)
    assert max(together, gaussian_epsilon(2.0, 1, 1e-5)) < half.epsilon
    assert by_opacus_prv(((2.0, 1.0, 1), (1.0, 0.1, 30)), 1e-5).epsilon - PRV_ERROR == pytest.approx(
        half.epsilon, rel=1e-3
    )


@pytest.mark.slow
def test_adding_and_removing_a_unit_are_both_covered() -> None:
    """At ε = 0, δ is the same for adding and for removing a unit; elsewhere the larger of the two counts."""
    history, epsilons = ((1.0, 0.1, 20),), np.array([0.0, 0.5, 1.0, 3.0])
    loss = terrycloth.models.privacy.accounting.privacy_loss(history)._pld
    removing = loss._pmf_remove.get_delta_for_epsilon(epsilons)
    adding = loss._pmf_add.get_delta_for_epsilon(epsilons)
    assert removing[0] == pytest.approx(adding[0], rel=1e-3)
    assert not np.allclose(removing[1:], adding[1:], rtol=0.1)
    np.testing.assert_array_equal(delta_composed(history, epsilons), np.maximum(removing, adding))


def test_renyi_accounting_answers_for_a_delta_too_small_for_pld() -> None:
    spent = epsilon_spent(1.1, 0.05, 200, 1e-11)
    assert spent.accountant in ("opacus-rdp", "dp-accounting-rdp")
    assert epsilon_spent(1.1, 0.05, 200, 1e-10).accountant == "dp-accounting-pld"
    assert by_dp_accounting_pld(((1.1, 0.05, 200),), 1e-11).epsilon == math.inf
    assert "opacus-prv" not in [each.accountant for each in epsilon_by_each(((1.1, 0.05, 200),), 1e-11)]


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(20.0, 0.1, 30), (5.0, 0.01, 100), (1.1, 0.05, 200), (30.0, 0.99, 10)]
)
def test_the_tightest_of_the_accountants_that_apply_is_used(noise: float, rate: float, steps: int) -> None:
    """Just below the smallest δ that PLD can compute, ε is not much larger than just above it."""
    history = ((noise, rate, steps),)
    above, below = (epsilon_composed(history, delta) for delta in (1.1e-10, 9e-11))
    assert above.accountant == "dp-accounting-pld"
    assert below == epsilon_by_each(history, 9e-11)[0]
    assert above.epsilon < below.epsilon < 1.25 * above.epsilon


@pytest.mark.parametrize("epsilon", [0.2, 0.02])
def test_noise_is_found_on_either_side_of_the_least_delta_of_pld(epsilon: float) -> None:
    above, below = (noise_for(epsilon, delta, 0.05, 100) for delta in (1.1e-10, 9e-11))
    assert above < below < 1.5 * above
    assert epsilon_spent(below, 0.05, 100, 9e-11).epsilon <= epsilon


def test_a_sampled_step_costs_no_more_than_the_same_step_without_sampling() -> None:
    """At a rate near 1 and large noise the exact bound of the unsampled step is the tightest one."""
    history = ((30.0, 0.999, 10),)
    assert by_analytic_gaussian(history, 1e-12).epsilon == pytest.approx(gaussian_epsilon(30.0, 10, 1e-12))
    assert epsilon_composed(history, 1e-12).accountant == "analytic-gaussian"


def test_other_accountants_answer_for_a_loss_too_large_for_pld() -> None:
    for history in (((0.01, 0.01, 1000),), ((1e-6, 0.5, 10),)):
        spent = epsilon_composed(history, 1e-5)
        assert spent == epsilon_by_each(history, 1e-5)[0]
        assert spent.accountant == "analytic-gaussian", "Rényi curves are 9% above it here"
        assert 500 < spent.epsilon < math.inf
        assert delta_composed(history, np.array([1.0])).tolist() == [1.0]


def test_a_divergence_rounded_below_zero_does_not_make_epsilon_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """dp-accounting takes a negative divergence for ε = 0, whatever the other orders give."""
    from dp_accounting.rdp import RdpAccountant

    whole = RdpAccountant.rdp.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(RdpAccountant, "rdp", property(lambda self: np.append(-1e-18, whole(self)[1:])))
    assert by_dp_accounting_rdp(((1.1, 0.05, 200),), 1e-5).epsilon > 1.0
    terrycloth.models.privacy.accounting.dp_accounting_curve.cache_clear()
    monkeypatch.setattr(RdpAccountant, "rdp", property(lambda self: -whole(self)))
    assert by_dp_accounting_rdp(((1.1, 0.05, 200),), 1e-5).epsilon == math.inf


@pytest.mark.parametrize(("noise", "steps"), [(0.3, 1), (2.0, 5), (20.0, 50), (3000.0, 1)])
def test_epsilon_from_a_renyi_curve_is_above_the_exact_epsilon_of_a_gaussian(
    noise: float, steps: int
) -> None:
    curve = epsilon_spent(noise, 1.0, steps, 1e-6, only_renyi=True)
    exact = epsilon_spent(noise, 1.0, steps, 1e-6)
    assert curve.accountant in ("dp-accounting-rdp", "opacus-rdp")
    assert exact.epsilon < curve.epsilon < 1.2 * exact.epsilon
    # Bun & Steinke 2016, proposition 1.3: ρ-concentrated privacy costs at most ρ + 2 √(ρ ln 1/δ).
    rho = steps / noise**2 / 2
    assert curve.epsilon < rho + 2 * math.sqrt(rho * math.log(1e6))
    both = epsilon_by_each(((noise, 1.0, steps),), 1e-6, only_renyi=True)
    assert [spent.accountant for spent in both] != []
    assert {spent.accountant for spent in both} == {"dp-accounting-rdp", "opacus-rdp"}
    assert both[0].epsilon == pytest.approx(both[1].epsilon, rel=1e-9), "one formula, two libraries"


def test_the_conversion_of_a_renyi_curve_uses_the_best_order() -> None:
    """Canonne, Kamath & Steinke 2020, proposition 12, minimised over all orders instead of a grid of them."""
    rho, delta = 0.02, 1e-5
    orders = np.linspace(1.01, 200.0, 1_000_000)
    best = np.min(rho * orders - np.log(delta * orders) / (orders - 1) + np.log1p(-1 / orders))
    ours = epsilon_spent((2 * rho) ** -0.5, 1.0, 1, delta, only_renyi=True).epsilon
    assert best * (1 - 1e-9) <= ours <= best * 1.0001


def test_sampling_is_refused_for_a_mechanism_known_only_by_its_renyi_curve() -> None:
    for ask in (epsilon_composed, epsilon_by_each):
        with pytest.raises(ValueError, match="Gaussian noise only"):
            ask(((2.0, 1.0, 1), (2.0, 0.5, 1)), 1e-5, only_renyi=True)
    with pytest.raises(ValueError, match="Gaussian noise only"):
        delta_composed(((2.0, 0.5, 1),), np.zeros(1), only_renyi=True)


@pytest.mark.parametrize("only_renyi", [False, True])
def test_the_privacy_profile_is_the_inverse_of_epsilon(only_renyi: bool) -> None:
    history = ((2.0, 1.0, 3),)
    for delta in (1e-2, 1e-5, 1e-7):
        epsilon = epsilon_composed(history, delta, only_renyi=only_renyi).epsilon
        (back,) = delta_composed(history, np.array([epsilon]), only_renyi=only_renyi)
        assert delta * (1 - 1e-6) <= back <= delta * 1.001


@pytest.mark.slow
def test_the_privacy_profile_of_a_sampled_step_is_the_closed_form() -> None:
    """For removing a unit, δ(ε) = ∫ (p − e^ε q)₊, which the test computes by quadrature."""
    rate, noise, epsilon = 0.2, 1.0, 0.5

    def excess(x: float) -> float:
        base = math.exp(-(x**2) / 2 / noise**2) / noise / math.sqrt(2 * math.pi)
        other = math.exp(-((x - 1) ** 2) / 2 / noise**2) / noise / math.sqrt(2 * math.pi)
        return max(0.0, (1 - rate) * base + rate * other - math.exp(epsilon) * base)

    exact = quad(excess, -10, 10, limit=500)[0]
    (ours,) = delta_composed(((noise, rate, 1),), np.array([epsilon]))
    assert exact <= ours <= exact * 1.001


@pytest.mark.parametrize(
    ("epsilon", "steps", "delta"),
    [
        (0.01, 1, 1e-5),
        (0.3, 5, 1e-5),
        (0.5, 3, 1e-5),
        (5.0, 7, 1e-5),
        (1.0, 1, 1e-7),
        (8.0, 5, 1e-5),
        (30.0, 5, 1e-5),
        (1.0, 30, 1e-12),
    ],
)
def test_noise_without_sampling_is_exact_and_never_too_little(
    epsilon: float, steps: int, delta: float
) -> None:
    noise = noise_for(epsilon, delta, 1.0, steps)
    spent = epsilon_spent(noise, 1.0, steps, delta).epsilon
    assert epsilon * (1 - 1e-6) <= spent <= epsilon
    if delta == 1e-5 and epsilon >= 0.3:
        assert gaussian_delta(epsilon, math.sqrt(steps) / noise) == pytest.approx(delta, rel=1e-5)
    curve = noise_for(epsilon, delta, 1.0, steps, only_renyi=True)
    assert curve > noise
    spent = epsilon_spent(curve, 1.0, steps, delta, only_renyi=True).epsilon
    assert 0.999 * epsilon <= spent <= epsilon


SEARCHES = [
    (0.01, 0.05, 200, 1e-5),
    (1.0, 0.2, 90, 1e-5),
    (4.0, 0.05, 200, 1e-5),
    pytest.param(2.0, 0.01, 1000, 1e-7, marks=pytest.mark.slow),
    (20.0, 0.05, 20, 1e-5),
    (1e-6, 0.1, 10, 1e-5),
    (1.0, 0.05, 200, 1e-12),
    (2000.0, 0.5, 100, 1e-5),
    (1.0, 0.001, 1, 1e-5),
    (8.0, 0.01, 1000, 1e-5),
]


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "rate", "steps", "delta"), SEARCHES)
def test_noise_found_for_epsilon_spends_it_and_never_more(
    epsilon: float, rate: float, steps: int, delta: float
) -> None:
    noise = noise_for(epsilon, delta, rate, steps)
    spent = epsilon_spent(noise, rate, steps, delta).epsilon
    assert 0.998 * epsilon <= spent <= epsilon


@pytest.mark.slow
def test_the_search_for_noise_calls_the_accountant_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of the accountant may take a second, so the search must make few of them."""
    asked: list[float] = []
    real = terrycloth.models.privacy.accounting.epsilon_spent

    def count(noise: float, *arguments: float, **options: bool) -> object:
        asked.append(noise)
        return real(noise, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(terrycloth.models.privacy.accounting, "epsilon_spent", count)
    noise_for(1.0, 1e-5, 0.2, 90)
    assert len(asked) <= 6
    asked.clear()
    rounds_for(8.0, 1e-5, 0.01, 0.6, 1)
    assert len(asked) <= 8


@pytest.mark.parametrize(("epsilon", "rate"), [(1e-6, 1.0), (1e-9, 0.9)])
def test_an_epsilon_too_small_to_reach_is_a_user_error(epsilon: float, rate: float) -> None:
    with pytest.raises(UserError, match="--epsilon"):
        noise_for(epsilon, 1e-9, rate, 5)


@pytest.mark.parametrize(
    ("epsilon", "rate", "noise", "steps_per_round"),
    [(4.0, 1.0, 10.0, 3), (8.0, 0.01, 0.6, 1), (1.0, 0.2, 6.0, 2), (8.0, 1.0, 0.9, 1)],
)
def test_rounds_for_returns_the_largest_number_that_fits(
    epsilon: float, rate: float, noise: float, steps_per_round: int
) -> None:
    rounds = rounds_for(epsilon, 1e-5, rate, noise, steps_per_round)
    spent = [epsilon_spent(noise, rate, n * steps_per_round, 1e-5).epsilon for n in (rounds, rounds + 1)]
    assert rounds >= 1
    assert spent[0] <= epsilon < spent[1]


def test_fewer_rounds_fit_where_only_the_renyi_curve_is_known() -> None:
    curve, gaussian = (rounds_for(4.0, 1e-5, 1.0, 10.0, 3, only_renyi=only) for only in (True, False))
    assert gaussian == 28
    assert curve < gaussian
    assert epsilon_spent(10.0, 1.0, 3 * curve, 1e-5, only_renyi=True).epsilon <= 4.0
    assert epsilon_spent(10.0, 1.0, 3 * (curve + 1), 1e-5, only_renyi=True).epsilon > 4.0


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1.0])
def test_it_is_a_user_error_if_not_one_round_fits(noise: float) -> None:
    with pytest.raises(UserError, match=r"one round at --noise-multiplier .* more than ε = 1"):
        rounds_for(1.0, 1e-5, 1.0, noise, 1)


def test_it_is_a_user_error_if_over_a_million_rounds_fit() -> None:
    with pytest.raises(UserError, match="more than 1,000,000 rounds fit"):
        rounds_for(4.0, 1e-5, 1.0, 1e5, 1)


@pytest.mark.slow
def test_no_accountant_warns_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    level = logging.getLogger("absl").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for history in (((0.5, 0.5, 100),), ((0.05, 1.0, 1),), ((3000.0, 1.0, 1),)):
            epsilon_by_each(history, 1e-5)
            epsilon_composed(history, 1e-5)
        noise_for(1e-6, 1e-5, 1.0, 5)
    assert caplog.records == []
    assert logging.getLogger("absl").level == level


def test_accounting_libraries_are_loaded_only_on_first_use() -> None:
    tell = (
        "import sys, terrycloth.models.privacy.accounting\n"
        "print({'dp_accounting', 'opacus', 'torch'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


def test_renyi_accounting_answers_for_more_steps_than_pld_can_compose_in_seconds() -> None:
    assert fits_pld(((30.0, 0.01, MOST_STEPS_OF_PLD),))
    many = ((30.0, 0.01, MOST_STEPS_OF_PLD), (31.0, 0.01, 1))
    assert not fits_pld(many)
    assert epsilon_composed(many, 1e-5).accountant == "opacus-rdp"

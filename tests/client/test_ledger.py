"""The ledger adds up everything that a device released, and its ε agrees with Opacus."""

import math

import numpy as np
import pytest
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.analysis import rdp

from terrycloth.client.ledger import MOST_MECHANISMS, Ledger
from terrycloth.client.state import DeviceState
from terrycloth.models.privacy import accounting
from terrycloth.models.privacy.accounting import Spent, by_opacus_rdp, epsilon_composed, epsilon_spent

DELTA = 1e-5
ALL = np.array([True, True, True])


def opacus_epsilon(*history: tuple[float, float, int]) -> float:
    """Return the smaller ε of Opacus's two accountants, step by step; it is 0.01 above the true value."""
    bounds = []
    for accountant in (RDPAccountant(), PRVAccountant()):
        for noise, rate, steps in history:
            for _ in range(steps):
                accountant.step(noise_multiplier=noise, sample_rate=rate)
        bounds.append(accountant.get_epsilon(DELTA))
    return min(bounds)


def test_a_ledger_by_hand():
    ledger = Ledger.empty(3)
    assert ledger.epsilon(DELTA).tolist() == [0.0, 0.0, 0.0]
    ledger = ledger.after(np.array([True, False, True]), 1.0, 0.5, 2)
    ledger = ledger.after(np.array([True, False, False]), 2.0, 0.5, 1)
    ledger = ledger.after(ALL, 1.0, 0.5, 4)
    assert ledger.mechanisms.tolist() == [[1.0, 0.5], [2.0, 0.5]]
    assert ledger.steps.tolist() == [[6, 1], [4, 0], [6, 0]]


def test_recording_does_not_change_the_old_ledger():
    old = Ledger.empty(3).after(ALL, 1.0, 0.5, 2)
    old.after(ALL, 1.0, 0.5, 5)
    old.after(ALL, 3.0, 0.5, 5)
    assert old.steps.tolist() == [[2], [2], [2]]


@pytest.mark.parametrize("changed", [(1.1, 0.5), (1.0, 0.4), (0.5, 1.0)])
def test_another_noise_or_rate_is_another_mechanism(changed):
    ledger = Ledger.empty(1).after(ALL[:1], 1.0, 0.5, 2).after(ALL[:1], *changed, 3)
    assert ledger.steps.tolist() == [[2, 3]]


def test_epsilon_of_a_gaussian_by_hand():
    """One full-batch step at σ = 4 is the Gaussian mechanism (Balle & Wang 2018, theorem 8)."""
    ledger = Ledger.empty(1).after(ALL[:1], 4.0, 1.0, 1)
    spent = float(ledger.epsilon(DELTA)[0])

    def delta_at(epsilon: float) -> float:
        def below(x: float) -> float:
            return 0.5 * math.erfc(-x / math.sqrt(2))

        mu = 1 / 4.0
        return below(mu / 2 - epsilon / mu) - math.exp(epsilon) * below(-mu / 2 - epsilon / mu)

    assert delta_at(spent) == pytest.approx(DELTA, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "history",
    [
        [(1.0, 0.3, 7)],
        [(1.2, 0.2, 4), (0.9, 0.5, 3)],
        [(2.0, 1.0, 2), (0.8, 0.05, 6), (3.0, 0.5, 1)],
    ],
)
def test_epsilon_is_opacus_stepped_one_by_one_to_its_error_band(history):
    ledger = Ledger.empty(1)
    for noise, rate, steps in history:
        ledger = ledger.after(ALL[:1], noise, rate, steps)
    assert float(ledger.epsilon(DELTA)[0]) == pytest.approx(opacus_epsilon(*history) - 0.01, abs=1e-3)


@pytest.mark.slow
def test_every_device_has_its_own_history():
    ledger = Ledger.empty(4)
    ledger = ledger.after(np.array([True, True, False, True]), 1.0, 0.3, 5)
    ledger = ledger.after(np.array([True, False, False, True]), 2.0, 0.3, 5)
    alone = [
        opacus_epsilon((1.0, 0.3, 5), (2.0, 0.3, 5)),
        opacus_epsilon((1.0, 0.3, 5)),
        0.0,
        opacus_epsilon((1.0, 0.3, 5), (2.0, 0.3, 5)),
    ]
    assert ledger.epsilon(DELTA).tolist() == pytest.approx(
        [max(0.0, each - 0.01) for each in alone], abs=1e-3
    )


def test_equal_histories_are_composed_once(monkeypatch):
    composed = []

    def count(history: object, delta: float, *, only_renyi: bool) -> Spent:
        composed.append(history)
        return Spent(1.0, "counted")

    monkeypatch.setattr("terrycloth.client.ledger.epsilon_composed", count)
    ledger = Ledger.empty(100_000).after(np.arange(100_000) % 3 == 0, 1.0, 0.3, 5)
    assert ledger.epsilon(DELTA).shape == (100_000,)
    assert len(composed) == 2


def test_a_saved_ledger_continues_where_it_stopped(tmp_path):
    straight = Ledger.empty(2).after(ALL[:2], 1.0, 0.3, 4).after(np.array([True, False]), 1.0, 0.3, 3)
    state = DeviceState.new(2, 3)
    state.ledger = Ledger.empty(2).after(ALL[:2], 1.0, 0.3, 4)
    state.save(tmp_path / "state.safetensors")
    resumed = DeviceState.load(tmp_path / "state.safetensors").ledger
    resumed = resumed.after(np.array([True, False]), 1.0, 0.3, 3)
    assert np.array_equal(resumed.mechanisms, straight.mechanisms)
    assert np.array_equal(resumed.steps, straight.steps)
    assert np.array_equal(resumed.epsilon(DELTA), straight.epsilon(DELTA))
    assert float(resumed.epsilon(DELTA)[0]) > float(resumed.epsilon(DELTA)[1])


def test_steps_recorded_since_a_time_by_hand():
    """For mechanisms known at that time it is the difference of steps, and for later ones all steps."""
    then = Ledger.empty(3).after(np.array([True, False, True]), 1.0, 0.5, 2)
    now = then.after(np.array([True, True, False]), 1.0, 0.5, 3).after(
        np.array([False, True, False]), 2.0, 1.0, 1
    )
    assert now.since(then.steps).steps.tolist() == [[3, 0], [3, 1], [0, 0]]
    assert now.since(Ledger.empty(3).steps).steps.tolist() == now.steps.tolist() == [[5, 0], [3, 1], [2, 0]]
    assert now.since(now.steps).epsilon(DELTA).tolist() == [0.0, 0.0, 0.0]
    # Another accountant is used for comparison, whose ε is 0.01 higher.
    alone = [opacus_epsilon((1.0, 0.5, 3)), opacus_epsilon((1.0, 0.5, 3), (2.0, 1.0, 1)), 0.0]
    assert now.since(then.steps).epsilon(DELTA).tolist() == pytest.approx(alone, rel=2.5e-3)


def test_negative_steps_are_refused():
    """Negative steps would take back what was spent."""
    mechanisms = np.array([[1.0, 0.5]])
    assert Ledger(mechanisms, np.array([[0], [3]])).is_sound(2)
    assert not Ledger(mechanisms, np.array([[0], [-1]])).is_sound(2)


def ledger_of(noises: np.ndarray, rates: np.ndarray) -> tuple[Ledger, list[int]]:
    """Return one device's ledger after a step of each mechanism, and the column that records each."""
    ledger, columns = Ledger.empty(1), []
    for noise, rate in zip(noises, rates, strict=True):
        before = ledger
        ledger = ledger.after(ALL[:1], float(noise), float(rate), 1)
        columns.append(int(np.argmax(ledger.since(before.steps).steps[0])))
    return ledger, columns


def test_with_many_mechanisms_no_step_is_lost_or_recorded_as_a_cheaper_one():
    generator = np.random.default_rng(1)
    noises, rates = generator.uniform(0.5, 9.0, 200), generator.uniform(0.01, 1.0, 200)
    ledger, columns = ledger_of(noises, rates)
    assert ledger.steps.tolist() == [np.bincount(columns, minlength=MOST_MECHANISMS).tolist()]
    assert (ledger.mechanisms[columns, 0] <= noises).all()
    assert (ledger.mechanisms[columns, 1] >= rates).all()
    # They are not all in one mechanism that dominates the others.
    assert ledger.mechanisms[:, 0].max() > 2 * noises.min()


def test_epsilon_of_many_mechanisms_is_an_upper_bound_of_their_exact_composition():
    noises = 20.0 + 10.0 * np.random.default_rng(2).random(200)
    ledger, _ = ledger_of(noises, np.ones(200))
    exact = epsilon_composed(tuple((float(noise), 1.0, 1) for noise in noises), DELTA)
    assert exact.accountant == "analytic-gaussian"
    assert exact.epsilon < ledger.epsilon(DELTA)[0] < 1.15 * exact.epsilon


@pytest.mark.slow
def test_epsilon_of_sampled_mechanisms_that_share_a_column_is_an_upper_bound(monkeypatch):
    monkeypatch.setattr("terrycloth.client.ledger.MOST_MECHANISMS", 1)
    history = [(1.0, 0.3, 2), (1.1, 0.4, 2)]
    ledger = Ledger.empty(1)
    for mechanism in history:
        ledger = ledger.after(ALL[:1], *mechanism)
    assert ledger.mechanisms.tolist() == [[1.0, 0.4]]
    assert ledger.epsilon(DELTA)[0] > opacus_epsilon(*history)


def test_accounting_composes_no_more_mechanisms_after_two_hundred_than_after_eight(monkeypatch):
    composed = []

    def count(history: tuple[object, ...], delta: float, *, only_renyi: bool) -> Spent:
        composed.append(len(history))
        return Spent(1.0, "counted")

    monkeypatch.setattr("terrycloth.client.ledger.epsilon_composed", count)
    ledger_of(np.linspace(1.0, 5.0, 200), np.linspace(0.1, 0.5, 200))[0].epsilon(DELTA)
    assert composed == [MOST_MECHANISMS] == [8]


def test_a_mechanism_beyond_the_limit_is_merged_with_the_nearest_one():
    ledger, _ = ledger_of(2.0 ** np.arange(MOST_MECHANISMS), np.full(MOST_MECHANISMS, 0.5))
    once = ledger.after(ALL[:1], 3.5, 0.6, 1)
    assert once.mechanisms[2].tolist() == [3.5, 0.6]
    assert np.delete(once.mechanisms, 2, axis=0).tolist() == np.delete(ledger.mechanisms, 2, axis=0).tolist()
    assert ledger.mechanisms[2].tolist() == [4.0, 0.5]  # the old ledger is unchanged
    again = once.after(ALL[:1], 3.5, 0.6, 1).after(ALL[:1], 4.0, 0.5, 1)
    assert np.array_equal(again.mechanisms, once.mechanisms)
    assert again.steps.tolist() == [[1, 1, 4, 1, 1, 1, 1, 1]]
    # What was recorded that day is also expressed by the dominating mechanism.
    assert again.since(ledger.steps).steps.tolist() == [[0, 0, 3, 0, 0, 0, 0, 0]]


def test_steps_without_noise_are_never_recorded_as_noisy():
    ledger, _ = ledger_of(2.0 ** np.arange(MOST_MECHANISMS), np.full(MOST_MECHANISMS, 0.5))
    assert ledger.after(ALL[:1], 0.0, 1.0, 1).epsilon(DELTA)[0] == math.inf
    unprotected, _ = ledger_of(np.arange(MOST_MECHANISMS), np.full(MOST_MECHANISMS, 0.5))
    assert unprotected.after(ALL[:1], 0.9, 0.5, 1).mechanisms[:2].tolist() == [[0.0, 0.5], [0.9, 0.5]]


def test_an_older_ledger_with_more_mechanisms_is_read_and_does_not_grow(tmp_path):
    state = DeviceState.new(1, 3)
    state.ledger = Ledger(np.stack([np.arange(1.0, 61.0), np.ones(60)], axis=1), np.ones((1, 60), np.int64))
    state.save(tmp_path / "state.safetensors")
    ledger = DeviceState.load(tmp_path / "state.safetensors").ledger
    assert np.array_equal(ledger.mechanisms, state.ledger.mechanisms)
    after = ledger.after(ALL[:1], 3.0, 1.0, 1).after(ALL[:1], 30.4, 1.0, 1)
    assert (after.steps.sum(), len(after.mechanisms)) == (62, 60)
    assert after.mechanisms[[2, 29]].tolist() == [[3.0, 1.0], [30.0, 1.0]]


def test_a_step_without_noise_makes_epsilon_infinite_for_good():
    ledger = Ledger.empty(2).after(np.array([True, False]), 0.0, 1.0, 1).after(ALL[:2], 5.0, 0.1, 1)
    assert ledger.epsilon(DELTA)[0] == math.inf
    assert math.isfinite(ledger.epsilon(DELTA)[1])


def test_epsilon_never_decreases():
    generator = np.random.default_rng(0)
    mechanisms = [(0.9, 0.5), (1.5, 0.2), (3.0, 1.0)]
    ledger, spent = Ledger.empty(2), np.zeros(2)
    for _ in range(5):
        took_part = generator.random(2) < 0.7
        mechanism = mechanisms[generator.integers(len(mechanisms))]
        ledger = ledger.after(took_part, *mechanism, int(generator.integers(1, 4)))
        now = ledger.epsilon(DELTA)
        assert (now >= spent).all()
        assert (now[took_part] > spent[took_part]).all()
        assert np.array_equal(now[~took_part], spent[~took_part])
        spent = now


def test_the_order_of_rounds_does_not_matter():
    forward = epsilon_composed(((1.0, 0.3, 4), (2.0, 0.1, 9)), DELTA)
    backward = epsilon_composed(((2.0, 0.1, 9), (1.0, 0.3, 4)), DELTA)
    assert forward.epsilon == pytest.approx(backward.epsilon, rel=1e-6)
    assert epsilon_spent(1.0, 0.3, 4, DELTA).epsilon < forward.epsilon


def test_an_accountant_that_fails_is_ignored_and_epsilon_is_infinite_if_all_fail(monkeypatch):
    monkeypatch.setattr(rdp, "get_privacy_spent", lambda orders, rdp, delta: (math.nan, 1.0))
    epsilon_composed.cache_clear()
    by_opacus_rdp.cache_clear()
    try:
        without_opacus = epsilon_spent(1.0, 0.5, 3, DELTA)
        assert without_opacus.accountant != "opacus-rdp"
        assert 0.0 < without_opacus.epsilon < math.inf
        epsilon_composed.cache_clear()
        for other in ("by_dp_accounting_pld", "by_dp_accounting_rdp", "by_analytic_gaussian"):
            monkeypatch.setattr(
                accounting, other, lambda history, delta: accounting.upper_bound(math.nan, "none")
            )
        assert epsilon_spent(1.0, 0.5, 3, DELTA).epsilon == math.inf
    finally:
        epsilon_composed.cache_clear()
        by_opacus_rdp.cache_clear()

"""Every promise that can be made runs, from the configuration to a result that states it."""

import pytest

from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import read_config
from terrycloth.models.errors import UserError

PROMISES = [
    ("none", None),
    ("interaction", "local"),
    ("shopper", "local"),
    ("shopper", "distributed"),
    ("shopper", "central"),
]
QUICK = {"devices": 30, "rounds": 2, "central": False, "evaluate_every": 0, "seed": 1}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["attributes", "neural-cf"])
@pytest.mark.parametrize(("unit", "trust"), PROMISES)
def test_a_promise_runs_and_is_stated(unit, trust, model, tmp_path):
    settings = {**QUICK, "unit": unit, "model": model, "participation": 0.8}
    if trust is not None:
        settings |= {"trust": trust, "epsilon": 4.0}
    folder = simulate(read_config(None, settings, []), tmp_path / "run")
    promise = folder.read_result().promise
    assert (promise.unit, promise.trust) == (unit, trust)
    if trust is None:
        assert promise.epsilon is None
    else:
        assert promise.epsilon is not None
        assert 3.9 < promise.epsilon <= 4.0
        last = folder.read_rounds()[-1]
        assert float(last["epsilon"]) == promise.epsilon
        assert not last["refused"]


@pytest.mark.parametrize(("unit", "trust"), [("none", None), *PROMISES[2:]])
def test_the_linear_model_takes_two_rounds(unit, trust, tmp_path):
    settings = {"devices": 30, "seed": 1, "unit": unit, "model": "linear"}
    settings |= {} if trust is None else {"trust": trust, "epsilon": 4.0}
    folder = simulate(read_config(None, settings, []), tmp_path / "run")
    result, rows, head = folder.read_result(), folder.read_rounds(), folder.read_config().head_size
    assert head is not None
    assert (head == 300) == (unit == "none")
    assert result.promise.rounds == 2
    number = 4 if trust != "distributed" else int(rows[1]["bytes_up"]) // (head * (head + 1) // 2)
    assert [int(row["bytes_up"]) / number for row in rows] == [
        pytest.approx(300, abs=40),
        pytest.approx(head * (head + 1) / 2, abs=40),
    ]
    assert result.cost.bytes_up_per_device_round == pytest.approx(
        sum(int(row["bytes_up"]) for row in rows) / 2, abs=1
    )
    if trust is not None:
        spent = [float(row["epsilon"]) for row in rows]
        assert 0 < spent[0] < spent[1] == result.promise.epsilon <= 4.0
        assert not any(row["refused"] or row["invalid"] for row in rows)
    if unit == "none":  # with the exact sum of all updates, nothing is lost by federating
        assert result.baselines.central is not None
        # Rounding may swap two items of nearly equal score.
        assert result.metrics.full == pytest.approx(result.baselines.central.full, rel=1e-3)


@pytest.mark.parametrize(("unit", "trust"), [("interaction", "central"), ("interaction", "distributed")])
def test_any_other_combination_is_refused(unit, trust, tmp_path):
    config = read_config(None, {**QUICK, "unit": unit, "trust": trust}, [])
    with pytest.raises(UserError, match=f"is not kept under --trust {trust}: say local"):
        simulate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

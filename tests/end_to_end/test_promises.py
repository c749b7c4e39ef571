"""Every promise that can be made runs from the configuration to a result that states it."""

import pytest

from experiments.config import read_config
from experiments.simulation import simulate
from models.errors import UserError

PROMISES = [
    ("none", None),
    ("interaction", "local"),
    ("shopper", "local"),
    ("shopper", "distributed"),
    ("shopper", "central"),
]
QUICK = {"devices": 30, "rounds": 2, "central": False, "evaluate_every": 0, "seed": 1}


@pytest.mark.parametrize("model", ["attributes", "neural-cf"])
@pytest.mark.parametrize(("unit", "trust"), PROMISES)
def test_a_promise_runs_and_is_stated(unit, trust, model, tmp_path):
    said = {**QUICK, "unit": unit, "model": model, "participation": 0.8}
    if trust is not None:
        said |= {"trust": trust, "epsilon": 4.0}
    folder = simulate(read_config(None, said, []), tmp_path / "run")
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
def test_the_linear_model_is_done_in_one_round(unit, trust, tmp_path):
    said = {"devices": 30, "seed": 1, "unit": unit, "model": "linear"}
    said |= {} if trust is None else {"trust": trust, "epsilon": 4.0}
    result = simulate(read_config(None, said, []), tmp_path / "run").read_result()
    assert result.promise.rounds == 1
    assert result.cost.bytes_up_per_device_round == pytest.approx(4 * 300 * 301 / 2, rel=0.01)
    if unit == "none":  # the sum of all updates is all there is to know: nothing is lost by federating
        assert result.baselines.central is not None
        assert result.metrics.full == result.baselines.central.full


@pytest.mark.parametrize(("unit", "trust"), [("interaction", "central"), ("interaction", "distributed")])
def test_no_other_combination_is_made(unit, trust, tmp_path):
    config = read_config(None, {**QUICK, "unit": unit, "trust": trust}, [])
    with pytest.raises(UserError, match=f"is not kept under --trust {trust}: say local"):
        simulate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""Under central trust the server adds noise to the sum before anything else reads it, whoever took part."""

import pytest
import torch
from scipy.stats import chi2

from terrycloth.models.settings import RoundSettings
from terrycloth.server.aggregate import add_central_noise
from terrycloth.server.app import run_name
from terrycloth.server.checkpoint import FILE
from terrycloth.server.settings import ServerSettings
from terrycloth.server.strategy import FederatedSum

ALARM = 1e-7
SHARED = {"table.weight": torch.zeros(40, 3), "bias.weight": torch.zeros(40, 1)}


def settings(**changes) -> RoundSettings:
    values = {
        "round": 1, "rounds": 500, "model": "mf", "dim": 3, "own_rows": False, "item_bias": True,
        "unit": "shopper", "trust": "central", "epsilon": 50.0, "delta": 1e-5, "noise_multiplier": 2.0,
        "clip": 0.5, "devices": 8, "participation": 0.25, "sampling_rate": 1.0, "steps_per_round": 1,
        "learning_rate": 1.0,
        "negatives": 1, "negative_weight": 1.0, "catalogue_weight": 0.1, "regularisation": 1.0,
    }  # fmt: skip
    return RoundSettings.model_validate(values | changes)


def strategy(asked: RoundSettings, **changes) -> FederatedSum:
    server = ServerSettings(
        catalogue="none", server_optimizer="sgd", server_learning_rate=1.0, server_momentum=0.0,
        **changes,
    )  # fmt: skip
    return FederatedSum(SHARED, asked, server)


def flat(parameters) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in parameters.values()])


def test_the_noise_is_sigma_times_clip_on_every_coordinate():
    zeros = {name: tensor.double() for name, tensor in SHARED.items()}
    draws = torch.stack([flat(add_central_noise(zeros, 1.3, bytes(32), r)) for r in range(1, 301)])
    squares = draws.double().square().sum(dim=0) / 1.3**2
    low, high = chi2.interval(1 - ALARM / draws.shape[1], len(draws))
    assert ((squares > low) & (squares < high)).all()


def test_a_round_without_participants_looks_like_any_other():
    """Otherwise a missing release would reveal that few took part.

    The noise is 2·0.5 over the constant q·N = 2.
    """
    run = strategy(settings())
    run.aggregate_train(1, [])
    moved = flat(run.shared())
    assert (moved != 0).float().mean() > 0.99
    assert float(moved.std()) == pytest.approx(2.0 * 0.5 / (0.25 * 8), rel=0.4)


def test_rounds_and_runs_draw_fresh_noise_unless_seeded():
    def two_rounds(**changes) -> list[torch.Tensor]:
        run = strategy(settings(), **changes)
        steps = []
        for round in (1, 2):
            before = flat(run.shared())
            run.aggregate_train(round, [])
            steps.append(flat(run.shared()) - before)
        return steps

    seeded = [two_rounds(noise_seed=3) for _ in range(2)]
    assert torch.equal(seeded[0][0], seeded[1][0])
    assert torch.equal(seeded[0][1], seeded[1][1])
    assert (seeded[0][0] == seeded[0][1]).float().mean() < 0.05
    assert (two_rounds()[0] == two_rounds()[0]).float().mean() < 0.05


@pytest.mark.parametrize("trust", ["local"])
def test_a_server_that_is_not_trusted_adds_no_noise(trust):
    run = strategy(settings(trust=trust))
    run.aggregate_train(1, [])
    assert (flat(run.shared()) == 0).all()


def test_participation_amplifies_epsilon_under_central_trust_only():
    spent = {}
    for trust in ("central", "local"):
        run = strategy(settings(trust=trust))
        run.aggregate_train(1, [])
        spent[trust] = run.progress.records[0].epsilon
    assert spent["central"] < 0.6 * spent["local"]


def test_a_run_has_a_unique_name_and_keeps_it_with_its_checkpoint(tmp_path, monkeypatch):
    def server(**changes) -> ServerSettings:
        return ServerSettings(catalogue="none", **changes)

    assert run_name(server()) != run_name(server())
    assert run_name(server(noise_seed=3)) == run_name(server(noise_seed=3))
    # The run is stopped in the first round.
    monkeypatch.setattr(FederatedSum, "start", lambda *rest, **named: None)
    strategy(settings(run="a-name"), folder=tmp_path).run(None)
    assert run_name(server(folder=tmp_path, resume=True)) == "a-name"
    assert run_name(server(folder=tmp_path)) != "a-name"
    (tmp_path / FILE).unlink()
    assert run_name(server(folder=tmp_path, resume=True)) not in ("", "a-name")

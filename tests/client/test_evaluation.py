"""Hits are counted on the device, on purchases that it holds out, and each count is bounded."""

import dataclasses

import numpy as np
import pytest
import torch

from terrycloth.client.evaluation import HitCounter
from terrycloth.client.serving import Serving
from terrycloth.client.targets import Targets
from terrycloth.client.training.noise import LocalNoise, SharedNoise
from terrycloth.client.training.trainers import bounded_trainer, trainer_for
from terrycloth.models.update import EVALUATION

SERVING = Serving(catalogue_weight=0.1, negative_weight=1.0, regularisation=0.5)
FIRST_TEN_OF_EIGHT = 3.0  # a catalogue of eight items: every rank is among the first ten


@pytest.fixture
def measure(ask):
    def settings(**changes):
        values = {"round": 11, "evaluate": True, "evaluation_noise": 2.0, "unit": "shopper"}
        return ask(**values | changes)

    return settings


def holding_out(cohort, *targets):
    """Return the cohort with held-out items, one list for each device."""
    devices = np.repeat(np.arange(len(targets)), [len(each) for each in targets])
    items = np.array([item for each in targets for item in each], dtype=np.int64)
    return dataclasses.replace(cohort, targets=Targets.from_pairs(devices, items, len(targets)))


def test_counts_by_hand(ask, build, copied, held, gather, monkeypatch):
    """Scores are fixed from item 7 (best) to item 0.

    The first device already has 7, so that 6 is its first.
    """
    recommender = build(ask())
    monkeypatch.setattr("terrycloth.client.evaluation.FIRST", 3)
    scores = torch.arange(8.0)
    monkeypatch.setattr(recommender, "score_catalogue", lambda vectors: scores.expand(len(vectors), -1))
    cohort = holding_out(gather(held([7], [7], [1], [1, 2])), [6], [3], [], [5])
    update, vectors = HitCounter(recommender, SERVING).train(cohort, copied(recommender))
    # The ranks are 1, 4 (beyond the first three), nothing held out, and 3.
    assert [float(update[name]) for name in EVALUATION] == pytest.approx([3.0, 2.0, 1.0 + 0.5])
    assert torch.equal(vectors, cohort.vectors)


def test_each_of_several_targets_is_ranked_alone_and_counts_its_share(
    ask, build, copied, held, gather, monkeypatch
):
    """Item 7 is held.

    6 is first; 5 too, because 6 is a target; 2 is third, after 4 and 3; 0 is fourth, after 1.
    """
    recommender = build(ask())
    monkeypatch.setattr("terrycloth.client.evaluation.FIRST", 3)
    scores = torch.arange(8.0)
    monkeypatch.setattr(recommender, "score_catalogue", lambda vectors: scores.expand(len(vectors), -1))
    cohort = holding_out(gather(held([7], [7])), [0, 2, 5, 6], [])
    update, _ = HitCounter(recommender, SERVING).train(cohort, copied(recommender))
    assert [float(update[name]) for name in EVALUATION] == pytest.approx([1.0, 3 / 4, (0.5 + 1 + 1) / 4])


def test_one_device_adds_no_more_than_the_sensitivity(measure, build, copied, held, gather):
    settings = measure()
    recommender = build(settings)
    for kept_back in ([4], [4, 5, 6, 7], []):
        cohort = holding_out(gather(held([1, 1, 2])), kept_back)
        update, _ = bounded_trainer(recommender, settings).train(cohort, copied(recommender))
        assert torch.cat([update[name] for name in EVALUATION]).norm() <= settings.sensitivity
    assert settings.sensitivity == pytest.approx(3**0.5)


def test_scores_that_are_not_finite_cause_no_error(ask, build, copied, held, gather, monkeypatch):
    """An error would tell a server that sent absurd parameters what a device holds."""
    recommender = build(ask())
    wild = torch.full((8,), torch.nan)
    monkeypatch.setattr(recommender, "score_catalogue", lambda vectors: wild.expand(len(vectors), -1))
    update, _ = HitCounter(recommender, SERVING).train(
        holding_out(gather(held([1])), [3]), copied(recommender)
    )
    assert all(torch.isfinite(tensor).all() for tensor in update.values())


@pytest.mark.slow
def test_the_evaluation_has_its_own_noise(measure, build, copied, held, gather):
    """At interaction level too: DP-SGD adds noise to its steps, and the evaluation adds its own."""
    for changes, noise in (
        ({"unit": "interaction"}, LocalNoise),
        ({}, LocalNoise),
        ({"trust": "distributed"}, SharedNoise),
        ({"trust": "central"}, HitCounter),
    ):
        settings = measure(**changes)
        assert isinstance(trainer_for(build(settings), settings), noise)
    settings = measure(evaluation_noise=7.0)
    trainer = trainer_for(build(settings), settings)
    draws = torch.stack(
        [
            trainer.train(holding_out(gather(held([]), query=q), []), copied(build(settings)))[0]["hits"]
            for q in range(1, 401)
        ]
    )
    assert float(draws.std()) == pytest.approx(7.0 * 3**0.5, rel=0.2)

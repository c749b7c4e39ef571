"""Each device's part of the Gram matrix has norm 1, however much it bought, and the parts add up."""

import numpy as np
import pytest
import torch

from client.gram_trainer import bought, packed_gram, unit_rows
from client.least_squares import confidences
from client.trainer import trainer_for
from models.linear_autoencoder import unpacked

ITEMS = 8  # of the shop
BASKETS = [[1, 4, 4], [], [6], [0, 1, 2, 3]]


def plain_loop(baskets) -> torch.Tensor:
    total = torch.zeros(ITEMS, ITEMS)
    for basket in baskets:
        row = torch.zeros(ITEMS)
        row[list(set(basket))] = 1.0
        if basket:
            row /= row.norm()
            total += torch.outer(row, row)
    return total


def test_the_sum_is_that_of_a_plain_loop(held):
    gram = unpacked(packed_gram(held(*BASKETS), ITEMS), ITEMS)
    assert torch.allclose(gram, plain_loop(BASKETS), atol=1e-6)


@pytest.mark.parametrize("basket", [[3], [1, 1, 1], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_a_device_has_norm_one_whatever_it_bought(basket, held):
    assert float(packed_gram(held(basket), ITEMS).norm()) == pytest.approx(1.0, abs=1e-5)


def test_one_that_holds_nothing_adds_nothing(held):
    assert float(packed_gram(held([], []), ITEMS).abs().sum()) == 0.0


@pytest.mark.parametrize(("clip", "norm"), [(0.25, 0.25), (1.0, 1.0), (3.0, 1.0)])
def test_no_update_passes_the_clip(clip, norm, ask, build, copied, held, gather):
    settings = ask(model="linear", unit="shopper", trust="central", clip=clip)
    model = build(settings)
    update, vectors = trainer_for(model, settings).train(gather(held([1, 4])), copied(model))
    assert float(update["gram"].norm()) == pytest.approx(norm, rel=1e-4)
    assert float(update["gram"].norm()) <= norm  # sums are rounded, and stay below
    assert vectors.shape == (1, settings.dim)


def test_rows_of_serving_are_of_norm_one(held):
    rows = unit_rows(confidences(held(*BASKETS), ITEMS)).toarray()
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1.0, 0.0, 1.0, 1.0], abs=1e-6)
    assert bought(held([4, 4, 4]), ITEMS).toarray()[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]


def test_it_is_not_trained_by_interactions(ask):
    with pytest.raises(ValueError, match="interaction"):
        ask(model="linear")

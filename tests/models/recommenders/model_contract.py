"""The contract of every recommender. A new model joins with a subclass named Test… that defines `make`.

The checks are those of `terry check model`: each raises an error where a model breaks the contract.
"""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from terrycloth.experiments.model_check import contract
from terrycloth.experiments.model_check.check_model import CHECKS
from terrycloth.experiments.model_check.contract import random_vectors
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.recommender import Recommender

__all__ = ["ModelContract", "random_vectors"]


class ModelContract:
    """Subclass this and define `make`; the fixture `catalogue` holds six towels."""

    def make(self, catalogue: Catalogue) -> Recommender:
        raise NotImplementedError

    @pytest.mark.parametrize(("name", "check"), CHECKS, ids=[name for name, _ in CHECKS])
    def test_contract(self, name: str, check, catalogue: Catalogue) -> None:
        check(partial(self.make, catalogue))

    def test_every_parameter_has_a_gradient_from_the_start(self, catalogue: Catalogue) -> None:
        """Gradients are taken at the starting point, whereas the checks move away from it."""
        model = self.make(catalogue)
        model.initialise(3)
        with torch.no_grad():
            model.shopper.weight.copy_(random_vectors(1, model.dim, seed=4))
        row = model.score_catalogue(model.shopper.weight)[0]
        assert row.std() > 1e-4, "all items have the same score"
        gradients = contract.one_gradient(model, torch.tensor(contract.ITEMS), torch.tensor(contract.WEIGHTS))
        for name, gradient in gradients.items():
            assert gradient.abs().max() > 0, f"{name} has no gradient"

    def test_shared_parameters_alone_save_and_load_the_model(
        self, catalogue: Catalogue, tmp_path: Path
    ) -> None:
        model = contract.prepared(partial(self.make, catalogue))
        save_file(model.shared_parameters(), tmp_path / "model.safetensors")
        other = self.make(catalogue)
        other.initialise(99)
        other.load_shared(load_file(tmp_path / "model.safetensors"))
        assert not other.shopper.weight.any()
        vectors = random_vectors(2, model.dim, seed=6)
        assert torch.equal(other.score_catalogue(vectors), model.score_catalogue(vectors))

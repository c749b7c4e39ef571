"""What every recommender must do. A new model joins by a subclass whose name starts with Test, and `make`."""

from pathlib import Path

import pytest
import torch
from opacus import GradSampleModule
from safetensors.torch import load_file, save_file
from torch import Tensor

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.recommender import Recommender, interaction_loss


class ModelContract:
    """Subclass it and say how the model is made; `catalogue` is the fixture of six towels."""

    def make(self, catalogue: Catalogue) -> Recommender:
        raise NotImplementedError

    @pytest.fixture
    def model(self, catalogue: Catalogue) -> Recommender:
        """Initialised, with a shopper's vector that is not zero."""
        model = self.make(catalogue)
        model.initialise(3)
        with torch.no_grad():
            model.shopper.weight.copy_(random_vectors(1, model.dim, seed=4))
        return model

    def test_forward_is_the_own_vectors_row_of_score_catalogue(self, model: Recommender) -> None:
        everything = torch.arange(model.num_items)
        items = torch.stack([everything, everything.flip(0)])  # [2, items]
        scores = model(items)
        row = model.score_catalogue(model.shopper.weight)[0]
        assert scores.shape == (2, model.num_items)
        torch.testing.assert_close(scores, torch.stack([row, row.flip(0)]))
        assert row.std() > 1e-4, "all scores alike would prove nothing"

    def test_score_candidates_is_a_selection_of_score_catalogue(self, model: Recommender) -> None:
        vectors = random_vectors(3, model.dim, seed=5)
        items = torch.tensor([[0, 5], [4, 4], [1, 0]])
        table = model.score_catalogue(vectors)
        assert table.shape == (3, model.num_items)
        torch.testing.assert_close(model.score_candidates(vectors, items), table.gather(1, items))

    def test_no_shoppers_get_no_scores(self, model: Recommender) -> None:
        assert model.score_catalogue(torch.zeros(0, model.dim)).shape == (0, model.num_items)

    def test_only_the_shoppers_vector_is_private(self, model: Recommender) -> None:
        shared = model.shared_parameters()
        assert set(shared) == {name for name, _ in model.named_parameters()} - {"shopper.weight"}
        assert not any(name.startswith("shopper") for name in shared)
        assert not any(tensor.requires_grad for tensor in shared.values())
        vector = model.shopper.weight.detach()
        for tensor in shared.values():
            assert tensor.data_ptr() != vector.data_ptr()

    def test_shared_parameters_alone_save_and_load_the_model(
        self, model: Recommender, catalogue: Catalogue, tmp_path: Path
    ) -> None:
        save_file(model.shared_parameters(), tmp_path / "model.safetensors")
        other = self.make(catalogue)
        other.initialise(99)
        other.load_shared(load_file(tmp_path / "model.safetensors"))
        assert not other.shopper.weight.any()
        vectors = random_vectors(2, model.dim, seed=6)
        assert torch.equal(other.score_catalogue(vectors), model.score_catalogue(vectors))

    def test_load_shared_copies(self, model: Recommender) -> None:
        given = {name: tensor.clone() + 1.0 for name, tensor in model.shared_parameters().items()}
        model.load_shared(given)
        for name, tensor in model.shared_parameters().items():
            assert torch.equal(tensor, given[name])
            assert tensor.data_ptr() != given[name].data_ptr()

    def test_load_shared_refuses_other_names_and_other_shapes_and_changes_nothing(
        self, model: Recommender
    ) -> None:
        before = {name: tensor.clone() for name, tensor in model.shared_parameters().items()}
        given = {name: tensor + 1.0 for name, tensor in before.items()}
        last = list(given)[-1]
        taller = torch.zeros(given[last].shape[0] + 1, *given[last].shape[1:])
        for wrong in (
            {name: tensor for name, tensor in given.items() if name != last},
            {**given, "stranger": torch.zeros(1)},
            {**given, "shopper.weight": torch.zeros(1, model.dim)},
            {**given, last: taller},
            {**given, last: given[last][:1].unsqueeze(0)},
            {**given, last: torch.zeros(())},  # which copying would spread over the whole
        ):
            with pytest.raises(ValueError, match="another model"):
                model.load_shared(wrong)
        for name, tensor in model.shared_parameters().items():
            assert torch.equal(tensor, before[name])

    def test_initialise_is_decided_by_its_seed_alone(self, model: Recommender, catalogue: Catalogue) -> None:
        drawn = []
        with torch.random.fork_rng():
            for own_seed, surroundings in ((3, 1), (3, 2), (4, 1)):
                torch.manual_seed(surroundings)
                other = self.make(catalogue)
                before = torch.get_rng_state()
                other.initialise(own_seed)
                assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
                assert not other.shopper.weight.any(), "a shopper starts at zero, which depends on no data"
                drawn.append(other.shared_parameters())
        for name, tensor in drawn[0].items():
            assert torch.equal(tensor, drawn[1][name])
        assert any(not torch.equal(tensor, drawn[2][name]) for name, tensor in drawn[0].items())

    # The first layer reads indices, which have no gradient; torch warns of it.
    @pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
    def test_opacus_gives_the_gradient_of_every_example(self, model: Recommender) -> None:
        """Against a plain loop, one example at a time. Items repeat; bags of all lengths are among them."""
        items = torch.tensor([[0, 1, 1], [5, 4, 0], [2, 2, 2], [1, 3, 5]])
        weights = torch.tensor([1.0, 0.5, 2.0, 1.5])
        expected = [one_gradient(model, items[i : i + 1], weights[i : i + 1]) for i in range(len(items))]

        module = GradSampleModule(model, loss_reduction="sum")
        interaction_loss(module(items), weights, 0.7, model.loss).sum().backward()
        for name, parameter in model.named_parameters():
            found = parameter.grad_sample
            assert found.shape == (4, *parameter.shape), name
            torch.testing.assert_close(found, torch.stack([gradients[name] for gradients in expected]))
            assert found.abs().max() > 0, f"{name} has no gradient to compare"


def random_vectors(rows: int, dim: int, seed: int) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def one_gradient(model: Recommender, items: Tensor, weights: Tensor) -> dict[str, Tensor]:
    loss = interaction_loss(model(items), weights, 0.7, model.loss).sum()
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))

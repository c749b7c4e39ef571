"""The checks of a model alone: its scores, its parameters, and the gradient of each example.

A check takes a function that makes the model over a catalogue of six items at least. It returns nothing if
the model passes, and raises `Broken` otherwise.
"""

import random
from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from opacus.validators import ModuleValidator
from torch import Tensor

from terrycloth.client.training.opacus_trainer import OpacusTrainer
from terrycloth.models.recommenders.recommender import (
    SHOPPER,
    Loss,
    Parameters,
    Recommender,
    interaction_loss,
)
from terrycloth.models.settings import RoundSettings

Make = Callable[[], Recommender]

VECTOR = f"{SHOPPER}.weight"
NEGATIVE_WEIGHT = 0.7
# Items repeat, within an example and between examples.
ITEMS = ((0, 1, 1), (5, 4, 0), (2, 2, 2), (1, 3, 5))
WEIGHTS = (1.0, 0.5, 2.0, 1.5)


class Broken(Exception):
    """A check failed; the text says in one line why, and what to do."""


def require(holds: bool, reason: str) -> None:
    """Raises Broken if something does not hold."""
    if not holds:
        raise Broken(reason)


def close(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors have the same shape and type, and the same numbers up to rounding."""
    try:
        torch.testing.assert_close(ours, theirs)
    except AssertionError:
        return False
    return True


def random_vectors(rows: int, dim: int, seed: int) -> Tensor:
    """Gaussian numbers [rows, dim]."""
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def prepared(make: Make) -> Recommender:
    """A model whose parameters are nowhere zero, the shopper's vector among them."""
    model = make()
    model.initialise(3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != VECTOR:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        model.shopper.weight.copy_(random_vectors(1, model.dim, seed=4))
    return model


def randomness() -> tuple[bytes, ...]:
    """The states of the global generators of torch, NumPy and Python."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (a model may use it)
    return (
        torch.get_rng_state().numpy().tobytes(),
        repr(numpy_state).encode(),
        repr(random.getstate()).encode(),
    )


def check_description(make: Make) -> None:
    """The class names its loss, and the shopper's vector has the model's length."""
    model = make()
    losses = get_args(Loss)
    require(getattr(model, "loss", None) in losses, f"set the class attribute loss to one of {losses}")
    require(
        model.shopper.weight.shape == (1, model.dim),
        f"shopper.weight has shape {list(model.shopper.weight.shape)}: leave it as Recommender makes it",
    )


def check_forward(make: Make) -> None:
    """`forward` scores items for the shopper's own vector, as `score_catalogue` does."""
    model = prepared(make)
    everything = torch.arange(model.num_items)
    items = torch.stack([everything, everything.flip(0)])  # [2, items]
    scores = model(items)
    row = model.score_catalogue(model.shopper.weight)[0]
    require(scores.shape == (2, model.num_items), f"forward gave {list(scores.shape)} for items [2, items]")
    same = close(scores, torch.stack([row, row.flip(0)]))
    require(same, "forward(items) differs from score_catalogue: compute the same score in both")
    require(bool(row.std() > 1e-4), "all items have the same score: let the score depend on the item")


def check_candidates(make: Make) -> None:
    """`score_candidates` is a selection of `score_catalogue`, for several shoppers."""
    model = prepared(make)
    vectors = random_vectors(3, model.dim, seed=5)
    items = torch.tensor([[0, 5], [4, 4], [1, 0]])
    table = model.score_catalogue(vectors)
    require(
        table.shape == (3, model.num_items),
        f"score_catalogue gave {list(table.shape)} for three vectors, not [3, {model.num_items}]",
    )
    selected = model.score_candidates(vectors, items)
    require(selected.shape == (3, 2), f"score_candidates gave {list(selected.shape)} for items [3, 2]")
    same = close(selected, table.gather(1, items))
    require(same, "score_candidates differs from score_catalogue: compute the same score in both")


def check_no_shoppers(make: Make) -> None:
    """`score_catalogue` gives no scores to no shoppers."""
    model = prepared(make)
    shape = model.score_catalogue(torch.zeros(0, model.dim)).shape
    require(
        shape == (0, model.num_items),
        f"score_catalogue gave {list(shape)} for no vectors, not [0, {model.num_items}]",
    )


def check_private_vector(make: Make) -> None:
    """Only the shopper's vector is private; `shared_parameters` has all the rest, detached."""
    model = prepared(make)
    shared = model.shared_parameters()
    missing = sorted({name for name, _ in model.named_parameters()} - {VECTOR} - set(shared))
    private = sorted(name for name in shared if name.startswith(SHOPPER))
    require(not private, f"shared_parameters has {private}: it must leave out {VECTOR}")
    require(not missing, f"shared_parameters lacks {missing}: choose names that do not start with {SHOPPER}")
    unknown = sorted(set(shared) - {name for name, _ in model.named_parameters()})
    require(not unknown, f"shared_parameters has {unknown}, which are no parameters: remove them")
    attached = sorted(name for name, tensor in shared.items() if tensor.requires_grad)
    require(not attached, f"shared_parameters gives {attached} with gradients: detach them")
    vector = model.shopper.weight.detach()
    tied = sorted(name for name, tensor in shared.items() if tensor.data_ptr() == vector.data_ptr())
    require(not tied, f"{tied} shares its memory with {VECTOR}, so the private vector would be sent")


def check_shared_parameters_suffice(make: Make) -> None:
    """Another model that loads the shared parameters gives the same scores."""
    model = prepared(make)
    other = make()
    other.initialise(99)
    other.load_shared({name: tensor.clone() for name, tensor in model.shared_parameters().items()})
    require(not bool(other.shopper.weight.any()), f"load_shared changed {VECTOR}: leave it alone")
    vectors = random_vectors(2, model.dim, seed=6)
    same = torch.equal(other.score_catalogue(vectors), model.score_catalogue(vectors))
    require(same, "scores depend on more than parameters: make all that is learned or drawn a parameter")


def check_load_shared_copies(make: Make) -> None:
    """`load_shared` copies numbers; it does not keep the tensors it is given."""
    model = prepared(make)
    given = {name: tensor.clone() + 1.0 for name, tensor in model.shared_parameters().items()}
    model.load_shared(given)
    for name, tensor in model.shared_parameters().items():
        require(torch.equal(tensor, given[name]), f"load_shared did not set {name}: do not override it")
        require(
            tensor.data_ptr() != given[name].data_ptr(), f"load_shared kept the tensor of {name}: copy it"
        )


def check_load_shared_refuses(make: Make) -> None:
    """`load_shared` refuses other names and shapes, and then changes nothing."""
    model = prepared(make)
    before = {name: tensor.clone() for name, tensor in model.shared_parameters().items()}
    given = {name: tensor + 1.0 for name, tensor in before.items()}
    last = list(given)[-1]
    taller = torch.zeros(given[last].shape[0] + 1, *given[last].shape[1:])
    others: tuple[Parameters, ...] = (
        {name: tensor for name, tensor in given.items() if name != last},
        {**given, "stranger": torch.zeros(1)},
        {**given, VECTOR: torch.zeros(1, model.dim)},
        {**given, last: taller},
        {**given, last: given[last][:1].unsqueeze(0)},
        {**given, last: torch.zeros(())},  # which copying would spread over the whole tensor
    )
    for wrong in others:
        try:
            model.load_shared(wrong)
        except ValueError as error:
            require("another model" in str(error), f"load_shared raised {error}: do not override it")
        else:
            raise Broken("load_shared took the parameters of another model: do not override it")
    for name, tensor in model.shared_parameters().items():
        require(torch.equal(tensor, before[name]), f"load_shared changed {name} although it refused")


def check_layers(make: Make) -> None:
    """No persistent buffer, and no layer that mixes examples or that Opacus refuses."""
    model = make()
    buffers = sorted(set(model.state_dict()) - {name for name, _ in model.named_parameters()})
    require(
        not buffers,
        f"{buffers} are persistent buffers, which nothing clips: register them with persistent=False, or "
        "remove the layer that updates them",
    )
    errors = ModuleValidator.validate(model, strict=False)
    require(not errors, f"Opacus refuses a layer: {one_line(errors[0]) if errors else ''}")


def check_initialise(make: Make) -> None:
    """`initialise(seed)` is decided by its seed alone."""
    drawn = []
    with torch.random.fork_rng():
        for own_seed, surroundings in ((3, 1), (3, 2), (4, 1)):
            torch.manual_seed(surroundings)
            other = make()
            before = randomness()
            other.initialise(own_seed)
            require(randomness() == before, "initialise used a global generator: draw from generator alone")
            require(
                not bool(other.shopper.weight.any()),
                f"{VECTOR} does not start at zero: it must depend on no data, and on no seed",
            )
            drawn.append(other.shared_parameters())
    for name, tensor in drawn[0].items():
        require(
            torch.equal(tensor, drawn[1][name]),
            f"{name} is not decided by the seed: set every number of it in initialise_parameter",
        )
    require(
        any(not torch.equal(tensor, drawn[2][name]) for name, tensor in drawn[0].items()),
        "two seeds give the same parameters: draw them from the generator that is given",
    )


def check_deterministic(make: Make) -> None:
    """Scoring draws no randomness: it would be outside the keyed streams, and break repeated runs."""
    model = prepared(make)
    items, vectors = torch.tensor(ITEMS), random_vectors(2, model.dim, seed=6)
    scores: list[tuple[Tensor, Tensor]] = []
    with torch.random.fork_rng():
        for surroundings in (1, 2):
            torch.manual_seed(surroundings)
            before = randomness()
            scores.append((model(items), model.score_catalogue(vectors)))
            require(randomness() == before, "scoring draws random numbers: remove dropout and other noise")
    same = all(torch.equal(first, second) for first, second in zip(*scores, strict=True))
    require(same, "the same items got other scores the second time: keep no state between calls")


def check_gradients_of_examples(make: Make) -> None:
    """What DP-SGD clips is the gradient of each example, by a plain loop over the examples."""
    model = prepared(make)
    items, weights = torch.tensor(ITEMS), torch.tensor(WEIGHTS)
    expected = [one_gradient(model, items[i : i + 1], weights[i : i + 1]) for i in range(len(items))]
    OpacusTrainer(model, settings_of(model, "interaction")).find_gradients(items, weights)
    for name, parameter in model.named_parameters():
        ours = getattr(parameter, "grad_sample", None)
        if not isinstance(ours, Tensor) or ours.shape != (len(items), *parameter.shape):
            raise Broken(f"Opacus finds no gradient for {name}: use it in a layer, or looks_up_rows = False")
        require(
            close(ours, torch.stack([gradients[name] for gradients in expected])),
            f"Opacus finds another gradient for {name}: use it inside layers only, one call per forward, or "
            "set looks_up_rows = False",
        )
        require(bool(ours.abs().max() > 0), f"{name} has no gradient: use it in the scores, or remove it")


def check_examples_are_independent(make: Make) -> None:
    """The gradient of an example is the same whatever else is in its batch."""
    model = prepared(make)
    items, weights = torch.tensor(ITEMS), torch.tensor(WEIGHTS)
    names, parameters = zip(*model.named_parameters(), strict=True)
    losses = interaction_loss(model(items), weights, NEGATIVE_WEIGHT, model.loss)
    for place, loss in enumerate(losses):
        alone = one_gradient(model, items[place : place + 1], weights[place : place + 1])
        together = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        for name, gradient in zip(names, together, strict=True):
            require(
                close(gradient, alone[name]),
                f"the gradient of {name} for one example changes with the other examples of its batch, so "
                "that clipping bounds nothing: compute each row of scores from its own row of items",
            )


def check_explanation(make: Make) -> None:
    """The parts that `explain` returns add up to the score; a model without parts returns None."""
    model = prepared(make)
    vector = random_vectors(1, model.dim, seed=7)
    with torch.no_grad():
        row = model.score_catalogue(vector)[0]
        for item in range(model.num_items):
            parts = model.explain(vector[0], item)
            if parts is not None:
                total = torch.tensor(float(sum(parts.values())))
                require(
                    close(total, row[item].float()),
                    f"the parts of item {item} add up to {total:.4g}, not to its score {row[item]:.4g}: "
                    "return exact parts, or None",
                )


def one_gradient(model: Recommender, items: Tensor, weights: Tensor) -> Parameters:
    """The gradient of the loss of some interactions, by name."""
    loss = interaction_loss(model(items), weights, NEGATIVE_WEIGHT, model.loss).sum()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return dict(zip(names, gradients, strict=True))


def settings_of(model: Recommender, unit: str, **changes: object) -> RoundSettings:
    """Settings of one round without noise, for a model of any class."""
    values: dict[str, object] = {
        "round": 1, "rounds": 1, "model": "checked", "dim": model.dim, "own_rows": False, "item_bias": True,
        "unit": unit, "trust": "none" if unit == "none" else "local", "epsilon": float("inf"), "delta": 1e-5,
        "noise_multiplier": 0.0, "clip": float("inf"), "devices": 10, "participation": 1.0,
        "sampling_rate": 1.0, "steps_per_round": 1, "learning_rate": 0.1, "negatives": 3,
        "negative_weight": NEGATIVE_WEIGHT, "catalogue_weight": 0.1, "regularisation": 0.5,
    }  # fmt: skip
    return RoundSettings.model_validate(values | changes)


def one_line(error: object) -> str:
    """The text of an error without line breaks."""
    return " ".join(str(error).split())

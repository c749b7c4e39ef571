"""Each check catches a model that breaks its rule, and says what to do."""

import re
import sys

import pytest
import torch
from torch import nn

from terrycloth.experiments.cli import main
from terrycloth.experiments.model_check.check_model import CHECKS, CONSTRUCTED, check_model
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.neural_cf import NeuralCF
from tests.models.recommenders.own_models import AboveTheMean, Gated, WholeProduct

OWN = "tests.models.recommenders.own_models"


def failures(model) -> dict[str, str]:
    """Return check → reason for the checks that failed."""
    return {outcome.check: outcome.reason for outcome in check_model(model) if not outcome.passed}


@pytest.mark.slow
@pytest.mark.parametrize("model", [Gated, AboveTheMean, WholeProduct, NeuralCF, f"{OWN}:Gated"])
def test_a_model_that_keeps_the_contract_passes_every_check(model):
    outcomes = list(check_model(model))
    assert [outcome.check for outcome in outcomes] == [CONSTRUCTED, *(name for name, _ in CHECKS)]
    assert not failures(model)


# Broken models


class OtherArguments(Gated):
    def __init__(self, num_items):
        super().__init__(num_items, 3)


class FixedDim(Gated):
    def __init__(self, num_items, dim):
        super().__init__(num_items, 3)


class ByAnything(Gated):
    @classmethod
    def for_catalogue(cls, catalogue, dim):
        return "a model"


class FailsToStart(Gated):
    def __init__(self, num_items, dim):
        raise RuntimeError("no\nsuch table")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (OtherArguments, "TypeError: .*needed: Class"),
        (FixedDim, "it has 8 items and dim 3, not 8 and 4"),
        (ByAnything, "no Recommender"),
        (FailsToStart, "RuntimeError: no such table"),
        (Factorisation, "needed: Class"),
    ],
)
def test_a_class_that_cannot_be_constructed_is_not_checked_further(model, reason):
    (outcome,) = check_model(model)
    assert (outcome.check, outcome.passed) == (CONSTRUCTED, False)
    assert re.search(reason, outcome.reason)
    assert "\n" not in outcome.reason


class NoLoss(Gated):
    loss = "hinge"


class OtherServing(Gated):
    def score_catalogue(self, vectors):
        return vectors @ self.items.weight.T + self.bias.weight.squeeze(-1)


class FlatCandidates(Gated):
    def score_candidates(self, vectors, items):
        return super().score_candidates(vectors, items).sum(dim=1)


class ForgetsTheVector(Gated):
    def forward(self, items):
        return self.score_candidates(torch.zeros(len(items), self.dim), items)


class NeedsShoppers(Gated):
    def score_catalogue(self, vectors):
        return torch.stack([super(NeedsShoppers, self).score_catalogue(each[None])[0] for each in vectors])


class SharesTheVector(Gated):
    def shared_parameters(self):
        return {name: parameter.detach() for name, parameter in self.named_parameters()}


class HidesASharedParameter(Gated):
    """A model whose second table is never sent, because of its name."""

    def __init__(self, num_items, dim):
        super().__init__(num_items, dim)
        self.shopper_bias = nn.Embedding(num_items, 1)

    def score_candidates(self, vectors, items):
        return super().score_candidates(vectors, items) + self.shopper_bias(items).squeeze(-1)

    def score_catalogue(self, vectors):
        return super().score_catalogue(vectors) + self.shopper_bias.weight.squeeze(-1)


class StateOutsideParameters(Gated):
    """A model whose scores depend on numbers that no server sends."""

    def initialise(self, seed):
        super().initialise(seed)
        self.scale = 1.0 + seed

    def score_candidates(self, vectors, items):
        return self.scale * super().score_candidates(vectors, items)

    def score_catalogue(self, vectors):
        return self.scale * super().score_catalogue(vectors)


class KeepsGivenTensors(Gated):
    def load_shared(self, parameters):
        self.items.weight.data = parameters["items.weight"]
        self.bias.weight.data = parameters["bias.weight"]


class LoadsAnything(Gated):
    def load_shared(self, parameters):
        self.load_state_dict(parameters, strict=False)


class Normalised(Gated):
    """A model with batch norm, whose running means are buffers and which mixes examples."""

    def __init__(self, num_items, dim):
        super().__init__(num_items, dim)
        self.norm = nn.BatchNorm1d(1)


class Buffered(Gated):
    def __init__(self, num_items, dim):
        super().__init__(num_items, dim)
        self.register_buffer("seen", torch.zeros(num_items))


class GlobalGenerator(Gated):
    def initialise_parameter(self, name, parameter, generator):
        nn.init.normal_(parameter, std=0.1)


class StartsAtZero(Gated):
    def initialise_parameter(self, name, parameter, generator):
        if name == "items.weight":
            super().initialise_parameter(name, parameter, generator)


class SameStart(Gated):
    def initialise_parameter(self, name, parameter, generator):
        nn.init.constant_(parameter, 0.1)


class DropsOut(Gated):
    def score_candidates(self, vectors, items):
        return super().score_candidates(nn.functional.dropout(vectors, 0.5), items)


class CountsCalls(Gated):
    calls = 0

    def score_candidates(self, vectors, items):
        self.calls += 1
        return super().score_candidates(vectors, items) * (1 + 0.1 * self.calls)


class UnusedParameter(Gated):
    def __init__(self, num_items, dim):
        super().__init__(num_items, dim)
        self.unused = nn.Linear(dim, dim)


class SubtractsTheBatchMean(Gated):
    """A model that subtracts a batch's mean from every score of it."""

    def score_candidates(self, vectors, items):
        scores = super().score_candidates(vectors, items)
        return scores - scores.mean(dim=0, keepdim=True)


class WrongExplanation(Gated):
    def explain(self, vector, item):
        return {"popularity": float(self.bias.weight[item])}


class FalselyDeclaresRows(AboveTheMean):
    looks_up_rows = True


class ProductFalselyDeclaresRows(WholeProduct):
    """Opacus can differentiate this model, including parameters outside layers."""

    looks_up_rows = True


class LayersFalselyDeclareRows(AboveTheMean):
    """Opacus can differentiate every layer, but the rows of the given items are not enough."""

    looks_up_rows = True

    def score_candidates(self, vectors, items):
        everything = torch.arange(self.items.num_embeddings).expand(len(items), -1)
        rows = self.items(items) - self.items(everything).mean(dim=1, keepdim=True)
        return (vectors.unsqueeze(1) * rows).sum(dim=-1) + self.bias(items).squeeze(-1)


BATCHES = [name for name, _ in CHECKS if "training in batches" in name]
EXACT = "the gradient of each example is exact"


@pytest.mark.parametrize(
    ("model", "check", "reason"),
    [
        (NoLoss, "it names its loss, and the shopper's vector has its length", "loss to one of"),
        (OtherServing, "score_candidates gives the scores of score_catalogue", "the same score in both"),
        (OtherServing, "forward gives the scores of score_catalogue", "the same score in both"),
        (FlatCandidates, "score_candidates gives the scores of score_catalogue", r"gave \[3\]"),
        (ForgetsTheVector, "forward gives the scores of score_catalogue", "differs"),
        (NeedsShoppers, "score_catalogue accepts zero shoppers", "RuntimeError"),
        (SharesTheVector, "only shopper.weight is private", "must leave out shopper.weight"),
        (HidesASharedParameter, "only shopper.weight is private", r"lacks \['shopper_bias.weight'\]"),
        (StateOutsideParameters, "the shared parameters alone decide the scores", "more than parameters"),
        (KeepsGivenTensors, "load_shared copies", "kept the tensor"),
        (LoadsAnything, "load_shared refuses other names and shapes", "another model"),
        (Normalised, "no persistent buffer, and no layer that mixes examples", "norm.running_mean"),
        (Buffered, "no persistent buffer, and no layer that mixes examples", r"\['seen'\]"),
        (GlobalGenerator, "initialise is decided by its seed alone", "global generator"),
        (StartsAtZero, "initialise is decided by its seed alone", "bias.weight is not decided"),
        (SameStart, "initialise is decided by its seed alone", "two seeds"),
        (DropsOut, "scoring is deterministic", "remove dropout"),
        (CountsCalls, "scoring is deterministic", "the second time"),
        (UnusedParameter, EXACT, "unused.weight"),
        (
            SubtractsTheBatchMean,
            "the gradient of an example does not depend on others",
            "clipping bounds nothing",
        ),
        (WrongExplanation, "the parts of explain add up to the score", "exact parts, or None"),
        (FalselyDeclaresRows, EXACT, "looks_up_rows = False"),
        *((ProductFalselyDeclaresRows, name, "looks_up_rows = False") for name in BATCHES),
        *((FalselyDeclaresRows, name, "looks_up_rows = False") for name in BATCHES),
        *((LayersFalselyDeclareRows, name, "") for name in BATCHES),
    ],
)
def test_a_broken_model_fails_its_check(model, check, reason):
    failed = failures(model)
    assert check in failed
    assert re.search(reason, failed[check]), failed[check]
    assert not any("\n" in each for each in failed.values())


def test_a_model_that_mixes_examples_exceeds_the_clip():
    """A model that defeats the clip is also detected by the effect of one more interaction."""
    assert "one interaction more changes the update by the clip at most" in failures(SubtractsTheBatchMean)


def test_a_missing_class_is_refused():
    with pytest.raises(UserError, match="cannot be imported"):
        list(check_model(f"{OWN}:Absent"))
    with pytest.raises(UserError, match="there is no model 'two-tower-9'"):
        list(check_model("two-tower-9"))


@pytest.mark.parametrize(
    ("name", "code", "line", "error"),
    [
        (f"{OWN}:Gated", 0, "ok      scoring is deterministic\n", ""),
        (
            f"{__name__}:DropsOut",
            2,
            "failed  scoring is deterministic: scoring draws",
            "checks of .* failed: ch",
        ),
        (f"{OWN}:Absent", 2, "", "cannot be imported"),
    ],
)
def test_terry_prints_one_line_per_check(name, code, line, error, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[test_terry_prints_one_line_per_check.__module__])
    monkeypatch.setattr(sys, "argv", ["terry", "check", "model", name])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code or 0) == code
    assert line in printed.out
    assert bool(error) == bool(printed.err)
    assert re.search(error, printed.err)
    if line:
        assert printed.out.count("\n") == 1 + len(CHECKS)

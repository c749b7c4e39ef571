"""From settings and a catalogue to a recommender."""

from models.bag import build_bag
from models.catalogue import Catalogue
from models.factorisation import Factorisation
from models.neural_cf import NeuralCF
from models.recommender import Recommender


def build_model(
    model: str, catalogue: Catalogue, *, dim: int, own_rows: bool, item_bias: bool
) -> Recommender:
    """`mf`, `attributes` (its own rows too where asked) or `neural-cf`; ValueError for another name."""
    if model == "mf":
        bag = build_bag(catalogue, attributes=False, own_rows=True)
        return Factorisation(bag, dim, item_bias=item_bias)
    if model == "attributes":
        bag = build_bag(catalogue, attributes=True, own_rows=own_rows)
        return Factorisation(bag, dim, item_bias=item_bias)
    if model == "neural-cf":
        return NeuralCF(len(catalogue), dim)
    raise ValueError(f"there is no model {model!r}")

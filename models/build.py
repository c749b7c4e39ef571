"""From settings and a catalogue to a recommender."""

from models.bag import build_bag
from models.catalogue import TITLE, Catalogue
from models.errors import UserError
from models.factorisation import Factorisation
from models.linear_autoencoder import MOST_ITEMS, LinearAutoencoder
from models.neural_cf import NeuralCF
from models.recommender import Recommender


def build_model(
    model: str,
    catalogue: Catalogue,
    *,
    dim: int,
    own_rows: bool,
    item_bias: bool,
    noise_deviation: float = 0.0,
) -> Recommender:
    """`mf`, `attributes` (own rows too where asked), `neural-cf` or `linear`; ValueError for another name.

    noise_deviation: of the noise in the released parameters, which `linear` reads its own signal against.
    """
    if model == "mf":
        bag = build_bag(catalogue, attributes=False, own_rows=True)
        return Factorisation(bag, dim, item_bias=item_bias)
    if model == "attributes":
        bag = build_bag(catalogue, attributes=True, own_rows=own_rows)
        return Factorisation(bag, dim, item_bias=item_bias)
    if model == "linear":
        if len(catalogue) > MOST_ITEMS:
            raise UserError(
                f"--model linear holds a matrix of items × items, and {len(catalogue):,} are more than "
                f"{MOST_ITEMS:,}: choose another --model, or a --category"
            )
        return LinearAutoencoder(list(catalogue.table[TITLE]), dim, noise_deviation=noise_deviation)
    if model == "neural-cf":
        return NeuralCF(len(catalogue), dim)
    raise ValueError(f"there is no model {model!r}")

"""From settings and a catalogue to a recommender."""

from terrycloth.models.catalogue import TITLE, Catalogue
from terrycloth.models.limits import MOST_ITEMS
from terrycloth.models.recommenders.bag import build_bag
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.linear_autoencoder import LinearAutoencoder
from terrycloth.models.recommenders.neural_cf import NeuralCF
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import RoundSettings


def build_model(
    model: str,
    catalogue: Catalogue,
    *,
    dim: int,
    own_rows: bool,
    item_bias: bool,
    head_size: int = MOST_ITEMS,
    regularisation: float = 1.0,
    noise_deviations: tuple[float, float] = (0.0, 0.0),
    attribute_weights: tuple[float, float] = (0.01, 0.1),
    popularity_discount: float = 0.0,
    title_words: bool = False,
) -> Recommender:
    """`mf`, `attributes` (own rows too where asked), `neural-cf` or `linear`; ValueError for another name.

    For `linear`, head_size: how many items its matrix is over, all where there are fewer. regularisation: its
    ridge. noise_deviations: of the noise in its two releases, which it reads its own signal against.
    attribute_weights: how much attributes count without noise, and where it drowns all else. title_words:
    whether they include words of titles.
    """
    if model == "mf":
        bag = build_bag(catalogue, attributes=False, own_rows=True)
        return Factorisation(bag, dim, item_bias=item_bias)
    if model == "attributes":
        bag = build_bag(catalogue, attributes=True, own_rows=own_rows)
        return Factorisation(bag, dim, item_bias=item_bias)
    if model == "linear":
        bag = build_bag(catalogue, attributes=True, own_rows=False, title_words=title_words)
        names = list(catalogue.table[TITLE])
        return LinearAutoencoder(
            names,
            dim,
            head_size=head_size,
            attributes=bag,
            regularisation=regularisation,
            noise_deviations=noise_deviations,
            attribute_weights=attribute_weights,
            popularity_discount=popularity_discount,
        )
    if model == "neural-cf":
        return NeuralCF(len(catalogue), dim)
    raise ValueError(f"there is no model {model!r}")


def recommender_for(settings: RoundSettings, catalogue: Catalogue) -> Recommender:
    """What all sides of a run build alike, for what its last training round releases."""
    return build_model(
        settings.model,
        catalogue,
        dim=settings.dim,
        own_rows=settings.own_rows,
        item_bias=settings.item_bias,
        head_size=settings.head_size,
        regularisation=settings.regularisation,
        noise_deviations=(settings.at(1).released_deviation, settings.at(settings.rounds).released_deviation),
        attribute_weights=(settings.attribute_weight, settings.noised_attribute_weight),
        popularity_discount=settings.popularity_discount,
        title_words=settings.title_words,
    )

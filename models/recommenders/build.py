"""From settings and a catalogue to a recommender."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from terrycloth.models.catalogue import TITLE, Catalogue
from terrycloth.models.limits import MOST_ITEMS
from terrycloth.models.recommenders import plug_ins
from terrycloth.models.recommenders.bag import build_bag
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.linear_autoencoder import LinearAutoencoder
from terrycloth.models.recommenders.neural_cf import NeuralCF
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import RoundSettings


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What a model's constructor may need besides the catalogue; each model reads the options it has.

    own_rows, item_bias: of factorisations. The others belong to `linear`. head_size: number of items in its
    matrix; the whole catalogue if that is smaller. regularisation: its ridge. noise_deviations: standard
    deviations of the noise in its two releases. attribute_weights: the weight of attributes without noise,
    and where the noise drowns everything else. title_words: whether words of titles count as attributes.
    """

    dim: int
    own_rows: bool
    item_bias: bool
    head_size: int = MOST_ITEMS
    regularisation: float = 1.0
    noise_deviations: tuple[float, float] = (0.0, 0.0)
    attribute_weights: tuple[float, float] = (0.01, 0.1)
    popularity_discount: float = 0.0
    title_words: bool = False


def build_mf(catalogue: Catalogue, options: ModelOptions) -> Recommender:
    """Matrix factorisation: an item is a row of its own."""
    bag = build_bag(catalogue, attributes=False, own_rows=True)
    return Factorisation(bag, options.dim, item_bias=options.item_bias)


def build_attributes(catalogue: Catalogue, options: ModelOptions) -> Recommender:
    """Attribute factorisation: an item is the rows of its attribute values, and its own row on request."""
    bag = build_bag(catalogue, attributes=True, own_rows=options.own_rows)
    return Factorisation(bag, options.dim, item_bias=options.item_bias)


def build_neural_cf(catalogue: Catalogue, options: ModelOptions) -> Recommender:
    """Neural collaborative filtering."""
    return NeuralCF(len(catalogue), options.dim)


def build_linear(catalogue: Catalogue, options: ModelOptions) -> Recommender:
    """The linear autoencoder."""
    return LinearAutoencoder(
        list(catalogue.table[TITLE]),
        options.dim,
        head_size=options.head_size,
        attributes=build_bag(catalogue, attributes=True, own_rows=False, title_words=options.title_words),
        regularisation=options.regularisation,
        noise_deviations=options.noise_deviations,
        attribute_weights=options.attribute_weights,
        popularity_discount=options.popularity_discount,
    )


BUILDERS: dict[str, Callable[[Catalogue, ModelOptions], Recommender]] = {
    "mf": build_mf,
    "attributes": build_attributes,
    "neural-cf": build_neural_cf,
    "linear": build_linear,
}


def build_model(model: str, catalogue: Catalogue, **options: Any) -> Recommender:
    """A model by its short name or dotted path, with the fields of `ModelOptions`. Raises ValueError."""
    if model in BUILDERS:
        return BUILDERS[model](catalogue, ModelOptions(**options))
    return plug_ins.build(plug_ins.wire_name(model), catalogue, options["dim"])


def recommender_for(settings: RoundSettings, catalogue: Catalogue) -> Recommender:
    """The recommender that every party of a run builds, for the releases of the last training round."""
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

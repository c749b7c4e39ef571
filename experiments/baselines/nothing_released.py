"""Nothing released: what a device can find by itself, from the public catalogue and its own purchases.

An item is like what the shopper has by three things, each a number from 0 to 1: the cosine of the words of
their titles and the cosine of their attributes, both by tf-idf (Salton & Buckley 1988, "Term-weighting
approaches in automatic text retrieval"), and how near their codes are, 2^(−|gap|/scale), where items are
identified by numbers: shops give neighbouring codes to what comes together. The score is the sum over what
the shopper has, newer purchases weighing more. There is no popularity in it and nothing of any other shopper,
so whoever has nothing gets all items alike. What a model adds to it is what other shoppers' data are worth.
"""

from collections import Counter

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.profiles import profiles, unit_rows
from terrycloth.experiments.baselines.row import HALF_LIFE, Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue

ATTRIBUTES, CODES, SCALE = "attributes", "codes", "scale"  # weights beside that of words, 1

LEAST_ITEMS = 2  # with a word or a value, for it to make two items alike
NEGLIGIBLE = 10.0  # scales apart: 2⁻¹⁰ and less is taken for 0

FITS: tuple[Settings, ...] = tuple(
    {ATTRIBUTES: attributes, CODES: codes, SCALE: 5.0}
    for attributes in (0.0, 0.5)
    for codes in (0.0, 0.3, 1.0)
)
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 2.0, 5.0, 20.0))


def fit_nothing_released(context: Context, settings: Settings) -> Serve:
    """Reads the catalogue, and nothing else of what a context holds."""
    catalogue = context.catalogue
    words, attributes = tf_idf(title_words(catalogue)), tf_idf(attribute_values(catalogue))
    features = scipy.sparse.hstack([words, settings[ATTRIBUTES] ** 0.5 * attributes]).tocsr()
    near = settings[CODES] * near_codes(catalogue, settings[SCALE])  # [items, items]

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            own = profiles(events, len(catalogue), served[HALF_LIFE])
            scores = (features @ (own @ features).toarray().T).T + (own @ near).toarray()
            return torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))

        return scorer

    return serve


def nothing_in(catalogue: Catalogue) -> str | None:
    """Why a catalogue makes no two items alike, or None."""
    features = sum(tf_idf(of(catalogue)).nnz for of in (title_words, attribute_values))
    if features or near_codes(catalogue, 1.0).nnz:
        return None
    return "reads titles, attributes and numeric codes, and in this catalogue no two items are alike in any"


def title_words(catalogue: Catalogue) -> list[set[str]]:
    """The different words of each item's title, in lower case."""
    return [set(words) for words in catalogue.table[TITLE].str.lower().str.findall(r"[^\W_]+")]


def attribute_values(catalogue: Catalogue) -> list[set[str]]:
    """The different values of each item, each with the name of its attribute."""
    found: list[set[str]] = [set() for _ in range(len(catalogue))]
    for name in catalogue.attributes:
        for item, values in enumerate(catalogue.table[name]):
            found[item] |= {f"{name} {value}" for value in values}
    return found


def tf_idf(terms: list[set[str]]) -> scipy.sparse.csr_matrix:
    """ln(items / items with the term), rows of norm 1: sparse float32 [items, terms of two or more]."""
    counts = Counter(term for of_item in terms for term in of_item)
    kept = sorted(term for term, count in counts.items() if count >= LEAST_ITEMS)
    column = {term: number for number, term in enumerate(kept)}
    pairs = [(item, column[term]) for item, own in enumerate(terms) for term in sorted(own) if term in column]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    rarity = np.log(len(terms) / np.array([counts[term] for term in kept]))
    return unit_rows(scipy.sparse.csr_matrix((rarity[columns], (rows, columns)), (len(terms), len(kept))))


def near_codes(catalogue: Catalogue, scale: float) -> scipy.sparse.csr_matrix:
    """2^(−|gap|/scale) of the numbers that two identifiers begin with: sparse float32 [items, items].

    0 on the diagonal, and everywhere unless every identifier begins with a number.
    """
    digits = catalogue.table[ITEM].str.extract(r"^(\d{1,15})", expand=False)
    if digits.isna().any():
        return scipy.sparse.csr_matrix((len(digits), len(digits)), dtype=np.float32)
    codes = digits.astype(np.int64).to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], codes[order] + NEGLIGIBLE * scale, side="left")
    places = np.arange(len(codes))
    counts = ends - places - 1  # of later items near by
    left = np.repeat(places, counts)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    left, right = order[left], order[right]
    near = np.exp2(-np.abs(codes[left] - codes[right]) / scale).astype(np.float32)
    upper = scipy.sparse.csr_matrix((near, (left, right)), (len(codes), len(codes)))
    return (upper + upper.T).tocsr()

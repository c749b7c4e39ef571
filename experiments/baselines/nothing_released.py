"""Nothing released: what a device can recommend from the public catalogue and its own purchases alone.

The similarity of two items has three parts, each a number from 0 to 1: the cosine of the words in their
titles, the cosine of their attributes, both weighted by tf-idf (Salton & Buckley 1988, "Term-weighting
approaches in automatic text retrieval"), and, where items are identified by numbers, the closeness of their
codes, 2^(−|gap|/scale), because shops give neighbouring codes to related items. The score of an item is the
sum of its similarities to the shopper's items, where newer purchases weigh more. The score uses no popularity
and no data of any other shopper, so a shopper without purchases gets the same score for every item. The
accuracy that a model adds to it is what the other shoppers' data are worth.

Where items that were bought before count as targets, the shopper's own items come first, by how often they
were bought (`own_frequency.visits_with`), and similarity ranks all other items.
"""

from collections import Counter

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.profiles import profiles, unit_rows
from terrycloth.experiments.baselines.own_frequency import visits_with
from terrycloth.experiments.baselines.row import HALF_LIFE, Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue

ATTRIBUTES, CODES, SCALE = "attributes", "codes", "scale"  # weights relative to that of words, which is 1

MINIMUM_ITEMS = 2  # a term counts only if at least this many items have it
BELOW = 1e-3  # the greatest similarity, relative to one purchase, if own items come first
NEGLIGIBLE = 10.0  # in scales: at this gap and beyond, the closeness of at most 2⁻¹⁰ is taken as 0

FITS: tuple[Settings, ...] = tuple(
    {ATTRIBUTES: attributes, CODES: codes, SCALE: 5.0}
    for attributes in (0.0, 0.5)
    for codes in (0.0, 0.3, 1.0)
)
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 2.0, 5.0, 20.0))


def fit_nothing_released(context: Context, settings: Settings) -> Serve:
    """Compute the item similarities from the context's catalogue; nothing else in the context is read."""
    catalogue = context.catalogue
    words, attributes = tf_idf(title_words(catalogue)), tf_idf(attribute_values(catalogue))
    features = scipy.sparse.hstack([words, settings[ATTRIBUTES] ** 0.5 * attributes]).tocsr()
    near = settings[CODES] * near_codes(catalogue, settings[SCALE])  # [items, items]

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            own = profiles(events, len(catalogue), served[HALF_LIFE])
            scores = (features @ (own @ features).toarray().T).T + (own @ near).toarray()
            similarities = torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))
            if not context.repeats:
                return similarities
            bought = torch.from_numpy(visits_with(events, len(catalogue), served[HALF_LIFE]).toarray())
            greatest = similarities.amax(dim=1, keepdim=True).clamp(min=1e-30)
            return bought + BELOW * similarities / greatest

        return scorer

    return serve


def why_unusable(catalogue: Catalogue, repeats: bool) -> str | None:
    """Return why every item would have the same score, or None. repeats: whether own items may be targets."""
    if repeats:
        return None
    features = sum(tf_idf(of(catalogue)).nnz for of in (title_words, attribute_values))
    if features or near_codes(catalogue, 1.0).nnz:
        return None
    return "reads titles, attributes and numeric codes, but no two items of this catalogue are similar in any"


def title_words(catalogue: Catalogue) -> list[set[str]]:
    """Return the distinct words of each item's title, in lower case."""
    return [set(words) for words in catalogue.table[TITLE].str.lower().str.findall(r"[^\W_]+")]


def attribute_values(catalogue: Catalogue) -> list[set[str]]:
    """Return the distinct attribute values of each item, each prefixed with the name of its attribute."""
    terms: list[set[str]] = [set() for _ in range(len(catalogue))]
    for name in catalogue.attributes:
        for item, values in enumerate(catalogue.table[name]):
            terms[item] |= {f"{name} {value}" for value in values}
    return terms


def tf_idf(terms: list[set[str]]) -> scipy.sparse.csr_matrix:
    """Return the tf-idf weights of each item's terms, with idf = ln(items / items with the term).

    The result is a sparse float32 matrix [items, terms] with rows of norm 1. It leaves out terms that fewer
    than MINIMUM_ITEMS items have.
    """
    counts = Counter(term for of_item in terms for term in of_item)
    kept = sorted(term for term, count in counts.items() if count >= MINIMUM_ITEMS)
    column = {term: number for number, term in enumerate(kept)}
    pairs = [(item, column[term]) for item, own in enumerate(terms) for term in sorted(own) if term in column]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    rarity = np.log(len(terms) / np.array([counts[term] for term in kept]))
    return unit_rows(scipy.sparse.csr_matrix((rarity[columns], (rows, columns)), (len(terms), len(kept))))


def near_codes(catalogue: Catalogue, scale: float) -> scipy.sparse.csr_matrix:
    """Return 2^(−|gap|/scale) for each pair of items, where gap is the difference of their codes.

    A code is the number at the start of an item's identifier. The result is a sparse float32 matrix
    [items, items] with zeros on the diagonal. It is all zeros unless every identifier starts with a number.
    """
    digits = catalogue.table[ITEM].str.extract(r"^(\d{1,15})", expand=False)
    if digits.isna().any():
        return scipy.sparse.csr_matrix((len(digits), len(digits)), dtype=np.float32)
    codes = digits.astype(np.int64).to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], codes[order] + NEGLIGIBLE * scale, side="left")
    places = np.arange(len(codes))
    counts = ends - places - 1  # nearby items later in the order
    left = np.repeat(places, counts)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    left, right = order[left], order[right]
    near = np.exp2(-np.abs(codes[left] - codes[right]) / scale).astype(np.float32)
    upper = scipy.sparse.csr_matrix((near, (left, right)), (len(codes), len(codes)))
    return (upper + upper.T).tocsr()

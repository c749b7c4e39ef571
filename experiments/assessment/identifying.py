"""How identifying purchases are: whom a few of them single out, although no name is stored."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from terrycloth.client.events import Array, Events
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.times import DAY

KNOWN = (1, 2, 3, 4)  # how many purchases somebody knows of a shopper
SMALL_GROUP = 20  # shoppers; whoever shares a property with fewer is easy to find
SAMPLE = 1_000  # shoppers on whom unicity is estimated
SEED = 0  # of the draw of shoppers and purchases, so that a report can be repeated


@dataclass(frozen=True)
class Identifying:
    """How identifying the data are.

    singled_out: for each number of known purchases (item and day), the share of shoppers whom no other
    shopper shares them with, among those who have as many. in_small_groups: for each attribute, the share of
    shoppers who bought a set of its values that fewer than SMALL_GROUP shoppers bought.
    """

    singled_out: dict[int, float]
    in_small_groups: dict[str, float]


def identifying(events: Events, catalogue: Catalogue, *, dated: bool = True) -> Identifying:
    """Measure how identifying purchases are. dated: whether their days are known."""
    return Identifying(
        {known: share for known in KNOWN if (share := unicity(events, known, dated=dated)) is not None},
        {
            name: share_in_small_groups(bought_values(events, catalogue, name))
            for name in catalogue.attributes
        },
    )


def unicity(events: Events, known: int, *, dated: bool = True) -> float | None:
    """Return the share of shoppers whom `known` of their purchases, drawn at random, single out.

    This is the unicity of de Montjoye et al. 2013 ("Unique in the crowd", Scientific Reports 3). A purchase
    is an item and, if `dated`, its day. None if no shopper has that many different purchases.
    """
    days = events.times // DAY if dated else np.zeros(len(events), dtype=np.int64)
    pairs = np.stack([events.items.astype(np.int64), days])
    _, purchases = np.unique(pairs, axis=1, return_inverse=True)
    shape = (events.num_devices, int(purchases.max(initial=-1)) + 1)
    has = sp.csr_array((np.ones(len(events), dtype=np.int8), (events.devices, purchases.reshape(-1))), shape)
    has.sum_duplicates()
    owners = has.tocsc()
    random = np.random.default_rng(SEED)
    able = np.flatnonzero(np.diff(has.indptr) >= known)
    alone = []
    for row in random.permutation(able)[:SAMPLE]:
        own = random.permutation(has.indices[has.indptr[row] : has.indptr[row + 1]])
        alone.append(len(sharers(owners, own[:known])) == 1)
    return float(np.mean(alone)) if alone else None


def sharers(owners: sp.csc_array, purchases: Array) -> Array:
    """Return the shoppers who have all of some purchases. owners: [shoppers, purchases]."""
    columns = (owners.indices[owners.indptr[each] : owners.indptr[each + 1]] for each in purchases)
    shared: Array = next(columns)
    for column in columns:
        shared = np.intersect1d(shared, column, assume_unique=True)
    return shared


def bought_values(events: Events, catalogue: Catalogue, attribute: str) -> sp.csr_array:
    """Return which values of an attribute each shopper bought: [shoppers, values]."""
    cells = catalogue.table[attribute].explode().dropna()
    values, names = cells.factorize()
    ones = np.ones(len(cells), dtype=np.int32)
    of_item = sp.csr_array((ones, (cells.index.to_numpy(), values)), (len(catalogue), len(names)))
    bought = sp.csr_array(
        (np.ones(len(events), dtype=np.int32), (events.devices, events.items)),
        (events.num_devices, len(catalogue)),
    )
    return sp.csr_array(bought @ of_item)


def share_in_small_groups(bought: sp.csr_array) -> float:
    """Return the share of shoppers whose set of values fewer than SMALL_GROUP shoppers have.

    A shopper who bought no value is not counted. This is k-anonymity (Sweeney 2002) of the sets of values.
    """
    bought.sort_indices()
    sets = [
        bought.indices[start:stop].tobytes()
        for start, stop in zip(bought.indptr[:-1], bought.indptr[1:], strict=True)
        if stop > start
    ]
    _, counts = np.unique(np.array(sets, dtype=object), return_counts=True)
    return float(counts[counts < SMALL_GROUP].sum() / len(sets)) if sets else 0.0

"""The linear model: popularity of late, and a low-rank linear autoencoder of what is bought together.

A linear autoencoder's loss is quadratic, so sums over the shoppers are all a server needs (as in EASE: Steck
2019, equation 8). Here there are two, each a release with its noise, a device's part of norm 1 at most
(client/training/co_occurrence.py):

popularity   what each shopper has, newer purchases counting more
gram         the shopper's items against each other, near to 1 where two were bought close in time, over the
             head: the items that the first release ranks highest

What all shoppers have in common is not learned apart: it is the matrix's first eigenvector u, which is taken
out of it. The matrix is packed: its upper triangle with the entries off the diagonal times √2 has the
matrix's Frobenius norm, and noise of deviation s on it is a symmetric matrix with deviation s on the diagonal
and s/√2 off it. Everything after the release is in models/recommenders/spectrum.py and here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.bag import Bag
from terrycloth.models.recommenders.head import head_items, popularity_direction
from terrycloth.models.recommenders.kinds import Solver
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.recommenders.spectrum import Spectrum, shrunk

POPULAR = "popular with everyone of late"
LEAST_POPULARITY = 1e-3  # of the largest in u, where scores are divided by it
LEAST_SHARE = 1e-3  # of an attribute in what is bought, so that a rare one's lift stays small


@dataclass(frozen=True)
class Learned:
    """What the shared parameters come to; all float32.

    popular: p̂ [items], positive, of norm 1. head: int64 [head]. spectrum: of the gram, over the head.
    discount: what each item's learned scores are multiplied by [head]. lift: how much the attributes count.
    shares: each attribute's share in what everyone buys [attributes].
    """

    popular: Tensor
    head: Tensor
    spectrum: Spectrum
    discount: Tensor
    lift: float
    shares: Tensor


class LinearAutoencoder(Recommender):
    """score(z, ·) = (z·u) p̂ + D V diag(f) Vᵀ z over the head + g p̂ ⊙ (lift of the items' attributes).

    popularity [items] and gram [head · (head + 1) / 2] are shared: means over the devices. A shopper's vector
    is its own row z [items], of norm 1, newer purchases weighing more; a row of zeros is served as everyone.
    The third part needs no release: the catalogue is public, the shares of attributes in z are the shopper's
    own. It is a prior that fades as the signal outgrows the noise. `dim` is the most eigenvectors kept.
    regularisation: of `spectrum.shrunk`. attributes: the catalogue's bags. noise_deviations: of the noise in
    `popularity` and in `gram`; 0 without any. attribute_weights: g without noise, and where it drowns all
    else. popularity_discount: β of D = diag(u)^−β, u at mean square 1. Ridge regression scores popular items
    higher; how far they should be is for validation to say (the asymmetric normalisation of graph filters:
    Park, Shin & Shin 2024, "Turbo-CF: matrix decomposition-free graph filtering").
    """

    loss = "squared"
    solver = Solver.STATISTICS

    def __init__(
        self,
        item_names: list[str],
        dim: int,
        *,
        head_size: int,
        attributes: Bag,
        regularisation: float,
        noise_deviations: tuple[float, float] = (0.0, 0.0),
        attribute_weights: tuple[float, float] = (0.01, 0.1),
        popularity_discount: float = 0.0,
    ) -> None:
        super().__init__(len(item_names), dim)
        self.item_names = item_names
        self.head_size = min(head_size, self.num_items)
        self.regularisation = regularisation
        self.noise_deviations = noise_deviations
        self.attribute_weights = attribute_weights
        self.popularity_discount = popularity_discount
        self.popularity = nn.Parameter(torch.zeros(self.num_items))
        self.gram = nn.Parameter(torch.zeros(self.head_size * (self.head_size + 1) // 2))
        self.attribute_names, self.attributes = unit_incidence(attributes)
        self._learned: tuple[tuple[int, int], Learned] | None = None

    def initialise_parameter(self, name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
        """At zero: a step of 1 from there is to the mean."""
        nn.init.zeros_(parameter)

    @property
    def learned(self) -> Learned:
        """Found once for the parameters as they are."""
        version = self.popularity._version, self.gram._version
        if self._learned is None or self._learned[0] != version:
            self._learned = version, self.learn()
        return self._learned[1]

    def learn(self) -> Learned:
        """Post-processing of the released parameters."""
        popularity, (of_popularity, of_gram) = self.popularity.detach(), self.noise_deviations
        head = head_items(popularity, self.head_size)
        matrix = torch.nan_to_num(unpacked(self.gram.detach(), self.head_size), nan=0.0)
        spectrum = shrunk(matrix, of_gram, self.dim, self.regularisation)
        popular = popularity_direction(popularity, of_popularity).float()
        shares = self.attribute_shares((popular / popular.sum()).unsqueeze(0))[0]
        without, noised = self.attribute_weights
        lift = without + (noised - without) * spectrum.noise
        everyone = spectrum.centre.clamp(min=LEAST_POPULARITY * float(spectrum.centre.max()))
        discount = (everyone * self.head_size**0.5) ** -self.popularity_discount
        return Learned(popular, head, spectrum, discount, lift, shares)

    def attribute_shares(self, rows: Tensor) -> Tensor:
        """[shoppers, attributes]: of rows [shoppers, items] whose entries add up to 1."""
        shares: Tensor = torch.sparse.mm(self.attributes.t(), rows.T).T
        return shares

    def attribute_lift(self, vectors: Tensor) -> Tensor:
        """How much more of its purchases an attribute has than of everyone's: [shoppers, attributes]."""
        learned = self.learned
        totals = vectors.sum(dim=1, keepdim=True)
        own = self.attribute_shares(vectors / totals.clamp(min=1e-30))
        return torch.where(totals > 0, (own - learned.shares) / (learned.shares + LEAST_SHARE), 0.0)

    def common_part(self, vectors: Tensor) -> Tensor:
        """z·u [shoppers, 1]; 1 for a row that holds nothing of the head, which is served as everyone."""
        learned = self.learned
        parts = (vectors[:, learned.head] @ learned.spectrum.centre).unsqueeze(1)
        return torch.where(parts > 0, parts, 1.0)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        """[shoppers, items] for rows z [shoppers, items]."""
        learned = self.learned
        scores = self.common_part(vectors) * learned.popular
        if self.attribute_names:
            liked = torch.sparse.mm(self.attributes, self.attribute_lift(vectors).T).T
            scores += learned.lift * learned.popular * liked
        kept, weights = learned.spectrum.vectors, learned.spectrum.weights
        scores[:, learned.head] += (vectors[:, learned.head] @ kept * weights) @ kept.T * learned.discount
        return scores

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        """[batch, candidates] for rows z [batch, items]."""
        return self.score_catalogue(vectors).gather(1, items)

    def explain(self, vector: Tensor, item: int) -> dict[str, float]:
        """What popularity, each item of the shopper's and each attribute add; they sum to the score.

        vector: [items]. Two items may share a title.
        """
        learned = self.learned
        row = vector.unsqueeze(0)
        parts = {POPULAR: float(self.common_part(row)[0, 0] * learned.popular[item])}
        if item in learned.head:
            kept, weights = learned.spectrum.vectors, learned.spectrum.weights
            place = int(torch.searchsorted(learned.head, item))
            likeness = kept @ (weights * kept[place]) * learned.discount[place]  # [head]
            own = vector[learned.head]
            for number in own.nonzero().flatten().tolist():
                name = f"you have {self.item_names[int(learned.head[number])]}"
                parts[name] = parts.get(name, 0.0) + float(own[number] * likeness[number])
        of_item = self.attributes[item].coalesce()
        lift = self.attribute_lift(row)[0]
        for number, part in zip(of_item.indices()[0].tolist(), of_item.values().tolist(), strict=True):
            added = learned.lift * float(learned.popular[item] * lift[number]) * part
            parts[f"you like {self.attribute_names[number]}"] = added
        return parts


def unit_incidence(bag: Bag) -> tuple[list[str], Tensor]:
    """The attributes' names, and sparse [items, attributes], each row of norm 1 or zero.

    The bag's row for items of which nothing is known is no attribute.
    """
    names = [name for name in bag.names if name != "unknown"]
    incidence = bag.incidence()
    items, rows = incidence.indices()
    known = rows < len(names)
    items, rows = items[known], rows[known]
    counts = torch.bincount(items, minlength=bag.num_items)
    values = counts[items].float().rsqrt()
    shape = (bag.num_items, len(names))
    unit = torch.sparse_coo_tensor(torch.stack([items, rows]), values, shape, check_invariants=True)
    return names, unit.coalesce()


def packed(matrix: Tensor) -> Tensor:
    """The upper triangle [items · (items + 1) / 2] of a symmetric matrix, off the diagonal times √2."""
    rows, columns = torch.triu_indices(*matrix.shape)
    return matrix[rows, columns] * torch.where(rows == columns, 1.0, 2.0**0.5)


def unpacked(triangle: Tensor, items: int) -> Tensor:
    """The symmetric matrix [items, items] that `packed` packed."""
    rows, columns = torch.triu_indices(items, items)
    values = triangle / torch.where(rows == columns, 1.0, 2.0**0.5)
    matrix = torch.zeros(items, items)
    matrix[rows, columns] = values
    matrix[columns, rows] = values
    return matrix

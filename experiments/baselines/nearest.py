"""Item-kNN: each item's nearest neighbours by the cosine of their sets of owners, without privacy.

The method is that of Deshpande & Karypis 2004, "Item-based top-N recommendation algorithms", with the
shrinkage that Dacrema et al. 2021, "A troubling analysis of reproducibility and progress in recommender
systems research", tune. The implementation is irspack's. Two items with c and d shoppers, of whom n have
both, have the weight W = n / (√(c d) + shrinkage). A weight is kept if it is among the k greatest for a
recommended item.
"""

from terrycloth.client.training.profiles import profiles
from terrycloth.experiments.baselines.ease import by_weights
from terrycloth.experiments.baselines.row import HALF_LIFE, Context, Serve, Settings

SHRINKAGE, NEIGHBOURS = "shrinkage", "neighbours"

FITS: tuple[Settings, ...] = tuple(
    {SHRINKAGE: shrinkage, NEIGHBOURS: neighbours}
    for shrinkage in (0.0, 100.0)
    for neighbours in (20.0, 50.0, 200.0)
)
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 2.0, 5.0, 20.0))


def fit_nearest(context: Context, settings: Settings) -> Serve:
    """Fit the neighbours' weights; an item scores the sum of its weights with the shopper's items."""
    import torch
    from irspack.recommenders.knn import CosineKNNRecommender

    fitted = CosineKNNRecommender(
        profiles(context.train, context.num_items),
        shrinkage=settings[SHRINKAGE],
        normalize=True,
        top_k=int(settings[NEIGHBOURS]),
        n_threads=torch.get_num_threads(),
    ).learn()
    return by_weights(fitted.W)

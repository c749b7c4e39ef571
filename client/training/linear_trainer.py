"""The linear model's trainer: computes the popularity or the Gram matrix for all devices at once."""

from torch import Tensor

from terrycloth.client.training.co_occurrence import packed_co_occurrence, popularity_sum
from terrycloth.client.training.cohort import Cohort, precision_of
from terrycloth.models.recommenders.head import head_items
from terrycloth.models.recommenders.linear_autoencoder import LinearAutoencoder
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import ROUNDING, RoundSettings


class LinearTrainer:
    """Each device's update has by construction norm at most 1, or the clipping norm if that is smaller."""

    def __init__(self, model: LinearAutoencoder, settings: RoundSettings) -> None:
        self.model = model
        self.settings = settings
        self.clip = min(1.0, settings.clip) * (1.0 if settings.unit == "none" else ROUNDING)

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """As `Trainer.train`. The second round reads the popularity, which is public by then."""
        items, settings = self.model.num_items, self.settings
        if settings.released == "popularity":
            total = popularity_sum(
                cohort.events,
                items,
                now=settings.now,
                half_life=settings.popularity_half_life,
                norm=settings.popularity_norm,
            )
        else:
            head = head_items(parameters["popularity"], self.model.head_size).numpy()
            total = packed_co_occurrence(cohort.events, head, items, settings.kernel_half_life)
        return {str(settings.released): total.mul_(self.clip).to(precision_of(settings))}, cohort.vectors

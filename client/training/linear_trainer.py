"""The linear model's trainer: what a round asks for, popularity or the gram, for all devices at once."""

from torch import Tensor

from terrycloth.client.training.co_occurrence import packed_co_occurrence, popularity_sum
from terrycloth.client.training.cohort import Cohort, precision_of
from terrycloth.models.recommenders.head import head_items
from terrycloth.models.recommenders.linear_autoencoder import LinearAutoencoder
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import ROUNDING, RoundSettings


class LinearTrainer:
    """Each device's update has norm 1 at most by construction, or the clip where that is less."""

    def __init__(self, model: LinearAutoencoder, settings: RoundSettings) -> None:
        self.model = model
        self.settings = settings
        self.clip = min(1.0, settings.clip) * (1.0 if settings.unit == "none" else ROUNDING)

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """`Trainer.train`. The second round reads the popularity, which is public by then."""
        items, asked = self.model.num_items, self.settings
        if asked.released == "popularity":
            total = popularity_sum(
                cohort.events,
                items,
                now=asked.now,
                half_life=asked.popularity_half_life,
                norm=asked.popularity_norm,
            )
        else:
            head = head_items(parameters["popularity"], self.model.head_size).numpy()
            total = packed_co_occurrence(cohort.events, head, items, asked.kernel_half_life)
        return {str(asked.released): total.mul_(self.clip).to(precision_of(asked))}, cohort.vectors

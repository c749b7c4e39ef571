"""The linear model's trainer: what a round asks for, popularity or the gram, for all devices at once."""

from torch import Tensor

from client.co_occurrence import Head, packed_co_occurrence, popularity_sum
from client.trainer import Cohort
from models.linear_autoencoder import LinearAutoencoder
from models.recommender import Parameters
from models.settings import ROUNDING, RoundSettings


class GramTrainer:
    """Each device's update has norm 1 by construction, or C where the clip C is less."""

    def __init__(self, model: LinearAutoencoder, settings: RoundSettings) -> None:
        self.model = model
        self.settings = settings
        self.clip = min(1.0, settings.clip) * (1.0 if settings.unit == "none" else ROUNDING)

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """`Trainer.train`. The second round reads the popularity, which is public by then."""
        if self.settings.released == "popularity":
            total = popularity_sum(cohort.events, self.model.num_items)
        else:
            head = Head.of(parameters["popularity"], self.model.head)
            total = packed_co_occurrence(cohort.events, head, self.settings.kernel_half_life)
        return {str(self.settings.released): self.clip * total}, cohort.vectors

"""The contender that runs a terrycloth trainer in this process, on all devices of a workload at once."""

from terrycloth.client.training.cohort import Trainer
from terrycloth.experiments.bench.workload import Workload
from terrycloth.models.privacy.randomness import Purpose, Stream, add_noise
from terrycloth.models.privacy.trust import NoiseSource


class InProcess:
    """A trainer in this process. Under central trust a round also adds the server's noise to the sum."""

    def __init__(self, name: str, trainer: Trainer, workload: Workload) -> None:
        self.name = name
        self.devices = workload.devices
        self.trainer = trainer
        self.workload = workload

    def start(self) -> None:
        """Do nothing."""

    def round(self) -> None:
        """Train all devices, and add noise to the sum if the server adds it."""
        workload, settings = self.workload, self.workload.settings
        update, _ = self.trainer.train(workload.cohort, workload.parameters)
        if settings.trust_model.source is NoiseSource.SERVER:
            stream = Stream(workload.cohort.key, round=1, purpose=Purpose.CENTRAL_NOISE)
            for part in update.values():
                add_noise(part, settings.noise_on_sum, stream)

    def stop(self) -> None:
        """Do nothing."""

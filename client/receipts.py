"""What a shopper can read about the device: consents and receipts, as they are kept in the store."""

from dataclasses import dataclass
from math import inf

from terrycloth.models.times import moment

TRAINING = "training"  # the purpose without whose consent a device with a store answers no query


@dataclass(frozen=True)
class Consent:
    """A consent in the sense of GDPR, Art. 7: to a purpose, under a version of its notice.

    given, withdrawn: seconds since 1970; withdrawn is None while the consent stands.
    """

    purpose: str
    version: str
    given: int
    withdrawn: int | None

    def __str__(self) -> str:
        end = "" if self.withdrawn is None else f", withdrawn {shown(self.withdrawn)}"
        return f"{self.purpose}, notice version {self.version}: given {shown(self.given)}{end}"


@dataclass(frozen=True)
class Receipt:
    """What left the device in answer to one query.

    time: seconds since 1970. task: the published task that was asked, or "". sent_bytes: size of the update,
    0 if none was sent. epsilon: ε of everything ever charged to the device, this query included, at `delta`;
    inf: not limited. refused: the reason, or "".
    """

    time: int
    task: str
    run: str
    round: int
    rounds: int
    model: str
    unit: str
    trust: str
    sent_bytes: int
    epsilon: float
    delta: float
    refused: str

    def __str__(self) -> str:
        asked = f"round {self.round} of {self.rounds}" + (f" of run {self.run}" if self.run else "")
        published = f", published task {self.task}" if self.task else ""
        return f"{shown(self.time)}: {self.sent} ({asked}{published}); {self.spent}"

    @property
    def sent(self) -> str:
        """What left the device."""
        if self.refused:
            return f"nothing left the device, which refused ({self.refused})"
        if not self.sent_bytes:
            return "nothing left the device, which was not chosen"
        noise = "an update with noise" if self.epsilon < inf else "an update without a promise"
        return f"{noise} left the device: {self.sent_bytes:,} bytes for the model {self.model}"

    @property
    def spent(self) -> str:
        """What it cost."""
        if self.epsilon == inf:
            return "ε is not limited"
        unit = {"interaction": "for one purchase", "shopper": "for the shopper"}.get(self.unit, self.unit)
        return f"ε spent so far {self.epsilon:.2f} {unit} (δ = {self.delta:g}, trust {self.trust})"


def shown(seconds: int) -> str:
    """Return a time as text: 2026-12-01 10:15 UTC."""
    return moment(seconds).strftime("%Y-%m-%d %H:%M UTC")

"""A key ring that lives in memory, and a store of one device."""

import keyring.backend
import pytest


class MemoryRing(keyring.backend.KeyringBackend):
    """The system's key ring, as far as a store can tell."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}

    def patch(self, patched: pytest.MonkeyPatch) -> None:
        """Put this key ring in the place of the system's."""
        for name in ("get_password", "set_password", "delete_password"):
            patched.setattr(f"keyring.{name}", getattr(self, name))

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


def bought(*items: int, time: int = 1_700_000_000, weight: float = 1.0) -> list[tuple[str, int, float]]:
    """Purchases of towels one second after the other, as a store takes them."""
    return [(f"towel-{item}", time + second, weight) for second, item in enumerate(items)]

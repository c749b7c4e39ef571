"""Which server a device belongs to: connection.toml in the folder of its device group."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError
from terrycloth.models.tls import pinned_context

FILE = "connection.toml"
AUTHORITY_FILE, KEY_FILE = "authority.crt", "node.key"
REMEDY = "take the file that the operator made for this device with terry federation init"


class Connection(BaseModel):
    """The server's address, how the device knows it, and where the list of tasks is published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str = Field(pattern=r"^[^\s:/]+:\d{1,5}$", description="HOST:PORT that devices reach")
    server_key: str = Field(
        "", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of the server's public key; empty: no TLS"
    )
    task_list: str = Field(
        default="",
        description="URL or folder of the published list of tasks, fetched once a day; empty: never",
    )
    insecure: bool = Field(False, description="speak without TLS, for a trial on one machine")

    def save(self, folder: Path) -> None:
        """Write the connection of the device group in this folder."""
        write_private(folder / FILE, tomli_w.dumps(self.model_dump()).encode())


@dataclass(frozen=True)
class Place:
    """A device group's folder, with its connection read from it."""

    folder: Path
    connection: Connection

    @classmethod
    def open(cls, folder: Path) -> "Place":
        """Read a folder's connection. Raises UserError if it cannot be used."""
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of a device: name one")
        path = folder / FILE
        try:
            connection = Connection.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValidationError, ValueError):
            raise UserError(f"{path} does not say which server the device belongs to: {REMEDY}") from None
        if not connection.insecure and not connection.server_key:
            raise UserError(f"{path} names no server_key: add the fingerprint of the server's public key")
        return cls(folder, connection)

    @property
    def key(self) -> Path:
        """The device's own private key."""
        return self.folder / KEY_FILE

    def tls(self) -> SSLContext | None:
        """Return the TLS context that reaches this server alone; None where the owner asked for no TLS."""
        if self.connection.insecure:
            return None
        return pinned_context(self.folder / AUTHORITY_FILE, self.connection.server_key)

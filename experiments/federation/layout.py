"""The files of a federation: `federation/` in its run folder, and a folder for each device group.

federation/settings.toml   where the server listens, and how long a round waits
federation/authority.crt, server.crt, server.key
federation/operator.token  lets its holder start runs and register devices: keep it from devices
federation/link.sqlite     the server's registered devices and runs
federation/*.log, *.pid    of the two processes that start devices and serve them
devices/device-K/          stands for the disk of device group K: events, policy, ledger, key, connection
"""

import shutil
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from ssl import SSLContext

import tomli_w
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from terrycloth.client.fleet.connection import AUTHORITY_FILE, KEY_FILE, Connection
from terrycloth.client.secure.identity import Identity
from terrycloth.experiments.federation.certificates import make_certificates
from terrycloth.experiments.federation.ports import LOOPBACK
from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError
from terrycloth.models.secure_aggregation.roster import ROSTER_FILE
from terrycloth.models.tls import fingerprint_of, pinned_context
from terrycloth.server.link.listeners import Listening, new_token, read_token
from terrycloth.server.link.operator import Operator

LOCAL = {LOOPBACK, "localhost", "::1"}


class FederationSettings(BaseModel):
    """Where a federation's server listens, and how long a round waits for devices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server_name: str = Field(LOOPBACK, description="host name or address by which devices reach the server")
    port: int = Field(ge=1, le=65535, description="port of the devices' listener")
    operator_port: int = Field(ge=1, le=65535, description="port of the operator's listener, on 127.0.0.1")
    timeout: float = Field(60.0, gt=0, description="seconds that a round waits for the devices' answers")
    insecure: bool = Field(False, description="no TLS, for a trial on one machine")
    nodes: int = Field(ge=1, description="number of device groups")


@dataclass(frozen=True)
class Layout:
    """The paths of a federation's files, in the run folder `run`."""

    run: Path

    @property
    def home(self) -> Path:
        """The folder of the server's and the operator's own files."""
        return self.run / "federation"

    def check(self) -> None:
        """Raise UserError if there is no federation in this folder."""
        assert self.settings

    def device(self, number: int) -> Path:
        """The folder of a device group."""
        return self.run / "devices" / f"device-{number}"

    @property
    def devices(self) -> list[Path]:
        """The folders of all device groups."""
        return [self.device(number) for number in range(self.settings.nodes)]

    @cached_property
    def settings(self) -> FederationSettings:
        """The federation's settings. Raises UserError if there is no federation in this folder."""
        path = self.home / "settings.toml"
        try:
            return FederationSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValidationError, ValueError):
            raise UserError(f"{self.run} holds no federation: make one with terry federation init") from None

    @property
    def listening(self) -> Listening:
        """Where the server listens. Only a server with a public name listens on every address."""
        settings = self.settings
        host = LOOPBACK if settings.server_name in LOCAL else "0.0.0.0"
        return Listening(
            devices=(host, settings.port),
            operator=(LOOPBACK, settings.operator_port),
            certificate=None if settings.insecure else self.home / "server.crt",
            key=None if settings.insecure else self.home / "server.key",
            authority=None if settings.insecure else self.home / "authority.crt",
            token=self.home / "operator.token",
            database=self.home / "link.sqlite",
        )

    def tls(self) -> SSLContext | None:
        """Return the TLS context that reaches this server alone, or None without TLS."""
        if self.settings.insecure:
            return None
        return pinned_context(self.home / "authority.crt", fingerprint_of(self.home / "server.crt"))

    def operator(self) -> Operator:
        """Return the operator's connection to the server."""
        address = f"{LOOPBACK}:{self.settings.operator_port}"
        return Operator(address, self.tls(), read_token(self.listening.token))

    def public_key(self, number: int) -> bytes:
        """Return the public key of a device group, in PEM form."""
        key = Identity.load(self.device(number) / KEY_FILE).key.public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def lay_out(layout: Layout, settings: FederationSettings, devices: list[int]) -> None:
    """Write keys, certificates, the token and the connection of every device group.

    devices: how many devices each device group has. Their folders exist already.
    """
    layout.home.mkdir()
    write_private(layout.home / "settings.toml", tomli_w.dumps(settings.model_dump()).encode())
    new_token(layout.listening.token)
    pin = ""
    if not settings.insecure:
        authority, certificate = layout.home / "authority.crt", layout.home / "server.crt"
        # The operator reaches the server by its address.
        names = list(
            dict.fromkeys([settings.server_name, LOOPBACK])
        )  # the operator reaches it by its address
        make_certificates(names, authority, certificate, layout.home / "server.key")
        pin = fingerprint_of(certificate)
    connection = Connection(
        server=f"{settings.server_name}:{settings.port}", server_key=pin, insecure=settings.insecure
    )
    roster = []
    for number, held in enumerate(devices):
        identity, folder = Identity.new(), layout.device(number)
        identity.save(folder / KEY_FILE)
        connection.save(folder)
        if not settings.insecure:
            shutil.copyfile(layout.home / "authority.crt", folder / AUTHORITY_FILE)
        roster.append(f"{identity.public.decode()} devices={held}\n")
    for folder in [layout.run / "devices", *layout.devices]:
        write_private(folder / ROSTER_FILE, "".join(roster).encode())

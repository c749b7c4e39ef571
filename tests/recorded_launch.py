"""Start a federation's process as `launch` does, and record all that it says and hears inside TLS.

The environment variable RECORDING names a folder. Each process appends to a file of its own there: pairs of a
kind and bytes, which `recorded` reads.

    device: up, device: down    the body of each HTTP request of a device, and of the answer to it
    server: up, server: down    the same as the server has them, of devices and of the operator
    request, reply              the messages that a device's app got and returned, decoded
    vectors                     the shopper's vector after each answer, float32
"""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import httpx
from flwr.common.serde import recorddict_to_proto

from terrycloth.client.fleet.flower import Fleet
from terrycloth.client.fleet.serve import Loop
from terrycloth.client.store import DeviceStore
from terrycloth.experiments.federation import launch
from terrycloth.server.link import listeners

VARIABLE = "RECORDING"


def note(kind: str, content: bytes) -> None:
    with (Path(os.environ[VARIABLE]) / f"{os.getpid()}.bin").open("ab") as file:
        file.write(pickle.dumps((kind, content)))  # in one call: several threads write


def recorded(folder: Path) -> dict[str, list[bytes]]:
    """Return all that was recorded, by kind; the parts of one process in order."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(folder.glob("*.bin")):
        with path.open("rb") as file:
            while file.peek(1):
                kind, content = pickle.load(file)
                found.setdefault(kind, []).append(content)
    return found


class RecordingTransport(httpx.BaseTransport):
    """A device's connection."""

    def __init__(self, real: httpx.BaseTransport) -> None:
        self.real = real

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        note("device: up", str(request.url).encode() + bytes(request.headers.raw.__repr__(), "ascii"))
        note("device: up", request.read())
        answer = self.real.handle_request(request)
        content = b"".join(answer.stream)  # type: ignore[arg-type]
        answer.close()
        note("device: down", content)
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


class RecordingApp:
    """The server's application, behind both listeners."""

    def __init__(self, real: Any) -> None:
        self.real = real

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def heard() -> Any:
            event = await receive()
            note("server: up", event.get("body", b""))
            return event

        async def said(event: Any) -> None:
            note("server: down", event.get("body", b""))
            await send(event)

        await self.real(scope, heard, said)


def record() -> None:
    """Put the recorders into their places."""
    begin, reply, make_app = Fleet.__init__, Loop.reply, listeners.make_app

    def connected(fleet: Any, *arguments: Any) -> None:
        begin(fleet, *arguments)
        fleet.client._client._transport = RecordingTransport(fleet.client._client._transport)

    def replied(loop: Any, message: Any, node: int) -> Any:
        note("request", recorddict_to_proto(message.content).SerializeToString())
        answer = reply(loop, message, node)
        note("reply", recorddict_to_proto(answer.content).SerializeToString())
        note("vectors", DeviceStore(loop.device.place.folder).state().vectors.numpy().tobytes())
        return answer

    Fleet.__init__ = connected  # type: ignore[method-assign]
    Loop.reply = replied  # type: ignore[method-assign]
    listeners.make_app = lambda listening: RecordingApp(make_app(listening))


if __name__ == "__main__":
    record()
    launch.main(*sys.argv[1:])

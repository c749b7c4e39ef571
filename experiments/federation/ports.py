"""Free ports of this machine, for servers that processes here reach."""

import socket

LOOPBACK = "127.0.0.1"


def free_ports(*asked: int | None) -> list[int]:
    """Return the ports that were asked for, and a free one on 127.0.0.1 for each other."""
    held = [socket.create_server((LOOPBACK, 0)) for port in asked if port is None]
    free = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return [free.pop() if port is None else port for port in asked]

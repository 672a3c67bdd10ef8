"""Ports for processes that are told where to listen."""

from __future__ import annotations

import random
import socket

# Below those that the kernel gives to outgoing connections and to whoever asks for any port, and
# above those at which the sandbox looks for one.
_PORTS = range(10000, 32000)

# Between drawing a port and listening there is time, and a daemon that is started again listens on
# the same port. So a port is taken for as long as this process lives, by its twin on another
# address of the loopback: no other process draws it, of this run of the suite or of another.
_TAKEN_ON = "127.0.0.2"
_taken: list[socket.socket] = []

# Not the generator that is seeded again before each test: with it, the processes among which the
# suite is divided would all draw the same ports.
_draw = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody else is given."""
    while True:
        port = _draw.choice(_PORTS)
        twin = socket.socket()
        try:
            twin.bind((_TAKEN_ON, port))
            with socket.create_server(("127.0.0.1", port)):
                _taken.append(twin)
                return port
        except OSError:
            twin.close()

"""Ports for processes that are told where to listen."""

from __future__ import annotations

import random
import socket
from errno import EADDRINUSE

# Below those that the kernel gives to outgoing connections and to whoever asks for any port, and
# above those at which the sandbox looks for one.
_PORTS = range(10000, 32000)

# Between drawing a port and listening there is time, and a daemon that is started again listens on
# the same port. So a port is reserved for as long as this process lives: the process has the port
# of this number at another address, too. No other process draws it, of this run of the suite or of
# another.
_RESERVED_AT = "127.0.0.2"
_reserved: list[socket.socket] = []

# Not the generator that is seeded again before each test: with it, the processes among which the
# suite is divided would all draw the same ports.
_draw = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody else is given."""
    while True:
        port = _draw.choice(_PORTS)
        reservation = socket.socket()
        try:
            reservation.bind((_RESERVED_AT, port))
            with socket.create_server(("127.0.0.1", port)):
                _reserved.append(reservation)
                return port
        except OSError as error:
            reservation.close()
            if error.errno != EADDRINUSE:
                raise

"""Ports for processes that are told where to listen."""

from __future__ import annotations

import os
import random
import socket

# Below those that the kernel gives to outgoing connections and to whoever asks for any port, and
# above those at which the sandbox looks for one. Each of the processes among which the suite is
# divided draws from some of its own: between drawing a port and listening there is time.
_EACH = 2000
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(10000 + _process % 11 * _EACH, 10000 + (_process % 11 + 1) * _EACH)

# Not the generator that is seeded again before each test: with it, the processes among which the
# suite is divided would all draw the same ports.
_draw = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that no outgoing connection is given by chance."""
    while True:
        port = _draw.choice(_PORTS)
        if port in _given:
            continue
        try:
            with socket.create_server(("127.0.0.1", port)):
                _given.add(port)
                return port
        except OSError:
            continue

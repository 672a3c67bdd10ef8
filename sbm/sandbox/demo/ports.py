"""The port at which the sandbox serves the API."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence

FIRST_PORT = 8000
LAST_PORT = 8999


def where_to_listen(
    given: Sequence[str], ports: Iterable[int] = range(FIRST_PORT, LAST_PORT + 1)
) -> tuple[str, tuple[str, ...]]:
    """The URL of the API on this machine, and the endpoint descriptions to serve it at.

    The URL is that of the first TCP port in ``given``. If there is none, the API is also served at
    the first free one of ``ports``, because the ticks come by HTTP. Raises LookupError if none is
    free.
    """
    for description in given:
        url = _url(description)
        if url is not None:
            return url, tuple(given)
    for port in ports:
        if _is_free(port):
            return f"http://127.0.0.1:{port}", (*given, f"tcp:{port}:interface=127.0.0.1")
    raise LookupError("no port is free")


def _url(description: str) -> str | None:
    """The URL of a TCP endpoint from this machine; None if it is not TCP, or has no fixed port."""
    kind, *pieces = re.split(r"(?<!\\):", description)
    named = dict(piece.split("=", 1) for piece in pieces if "=" in piece)
    unnamed = [piece for piece in pieces if "=" not in piece]
    port = named.get("port", unnamed[0] if unnamed else "")
    if kind not in ("tcp", "tcp4", "tcp6") or not port.isdigit() or int(port) == 0:
        return None
    host = named.get("interface", "").replace("\\", "")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 (it is compared, and not bound)
        host = "::1" if kind == "tcp6" else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # The daemon sets it, too: then a port is free even if old connections are in TIME_WAIT.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

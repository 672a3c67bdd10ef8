"""A stand-in of Sentry: it accepts envelopes at once, or only when it is told to."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field

KEY = "key-of-sentry"


@define(eq=False)
class SentryServer:
    """What it has received; ``is_open`` is not set while it lets its clients wait."""

    port: int = 0
    is_open: threading.Event = field(factory=threading.Event)
    requests: list[str] = field(factory=list)
    headers: list[str] = field(factory=list)

    @property
    def dsn(self) -> str:
        return f"http://{KEY}@127.0.0.1:{self.port}/7"

    def reports(self) -> list[dict[str, Any]]:
        """The events, in order."""
        found = []
        for request in list(self.requests):
            # An envelope: a line about itself, and two lines for each of its items.
            lines = request.splitlines()
            assert json.loads(lines[1])["type"] == "event"
            assert len(lines) == 3
            found.append(json.loads(lines[2]))
        return found


@contextmanager
def sentry_server(*, is_open: bool = True) -> Iterator[SentryServer]:
    """A stand-in that listens on loopback, in threads of its own."""
    sentry = SentryServer()
    if is_open:
        sentry.is_open.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/api/7/envelope/"
            sentry.headers.append(str(self.headers))
            sentry.requests.append(body.decode())
            sentry.is_open.wait()
            answer = b"{}"
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        sentry.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield sentry
        finally:
            sentry.is_open.set()
            server.shutdown()
            thread.join()

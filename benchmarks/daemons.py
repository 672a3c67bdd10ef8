"""Daemons, started as an operator starts them: ``twistd sbm`` with settings in the environment."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.content import HEADERS
from benchmarks.processes import ENVIRONMENT, Process, accepts, free_port, running, until

TWISTD: Sequence[str | Path] = (Path(sys.executable).with_name("twistd"),)


@frozen(eq=False, kw_only=True)
class Daemon:
    """A running daemon."""

    process: Process
    port: int

    @property
    def url(self) -> str:
        """Of its API, with a slash at the end."""
        return f"http://127.0.0.1:{self.port}/api/v1/"

    def post(self, path: str, body: Any = None) -> Any:
        """POST JSON to its API; returns the answer's JSON."""
        data = b"" if body is None else json.dumps(body).encode("utf-8")
        headers = HEADERS | {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, headers=headers, data=data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def daemon(
    folder: Path,
    database: str,
    services: Mapping[str, str],
    *,
    command: Sequence[str | Path] = TWISTD,
) -> Iterator[Daemon]:
    """Run a daemon with the built-in clock, until it listens.

    ``services`` are settings: those of the other services, and any others. ``command`` is twistd,
    or a program that does the same.
    """
    port = free_port()
    environment = {
        **ENVIRONMENT,
        "STAGE_BASED_MESSAGING_DATABASE": database,
        "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
        **services,
    }
    log = folder / f"daemon-{port}.log"
    options = ["-n", "--pidfile=", "sbm", "--listen", f"tcp:{port}:interface=127.0.0.1"]
    with running([*command, *options], log=log, environment=environment) as process:

        def is_ready() -> bool:
            process.check(log)
            return accepts(port)

        until(is_ready, "the daemon listens")
        yield Daemon(process=process, port=port)

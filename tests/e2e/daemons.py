"""Daemons as they are run in production: a real ``twistd`` each, ended by signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

import sbm
from tests.e2e.end_to_end import World
from tests.ports import free_port

TWISTD = Path(sys.executable).with_name("twistd")

# Of the environment of the tests a daemon gets no settings.
ENVIRON = {
    "PATH": os.environ.get("PATH", os.defpath),
    "PYTHONPATH": str(Path(sbm.__file__).parent.parent),
    **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
}


@define(eq=False)
class DaemonProcess:
    """One daemon, which can be started again after it has ended."""

    world: World
    folder: Path
    settings: dict[str, str] = field(factory=dict)
    port: int = field(factory=free_port)
    running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        path = self.folder / "output"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def times_listening(self) -> int:
        """How often it has said that it listens."""
        return self.output.count(f" starting on {self.port}\n")

    def begin(self, *options: str) -> subprocess.Popen[bytes]:
        """Start it, without waiting for anything; ``options`` are twistd's."""
        environ = {"STAGE_BASED_MESSAGING_DATABASE": self.world.database_uri}
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        with (self.folder / "output").open("ab") as output:
            self.running = subprocess.Popen(
                [str(TWISTD), *(options or ["-n", "--pidfile="]), "sbm", "--listen", listen],
                cwd=self.folder,
                env={**ENVIRON, **environ, **self.world.environ(), **self.settings},
                stdout=output,
                stderr=output,
            )
        return self.running

    async def start(self) -> None:
        """Start it, and return when it answers: it, and not another process at its port."""
        times = 1 + self.times_listening
        process = self.begin()
        await self.world.until(lambda: self.times_listening == times or process.poll() is not None)
        assert process.poll() is None, self.output

    @property
    def answers(self) -> bool:
        """Whether it listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def tell(self, number: signal.Signals) -> None:
        assert self.running is not None
        self.running.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; returns the exit status."""
        self.tell(number)
        return await self.ended()

    async def ended(self) -> int:
        """Return the exit status, when there is one."""
        process = self.running
        assert process is not None
        await self.world.until(lambda: process.poll() is not None)
        self.running = None
        return int(process.returncode)


@contextmanager
def processes(world: World, count: int, **settings: str) -> Iterator[list[DaemonProcess]]:
    """So many daemons, none of them started; none is left at the end."""
    with tempfile.TemporaryDirectory(prefix="sbm-tests-") as name:
        made = []
        for number in range(count):
            folder = Path(name, str(number))
            folder.mkdir()
            made.append(DaemonProcess(world, folder, dict(settings)))
        try:
            yield made
        finally:
            for one in made:
                _kill(one.running)


def _kill(process: Any) -> None:
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()

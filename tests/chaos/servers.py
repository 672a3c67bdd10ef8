"""Processes that are killed, stopped and started again, as a supervisor would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import define, field

ROOT = Path(__file__).parent.parent.parent
TWISTD = Path(sys.executable).with_name("twistd")

# The time in which a process must react; otherwise it hangs.
PATIENCE_SECONDS = 60.0


def eventually(
    condition: Callable[[], bool], what: str, patience: float = PATIENCE_SECONDS
) -> None:
    """Return when the condition holds. Raises TimeoutError."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience:g} s: {what}")
        time.sleep(0.05)


@define(eq=False)
class ServerProcess:
    """One process that serves on a port; the output of all its runs is in ``log``.

    ``bad_ends`` tells of ends that nobody had asked for, and of statuses other than 0 after a
    SIGTERM.
    """

    name: str
    port: int
    command: Sequence[str]
    log: Path
    environ: Mapping[str, str] = field(factory=dict)
    starts: int = 0
    bad_ends: list[str] = field(factory=list)
    _running: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended and was not killed; it may be stopped by SIGSTOP."""
        return self._running is not None and self._running.poll() is None

    @property
    def is_serving(self) -> bool:
        """Whether it answers. Its port accepts connections a moment before it handles signals."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as asking:
                asking.sendall(b"GET /livez HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
                return bool(asking.recv(1))
        except OSError:
            return False

    def start(self) -> None:
        """Start it, unless it runs; if its last run ended badly, this is noted."""
        if self.is_running:
            return
        self._note_end()
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"=== start {self.starts}\n".encode("ascii"))
            log.flush()
            self._running = subprocess.Popen(
                self.command,
                cwd=self.log.parent,
                env={**environment(), **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_start(self) -> None:
        """Return when it serves, or has ended. Raises TimeoutError."""
        eventually(
            lambda: self.is_serving or not self.is_running, f"{self.name} serves; see {self.log}"
        )

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        process, self._running = self._running, None
        if process is not None:
            if process.poll() not in (None, 0):
                self._note(process.returncode)
            process.kill()
            process.wait(PATIENCE_SECONDS)

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Send SIGTERM, and note a status other than 0; if the process does not end, kill it."""
        process = self._running
        if process is None:
            return
        # A process that is still starting has no handler of SIGTERM yet.
        self.await_start()
        self.ask_to_stop()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.bad_ends.append(f"{self.name} did not end after SIGTERM")
            self.kill()
        self._note_end()

    def _signal(self, number: signal.Signals) -> None:
        if self._running is not None:
            self._running.send_signal(number)

    def _note_end(self) -> None:
        process, self._running = self._running, None
        if process is not None and process.returncode != 0:
            self._note(process.returncode)

    def _note(self, status: int) -> None:
        self.bad_ends.append(f"{self.name} ended with {status} (start {self.starts})")


def environment() -> dict[str, str]:
    """The environment, without the settings of the user who runs this."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
    }

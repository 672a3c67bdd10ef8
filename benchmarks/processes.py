"""Processes that a benchmark starts, and the processor time that the kernel counts for them."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from attrs import frozen

ROOT = Path(__file__).parent.parent

# The settings of the shell are not those of a benchmark.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT)}

_PATIENCE_SECONDS = 60.0
_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG


@frozen(eq=False)
class Process:
    """A process that was started by ``running``."""

    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its id."""
        return self.popen.pid

    def cpu_seconds(self) -> float:
        """Seconds of processor time of all its threads until now, in user mode and in the kernel.

        Linux counts them exactly, and shows hundredths of a second.
        """
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        """Its resident memory."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def forget_peak(self) -> None:
        """Let ``peak_bytes`` begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def peak_bytes(self) -> int:
        """The most resident memory it has had."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def check(self, log: Path) -> None:
        """Raise RuntimeError, with the end of its log, if it has ended."""
        if self.popen.poll() is not None:
            end = log.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"{self.popen.args!r} ended with {self.popen.returncode}:\n{end}")


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] = ENVIRONMENT,
    ended_by: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[Process]:
    """Run a command with its output in ``log``; at the end, the process gets ``ended_by``.

    ``options`` are those of ``subprocess.Popen``. If this process is killed, the command ends, too.
    """
    library = ctypes.CDLL(None)
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            cwd=log.parent,
            env=environment,
            stdout=options.pop("stdout", output),
            stderr=output,
            # Ctrl-C reaches this process only, which ends the others one by one.
            start_new_session=True,
            preexec_fn=lambda: library.prctl(_DEATH_OF_PARENT, ended_by),
            **options,
        )
    try:
        yield Process(popen)
    finally:
        _end(popen, ended_by)


def _end(popen: subprocess.Popen[bytes], ended_by: signal.Signals) -> None:
    """Send the signal; if the process does not end, kill it."""
    popen.send_signal(ended_by)
    try:
        popen.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


@frozen(eq=False, kw_only=True)
class Client:
    """A process of a module of the benchmarks, which works when it is told to.

    It prints a line when it is ready. Then it reads a line, does its work, and prints a line again.
    """

    process: Process
    log: Path

    def read_line(self) -> str:
        """Its next line. Raises RuntimeError if it ends instead."""
        assert self.process.popen.stdout is not None
        line = self.process.popen.stdout.readline()
        if not line:
            self.process.popen.wait(_PATIENCE_SECONDS)
            self.process.check(self.log)
        return line.decode("utf-8").strip()

    def end_input(self) -> None:
        """Let it read no more lines."""
        assert self.process.popen.stdin is not None
        self.process.popen.stdin.close()

    def work(self) -> str:
        """Let it do its work; returns the line that it prints then."""
        assert self.process.popen.stdin is not None
        self.process.popen.stdin.write(b"\n")
        self.process.popen.stdin.flush()
        return self.read_line()


@contextmanager
def client(module: str, *arguments: object, folder: Path) -> Iterator[Client]:
    """Run ``benchmarks.<module>``, until it is ready to work."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    with told(command, log=folder / f"{module}.log") as made:
        yield made


@contextmanager
def told(command: Sequence[str | Path], *, log: Path) -> Iterator[Client]:
    """Run a command that does the same as such a module, until it is ready to work."""
    with running(command, log=log, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        made = Client(process=process, log=log)
        made.read_line()
        try:
            yield made
        finally:
            made.end_input()


def when_told(work: Callable[[], str]) -> None:
    """Be such a module: print that it is ready, and do the work whenever a line is read."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(work(), flush=True)


def free_port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def until(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds: float = _PATIENCE_SECONDS,
    pause: float = 0.02,
) -> None:
    """Return when the condition is true. It is checked after each pause. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


def accepts(port: int) -> bool:
    """Whether a process of this machine accepts connections at this port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""``twistd`` with a reactor that measures how long each callback holds it.

    python -m benchmarks.observed_twistd -n sbm ...

The reactor is Twisted's usual one. It calls three kinds of callbacks: a connection is ready, a
delayed call is due, or another thread has asked for a call. Each of them that takes longer than
``SHORTEST`` is a line in the file ``$OBSERVED_TWISTD``: when it ended, by the monotonic clock of
the machine; how long it took; the processor time of the thread; and its name. The processor time is
lower than the elapsed time if other processes took the core, or if the callback waited.

A long collection of garbage has a line of its own, besides that of the callback in which it began.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.scripts import twistd

COMMAND = (sys.executable, "-m", "benchmarks.observed_twistd")
VARIABLE = "OBSERVED_TWISTD"
SHORTEST = 0.002


@frozen(kw_only=True)
class Hold:
    """One callback that took long; times are in seconds."""

    ended_at: float
    elapsed: float
    processor: float
    name: str


def read(path: Path) -> list[Hold]:
    """What such a process has written until now."""
    if not path.exists():
        return []
    lines = [line.split(" ", 3) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Hold(ended_at=float(at), elapsed=float(elapsed), processor=float(processor), name=name)
        for at, elapsed, processor, name in lines
    ]


class ObservedReactor(EPollReactor):
    """The reactor of Twisted on Linux, which measures each callback."""

    def __init__(self, output: Any) -> None:
        self._output = output
        EPollReactor.__init__(self)

    def callLater(self, delay: Any, callable: Any, *args: Any, **kw: Any) -> Any:  # noqa: A002
        return EPollReactor.callLater(self, delay, self._measured, callable, callable, args, kw)

    def callFromThread(self, f: Any, *args: Any, **kw: Any) -> None:
        EPollReactor.callFromThread(self, self._measured, f, f, args, kw)

    def _doReadOrWrite(self, selectable: Any, fd: Any, event: Any) -> None:
        self._measured(selectable, EPollReactor._doReadOrWrite, (self, selectable, fd, event), {})

    def _measured(self, name: Any, function: Callable[..., Any], args: Any, kw: Any) -> None:
        began, began_processor = time.monotonic(), time.thread_time()
        try:
            function(*args, **kw)
        finally:
            ended = time.monotonic()
            if ended - began > SHORTEST:
                processor = time.thread_time() - began_processor
                self._output.write(f"{ended} {ended - began} {processor} {_named(name)}\n")


def tell_of_collections(output: Any) -> None:
    """Write a line for each collection of garbage that takes longer than ``SHORTEST``."""
    began = began_processor = 0.0

    def told(phase: str, info: dict[str, int]) -> None:
        nonlocal began, began_processor
        now, processor = time.monotonic(), time.thread_time()
        if phase == "start":
            began, began_processor = now, processor
        elif now - began > SHORTEST:
            name = f"garbage of generation {info['generation']}"
            output.write(f"{now} {now - began} {processor - began_processor} {name}\n")

    gc.callbacks.append(told)


def _named(one: Any) -> str:
    """The name of a function, or the classes of a connection and its protocol."""
    if hasattr(one, "__qualname__"):
        return f"{one.__module__}.{one.__qualname__}"
    protocol = getattr(one, "protocol", None)
    return f"{type(one).__name__} of {type(protocol).__name__}"


def main() -> None:
    """Run twistd."""
    output = Path(os.environ[VARIABLE]).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115
    installReactor(ObservedReactor(output))
    tell_of_collections(output)
    twistd.run()


if __name__ == "__main__":
    main()

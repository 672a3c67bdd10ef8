"""How a process of ours ends: SIGTERM stops it with status 0, and a second one hurries it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from types import FrameType
from typing import Any, TypeVar

from attrs import define, field
from twisted.logger import Logger

T = TypeVar("T")


@define(eq=False, slots=False)
class Signals:
    """Lays our hands on SIGTERM: the first stops the reactor, the next ones call ``hurry``.

    Twisted's own handler would end the process by the same signal once everything has stopped,
    which is status 143. ``ours`` end it with 0; SIGINT, if it is none of them, is left to Twisted
    the first time, so that a shell sees that it was interrupted.
    """

    _reactor: Any
    _ours: frozenset[signal.Signals]
    hurry: Callable[[], None] | None = None
    _is_waiting: bool = field(default=False, init=False)
    _is_stopping: bool = field(default=False, init=False)
    _twisteds: dict[signal.Signals, Any] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def install(self) -> None:
        """Listen from now on; what is heard before the reactor runs stops it as soon as it does."""
        for number in self._ours:
            # Who is started in the background is not meant to hear Ctrl-C.
            if number != signal.SIGINT or signal.getsignal(number) == signal.default_int_handler:
                signal.signal(number, self._heard)
        # Twisted takes SIGTERM when it starts, whoever had it. It must not hear one in between.
        self._reactor.addSystemEventTrigger("before", "startup", _block, signal.SIG_BLOCK)
        self._reactor.callWhenRunning(self._take_over)

    def waiting_for(self, work: Callable[[], T]) -> T:
        """The result of work that blocks; until it is there, a signal ends the process at once.

        For a start that has begun nothing yet. The work is done in a thread, which is left behind:
        while libpq waits in the main thread, no signal is heard.
        """
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._is_waiting = True
        try:
            Thread(target=do, daemon=True).start()
            return future.result()
        finally:
            self._is_waiting = False

    def fail(self) -> None:
        """Stop, and let whoever started us see that it was not meant to: the way of Twisted."""
        if not self._is_stopping:
            self._is_stopping = True
            self._twisteds[signal.SIGTERM](signal.SIGTERM, None)

    def _take_over(self) -> None:
        self._twisteds[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._heard)
        if signal.SIGINT not in self._ours and callable(signal.getsignal(signal.SIGINT)):
            self._twisteds[signal.SIGINT] = signal.signal(signal.SIGINT, self._heard)
        _block(signal.SIG_UNBLOCK)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        """Only what is safe between any two instructions of the program."""
        if self._is_waiting:
            raise SystemExit(0)
        self._reactor.callFromThread(self._stop_or_hurry, signal.Signals(number))

    def _stop_or_hurry(self, number: signal.Signals) -> None:
        if self._is_stopping:
            self._log.info("{signal} again: hurrying", signal=number.name)
            if self.hurry is not None:
                self.hurry()
            return
        self._is_stopping = True
        if number in self._ours:
            self._log.info("{signal}: stopping", signal=number.name)
            self._reactor.stop()
        else:
            self._twisteds[number](number, None)


def _block(how: int) -> None:
    signal.pthread_sigmask(how, {signal.SIGTERM})

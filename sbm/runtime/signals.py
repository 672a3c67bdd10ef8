"""Signal handling: SIGTERM stops the process with status 0, and a second one hurries it.

So do all other signals that end a process by default, except those that report a fault of the
program (SIGSEGV and the like).
"""

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

# Not every system has all of these.
_NAMES = (
    *("SIGTERM", "SIGINT", "SIGQUIT", "SIGABRT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM"),
    *("SIGPROF", "SIGXCPU", "SIGIO", "SIGPWR", "SIGSTKFLT"),
)
ENDING: frozenset[int] = frozenset(
    {
        *(getattr(signal, name) for name in _NAMES if hasattr(signal, name)),
        *range(getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", -1) + 1),
    }
)

# Timers send these again and again, so a second one does not ask to hurry.
_RECURRING = frozenset({signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU})

# The handlers of a signal if none was set.
_UNHANDLED = (signal.SIG_DFL, signal.default_int_handler)


@define(eq=False, slots=False, kw_only=True)
class Signals:
    """Handles the signals in ``ours``: the first stops the reactor, the next ones call ``hurry``.

    Twisted's own handler of SIGTERM would end the process by the same signal once everything has
    stopped, which is status 143. The signals in ``ours`` end it with 0. If SIGINT is not in
    ``ours``, Twisted handles the first one, so that a shell sees the interruption. ``ignored``
    signals are only logged. ``later`` signals are blocked until twistd has started, which then
    handles them. A signal that is handled or ignored already stays so, except SIGTERM.
    """

    _reactor: Any
    _ours: frozenset[int]
    _ignored: frozenset[int] = frozenset()
    _later: frozenset[int] = frozenset()
    hurry: Callable[[], None] | None = None
    _is_waiting: bool = field(default=False, init=False)
    _is_stopping: bool = field(default=False, init=False)
    _twisteds: dict[int, Any] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def install(self) -> None:
        """Install the handlers; a signal before the reactor runs stops it as soon as it does."""
        for number in self._ours | self._ignored:
            # A shell lets background processes ignore SIGINT, so that Ctrl-C does not end them.
            if number == signal.SIGTERM or signal.getsignal(number) in _UNHANDLED:
                signal.signal(number, self._heard)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._later)
        # Twisted replaces the handler of SIGTERM when it starts. Until it is set again, SIGTERM is
        # blocked.
        self._reactor.addSystemEventTrigger("before", "startup", _block_term)
        self._reactor.callWhenRunning(self._take_over)

    def waiting_for(self, work: Callable[[], T]) -> T:
        """The result of work that blocks; meanwhile, a signal ends the process at once.

        For a start that has begun nothing yet. The work runs in a thread, which may be abandoned:
        while libpq waits in the main thread, no signal is handled.
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
        """Stop by SIGTERM, as Twisted does, so that the status of the process shows a failure."""
        if not self._is_stopping:
            self._is_stopping = True
            self._twisteds[signal.SIGTERM](signal.SIGTERM, None)

    def _take_over(self) -> None:
        self._twisteds[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._heard)
        if signal.SIGINT not in self._ours and callable(signal.getsignal(signal.SIGINT)):
            self._twisteds[signal.SIGINT] = signal.signal(signal.SIGINT, self._heard)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, *self._later})

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        """The handler: it does only what is safe between any two instructions of the program."""
        if number in self._ignored:
            self._reactor.callFromThread(self._ignore, number)
            return
        if self._is_waiting:
            raise SystemExit(0)
        self._reactor.callFromThread(self._stop_or_hurry, number)

    def _ignore(self, number: int) -> None:
        self._log.info("{signal}: ignored", signal=_name(number))

    def _stop_or_hurry(self, number: int) -> None:
        if self._is_stopping:
            if number in _RECURRING:
                return
            self._log.info("{signal} again: not waiting any longer", signal=_name(number))
            if self.hurry is not None:
                self.hurry()
            return
        self._is_stopping = True
        if number in self._ours:
            self._log.info("{signal}: stopping", signal=_name(number))
            self._reactor.stop()
        else:
            self._twisteds[number](number, None)


def _block_term() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"

"""A loop that survives any one pass, rests when it found nothing, and can be woken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from sbm.runtime.errors import AlreadyTold

# However rarely a loop has to look, what failed is tried again soon.
RETRY_SECONDS = 5.0


@define(eq=False, slots=False, kw_only=True)
class Wakeup:
    """Wakes the one who waits for it; a ring that nobody hears is kept for the next wait."""

    _reactor: Any

    def __attrs_post_init__(self) -> None:
        self._rung = False
        self._waiting: Deferred[None] | None = None

    def ring(self) -> None:
        """Wake whoever waits, now or next."""
        self._rung = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, or after so many seconds."""
        if not self._rung:
            self._waiting = Deferred()
            timer = self._reactor.callLater(seconds, self._waiting.callback, None)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer.active():
                    timer.cancel()
        self._rung = False


@define(eq=False, slots=False, kw_only=True)
class Loop(Service):
    """Makes one pass after the other; a pass answers how much it found.

    It rests, for ``rest`` seconds or until ``bell`` rings, after a pass that found nothing or
    failed. Stopping waits for the pass in hand, or breaks it off where it ``may_be_cut``; whoever
    cancels the wait breaks it off, too.
    """

    _name: str
    _one_pass: Callable[[], Awaitable[int]]
    _rest: float
    bell: Wakeup
    may_be_cut: bool = False
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self.name = self._name
        self._finished: Deferred[None] | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._finished = Deferred.fromCoroutine(self._run())

    def stopService(self) -> Deferred[None] | None:
        Service.stopService(self)
        self.bell.ring()
        finished, self._finished = self._finished, None
        if finished is not None and self.may_be_cut:
            finished.cancel()
        return finished

    async def _run(self) -> None:
        while self.running:
            found, rest = 0, self._rest
            try:
                found = await self._one_pass()
            except CancelledError:
                if not self.running:
                    return
                rest = min(rest, RETRY_SECONDS)
            except AlreadyTold:
                rest = min(rest, RETRY_SECONDS)
            except Exception:
                rest = min(rest, RETRY_SECONDS)
                self._log.failure("{name}: a pass failed; resting", name=self._name)
            if not found and self.running:
                await self.bell.wait(rest)

"""A loop that survives any one pass, rests when it found nothing, and can be woken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import Factory, define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from sbm.runtime.already_told import AlreadyTold
from sbm.runtime.wakeups import Wakeup

# However rarely a loop has to look, what failed is tried again soon.
RETRY_SECONDS = 5.0


@define(eq=False, slots=False, kw_only=True)
class Loop(Service):
    """Makes one pass after the other; a pass answers how much it found, if anything.

    It rests, for ``rest`` seconds or until ``wakeup`` wakes it, after a pass that found nothing or
    failed. A loop that nobody wakes has a wake-up of its own. Stopping waits for the pass that is
    under way, or breaks it off where it ``may_be_cut``. Whoever cancels the wait breaks it off too.
    A pass that was broken off may fail in its own way, and is no failure.
    """

    _reactor: Any
    _name: str
    _one_pass: Callable[[], Awaitable[int | None]]
    _rest: float
    wakeup: Wakeup = field(
        default=Factory(lambda self: Wakeup(reactor=self._reactor), takes_self=True)
    )
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
        self.wakeup.look_again()
        finished, self._finished = self._finished, None
        if finished is not None and self.may_be_cut:
            finished.cancel()
        return finished

    async def _run(self) -> None:
        while self.running:
            found: int | None = None
            rest = self._rest
            try:
                found = await self._one_pass()
            except CancelledError:
                if not self.running:
                    return
                rest = min(rest, RETRY_SECONDS)
            except AlreadyTold:
                rest = min(rest, RETRY_SECONDS)
            except Exception:
                if self.may_be_cut and not self.running:
                    return
                rest = min(rest, RETRY_SECONDS)
                self._log.failure("{name}: a pass failed; resting", name=self._name)
            if not found and self.running:
                await self.wakeup.wait(rest)

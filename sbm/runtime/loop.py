"""A loop that survives a failed pass, rests when there is no work, and can be woken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import Factory, define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from sbm.runtime.already_logged import AlreadyLogged
from sbm.runtime.wakeups import Wakeup
from sbm.runtime.work_gate import Gate

# After a failed pass, a loop rests no longer than this, even if its usual rest is longer.
RETRY_SECONDS = 5.0


@define(eq=False, slots=False, kw_only=True)
class Loop(Service):
    """Makes one pass after the other; a pass returns how much work it found, if any.

    After a pass that found nothing or failed, the loop rests for ``rest`` seconds, or until
    ``wakeup`` wakes it. Without an argument, the loop has a wake-up of its own. Stopping waits for
    the pass that is under way; if it ``may_be_cut``, it is cancelled. To cancel the wait cancels
    the pass, too. A cancelled pass may raise any error, which does not count as a failure.
    While the ``gate`` is closed, there are no passes.
    """

    _reactor: Any
    _name: str
    _one_pass: Callable[[], Awaitable[int | None]]
    _rest: float
    wakeup: Wakeup = field(
        default=Factory(lambda self: Wakeup(reactor=self._reactor), takes_self=True)
    )
    may_be_cut: bool = False
    gate: Gate | None = None
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

    async def _pass_gate(self) -> int | None:
        if self.gate is not None and not self.gate.is_open:
            return None
        return await self._one_pass()

    async def _run(self) -> None:
        while self.running:
            found: int | None = None
            rest = self._rest
            try:
                found = await self._pass_gate()
            except CancelledError:
                if not self.running:
                    return
                rest = min(rest, RETRY_SECONDS)
            except AlreadyLogged:
                rest = min(rest, RETRY_SECONDS)
            except Exception:
                if self.may_be_cut and not self.running:
                    return
                rest = min(rest, RETRY_SECONDS)
                self._log.failure(
                    "{name}: a pass failed; the next one comes later", name=self._name
                )
            if not found and self.running:
                await self.wakeup.wait(rest)

"""Functions that run every few seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


@define(eq=False, slots=False, kw_only=True)
class Periodic(Service):
    """Runs a function every few seconds, first at the start, and logs its failures.

    Stopping cancels a run that is in progress.
    """

    clock: Any
    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]
    _log: Logger = field(factory=Logger, init=False)
    _under_way: Deferred[None] | None = field(default=None, init=False)

    def startService(self) -> None:
        Service.startService(self)
        self._loop = LoopingCall(self._begin)
        self._loop.clock = self.clock
        self._loop.start(self.seconds)

    def stopService(self) -> Deferred[None] | None:
        Service.stopService(self)
        self._loop.stop()
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.cancel()
        return under_way

    def _begin(self) -> Deferred[None]:
        self._under_way = Deferred.fromCoroutine(self._run_once())
        return self._under_way

    async def _run_once(self) -> None:
        try:
            await self.run()
        except Exception:
            # If stopping canceled the run, it may raise any error, and that is not a failure.
            if self.running:
                self._log.failure("{name} failed", name=self.name)

"""Groups of services, which start and stop in order or together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger


class ServiceGroup(MultiService):
    """A group of services; Parallel and Sequential differ in how they stop.

    If one service fails to stop, the others stop all the same.
    """

    _log = Logger()

    def hurry(self) -> None:
        """Tell the Sequential groups in this group that there is no more time."""
        for service in self:
            if isinstance(service, ServiceGroup):
                service.hurry()

    def _stopped(self, service: Any) -> Deferred[None]:
        """Fires when the service has stopped or was cancelled; never fails."""
        return Deferred.fromCoroutine(self._stop_one(service))

    async def _stop_one(self, service: Any) -> None:
        name = service.name or type(service).__name__
        try:
            stopped: Deferred[None] | None = service.stopService()
            if stopped is not None:
                await stopped
        except CancelledError:
            self._log.warn("{name} was cancelled before it had stopped", name=name)
        except Exception:
            self._log.failure("{name} failed to stop", name=name)


class Parallel(ServiceGroup):
    """Services that do not depend on each other: stops all at once, and waits for all."""

    def __init__(self, *services: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for service in services:
            service.setServiceParent(self)

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        return DeferredList([self._stopped(service) for service in reversed(list(self))])


class Sequential(ServiceGroup):
    """Starts its services in order, and stops them one after the other in reverse order.

    Each service may use those before it: they are still running while it stops. ``patience`` limits
    the time for stopping all of them together, by the reactor's clock; when it ends, the waits that
    are left are cancelled. ``hurry`` shortens the time that is left to ``rush``.
    """

    def __init__(
        self,
        *,
        reactor: Any = None,
        patience: timedelta | None = None,
        rush: timedelta = timedelta(0),
        services: Iterable[Any] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stop_clock = reactor
        self._patience = patience
        self._rush = rush
        self._late: Any = None
        self._stopping: Deferred[None] | None = None
        for service in services:
            service.setServiceParent(self)

    def hurry(self) -> None:
        super().hurry()
        if self._patience is None:
            return
        self._patience = min(self._patience, self._rush)
        if self._late is not None and self._late.active():
            left = self._late.getTime() - self._stop_clock.seconds()
            self._late.reset(max(0.0, min(left, self._patience.total_seconds())))

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        Service.stopService(self)
        if self._patience is not None:
            seconds = self._patience.total_seconds()
            self._late = self._stop_clock.callLater(seconds, self._break_off)
        for service in reversed(list(self)):
            self._stopping = self._stopped(service)
            if self._late is not None and not self._late.active():
                self._stopping.cancel()
            await self._stopping
        if self._late is not None and self._late.active():
            self._late.cancel()

    def _break_off(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()

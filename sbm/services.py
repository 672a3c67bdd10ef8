"""How the daemon's services are kept: one above the other, and the port at the top."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure


class Stack(MultiService):
    """Starts its services in order and stops them in reverse, one at a time, each waited for.

    Each may use those below it: nobody loses what it stands on while it is at work. One that fails
    to stop does not keep those below it from stopping. Where a ``patience`` is given, it is for all
    of them together, by the reactor's clock; when it ends, what they still wait for is broken off.
    """

    _log = Logger()

    def __init__(self, reactor: Any = None, patience: timedelta | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stop_clock = reactor
        self._patience = patience

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        Service.stopService(self)
        late = None
        stopping: list[Deferred[None]] = []
        if self._patience is not None:
            seconds = self._patience.total_seconds()
            late = self._stop_clock.callLater(seconds, self._break_off, stopping)
        for service in reversed(list(self)):
            try:
                stopped: Deferred[None] | None = service.stopService()
                if stopped is not None:
                    stopping[:] = [stopped]
                    if late is not None and not late.active():
                        stopped.cancel()
                    await stopped
            except CancelledError:
                self._log.warn("{service} was broken off", service=service)
            except Exception:
                self._log.failure("{service} did not stop as it should", service=service)
        if late is not None and late.active():
            late.cancel()

    @staticmethod
    def _break_off(stopping: list[Deferred[None]]) -> None:
        for stopped in stopping:
            stopped.cancel()


class CannotListen(SystemExit):
    """A port cannot be had. Nothing was started, and the process ends with this message."""


@define(eq=False, slots=False)
class Port(Service):
    """Listens at a Twisted endpoint description, before privileges are shed.

    Unlike Twisted's own service for endpoints it fails, with CannotListen, instead of logging.
    """

    _reactor: Any
    _description: str
    _factory: Any
    _port: IListeningPort | None = field(default=None, init=False)

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        refusals: list[Failure] = []
        try:
            endpoint = serverFromString(self._reactor, self._description)
        except Exception as error:  # each kind of endpoint has its own
            refusals.append(Failure(error))
        else:
            endpoint.listen(self._factory).addCallbacks(self._listens, refusals.append)
        for refusal in refusals:
            raise CannotListen(f"sbm cannot listen at {self._description}: {refusal.value}")

    def startService(self) -> None:
        Service.startService(self)
        if self._port is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        port: Any
        port, self._port = self._port, None
        closed = None if port is None else port.stopListening()
        if closed is not None:
            await closed

    def _listens(self, port: IListeningPort) -> None:
        self._port = port

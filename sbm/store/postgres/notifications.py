"""LISTEN: other daemons notify this one of work. It saves time; polling alone is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.connecting import open_connection
from sbm.store.postgres.connection import PROMPT_SECONDS, Connection, run
from sbm.store.postgres.errors import LOST, DatabaseUnavailable
from sbm.store.postgres.host_watch import HostWatch

RETRY_SECONDS = 5.0

# The kernel watches the socket. This check finds a server that hangs, and a connection that a
# firewall has dropped. Together with the time for the answer, that takes less than half a minute.
CHECK_SECONDS = 15.0


@define(eq=False, slots=False, kw_only=True)
class Notifications(Service):
    """Calls the function of a channel at every notification there, on a connection of its own.

    A connection of the pool cannot listen: it is busy, or is closed when it is old. Notifications
    have no content, so all notifications of a channel mean the same, and a lost one only costs a
    short wait.
    """

    _reactor: Any
    _address: DatabaseAddress
    _heard: Mapping[str, Callable[[], None]]
    _watch: HostWatch | None = None
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._listening: Deferred[None] | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._listening = Deferred.fromCoroutine(self._listen())

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await self._listening

    async def _listen(self) -> None:
        while self.running:
            try:
                await self._listen_once()
            except CancelledError:
                return
            except (*LOST, DatabaseUnavailable):
                pass  # polling goes on, and the pool logs that the database is away
            except Exception:
                self._log.failure("listening failed; trying again")
            try:
                await self._pause(RETRY_SECONDS)
            except CancelledError:
                return

    async def _listen_once(self) -> None:
        if self._watch is not None:
            connection = await self._watch.open_connection()
        else:
            connection = await open_connection(self._reactor, self._address)
        try:
            connection.addNotifyObserver(lambda notify: self._heard[notify.channel]())
            for channel in self._heard:
                await run(self._reactor, connection, f"LISTEN {channel}")
            for heard in self._heard.values():
                heard()  # there may have been notifications before LISTEN
            while connection.is_open:
                await self._pause(CHECK_SECONDS, connection)
                await run(self._reactor, connection, "SELECT 1", seconds=PROMPT_SECONDS)
        finally:
            connection.close()

    async def _pause(self, seconds: float, connection: Connection | None = None) -> None:
        """Wait so many seconds, or until the connection is closed."""
        pause: Deferred[None] = Deferred()

        def end() -> None:
            if not pause.called:
                pause.callback(None)

        if connection is not None:
            connection.on_close = end
        timer = self._reactor.callLater(seconds, end)
        try:
            await pause
        finally:
            if timer.active():
                timer.cancel()

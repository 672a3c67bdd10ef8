"""One host of the database's URL, asked again and again what its server is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
from attrs import define, evolve, field
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004

from sbm.settings.endpoints import DatabaseAddress, HostAndPort
from sbm.store.postgres import session
from sbm.store.postgres.connecting import locate, opened
from sbm.store.postgres.connection import Connection, run
from sbm.store.postgres.errors import LOST, DatabaseUnavailable, one_line
from sbm.store.postgres.timelines import FoundServer, find_server, list_timelines, record_timeline

# For the name and the connection, and again for the answer.
ANSWER_SECONDS = 2.0

# How long a host that does not answer counts with its last answer, where that is the safer way. A
# host that refuses connections is gone at once.
REMEMBERED_SECONDS = 30.0

_LIMITS = {"statement_timeout": f"{ANSWER_SECONDS:.0f}s", "lock_timeout": "1s"}


@define(eq=False, slots=False, kw_only=True)
class WatchedHost:
    """A host, and the last answer of its server; ``answered`` is called when that has changed.

    It has a connection of its own, which stays open. ``server`` is None while the host does not
    answer, and ``silence`` says why. ``last_known`` is the server that answered last: a host that
    is only slow still counts for a while in what is wrong with several servers. Whoever asks while
    a question is under way gets the answer to the next one: an answer is never older than the
    question.
    """

    _reactor: Any
    _address: DatabaseAddress
    place: HostAndPort
    _answered: Callable[[], None]
    server: FoundServer | None = field(default=None, init=False)
    silence: str = field(default="it was not asked yet", init=False)
    _remembered: FoundServer | None = field(default=None, init=False)
    _remembered_until: float = field(default=0.0, init=False)
    has_been_asked: bool = field(default=False, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _first_waiting: list[Deferred[None]] = field(factory=list, init=False)
    _is_asking: bool = field(default=False, init=False)
    _is_stopped: bool = field(default=False, init=False)
    _is_history_old: bool = field(default=True, init=False)
    _has_several_addresses: bool = field(default=False, init=False)
    # Whether all addresses have refused a connection.
    _has_refused: bool = field(default=False, init=False)
    _to_record: FoundServer | None = field(default=None, init=False)

    @property
    def last_known(self) -> FoundServer | None:
        """The last answer, if it is not old, and the host did not refuse a connection since."""
        if self.server is None and self._reactor.seconds() < self._remembered_until:
            return self._remembered
        return self.server

    def asked_once(self) -> Deferred[None]:
        """Fires when it was asked for the first time, with or without an answer."""
        waiting: Deferred[None] = Deferred(canceller=self._first_waiting.remove)
        if self.has_been_asked:
            waiting.callback(None)
        else:
            self._first_waiting.append(waiting)
        return waiting

    async def look(self) -> None:
        """Ask, also for the history; never fails."""
        self._is_history_old = True
        await self.ask()

    def ask(self) -> Deferred[None]:
        """Fires when the server has answered a question that begins after this, or the time is up.

        It never fails.
        """
        waiting: Deferred[None] = Deferred(canceller=self._waiting_no_more)
        self._waiting.append(waiting)
        if self._is_stopped:
            self._tell_waiting()
        elif not self._is_asking:
            self._is_asking = True
            Deferred.fromCoroutine(self._ask_for_all())
        return waiting

    def record(self, server: FoundServer) -> None:
        """Let the next look record that the database is on this timeline."""
        self._to_record = server

    def stop(self) -> None:
        """Close the connection; questions under way end."""
        self._is_stopped = True
        self._fall_silent("sbm is stopping")

    def _waiting_no_more(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    async def _ask_for_all(self) -> None:
        try:
            while self._waiting and not self._is_stopped:
                waiting, self._waiting = self._waiting, []
                await self._ask_once()
                first, self._first_waiting = self._first_waiting, []
                _tell([*waiting, *first])
        finally:
            self._is_asking = False
            if self._is_stopped:
                self._tell_waiting()

    def _tell_waiting(self) -> None:
        waiting = [*self._waiting, *self._first_waiting]
        self._waiting, self._first_waiting = [], []
        _tell(waiting)

    async def _ask_once(self) -> None:
        try:
            connection = await self._connected()
            server = await find_server(
                self._reactor, connection, place=self.place, seconds=ANSWER_SECONDS
            )
            await self._record(connection, server)
            known = self.server
            if known != server or known is None or self._is_history_old:
                history = await list_timelines(self._reactor, connection, seconds=ANSWER_SECONDS)
                self._is_history_old = False
            else:
                history = known.history
            answer = evolve(server, history=history)
        except (*LOST, psycopg2.Error, DatabaseUnavailable, TimeoutError) as error:
            if self._has_refused:
                self._remembered = None
            self._fall_silent(one_line(error) or "it does not answer")
            return
        self.has_been_asked = True
        self._remembered = answer
        is_new = known is None or (known, known.history) != (answer, answer.history)
        self.server, self.silence = answer, ""
        if is_new:
            self._answered()

    async def _record(self, connection: Connection, server: FoundServer) -> None:
        right, self._to_record = self._to_record, None
        if right != server or server.timeline is None:
            return
        self._is_history_old = True
        await record_timeline(
            self._reactor,
            connection,
            cluster=server.cluster,
            timeline=server.timeline,
            seconds=ANSWER_SECONDS,
        )

    async def _connected(self) -> Connection:
        # A name may have the addresses of several servers, of which another one may accept writes.
        # The others are looked for once in a look, and not for each question after a commit.
        may_be_elsewhere = (
            self._has_several_addresses
            and self._is_history_old
            and self.server is not None
            and self.server.timeline is None
        )
        if self._connection is not None and self._connection.is_idle and not may_be_elsewhere:
            return self._connection
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
        self._connection = None
        where = await locate(self._reactor, self.place[0], ANSWER_SECONDS)
        self._has_several_addresses = len(where) > 1
        connection = self._connection = await self._connect(where)
        connection.on_close = self._lost
        return connection

    async def _connect(self, where: list[dict[str, str]]) -> Connection:
        """Connect to the first address that accepts writes, or else to the last that answers."""
        self._has_refused = True
        found: Connection | None = None
        refusal: Exception = DatabaseUnavailable(f"the name {self.place[0]} has no address")
        for one in where:
            try:
                connection, accepts_writes = await self._open(one | {"port": str(self.place[1])})
            except (*LOST, psycopg2.Error) as error:
                refusal = error
                if not isinstance(error, psycopg2.OperationalError):
                    self._has_refused = False  # the time was up
                continue
            if found is not None:
                found.close()
            found, self._has_refused = connection, False
            if accepts_writes:
                break
        if found is None:
            raise refusal
        return found

    async def _open(self, where: dict[str, str]) -> tuple[Connection, bool]:
        """A connection, and whether its server accepts writes."""
        async with opened(self._reactor, self._address, where, ANSWER_SECONDS) as connection:
            await run(
                self._reactor, connection, session.settings(connection.server_version, **_LIMITS)
            )
            await run(self._reactor, connection, session.PLACED_FIRST)
            server = await find_server(
                self._reactor, connection, place=self.place, seconds=ANSWER_SECONDS
            )
        return connection, server.timeline is not None

    def _lost(self) -> None:
        if not self._is_stopped and not self._is_asking:
            self.ask()

    def _fall_silent(self, reason: str) -> None:
        if self.server is not None:
            self._remembered_until = self._reactor.seconds() + REMEMBERED_SECONDS
        connection, self._connection = self._connection, None
        self.server, self.silence, self.has_been_asked = None, reason, True
        self._is_history_old = True
        if connection is not None and connection.is_open:
            connection.on_close = None
            connection.close()
        if not self._is_stopped:
            self._answered()


def _tell(waiting: list[Deferred[None]]) -> None:
    for one in waiting:
        if not one.called:
            one.callback(None)

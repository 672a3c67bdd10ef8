"""Watches the servers of the database's URL, so that only the right one is used."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg2
from attrs import Factory, define, evolve, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from sbm.runtime.loop import Loop
from sbm.runtime.places import Places
from sbm.runtime.state_folder import StateFile
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.connecting import open_connection
from sbm.store.postgres.connection import PROMPT_SECONDS, Connection, Server
from sbm.store.postgres.errors import (
    LOST,
    CommitUnknown,
    DatabaseUnavailable,
    WrongServer,
    one_line,
)
from sbm.store.postgres.right_server import Judgement, judge
from sbm.store.postgres.seen_servers import SeenServers
from sbm.store.postgres.timelines import FoundServer, list_timelines, record_timeline
from sbm.store.postgres.watched_host import WatchedHost
from sbm.telemetry import Telemetry

LOOK_SECONDS = 1.0
FILE = "database-server"

OTHER_THAN_BEFORE = (
    "the database is on a server of another database cluster than before, as after a restore: check"
    " that this is the server that you mean; restarting the daemon ends this warning"
)

T = TypeVar("T")


@define(eq=False, slots=False, kw_only=True)
class HostWatch(Service):
    """Opens all connections to the database, and only to the right server.

    If the URL has several hosts, each is asked every second, on a connection of its own, and the
    first connection waits until each has answered or was too slow. If the right server changes,
    connections to the others are closed, and the ``listeners`` are called. With a single host, its
    server is looked at with each connection. What was seen is remembered in the database, in this
    process, and in ``folder``.
    """

    _reactor: Any
    _address: DatabaseAddress
    _telemetry: Telemetry = field(factory=Telemetry)
    _folder: Path | None = None
    listeners: list[Callable[[], object]] = field(factory=list)
    _log: Logger = field(factory=Logger)
    _seen: SeenServers = field(factory=SeenServers, init=False)
    _file: StateFile[SeenServers] = field(
        default=Factory(
            lambda self: StateFile(
                reactor=self._reactor,
                folder=self._folder,
                name=FILE,
                about=self._address.title,
                parse=SeenServers.from_json,
                format=SeenServers.to_json,
            ),
            takes_self=True,
        ),
        init=False,
    )

    def __attrs_post_init__(self) -> None:
        self._hosts: list[WatchedHost] = []
        if len(self._address.hosts) > 1:
            self._hosts = [
                WatchedHost(
                    reactor=self._reactor,
                    address=self._address,
                    place=place,
                    answered=self._judge,
                )
                for place in dict.fromkeys(self._address.hosts)
            ]
        self._loops = [
            Loop(
                reactor=self._reactor,
                name=f"ask {host.place[0]}:{host.place[1]}",
                one_pass=host.look,
                rest=LOOK_SECONDS,
                may_be_cut=True,
            )
            for host in self._hosts
        ]
        self._judgement = Judgement()
        self._connections: WeakSet[Connection] = WeakSet()
        self._is_read = False
        self._keeping = Places(1)
        self._other_cluster = ""

    def startService(self) -> None:
        Service.startService(self)
        for loop in self._loops:
            loop.startService()

    def stopService(self) -> Deferred[Any]:
        """Stop asking; connections that it has opened stay open."""
        Service.stopService(self)
        for host in self._hosts:
            host.stop()
        loops = [loop.stopService() for loop in self._loops if loop.running]
        return gatherResults([one for one in loops if one is not None])

    async def open_connection(self, scheduling: str = "") -> Connection:
        """Connect to the right server; see ``connecting.open_connection``.

        Raises WrongServer if no server may be used, and what an operator has to do about it.
        """
        await self._read_file()
        if not self._hosts:
            connection = await open_connection(self._reactor, self._address, scheduling)
            await self._closing_on_error(connection, self._admit_only_host(connection))
        else:
            await self._look_first()
            address = evolve(self._address, hosts=(self._right_server().place,))
            connection = await open_connection(self._reactor, address, scheduling)
            await self._closing_on_error(connection, self._admit(connection))
        self._connections.add(connection)
        return connection

    async def confirm(self, server: Server | None) -> None:
        """Check that the server of a transaction is still the right one, after its COMMIT.

        The other hosts are asked, as far as they answered before: meanwhile, one of them may have
        been promoted, and then what was committed here is lost. Raises CommitUnknown.
        """
        if not self._hosts or server is None:
            return
        used = self._judgement.server
        await gatherResults(
            [
                host.ask()
                for host in self._hosts
                if host.server is not None and (used is None or host.place != used.place)
            ]
        )
        if not self._is_right(server):
            raise CommitUnknown("another server has become the primary")

    def _right_server(self) -> FoundServer:
        judgement = self._judgement
        if judgement.problem:
            raise WrongServer(judgement.problem)
        if judgement.server is None:
            silences = (
                f"{host.place[0]}:{host.place[1]}: {host.silence or 'it accepts no writes'}"
                for host in self._hosts
            )
            raise DatabaseUnavailable("; ".join(silences))
        return judgement.server

    def _is_right(self, server: Server) -> bool:
        right = self._judgement.server
        return right is not None and (right.cluster, right.timeline) == (
            server.cluster,
            server.timeline,
        )

    async def _read_file(self) -> None:
        """Once, before the first connection."""
        if not self._is_read:
            seen = await self._file.read() or SeenServers()
            # With other hosts in the URL, it is another file, but the cluster may be the same.
            for other in await self._file.read_others():
                seen = seen.and_those(other)
            if not self._is_read:
                self._seen = seen
            self._is_read = True

    async def _look_first(self) -> None:
        """Ask all hosts for the first time; each has its own time limit."""
        if not self.running:
            self.startService()
        await gatherResults([host.asked_once() for host in self._hosts])

    async def _closing_on_error(self, connection: Connection, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except BaseException as error:
            if connection.is_open:
                connection.close()
            if isinstance(error, (*LOST, psycopg2.Error)):
                raise DatabaseUnavailable(one_line(error)) from error
            raise

    async def _admit(self, connection: Connection) -> None:
        """Raise an error if the server is not the right one, or is not what it was when asked."""
        server = connection.server
        right = self._right_server()
        if not (self._is_right(server) if server is not None else right.is_untold):
            for host in self._hosts:
                host.ask()
            raise DatabaseUnavailable(
                f"the server at {right.place[0]}:{right.place[1]} has changed: asking all hosts"
            )

    async def _admit_only_host(self, connection: Connection) -> None:
        server = connection.server
        if server is None:
            return
        history = await list_timelines(self._reactor, connection, seconds=PROMPT_SECONDS)
        found = FoundServer(
            cluster=server.cluster,
            timeline=server.timeline,
            started_at="",
            place=connection.place,
            history=history,
        )
        judgement = judge([found], highest=self._seen.highest)
        if judgement.server is not None and (server.cluster, server.timeline) not in history:
            await record_timeline(
                self._reactor,
                connection,
                cluster=server.cluster,
                timeline=server.timeline,
                seconds=PROMPT_SECONDS,
            )
        self._decide(judgement)
        self._right_server()

    def _judge(self) -> None:
        """Judge the last answers of all hosts, when each has been asked."""
        if not all(host.has_been_asked for host in self._hosts):
            return
        found = [host.server for host in self._hosts if host.server is not None]
        known = [host.last_known for host in self._hosts if host.last_known is not None]
        judgement = judge(found, highest=self._seen.highest)
        if self._judgement.problem and not judgement.problem:
            # One of two servers may only be slow: what is wrong with them does not end with that.
            remembered = judge(known, highest=self._seen.highest)
            judgement = remembered if remembered.problem else judgement
        if judgement.server is None and not judgement.problem:
            # The server may only have been slow; its connections are no worse for it.
            judgement = Judgement(server=self._judgement.server)
        self._decide(judgement)

    def _decide(self, judgement: Judgement) -> None:
        before, self._judgement = self._judgement, judgement
        self._tell(before, judgement)
        server = judgement.server
        if server is not None and not server.is_untold and before.server != server:
            self._note(server)
        for connection in list(self._connections):
            found = connection.server
            # With a single name, a refused server says nothing of the one that is in use.
            if self._hosts == [] and judgement.problem:
                break
            if connection.is_open and found is not None and not self._is_right(found):
                connection.close()
        if (
            server is not None
            and not server.is_untold
            and (server.cluster, server.timeline) not in server.history
        ):
            for host in self._hosts:
                if host.place == server.place:
                    host.record(server)

    def _tell(self, before: Judgement, now: Judgement) -> None:
        self._telemetry.server_warning = now.problem or now.alarm or self._other_cluster
        doubted = bool(now.problem or now.alarm)
        self._telemetry.gauge("database.servers_doubted", float(doubted))
        if (now.problem, now.alarm) == (before.problem, before.alarm):
            return
        if now.problem:
            self._log.error("the database is not used: {problem}", problem=now.problem)
        elif now.alarm:
            self._log.error("{alarm}", alarm=now.alarm)
        else:
            self._log.info("there is one server that accepts writes, and it is the right one")

    def _note(self, server: FoundServer) -> None:
        """Remember the server, and say so if it is another one than before."""
        timeline = server.timeline or 0
        former = self._seen.former(server)
        self._telemetry.gauge("database.timeline", timeline)
        if former is not None:
            for listener in self.listeners:
                listener()
            self._telemetry.count("database.server_changes")
            say = self._log.warn
            if former[0] != server.cluster:
                say = self._log.error
                self._other_cluster = OTHER_THAN_BEFORE
                self._telemetry.server_warning = self._telemetry.server_warning or OTHER_THAN_BEFORE
            say(
                "the database is on another server than before: cluster {cluster}, timeline"
                " {timeline}; it was on cluster {former_cluster}, timeline {former_timeline}",
                cluster=server.cluster,
                timeline=timeline,
                former_cluster=former[0],
                former_timeline=former[1],
            )
        self._seen = self._seen.using(server)
        self._keeping.run(lambda: Deferred.fromCoroutine(self._keep()))

    async def _keep(self) -> None:
        """Keep what was seen; another daemon may share the folder, and have seen more."""
        kept = await self._file.read()
        if kept is not None:
            self._seen = self._seen.and_those(kept)
        if kept != self._seen:
            await self._file.keep(self._seen)

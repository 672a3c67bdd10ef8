"""The database as the rest of sbm sees it: transactions over a small pool of connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg2
from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sbm.model.author import Author
from sbm.runtime.places import Places
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import commits
from sbm.store.postgres.commits import CommitStatus, Pending
from sbm.store.postgres.connecting import open_connection
from sbm.store.postgres.connection import PROMPT_SECONDS, Connection, run
from sbm.store.postgres.errors import (
    LOST,
    UNFIT,
    CommitUnknown,
    DatabaseUnavailable,
    NotDone,
    one_line,
    told_error,
)
from sbm.store.postgres.host_watch import HostWatch
from sbm.store.postgres.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")

WAIT_SECONDS = 10.0
LIFETIME_SECONDS = 1800.0
RECONNECT_SECONDS = 1.0
RESTARTS = 3
# After so long, a transaction is not tried again.
RESTART_SECONDS = 20.0

# How long the pool tries to find out whether a lost COMMIT was done. A server notices within 20 s
# that its client is gone, and answers within 5 s after it is back. Callers may wait for a minute,
# as proxies do.
LOOK_SECONDS = 20.0


@frozen(kw_only=True)
class _Purpose:
    """What a transaction is for; one that ``is_snapshot`` is rolled back at its end."""

    only_reads: bool = False
    is_snapshot: bool = False


_WRITING = _Purpose()
_READING = _Purpose(only_reads=True)
_SNAPSHOT = _Purpose(only_reads=True, is_snapshot=True)
_REHEARSING = _Purpose(is_snapshot=True)


@define(eq=False, slots=False, kw_only=True)
class Database(Service):
    """A pool of at most ``size`` connections, which are opened when they are needed.

    A connection that failed, or is old, is closed and never used again. If one is lost, the idle
    ones are closed, too, because they would not notice that the server is gone. While no server can
    be reached, callers get DatabaseUnavailable at once, and one caller at a time tries again, every
    second. The host that was reached last is tried first. With a ``watch``, only the right server
    is used, and no commit on another one is believed. ``author`` is that of all transactions that
    do not set another one.
    """

    _reactor: Any
    _address: DatabaseAddress
    _size: int
    _scheduling: str = ""
    _watch: HostWatch | None = None
    author: Author | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        self._permits = Places(self._size)
        self._idle: list[Connection] = []
        self._opened_at: dict[Connection, float] = {}
        self._refusal: tuple[float, DatabaseUnavailable] | None = None
        self._is_trying_again = False
        self._stopped = False

    @property
    def size(self) -> int:
        """How many connections it has at most."""
        return self._size

    @property
    def reactor(self) -> Any:
        """The reactor that it uses."""
        return self._reactor

    def stopService(self) -> None:
        """Close every connection; transactions under way fail with DatabaseUnavailable."""
        Service.stopService(self)
        self._stopped = True
        for connection in list(self._opened_at):
            self._discard(connection)

    async def transact(
        self,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(transaction, …)`` in a transaction and commit it.

        This, ``read``, ``read_snapshot`` and ``rehearse`` are all that begins a transaction.

        If ``work`` raises an error, the transaction is rolled back. It is started again if it loses
        a deadlock, finds its connection closed at BEGIN or without what it had prepared, or lost
        the connection during COMMIT and was not committed. So ``work`` must have no effects outside
        the transaction. Raises DatabaseUnavailable, or CommitUnknown if the connection was lost
        during COMMIT and it cannot be found out whether the transaction was committed.
        """
        return await self._restarted(_WRITING, work, *args, **kwargs)

    async def read(
        self,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(transaction, …)``, all of whose statements only read.

        There is nothing to commit, which saves a round trip. Raises DatabaseUnavailable, or
        StatementMisused for a statement that may write.
        """
        return await self._restarted(_READING, work, *args, **kwargs)

    async def read_snapshot(
        self,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(transaction, …)``, all of whose statements read the same snapshot.

        Raises DatabaseUnavailable, or StatementMisused for a statement that may write.
        """
        return await self._restarted(_SNAPSHOT, work, *args, **kwargs)

    async def rehearse(
        self,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(transaction, …)`` on one snapshot, and roll back whatever it changes.

        Raises DatabaseUnavailable.
        """
        return await self._restarted(_REHEARSING, work, *args, **kwargs)

    async def _restarted(
        self,
        purpose: _Purpose,  # the arguments of the work come after it
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        restart_until = self._reactor.seconds() + RESTART_SECONDS
        for restart in range(RESTARTS + 1):
            try:
                return await self._attempt(purpose, work, *args, **kwargs)
            except (NotDone, psycopg2.extensions.TransactionRollbackError) as error:
                if restart == RESTARTS or self._reactor.seconds() > restart_until:
                    raise DatabaseUnavailable(one_line(error)) from error
        raise AssertionError("unreachable")

    async def _attempt(
        self,
        purpose: _Purpose,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        connection = await self._borrow()
        try:
            transaction = Transaction(
                reactor=self._reactor,
                connection=connection,
                only_reads=purpose.only_reads,
                is_snapshot=purpose.is_snapshot,
                author=None if purpose.is_snapshot else self.author,
            )
            try:
                result = await work(transaction, *args, **kwargs)
                if purpose.is_snapshot:
                    await self._roll_back(connection)
                    return result
                pending = await self._pending(transaction, connection)
            except Exception as error:
                await self._undo(connection, error)
                told = told_error(error)
                try:
                    if told is error:
                        raise
                    raise told from error
                finally:
                    # An error that its own frame knows lives on, with all that the frames on its
                    # way hold, until the garbage is collected.
                    del told
            if transaction.needs_commit:
                await self._commit(connection, pending)
            if pending is not None and self._watch is not None:
                await self._watch.confirm(pending.server)
            return result
        except BaseException:
            if not connection.is_idle:
                self._discard(connection)
            raise
        finally:
            self._give_back(connection)

    async def _pending(self, transaction: Transaction, connection: Connection) -> Pending | None:
        """The data to ask with if the COMMIT is lost; None if there is nothing to commit."""
        if transaction.only_reads:
            return None
        await transaction.begin()
        if transaction.told is not None:
            return commits.identified(connection, *transaction.told)
        if transaction.may_have_written:
            return await commits.begin(self._reactor, connection)
        return None

    async def _commit(self, connection: Connection, pending: Pending | None) -> None:
        try:
            await run(self._reactor, connection, "COMMIT")
        except psycopg2.extensions.TransactionRollbackError:
            raise  # the server has answered that it did not commit
        except LOST as error:
            if connection.is_idle:  # the server has answered here, too
                raise DatabaseUnavailable(one_line(error)) from error
            self._lose(connection)
            if pending is None or not await self._was_committed(pending, one_line(error)):
                raise NotDone(one_line(error)) from error

    async def _was_committed(self, pending: Pending, reason: str) -> bool:
        """Find out whether a COMMIT without an answer was done; raises CommitUnknown."""
        self._log.warn("a COMMIT was lost ({reason}): asking whether it was done", reason=reason)
        looking = Deferred.fromCoroutine(self._look(pending))
        try:
            fate = await looking.addTimeout(LOOK_SECONDS, self._reactor)
        except defer.TimeoutError:
            fate = CommitStatus.OPEN
        self._log.info("a COMMIT was lost: {fate}", fate=fate.value)
        if fate not in (CommitStatus.DONE, CommitStatus.NOT_DONE):
            raise CommitUnknown(f"{reason}; {fate.value}")
        return fate is CommitStatus.DONE

    async def _look(self, pending: Pending) -> CommitStatus:
        while True:
            with suppress(DatabaseUnavailable):
                connection = await self._open()
                try:
                    fate = await commits.find_out(self._reactor, connection, pending)
                finally:
                    # It replaces the connection that was lost.
                    if connection.is_idle and not self._stopped:
                        self._idle.append(connection)
                    else:
                        self._discard(connection)
                if fate is not CommitStatus.OPEN:
                    return fate
            if self._stopped:
                return CommitStatus.UNTOLD
            await deferLater(self._reactor, commits.LOOK_AGAIN_SECONDS)

    async def _undo(self, connection: Connection, error: Exception) -> None:
        """Roll back; if the connection or its server may be the cause, close it instead."""
        if isinstance(error, UNFIT) or (
            isinstance(error, LOST)
            and not isinstance(error, psycopg2.extensions.TransactionRollbackError)
            and not (connection.is_refused or connection.is_idle)  # the server has answered
        ):
            self._lose(connection)
        elif not connection.is_idle:
            await self._roll_back(connection)

    async def _roll_back(self, connection: Connection) -> None:
        try:
            await run(self._reactor, connection, "ROLLBACK", seconds=PROMPT_SECONDS)
        except Exception:
            self._lose(connection)

    async def _borrow(self) -> Connection:
        permit = self._permits.acquire()
        if not permit.called:
            permit.addTimeout(WAIT_SECONDS, self._reactor)
        try:
            await permit
        except defer.TimeoutError:
            raise DatabaseUnavailable(f"all {self._size} connections are in use") from None
        try:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_open:
                    return connection
                self._discard(connection)
            return await self._open()
        except BaseException:
            self._permits.release()
            raise

    def _give_back(self, connection: Connection) -> None:
        if connection.is_open:
            age = self._reactor.seconds() - self._opened_at[connection]
            if self._stopped or age > LIFETIME_SECONDS:
                self._discard(connection)
            else:
                self._idle.append(connection)
        self._permits.release()

    async def _open(self) -> Connection:
        if self._stopped:
            raise DatabaseUnavailable("sbm is stopping")
        if self._refusal is not None and (
            self._is_trying_again or self._reactor.seconds() < self._refusal[0] + RECONNECT_SECONDS
        ):
            raise type(self._refusal[1])(str(self._refusal[1]))
        self._is_trying_again = self._refusal is not None
        try:
            if self._watch is None:
                connection = await open_connection(self._reactor, self._address, self._scheduling)
            else:
                connection = await self._watch.open_connection(self._scheduling)
        except DatabaseUnavailable as error:
            if self._refusal is None or str(self._refusal[1]) != str(error):
                self._log.warn("the database cannot be used: {error}", error=error)
            self._refusal = (self._reactor.seconds(), error)
            raise
        finally:
            self._is_trying_again = False
        if self._refusal is not None:
            self._log.info("the database can be used again")
            self._refusal = None
        self._address = self._address.beginning_with(connection.place)
        self._opened_at[connection] = self._reactor.seconds()
        return connection

    def _lose(self, connection: Connection) -> None:
        """Discard it and the idle ones: they may have been lost for the same reason."""
        self._discard(connection)
        while self._idle:
            self._discard(self._idle.pop())

    def _discard(self, connection: Connection) -> None:
        self._opened_at.pop(connection, None)
        if connection.is_open:
            connection.close()

"""The database as the rest of sbm sees it: ``transact``, over a small pool of connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg2
from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from sbm.addresses import DatabaseAddress
from sbm.slices import Slices
from sbm.store.connection import LOST, Connection, open_connection, run
from sbm.store.errors import CommitUnknown, DatabaseUnavailable, one_line
from sbm.store.queries import Query

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[str, Any]

WAIT_SECONDS = 10.0
LIFETIME_SECONDS = 1800.0
RECONNECT_SECONDS = 1.0
RESTARTS = 3


@frozen(eq=False)
class Transaction:
    """A transaction that is under way; what store functions take first."""

    _reactor: Any
    _connection: Connection

    def slices(self) -> Slices:
        """For work between statements that might take long."""
        return Slices(self._reactor)

    async def rows(self, query: Query, **parameters: Any) -> list[Row]:
        """Execute a statement, and return its rows as dicts by column name."""
        cursor = await run(self._reactor, self._connection, query.sql, parameters)
        columns = [column.name for column in cursor.description]
        rows = []
        slices = self.slices()
        for values in iter(cursor.fetchone, None):  # which is when they are decoded
            rows.append(dict(zip(columns, values, strict=True)))
            if slices.is_over:
                await slices.next_turn()
        return rows

    async def row(self, query: Query, **parameters: Any) -> Row | None:
        """Execute a statement, and return its first row, if any."""
        rows = await self.rows(query, **parameters)
        return rows[0] if rows else None

    async def execute(self, query: Query, **parameters: Any) -> int:
        """Execute a statement, and return how many rows it touched."""
        cursor = await run(self._reactor, self._connection, query.sql, parameters)
        return int(cursor.rowcount)


@define(eq=False, slots=False)
class Database(Service):
    """At most ``size`` connections, opened as they are needed, and one way to use them.

    A connection that failed, or grew old, is closed and never used again. While no server can be
    reached, callers get DatabaseUnavailable at once, and one of them tries again every second.
    """

    _reactor: Any
    _address: DatabaseAddress
    _size: int
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        self._permits = DeferredSemaphore(self._size)
        self._idle: list[Connection] = []
        self._opened_at: dict[Connection, float] = {}
        self._refusal: tuple[float, DatabaseUnavailable] | None = None
        self._stopped = False

    @property
    def reactor(self) -> Any:
        """The reactor that it lives on."""
        return self._reactor

    def stopService(self) -> None:
        """Close every connection; what is still under way fails with DatabaseUnavailable."""
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
        """Run ``work(transaction, …)`` in a transaction of its own and commit; the only way to.

        Whatever ``work`` raises rolls back. A transaction that loses a deadlock or finds its
        connection dead at BEGIN is started again, so ``work`` must have no effects of its own.
        Raises DatabaseUnavailable, or CommitUnknown when the connection was lost during COMMIT.
        """
        for restart in range(RESTARTS + 1):
            try:
                return await self._attempt(work, *args, **kwargs)
            except (_NotBegun, psycopg2.extensions.TransactionRollbackError) as error:
                if restart == RESTARTS:
                    raise DatabaseUnavailable(one_line(error)) from error
        raise AssertionError("unreachable")

    async def _attempt(
        self,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        connection = await self._borrow()
        try:
            await self._begin(connection)
            try:
                result = await work(Transaction(self._reactor, connection), *args, **kwargs)
            except psycopg2.extensions.TransactionRollbackError:
                await self._roll_back(connection)
                raise
            except LOST as error:
                self._discard(connection)
                raise DatabaseUnavailable(one_line(error)) from error
            except Exception:
                await self._roll_back(connection)
                raise
            await self._commit(connection)
            return result
        except BaseException:
            if not connection.is_idle:
                self._discard(connection)
            raise
        finally:
            self._give_back(connection)

    async def _begin(self, connection: Connection) -> None:
        try:
            await run(self._reactor, connection, "BEGIN")
        except LOST as error:
            self._discard(connection)
            raise _NotBegun(str(error)) from error

    async def _commit(self, connection: Connection) -> None:
        try:
            await run(self._reactor, connection, "COMMIT")
        except LOST as error:
            self._discard(connection)
            raise CommitUnknown(one_line(error)) from error

    async def _roll_back(self, connection: Connection) -> None:
        try:
            await run(self._reactor, connection, "ROLLBACK")
        except Exception:
            self._discard(connection)

    async def _borrow(self) -> Connection:
        try:
            await self._permits.acquire().addTimeout(WAIT_SECONDS, self._reactor)
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
        now = self._reactor.seconds()
        if self._refusal is not None and now < self._refusal[0] + RECONNECT_SECONDS:
            raise DatabaseUnavailable(str(self._refusal[1]))
        self._refusal = (now, self._refusal[1]) if self._refusal is not None else None
        try:
            connection = await open_connection(self._reactor, self._address)
        except DatabaseUnavailable as error:
            if self._refusal is None or str(self._refusal[1]) != str(error):
                self._log.warn("the database cannot be used: {error}", error=error)
            self._refusal = (self._reactor.seconds(), error)
            raise
        if self._refusal is not None:
            self._log.info("the database can be used again")
            self._refusal = None
        self._opened_at[connection] = self._reactor.seconds()
        return connection

    def _discard(self, connection: Connection) -> None:
        self._opened_at.pop(connection, None)
        if connection.is_open:
            connection.close()


class _NotBegun(Exception):
    """A connection turned out dead before anything was done on it."""

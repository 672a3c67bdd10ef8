"""One transaction: statements with values for parameters, and values for rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar

from attrs import define, field

from sbm.model.author import Author
from sbm.runtime.time_slices import TimeSlice
from sbm.store.postgres.connection import PROMPT_SECONDS, Connection, Server, run
from sbm.store.postgres.errors import LOST, NOT_PREPARED, NotDone, StatementMisused, one_line
from sbm.store.postgres.prepared import BY_INDEX
from sbm.store.postgres.rows import check_row_count, row_mapping
from sbm.store.postgres.statements import Cardinality, Query

T = TypeVar("T")

# How long a statement may take that is known to be long, and the memory for what it groups. With
# less, the planner sorts a million rows instead of grouping them as they come.
LONG_SECONDS = 600.0
_LONG = f"SET LOCAL statement_timeout = {LONG_SECONDS * 1000:.0f};\nSET LOCAL work_mem = '64MB';\n"


@define(eq=False, kw_only=True)
class Transaction:
    """A transaction that is under way; the first argument of each store function.

    It begins with its first statement. ``may_have_written`` is false as long as there is nothing to
    commit. ``told`` is its id, and the server process, if a statement has told them. ``author`` is
    who makes its changes, for the audit; it is told to the database with the next statement that
    writes. None: its changes are the pipeline's, and the audit has none of them.

    If it ``only_reads`` and its first statement is prompt, there is no BEGIN, and so no COMMIT.
    Each statement sees what is committed when it begins, as it would after BEGIN. If it
    ``is_snapshot``, all statements see what is committed when the first one begins.
    """

    _reactor: Any
    _connection: Connection
    only_reads: bool = False
    is_snapshot: bool = False
    needs_commit: bool = field(default=False, init=False)
    may_have_written: bool = field(default=False, init=False)
    told: tuple[str, int] | None = field(default=None, init=False)
    author: Author | None = None
    _told_author: Author | None = field(default=None, init=False)
    _has_begun: bool = field(default=False, init=False)

    @property
    def local_time(self) -> datetime:
        """The time by this machine's clock, to compare with the database's."""
        return datetime.fromtimestamp(self._reactor.seconds(), timezone.utc)

    @property
    def server(self) -> Server | None:
        """The server of its connection, if that says which one it is."""
        return self._connection.server

    def slices(self) -> TimeSlice:
        """Time slices for work between statements that might take long."""
        return TimeSlice(reactor=self._reactor)

    async def one(self, query: Query, make: Callable[..., T], /, **parameters: Any) -> T:
        """Execute a statement of one row, and return what ``make`` makes of it.

        A class of attrs, or a function, takes the columns by their names; any other type is that
        of the only column, which is returned as it is.
        """
        (value,) = await self._values("one", query, make, parameters)
        return value

    async def maybe(self, query: Query, make: Callable[..., T], /, **parameters: Any) -> T | None:
        """Execute a statement of one row or none, and return what ``make`` makes of it, or None."""
        values = await self._values("maybe", query, make, parameters)
        return values[0] if values else None

    async def many(self, query: Query, make: Callable[..., T], /, **parameters: Any) -> list[T]:
        """Execute a statement of any number of rows, and return what ``make`` makes of each."""
        return await self._values("many", query, make, parameters)

    async def execute(self, query: Query, /, **parameters: Any) -> int:
        """Execute a statement without reading rows; returns how many rows it touched."""
        cursor = await self._run("exec", query, parameters)
        return int(cursor.rowcount)

    async def _values(
        self,
        returns: Cardinality,
        query: Query,
        make: Callable[..., T],
        parameters: Mapping[str, Any],
    ) -> list[T]:
        cursor = await self._run(returns, query, parameters)
        check_row_count(query, cursor.rowcount)
        if query.tells_transaction:
            make = partial(self._note, make)
        mapped = row_mapping(query.name, make, cursor.description or ())
        values = []
        slices = self.slices()
        for row in iter(cursor.fetchone, None):  # which is when it is decoded
            values.append(mapped(row))
            if slices.is_over:
                await slices.next_turn()
        return values

    def _note(self, make: Callable[..., T], *, transaction_id: str, pid: int, **columns: Any) -> T:
        self.told = transaction_id, pid
        return make(**columns)

    async def begin(self) -> None:
        """Begin, unless a statement has begun it; raises NotDone if the connection is lost."""
        if not self._has_begun:
            await self._begin_with("")

    async def _run(self, returns: Cardinality, query: Query, parameters: Mapping[str, Any]) -> Any:
        if query.returns != returns:
            raise StatementMisused(f"{query.name} is :{query.returns}, and was run as :{returns}")
        if self.only_reads and not query.reads:
            raise StatementMisused(f"{query.name} does not only read")
        self.may_have_written |= not query.reads
        sql = query.given(parameters)
        if not query.is_prepared:
            return await self._execute(query, sql, parameters)
        try:
            execute = await self._prepared(sql)
            if query.is_indexed:
                execute = BY_INDEX + execute
            return await self._execute(query, execute, parameters)
        except NOT_PREPARED as error:
            raise NotDone(one_line(error)) from error

    async def _execute(self, query: Query, sql: str, parameters: Mapping[str, Any]) -> Any:
        if self.author is not self._told_author and not query.reads:
            # In the same round trip.
            assert self.author is not None
            sql = f"SET LOCAL sbm.author = %(sbm_author)s;\n{sql}"
            parameters = {**parameters, "sbm_author": self.author.json()}
            self._told_author = self.author
        if query.is_prompt and not self._has_begun:
            return await self._begin_with(sql, parameters)
        await self.begin()
        if query.is_long:
            return await run(
                self._reactor, self._connection, _LONG + sql, parameters, seconds=LONG_SECONDS
            )
        return await run(self._reactor, self._connection, sql, parameters)

    async def _prepared(self, sql: str) -> str:
        """The SQL with which the session executes a statement; it is prepared at the first use."""
        prepared = self._connection.prepared
        execute = prepared.find(sql)
        if execute is None:
            await self.begin()
            prepare, preparation = prepared.begin(sql)
            await run(self._reactor, self._connection, prepare)
            execute = prepared.keep(sql, preparation)
        return execute

    async def _begin_with(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Begin, and execute a statement in the same round trip if there is one.

        The server answers at once. So a connection that is lost, as after a failover, is noticed
        here, and nothing was done.
        """
        self._has_begun = True
        self.needs_commit = self.is_snapshot or not (self.only_reads and sql)
        if self.needs_commit:
            begin = "BEGIN ISOLATION LEVEL REPEATABLE READ" if self.is_snapshot else "BEGIN"
            if self.is_snapshot and self.only_reads:
                begin += ", READ ONLY"
            sql = f"{begin};\n{sql}" if sql else begin
        connection = self._connection
        try:
            return await run(self._reactor, connection, sql, parameters, seconds=PROMPT_SECONDS)
        except LOST as error:
            if connection.is_refused or connection.is_idle:
                raise  # the server has answered
            raise NotDone(one_line(error)) from error

"""Small transactions, and what lets a test say how they go on."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults

from sbm.store.postgres.rows import by_column
from sbm.store.postgres.statements import Cardinality, Query
from sbm.store.postgres.transaction import Transaction
from tests.store.postgres.database_proxy import reactor

COUNT = "SELECT count(*) FROM schedules"

# Seconds: long enough for a server that is there, whatever else the machine does.
SOON = 0.5


def query(sql: str, returns: Cardinality = "exec") -> Query:
    return Query(name="test", sql=sql, returns=returns, reads=sql.startswith("SELECT"))


INSERT = query("INSERT INTO schedules (minute) VALUES ('*')")


async def insert(transaction: Transaction) -> int:
    return await transaction.execute(INSERT)


async def ask(transaction: Transaction, sql: str = "SELECT 1 AS answer") -> Any:
    return (await transaction.one(query(sql, "one"), by_column))["answer"]


@define(eq=False)
class Ahead:
    """The reactor, with a clock that the test puts forward."""

    by: float = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.by


@define(eq=False)
class Barrier:
    """Lets those who wait at it pass together."""

    wanted: int
    there: int = 0
    opened: Deferred[None] = field(factory=Deferred)

    async def wait(self) -> None:
        self.there += 1
        if self.there == self.wanted:
            self.opened.callback(None)
        elif self.there < self.wanted:
            passed: Deferred[None] = Deferred()
            self.opened.addCallback(passed.callback)
            await passed


def together(calls: list[Coroutine[Any, Any, Any]]) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(call) for call in calls])

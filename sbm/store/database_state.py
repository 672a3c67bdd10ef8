"""What may slow the database down, or stop it soon: for an operator to look at."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from attrs import frozen

from sbm.store.postgres import migrations
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("database_state")

# The tables whose rows change all the time.
HOT_TABLES = ("sends", "subscriptions", "ticks", "scheduler_calls", "tasks")


@frozen(kw_only=True)
class LongTransaction:
    """A transaction that has been open for so many ``seconds``, and the session that has it."""

    pid: int
    username: str
    application: str
    state: str
    seconds: float


@frozen(kw_only=True)
class Horizon:
    """How far back vacuum has to keep rows: by so many transactions; None: not at all.

    Of ``hidden`` sessions, which are of other users of the server, nothing can be seen.
    """

    oldest_age: int | None
    hidden: int


@frozen(kw_only=True)
class HotTable:
    """About how many rows of a table live and are dead, and when it was last vacuumed, if ever."""

    name: str
    live_rows: int
    dead_rows: int
    vacuumed_at: datetime | None


@frozen(kw_only=True)
class MonthTable:
    """Whether a table has its partitions of this month and the next one.

    If it ``has_strays``, rows came for which there was no partition.
    """

    name: str
    has_this_month: bool
    has_next_month: bool
    has_strays: bool


@frozen(kw_only=True)
class AppliedMigration:
    """A migration of the schema, and when it was applied."""

    name: str
    applied_at: datetime


@frozen(kw_only=True)
class DatabaseState:
    """What the database says of itself.

    ``pending`` are the migrations that this release has and the schema lacks; ``unknown`` are those
    of another release.
    """

    longest: LongTransaction | None
    horizon: Horizon
    tables: list[HotTable]
    months: list[MonthTable]
    applied: list[AppliedMigration]

    @property
    def pending(self) -> list[str]:
        """The migrations of this release that were not applied."""
        found = {one.name for one in self.applied}
        return [name for name in migrations.names() if name not in found]

    @property
    def unknown(self) -> list[str]:
        """The applied migrations that this release does not have."""
        known = set(migrations.names())
        return [one.name for one in self.applied if one.name not in known]


async def read(transaction: Transaction) -> DatabaseState:
    """Read it: five short statements, which look at no large table."""
    return DatabaseState(
        longest=await find_longest(transaction),
        horizon=await measure_horizon(transaction),
        tables=await list_hot_tables(transaction, names=HOT_TABLES),
        months=await list_months(transaction),
        applied=await list_applied(transaction),
    )


async def find_longest(transaction: Transaction) -> LongTransaction | None:
    """The transaction that has been open for longest, besides this one, if there is another."""
    return await transaction.maybe(QUERIES.find_longest_transaction, LongTransaction)


async def measure_horizon(transaction: Transaction) -> Horizon:
    """How far back vacuum has to keep rows."""
    return await transaction.one(QUERIES.measure_horizon, Horizon)


async def list_hot_tables(transaction: Transaction, *, names: Iterable[str]) -> list[HotTable]:
    """The rows of these tables, as the statistics of the server have them, by name."""
    return await transaction.many(QUERIES.list_hot_tables, HotTable, names=list(names))


async def list_months(transaction: Transaction) -> list[MonthTable]:
    """The tables that have a partition for each month, by name."""
    return await transaction.many(QUERIES.list_month_tables, MonthTable)


async def list_applied(transaction: Transaction) -> list[AppliedMigration]:
    """The migrations that made the schema, the newest first."""
    return await transaction.many(QUERIES.list_applied_migrations, AppliedMigration)

"""How a transaction makes values of the rows of a statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred

from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import StatementMisused
from sbm.store.postgres.rows import by_column, names_of_true
from sbm.store.postgres.transaction import Transaction
from tests.store.transactions import query


@frozen(kw_only=True)
class Square:
    number: int
    square: int


SQUARES = "SELECT n AS number, n * n AS square FROM generate_series(1, %(most)s) n"
NUMBERS = "SELECT n FROM generate_series(1, %(most)s) n"


def sum_of(*, number: int, square: int) -> int:
    return number + square


@ensureDeferred
async def test_a_class_or_a_function_takes_the_columns_by_name(database: Database) -> None:
    async def work(transaction: Transaction) -> Any:
        return (
            await transaction.many(query(SQUARES, "many"), Square, most=2),
            await transaction.maybe(query(SQUARES, "maybe"), sum_of, most=1),
        )

    squares, total = await database.transact(work)
    assert squares == [Square(number=1, square=1), Square(number=2, square=4)]
    assert total == 2


@ensureDeferred
async def test_an_only_column_is_the_value(database: Database) -> None:
    async def work(transaction: Transaction) -> Any:
        return (
            await transaction.many(query(NUMBERS, "many"), int, most=3),
            await transaction.one(query(NUMBERS, "one"), int, most=1),
            await transaction.maybe(query(NUMBERS, "maybe"), int, most=0),
            await transaction.execute(query(NUMBERS), most=2),
        )

    assert await database.transact(work) == ([1, 2, 3], 1, None, 2)


@ensureDeferred
async def test_what_a_notification_returns_is_no_column(database: Database) -> None:
    notify = "CASE WHEN n > 1 THEN pg_notify('sbm_nobody', '') END"

    async def work(transaction: Transaction) -> Any:
        return await transaction.many(
            query(NUMBERS.replace("n FROM", f"n, {notify} FROM"), "many"), int, most=2
        )

    assert await database.transact(work) == [1, 2]


def test_the_names_of_true_columns() -> None:
    assert names_of_true(first=True, second=False, third=True) == ["first", "third"]


Run = Callable[[Transaction], Awaitable[Any]]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda it: it.one(query(NUMBERS, "one"), int, most=0), ":one, and returned 0 rows"),
        (lambda it: it.one(query(NUMBERS, "one"), int, most=2), ":one, and returned 2 rows"),
        (lambda it: it.maybe(query(NUMBERS, "maybe"), int, most=2), ":maybe, and returned 2 rows"),
        (lambda it: it.many(query(NUMBERS, "one"), int, most=1), ":one, and was run as :many"),
        (lambda it: it.one(query(NUMBERS, "maybe"), int, most=1), ":maybe, and was run as :one"),
        (lambda it: it.execute(query(NUMBERS, "many"), most=1), ":many, and was run as :exec"),
        (lambda it: it.one(query(SQUARES, "one"), int, most=1), "returns 2 columns, not one"),
        (lambda it: it.one(query("SELECT 1 AS n, 2 AS n", "one"), by_column), "columns alike"),
        (lambda it: it.many(query("SET LOCAL jit = off", "many"), int), "returns 0 columns"),
        (lambda it: it.one(query("SELECT NULL", "one"), int), "returned NoneType, not int"),
        (lambda it: it.one(query("SELECT 1.5", "one"), float), "returned Decimal, not float"),
    ],
)
@ensureDeferred
async def test_a_statement_that_is_misused_is_refused(
    database: Database, run: Run, message: str
) -> None:
    with pytest.raises(StatementMisused, match=message):
        await database.transact(run)

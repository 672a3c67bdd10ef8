"""Finds out whether a transaction was committed if its connection was lost during COMMIT."""

from __future__ import annotations

from enum import Enum
from typing import Any

import psycopg2
from attrs import frozen
from twisted.internet.task import deferLater

from sbm.store.postgres.connection import PROMPT_SECONDS, Connection, Server, run
from sbm.store.postgres.errors import LOST, DatabaseUnavailable, DatabaseUnfit, one_line
from sbm.store.postgres.session import POOLED
from sbm.store.postgres.statements import load

QUERIES = load("commits")

LOOK_AGAIN_SECONDS = 0.2


class CommitStatus(Enum):
    """What is known about a transaction."""

    DONE = "it was committed"
    NOT_DONE = "it was not committed, and will never be"
    OPEN = "it is not known yet whether it was done"
    UNTOLD = "this server does not know whether it was done"


@frozen(kw_only=True)
class Pending:
    """A transaction that has written, by its id at its server, just before its COMMIT."""

    id: str
    server: Server | None


async def begin(reactor: Any, connection: Connection) -> Pending | None:
    """The data to ask with if the COMMIT is lost; None if there is nothing to commit.

    Raises DatabaseUnfit if the session is on another server process than at its beginning.
    """
    cursor = await run(reactor, connection, QUERIES.find_transaction_id.sql, seconds=PROMPT_SECONDS)
    return identified(connection, *cursor.fetchone())


def identified(connection: Connection, transaction_id: str | None, pid: int) -> Pending | None:
    """The same, if a statement has told the id of its transaction, and the server process."""
    if pid != connection.pid:
        raise DatabaseUnfit(POOLED)
    if transaction_id is None:
        return None
    return Pending(id=transaction_id, server=connection.server)


async def look(reactor: Any, connection: Connection, pending: Pending) -> CommitStatus:
    """Ask on another connection whether the transaction was committed.

    Only the server itself can confirm that it was. After a crash, or in a standby that has become
    the primary, the id may be that of another transaction: ids of forgotten transactions are used
    again. If such a server says that it was not committed, that is true: a committed transaction
    keeps its id.
    """
    here, there = connection.server, pending.server
    if here is None or there is None or here.cluster != there.cluster:
        return CommitStatus.UNTOLD
    try:
        cursor = await run(
            reactor, connection, QUERIES.find_transaction_status.sql, {"id": pending.id}
        )
    except psycopg2.errors.InvalidParameterValue:
        return CommitStatus.NOT_DONE  # the server that gave this id has forgotten it
    (status,) = cursor.fetchone()
    if status == "aborted":
        return CommitStatus.NOT_DONE
    if status == "committed" and here == there:
        return CommitStatus.DONE
    if status != "in progress":
        return CommitStatus.UNTOLD
    if here == there:
        await run(reactor, connection, QUERIES.end_transaction.sql, {"id": pending.id})
    return CommitStatus.OPEN


async def find_out(reactor: Any, connection: Connection, pending: Pending) -> CommitStatus:
    """Ask until the server knows; raises DatabaseUnavailable if the connection is lost."""
    while True:
        try:
            fate = await look(reactor, connection, pending)
        except LOST as error:
            raise DatabaseUnavailable(one_line(error)) from error
        if fate is not CommitStatus.OPEN:
            return fate
        await deferLater(reactor, LOOK_AGAIN_SECONDS)

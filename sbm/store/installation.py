"""The identity of the database, and how far the daemons have come with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sbm.model.installation import Installation, Mark
from sbm.store.postgres.connection import Server
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("installation")


async def read(transaction: Transaction) -> Installation:
    """The installation, as the database has it."""
    return await transaction.one(QUERIES.read_installation, Installation)


async def find_time_of_dump(transaction: Transaction) -> datetime | None:
    """When the daemons last worked with the database, before it was found that it went back."""
    return await transaction.one(QUERIES.find_time_of_dump, _moment)


async def advance(transaction: Transaction) -> Mark | None:
    """Let the beat grow; returns the mark to keep once that is committed.

    None: the beat stays, because all daemons are paused, since the database went back.
    """
    return await transaction.maybe(QUERIES.advance_beat, _mark)


async def accept_server(transaction: Transaction, *, server: Server | None) -> None:
    """Record that the daemons may work with this server."""
    if server is not None:
        await transaction.execute(
            QUERIES.accept_server, cluster=server.cluster, timeline=server.timeline
        )


async def accept_past(transaction: Transaction) -> None:
    """Let no mark count any more that was kept before the database went back."""
    await transaction.execute(QUERIES.accept_past)


async def ask_first(transaction: Transaction, *, lease: timedelta) -> None:
    """Let the Message Sender be asked about the sends of all ticks up to now before they are sent.

    A daemon whose claim was lost may post until its lease ends, ``lease`` from now.
    """
    await transaction.execute(QUERIES.ask_first, lease=lease)


async def change(transaction: Transaction) -> tuple[UUID, UUID]:
    """Make it another installation; returns the id that it had, and its new one."""
    return await transaction.one(QUERIES.change_installation, _ids)


def _mark(*, id: UUID, beat: int, seen_at: datetime) -> Mark:  # noqa: A002
    return Mark(installation_id=id, beat=beat, seen_at=seen_at)


def _moment(*, seen_at: datetime | None) -> datetime | None:
    return seen_at


def _ids(*, present: UUID, former: UUID) -> tuple[UUID, UUID]:
    return former, present

"""The ledger as a list, and the versions of messages that it names."""

from __future__ import annotations

from datetime import datetime, timezone

from attrs import asdict

from sbm.model.ledger_entry import LedgerEntry, LedgerFilter, MessageVersion
from sbm.model.paging import Page, PageRequest
from sbm.store import planning
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("ledger")

# Before all rows: no row is later.
START = (datetime(9999, 12, 31, tzinfo=timezone.utc), 0)


async def list_rows(
    transaction: Transaction,
    *,
    wanted: LedgerFilter,
    limit: int,
    after: tuple[datetime, int] = START,
) -> list[LedgerEntry]:
    """The next rows after this key, newest first; for filters that an index serves.

    Without a person, ``delivered`` must be None.
    """
    filters = asdict(wanted)
    await planning.read_in_order(transaction)
    del filters["delivered"], filters["identity"], filters["subscription_id"]
    for name in ("stage", "reason_kind"):
        filters[f"{name}_in_tick"] = None
        if wanted.tick_id is not None:
            filters[f"{name}_in_tick"], filters[name] = filters[name], None
    return await transaction.many(
        QUERIES.list_ledger, LedgerEntry, **filters, **_window(limit, after)
    )


async def list_of_person(
    transaction: Transaction,
    *,
    wanted: LedgerFilter,
    limit: int,
    after: tuple[datetime, int] = START,
) -> list[LedgerEntry]:
    """The next rows of a person or of a subscription, newest first, with any other filters."""
    if wanted.identity is None and wanted.subscription_id is None:
        raise ValueError("neither a person nor a subscription")
    return await transaction.many(
        QUERIES.list_ledger_of_person, LedgerEntry, **asdict(wanted), **_window(limit, after)
    )


async def list_undelivered(
    transaction: Transaction,
    *,
    wanted: LedgerFilter,
    limit: int,
    after: tuple[datetime, int] = START,
) -> list[LedgerEntry]:
    """The next rows whose messages were not delivered, of a set or of all, newest first."""
    await planning.read_in_order(transaction)
    return await transaction.many(
        QUERIES.list_undelivered,
        LedgerEntry,
        messageset_id=wanted.messageset_id,
        settled_after=wanted.settled_after,
        settled_before=wanted.settled_before,
        **_window(limit, after),
    )


def _window(limit: int, after: tuple[datetime, int]) -> dict[str, object]:
    settled_at, row_id = after
    return {"limit": limit, "from_settled_at": settled_at, "from_id": row_id}


async def find_version(transaction: Transaction, *, version_id: int) -> MessageVersion | None:
    """A version of a message, if there is one with this id."""
    return await transaction.maybe(QUERIES.find_version, MessageVersion, id=version_id)


async def list_versions(
    transaction: Transaction,
    *,
    page: PageRequest,
    message_id: int | None = None,
    messageset_id: int | None = None,
    sequence_number: int | None = None,
    lang: str | None = None,
) -> Page[MessageVersion]:
    """A page of the versions that match, newest first."""
    return await read_page(
        transaction,
        QUERIES.list_versions,
        MessageVersion,
        page,
        message_id=message_id,
        messageset_id=messageset_id,
        sequence_number=sequence_number,
        lang=lang,
    )

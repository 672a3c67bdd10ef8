"""The audit: who changed what by the API or by a command, when and why.

Triggers of the database write the entries of changed rows; see ``Transaction.author``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import asdict, frozen
from psycopg2 import DataError, IntegrityError
from psycopg2.errors import UndefinedColumn
from psycopg2.extras import Json

from sbm.model.audit_entry import AuditEntry, RowOperation
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("audit")


async def record(
    transaction: Transaction, *, actor: str, action: str, reason: str, details: Mapping[str, Any]
) -> None:
    """Record a command as a whole, in the transaction that does its work; ``details`` is JSON.

    If the transaction has an author, the entry is the author's.
    """
    await transaction.execute(
        QUERIES.insert_entry,
        actor=actor,
        action=action,
        reason=reason,
        details=Json(dict(details)),
    )


@frozen(kw_only=True)
class AuditFilter:
    """Filters of the list; None is no filter. The times are aware and inclusive."""

    actor: str | None = None
    table_name: str | None = None
    row_id: str | None = None
    operation: RowOperation | None = None
    request_id: str | None = None
    identity: str | None = None
    done_after: datetime | None = None
    done_before: datetime | None = None


async def list_page(
    transaction: Transaction, *, page: PageRequest, wanted: AuditFilter
) -> Page[AuditEntry]:
    """A page of the entries that match the filters, newest first."""
    return await read_page(transaction, QUERIES.list_entries, AuditEntry, page, **asdict(wanted))


async def find(transaction: Transaction, *, entry_id: int) -> AuditEntry | None:
    """The entry with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_entry, AuditEntry, id=entry_id)


async def list_beside(
    transaction: Transaction, *, entry: AuditEntry, before_id: int | None, limit: int
) -> list[AuditEntry]:
    """The next changes of rows by the request or command of an entry, the last one first."""
    if entry.request_id is None:
        return [entry] if entry.operation is not None and before_id is None else []
    return await transaction.many(
        QUERIES.list_entries_beside,
        AuditEntry,
        request_id=entry.request_id,
        transaction_id=None if entry.is_of_command else str(entry.transaction_id),
        before_id=before_id,
        limit=limit,
    )


async def list_requests(transaction: Transaction, *, request_id: str) -> list[int]:
    """The ids of the newest change of each request or command that has this request id."""
    return await transaction.many(QUERIES.list_requests, int, request_id=request_id)


async def lock_row(transaction: Transaction, *, entry: AuditEntry) -> dict[str, Any] | None:
    """The columns of the row that was changed, as JSON, locked; None if there is no such row."""
    return await transaction.one(
        QUERIES.lock_audited,
        _as_it_is,
        table_name=entry.table_name,
        row_id=entry.row_id,
        audited=Json(entry.new_values or entry.old_values),
    )


class NotPutBack(Exception):
    """A reference or a unique value prevents it; the message says which."""


async def put_back(transaction: Transaction, *, entry: AuditEntry) -> None:
    """Make a row again that was deleted; raises NotPutBack.

    Then the transaction can only be rolled back.
    """
    try:
        await transaction.execute(
            QUERIES.put_back_row, table_name=entry.table_name, before=Json(entry.old_values)
        )
    except (DataError, IntegrityError, UndefinedColumn) as error:
        told = error.diag.message_primary, error.diag.message_detail
        raise NotPutBack(" ".join(part for part in told if part)) from error


def _as_it_is(found: Any) -> Any:
    return found

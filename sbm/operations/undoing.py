"""Undo changes that the audit tells of, where their values are still current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from sbm.model.audit_entry import SECRET, AuditEntry
from sbm.operations import content
from sbm.operations.refusals import NoSuchRow, OperationRefused
from sbm.store import audit, messages, messagesets
from sbm.store.postgres.transaction import Transaction

# How many entries one transaction undoes.
BATCH = 500

# What is not undone, and what to do instead.
_INSTEAD: Mapping[str | None, str] = {
    None: "it tells of a whole command: undo the changes of its rows",
    "tokens": "make or revoke a token instead",
    "pauses": "resume, or pause again instead",
    "scheduling": "set the daemon's settings instead",
}


class NotUndoable(OperationRefused):
    """A change of this kind cannot be undone, or a rule or a reference prevents it."""

    def __init__(self, entry: AuditEntry, why: str) -> None:
        super().__init__(f"the change in entry {entry.id} cannot be undone: {why}")


@frozen(kw_only=True)
class Stayed:
    """A change that was not undone, because the row has moved on since.

    ``moved_on`` has the values of the columns that differ from those after the change; None if
    there is no such row any more.
    """

    entry: AuditEntry
    moved_on: Mapping[str, Any] | None


@frozen(kw_only=True)
class Undone:
    """The changes that were undone, and those that stayed."""

    undone: Sequence[AuditEntry] = field(factory=tuple)
    stayed: Sequence[Stayed] = field(factory=tuple)


async def undo_entry(transaction: Transaction, *, entry_id: int, max_text_length: int) -> Undone:
    """Undo the change of one entry; raises NoSuchRow or NotUndoable.

    The transaction has an author.
    """
    entry = await audit.find(transaction, entry_id=entry_id)
    if entry is None:
        raise NoSuchRow
    return await undo_entries(transaction, entries=[entry], max_text_length=max_text_length)


async def undo_request(transaction: Transaction, *, entry_id: int, max_text_length: int) -> Undone:
    """Undo all changes of the request or command that wrote this entry, the last one first.

    Raises NoSuchRow or NotUndoable. The transaction has an author.
    """
    entry = await audit.find(transaction, entry_id=entry_id)
    if entry is None:
        raise NoSuchRow
    if entry.request_id is None:
        raise NotUndoable(entry, "it has no request id")
    entries = await audit.list_of_request(
        transaction, request_id=entry.request_id, before_id=None, limit=BATCH + 1
    )
    if len(entries) > BATCH:
        raise NotUndoable(entry, f"its request made over {BATCH} changes: use `sbm audit undo`")
    return await undo_entries(transaction, entries=entries, max_text_length=max_text_length)


async def undo_entries(
    transaction: Transaction, *, entries: Sequence[AuditEntry], max_text_length: int
) -> Undone:
    """Undo the changes of these entries, in this order; raises NotUndoable if one cannot be.

    A row that has changed since stays as it is. The transaction has an author.
    """
    undone, stayed = [], []
    for entry in entries:
        kept = await _undo(transaction, entry, max_text_length)
        if kept is None:
            undone.append(entry)
        else:
            stayed.append(kept)
    return Undone(undone=undone, stayed=stayed)


async def _undo(transaction: Transaction, entry: AuditEntry, max_text_length: int) -> Stayed | None:
    instead = _refusal(entry)
    if instead is not None:
        raise NotUndoable(entry, instead)
    found = await audit.lock_row(transaction, entry=entry)
    if entry.operation == "delete":
        if found is not None:
            return Stayed(entry=entry, moved_on={"id": entry.row_id})
    elif found is None:
        return Stayed(entry=entry, moved_on=None)
    else:
        after = entry.after or {}
        moved_on = {
            name: found.get(name) for name, value in after.items() if found.get(name) != value
        }
        if moved_on:
            return Stayed(entry=entry, moved_on=moved_on)
    assert transaction.author is not None
    transaction.author = evolve(transaction.author, undoes=entry.id)
    try:
        await _put_back(transaction, entry, max_text_length)
    except (OperationRefused, audit.NotPutBack) as error:
        raise NotUndoable(entry, str(error)) from error
    return None


async def _put_back(transaction: Transaction, entry: AuditEntry, max_text_length: int) -> None:
    """Put back the values, by the rules that hold for such a change today."""
    row_id = entry.row_id or ""
    if entry.table_name == "messagesets" and entry.operation == "insert":
        await content.delete_messageset(transaction, messageset_id=int(row_id))
    elif entry.table_name == "messagesets" and entry.operation == "update":
        before = await messagesets.find(transaction, messageset_id=int(row_id))
        await audit.put_back(transaction, entry=entry)
        after = await messagesets.find(transaction, messageset_id=int(row_id))
        assert before is not None
        assert after is not None
        await content.check_messages(transaction, before, after, max_text_length)
    elif entry.table_name == "messages" and entry.operation != "insert":
        before_message = await messages.find(transaction, message_id=int(row_id))
        await audit.put_back(transaction, entry=entry)
        await content.check_again(
            transaction,
            message_id=int(row_id),
            before=before_message,
            max_text_length=max_text_length,
        )
    else:
        await audit.put_back(transaction, entry=entry)


def _refusal(entry: AuditEntry) -> str | None:
    """Why changes of this kind are not undone, if they are not."""
    if entry.table_name in _INSTEAD:
        return _INSTEAD[entry.table_name]
    if entry.before is None and entry.after is None:
        return "the person was forgotten"
    if entry.table_name == "users" and entry.operation != "update":
        return "users are not removed: disable the user instead"
    if SECRET in {**(entry.before or {}), **(entry.after or {})}.values():
        return "the audit does not have the secret: set another one instead"
    return None

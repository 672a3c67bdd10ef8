"""Undo changes that the audit tells of, where their values are still current."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import evolve, field, frozen

from sbm.model.audit_entry import SECRETS, AuditEntry
from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.operations import content, schedules, subscribing, users
from sbm.operations.drafts import Changes, Draft, Referenced
from sbm.operations.refusals import NoSuchRow, OperationRefused
from sbm.store import audit, binary_contents, messages, messagesets
from sbm.store import schedules as stored_schedules
from sbm.store import users as stored_users
from sbm.store.postgres.transaction import Transaction

# How many entries one transaction undoes.
BATCH = 500

# What is not undone, and what to do instead.
_INSTEAD: Mapping[str | None, str] = {
    None: "it tells of a whole command: undo the changes of its rows",
    "tokens": "make or revoke a token instead",
    "pauses": "resume, or pause again instead",
}

# The references of each table, as the operations look them up.
_REFERENCES: Mapping[str, Sequence[Referenced]] = {
    "messages": (
        Referenced(attribute="messageset_id", hold=messagesets.hold, unknown="It is gone."),
        Referenced(attribute="binary_content_id", hold=binary_contents.hold, unknown="It is gone."),
    ),
    "messagesets": (
        Referenced(attribute="next_set_id", hold=messagesets.hold, unknown="It is gone."),
        Referenced(
            attribute="default_schedule_id", hold=stored_schedules.hold, unknown="It is gone."
        ),
    ),
    "subscriptions": (
        Referenced(attribute="messageset_id", hold=messagesets.hold, unknown="It is gone."),
        Referenced(attribute="schedule_id", hold=stored_schedules.hold, unknown="It is gone."),
    ),
}


class NotUndoable(OperationRefused):
    """A change of this kind cannot be undone, or a rule or a reference prevents it."""

    def __init__(self, entry: AuditEntry, why: str) -> None:
        super().__init__(f"the change in entry {entry.id} cannot be undone: {why}")


@frozen(kw_only=True)
class UndoRules:
    """The settings by which changes are judged; see ``Draft``."""

    max_text_length: int = MAX_TEXT_LENGTH
    ticking_zone: ZoneInfo | None = None


@frozen(kw_only=True)
class Stayed:
    """A change that was not undone, because the row has moved on since.

    ``moved_on`` has the values that differ from those after the change; None if there is no such
    row any more.
    """

    entry: AuditEntry
    moved_on: Mapping[str, Any] | None


@frozen(kw_only=True)
class Undone:
    """The changes that were undone, and those that stayed."""

    undone: Sequence[AuditEntry] = field(factory=tuple)
    stayed: Sequence[Stayed] = field(factory=tuple)


async def undo_entry(transaction: Transaction, *, entry_id: int, rules: UndoRules) -> Undone:
    """Undo the change of one entry; raises NoSuchRow or NotUndoable.

    The transaction has an author.
    """
    entry = await _found(transaction, entry_id)
    return await undo_entries(transaction, entries=[entry], rules=rules)


async def undo_request(transaction: Transaction, *, entry_id: int, rules: UndoRules) -> Undone:
    """Undo all changes of the request or command that wrote this entry, the last one first.

    Raises NoSuchRow or NotUndoable. The transaction has an author.
    """
    entry = await _found(transaction, entry_id)
    entries = await audit.list_beside(transaction, entry=entry, before_id=None, limit=BATCH + 1)
    if len(entries) > BATCH:
        raise NotUndoable(entry, f"its request made over {BATCH} changes: use `sbm audit undo`")
    return await undo_entries(transaction, entries=entries, rules=rules)


async def undo_entries(
    transaction: Transaction, *, entries: Sequence[AuditEntry], rules: UndoRules
) -> Undone:
    """Undo the changes of these entries, in this order; raises NotUndoable if one cannot be.

    A row that has changed since stays as it is. The transaction has an author.
    """
    undone, stayed = [], []
    for entry in entries:
        kept = await _undo(transaction, entry, rules)
        if kept is None:
            undone.append(entry)
        else:
            stayed.append(kept)
    return Undone(undone=undone, stayed=stayed)


async def _found(transaction: Transaction, entry_id: int) -> AuditEntry:
    entry = await audit.find(transaction, entry_id=entry_id)
    if entry is None:
        raise NoSuchRow
    return entry


async def _undo(transaction: Transaction, entry: AuditEntry, rules: UndoRules) -> Stayed | None:
    why_not = _refusal(entry)
    if why_not is not None:
        raise NotUndoable(entry, why_not)
    moved_on = await _moved_on(transaction, entry)
    if moved_on != {}:
        return Stayed(entry=entry, moved_on=moved_on)
    assert transaction.author is not None
    transaction.author = evolve(transaction.author, undoes=entry.id)
    try:
        if entry.operation == "update":
            await _change_back(transaction, entry, rules)
        elif entry.operation == "insert":
            await _remove(transaction, entry)
        else:
            await _make_again(transaction, entry, rules)
    except (OperationRefused, audit.NotPutBack) as error:
        raise NotUndoable(entry, str(error)) from error
    return None


async def _moved_on(transaction: Transaction, entry: AuditEntry) -> Mapping[str, Any] | None:
    """The values of the row, which is locked, that are not as the change left them."""
    found = await audit.lock_row(transaction, entry=entry)
    gone = {*entry.old_values, *entry.new_values} - (found or entry.old_values).keys()
    if found is not None and gone:
        raise NotUndoable(entry, f"{' and '.join(sorted(gone))} is no column any more")
    if entry.operation == "delete":
        before = entry.old_values
        return {} if found is None else {name: found.get(name) for name in before}
    if found is None:
        return None
    after = entry.new_values
    return {name: found.get(name) for name, value in after.items() if found.get(name) != value}


async def _change_back(transaction: Transaction, entry: AuditEntry, rules: UndoRules) -> None:
    """Give the row the values of before, by the operation that has the rules for it."""
    assert entry.table_name is not None
    row_id = entry.row_id or ""
    before = dict(entry.old_values)

    def changes(_stored: Mapping[str, Any]) -> Draft:
        assert transaction.author is not None
        return Draft(
            values=before,
            references=_REFERENCES.get(entry.table_name or "", ()),
            user_id=transaction.author.user_id,
            max_text_length=rules.max_text_length,
            ticking_zone=rules.ticking_zone,
        )

    if entry.table_name == "subscriptions":
        await subscribing.change_subscription(transaction, changes, subscription_id=UUID(row_id))
    elif entry.table_name == "binary_contents":
        file = (await binary_contents.find(transaction, ids=[int(row_id)]))[int(row_id)]
        await content.replace_file(
            transaction,
            file=file,
            content=before["content"],
            max_text_length=rules.max_text_length,
        )
    else:
        await _CHANGES[entry.table_name](transaction, changes, int(row_id))


_CHANGES: Mapping[str, Callable[[Transaction, Changes, int], Awaitable[Any]]] = {
    "schedules": lambda transaction, changes, row_id: schedules.change_schedule(
        transaction, changes, schedule_id=row_id
    ),
    "messagesets": lambda transaction, changes, row_id: content.change_messageset(
        transaction, changes, messageset_id=row_id
    ),
    "messages": lambda transaction, changes, row_id: content.change_message(
        transaction, changes, message_id=row_id
    ),
    "users": lambda transaction, changes, row_id: users.change_user(
        transaction, changes, user_id=row_id
    ),
}


async def _remove(transaction: Transaction, entry: AuditEntry) -> None:
    """Remove a row that was made. What others have added to it since is not removed with it."""
    row_id = entry.row_id or ""
    if entry.table_name == "subscriptions":
        await subscribing.delete_subscription(transaction, subscription_id=UUID(row_id))
    elif entry.table_name == "schedules":
        await schedules.delete_schedule(transaction, schedule_id=int(row_id))
    elif entry.table_name == "messages":
        await content.delete_message(transaction, message_id=int(row_id))
    elif entry.table_name == "messagesets":
        if await messages.has_any(transaction, messageset_id=int(row_id)):
            raise NotUndoable(entry, "there are messages in it")
        await content.delete_messageset(transaction, messageset_id=int(row_id))
    elif entry.table_name == "binary_contents":
        if await messages.has_any(transaction, binary_content_id=int(row_id)):
            raise NotUndoable(entry, "messages use it")
        await content.delete_file(transaction, file_id=int(row_id))
    else:
        await stored_users.revoke(
            transaction, user_id=int(row_id), permission=entry.new_values["permission"]
        )


async def _make_again(transaction: Transaction, entry: AuditEntry, rules: UndoRules) -> None:
    """Make a row again that was deleted, with its id."""
    if entry.table_name == "user_permissions":
        permission = entry.old_values["permission"]
        await stored_users.grant(
            transaction, user_id=int(entry.row_id or ""), permission=permission
        )
        return
    await audit.put_back(transaction, entry=entry)
    if entry.table_name == "messages":
        await content.check_made_again(
            transaction, message_id=int(entry.row_id or ""), max_text_length=rules.max_text_length
        )


def _refusal(entry: AuditEntry) -> str | None:
    """Why changes of this kind are not undone, if they are not."""
    if entry.table_name in _INSTEAD:
        return _INSTEAD[entry.table_name]
    if entry.table_name == "users" and entry.operation != "update":
        return "users are not removed: disable the user instead"
    if SECRETS.get(entry.table_name or "") in {*entry.old_values, *entry.new_values}:
        return "the audit does not have the secret: set another one instead"
    if not entry.old_values and not entry.new_values:
        return "the person was forgotten"
    return None

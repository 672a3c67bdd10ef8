"""The data of a person, by the tables of ``sbm.model.personal_data``: read, erased or marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from attrs import frozen
from psycopg2.extras import Json

from sbm.model.person import Person
from sbm.store.postgres.statements import Query, load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("personal_data")


@frozen(kw_only=True)
class Sought:
    """A person, and the subscriptions by which rows without the identity are found."""

    person: Person
    subscription_ids: tuple[UUID, ...]

    def parameters(self) -> dict[str, Any]:
        """As the statements take them."""
        ids = [str(one) for one in self.subscription_ids]
        return {
            "names": list(self.person.names),
            "ids": ids,
            "needles": self.person.needles(tuple(ids)),
        }


@frozen(kw_only=True)
class ForgettingMark:
    """What stands for a person who is forgotten; the secret, which is not stored, makes the ids."""

    mark: str
    secret: str


@frozen(kw_only=True)
class PersonalRow:
    """A row of a person, as JSON. ``key`` is where the next rows begin."""

    row: dict[str, Any]
    key: str


@frozen(kw_only=True)
class Remaining:
    """What waits for other services."""

    sends: int
    scheduler_calls: int


async def find_subscriptions(transaction: Transaction, *, person: Person) -> list[UUID]:
    """The ids of the subscriptions that the person has or had."""
    return await transaction.many(QUERIES.find_subscriptions, UUID, names=list(person.names))


async def read_rows(
    transaction: Transaction, *, part: str, sought: Sought, after: str | None, limit: int
) -> list[PersonalRow]:
    """The next rows of a part of PARTS that are about the person."""
    return await transaction.many(
        _reading(part), PersonalRow, after=after, limit=limit, **sought.parameters()
    )


# The tables of a person, in parts that are found by one key each, and their tables.
PARTS = {
    "subscriptions": "subscriptions",
    "behind_subscriptions": "behind_subscriptions",
    "silent_subscriptions": "silent_subscriptions",
    "sends": "sends",
    "deliveries": "deliveries",
    "undelivered_people": "undelivered_people",
    "ledger": "ledger",
    "failed_tasks": "failed_tasks",
    "resend_requests": "resend_requests",
    "doubles": "doubles",
    "recent_registrations": "recent_registrations",
    "intake": "intake",
    "idempotency_keys": "idempotency_keys",
    "audit_changes": "audit",
    "audit_commands": "audit",
    "tasks": "tasks",
    "scheduler_calls": "scheduler_calls",
    "scheduler_schedules": "scheduler_schedules",
    "scheduler_callbacks": "scheduler_callbacks",
    "scheduler_listing": "scheduler_listing",
}


def _reading(part: str) -> Query:
    return {
        "subscriptions": QUERIES.export_subscriptions,
        "behind_subscriptions": QUERIES.export_behind_subscriptions,
        "silent_subscriptions": QUERIES.export_silent_subscriptions,
        "sends": QUERIES.export_sends,
        "deliveries": QUERIES.export_deliveries,
        "undelivered_people": QUERIES.export_undelivered_people,
        "ledger": QUERIES.export_ledger,
        "failed_tasks": QUERIES.export_failed_tasks,
        "resend_requests": QUERIES.export_resend_requests,
        "doubles": QUERIES.export_doubles,
        "recent_registrations": QUERIES.export_recent_registrations,
        "intake": QUERIES.export_intake,
        "idempotency_keys": QUERIES.export_idempotency_keys,
        "audit_changes": QUERIES.export_audit_changes,
        "audit_commands": QUERIES.export_audit_commands,
        "tasks": QUERIES.export_tasks,
        "scheduler_calls": QUERIES.export_scheduler_calls,
        "scheduler_schedules": QUERIES.export_scheduler_schedules,
        "scheduler_callbacks": QUERIES.export_scheduler_callbacks,
        "scheduler_listing": QUERIES.export_scheduler_listing,
    }[part]


async def stop(
    transaction: Transaction, *, sought: Sought, mark: ForgettingMark, limit: int
) -> dict[str, int]:
    """Delete up to ``limit`` subscriptions, and end the sends; returns how many, by table.

    The transaction has no author: the audit would store again what is deleted here.
    """
    given = {**sought.parameters(), "mark": mark.mark, "secret": mark.secret, "limit": limit}
    # Before the subscriptions: ticks are locked until these are gone, and do not go on meanwhile.
    await transaction.execute(QUERIES.forget_tick_places, **given)
    await transaction.execute(QUERIES.forget_call_places, **given)
    behind = await transaction.execute(QUERIES.forget_behind_subscriptions, **given)
    silent = await transaction.execute(QUERIES.forget_silent_subscriptions, **given)
    deleted = await transaction.execute(QUERIES.forget_subscriptions, **given)
    owed = await transaction.execute(QUERIES.forget_owed_sends, **given)
    live = await transaction.execute(QUERIES.forget_live_sends, **given)
    return {
        "behind_subscriptions": behind,
        "silent_subscriptions": silent,
        "subscriptions": deleted,
        "sends": owed + live,
    }


# The parts that are erased by one statement, again and again until it finds no more. Deliveries are
# found by rows of the ledger, so they come first.
ERASED = (
    *("deliveries", "undelivered_people"),
    *("ledger", "failed_tasks", "resend_requests", "doubles", "recent_registrations"),
    *("intake", "idempotency_keys", "audit_changes", "scheduler_callbacks", "scheduler_listing"),
    *("scheduler_calls", "scheduler_schedules"),
)


async def erase(
    transaction: Transaction, *, part: str, sought: Sought, mark: ForgettingMark, limit: int
) -> int:
    """Delete or mark up to about ``limit`` rows of a part of ERASED; returns how many."""
    return await transaction.execute(
        _erasing(part),
        mark=mark.mark,
        secret=mark.secret,
        limit=limit,
        **sought.parameters(),
    )


def _erasing(part: str) -> Query:
    return {
        "deliveries": QUERIES.forget_deliveries,
        "undelivered_people": QUERIES.forget_undelivered_people,
        "ledger": QUERIES.forget_ledger,
        "failed_tasks": QUERIES.forget_failed_tasks,
        "resend_requests": QUERIES.forget_resend_requests,
        "doubles": QUERIES.forget_doubles,
        "recent_registrations": QUERIES.forget_recent_registrations,
        "intake": QUERIES.forget_intake,
        "idempotency_keys": QUERIES.forget_idempotency_keys,
        "audit_changes": QUERIES.forget_audit_changes,
        "scheduler_calls": QUERIES.forget_scheduler_calls,
        "scheduler_schedules": QUERIES.forget_scheduler_schedules,
        "scheduler_callbacks": QUERIES.forget_scheduler_callbacks,
        "scheduler_listing": QUERIES.forget_scheduler_listing,
    }[part]


async def rewrite_command(
    transaction: Transaction, *, entry_id: int, action: str, reason: str, details: Any
) -> None:
    """Replace what an entry of the audit tells of a command."""
    await transaction.execute(
        QUERIES.rewrite_audit_command,
        id=entry_id,
        action=action,
        reason=reason,
        details=Json(details),
    )


async def rewrite_task(transaction: Transaction, *, task_id: str, wanted: Any) -> None:
    """Replace the filter of a task."""
    await transaction.execute(QUERIES.rewrite_task, id=task_id, wanted=Json(wanted))


async def count_remaining(transaction: Transaction, *, sought: Sought) -> Remaining:
    """How many rows wait for other services."""
    return await transaction.one(QUERIES.count_remaining, Remaining, **sought.parameters())


async def find_writers(transaction: Transaction) -> list[str]:
    """The transactions that write about people at the moment."""
    return await transaction.many(QUERIES.find_writers, str)


async def count_writers(transaction: Transaction, *, writers: Sequence[str]) -> int:
    """How many of these transactions have not ended."""
    return await transaction.one(QUERIES.count_writers, int, writers=list(writers))

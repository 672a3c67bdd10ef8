"""Subscriptions that an identity has twice: they are found, decided on, and removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from attrs import asdict
from psycopg2.extras import Json

from sbm.model.duplicate import Duplicate, DuplicateRule
from sbm.model.selection import Selection
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("duplicates")

# Before the first identity.
FIRST = ""


async def reach(transaction: Transaction, *, after: str, limit: int) -> tuple[str | None, int]:
    """The last identity of the next ``limit`` subscriptions, and how many these are.

    None if there are none after ``after``.
    """
    return await transaction.one(QUERIES.reach_identity, _reach, after=after, limit=limit)


async def list_candidates(
    transaction: Transaction,
    *,
    after: str,
    reach: str,
    selection: Selection,
    rule: DuplicateRule,
) -> list[UUID]:
    """Subscriptions that may be one of several, of the identities after ``after`` to ``reach``."""
    return await transaction.many(
        QUERIES.list_candidates,
        UUID,
        after=after,
        reach=reach,
        by_lang=rule.by_lang,
        by_schedule=rule.by_schedule,
        **asdict(selection),
    )


async def hold(transaction: Transaction, *, ids: Sequence[UUID]) -> list[UUID]:
    """Lock these, and their sends, against changes; returns the sends that were not begun.

    They are locked in the same order as for settling, so that the two cannot deadlock.
    """
    sends = await transaction.many(QUERIES.hold_owed_sends, UUID, ids=list(ids))
    await transaction.execute(QUERIES.lock_subscriptions, ids=list(ids))
    return sends


async def decide(
    transaction: Transaction,
    *,
    ids: Sequence[UUID],
    selection: Selection,
    rule: DuplicateRule,
    held: Sequence[UUID] | None = None,
) -> list[Duplicate]:
    """Which of these are to be removed, by identity; ``held`` are the sends that are locked."""
    return await transaction.many(
        QUERIES.decide_duplicates,
        Duplicate,
        ids=list(ids),
        held=None if held is None else list(held),
        **asdict(selection),
        **asdict(rule),
    )


async def remove(
    transaction: Transaction,
    *,
    duplicates: Iterable[Duplicate],
    held: Sequence[UUID],
    deactivate: bool,
    actor: str,
    action: str,
    reason: str,
    details: Mapping[str, Any],
) -> int:
    """Remove these, which are locked, or only ``deactivate`` them."""
    decisions = [
        {
            "id": str(one.id),
            "kept_id": str(one.kept_id),
            "kept_number": one.kept_number,
            "furthest": one.furthest,
        }
        for one in duplicates
    ]
    return await transaction.one(
        QUERIES.remove_duplicates,
        int,
        decisions=Json(decisions),
        held=list(held),
        deactivate=deactivate,
        actor=actor,
        action=action,
        reason=reason,
        details=Json(dict(details)),
    )


def _reach(*, reach: str | None, rows: int) -> tuple[str | None, int]:
    return reach, rows

"""Subscriptions that somebody has twice: found, decided on, removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from attrs import asdict
from psycopg2.extras import Json

from sbm.model.duplicate import Duplicate, DuplicateRule
from sbm.model.selection import Selection
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("duplicates")

# Before the first identity.
FIRST = ""


async def reach(transaction: Transaction, *, after: str, limit: int) -> tuple[str | None, int]:
    """Up to which identity the next ``limit`` subscriptions go, and how many they are.

    None: there are none behind ``after``.
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
    """Of the identities behind ``after``, to ``reach``: whatever may be one of several."""
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
    """Keep these from being changed or begun; returns the sends that nobody has begun.

    In the order in which settling locks, so that neither waits for the other for ever.
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
    """Which of these are to go, by identity; with the sends that are ``held``, if they are."""
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
    command: str,
    reason: str,
    details: Mapping[str, Any],
) -> int:
    """Remove these, which are held, or only ``deactivate`` them; the audit has them in full."""
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
        command=command,
        reason=reason,
        details=Json(dict(details)),
    )


def _reach(*, reach: str | None, rows: int) -> tuple[str | None, int]:
    return reach, rows

"""Requests that may come twice, and the answers of the first time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from attrs import frozen
from psycopg2.extras import Json

from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("idempotency")

# How long an answer counts, and the longest window for repeated requests.
KEPT = timedelta(hours=24)


@frozen(kw_only=True)
class KeyedRequest:
    """A request with a key; ``user_id`` is None for a call of the Scheduler.

    ``digest`` identifies it by user, key and path; ``fingerprint`` identifies its content. Both
    have 32 bytes.
    """

    user_id: int | None
    path: str
    key: str
    digest: bytes
    fingerprint: bytes


@frozen(kw_only=True)
class StoredAnswer:
    """The answer to a request, as it was sent; ``fingerprint`` is that of the request."""

    fingerprint: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


async def find_answer(transaction: Transaction, *, request: KeyedRequest) -> StoredAnswer | None:
    """The answer to a request with this key, or None if this transaction has to find the answer.

    If another transaction answers the same request at the moment, this waits for it. After None,
    others wait for this transaction.
    """
    await _lock(transaction, request.digest)
    return await transaction.maybe(
        QUERIES.find_answer,
        _kept_answer,
        request=request.digest,
        kept=KEPT,
        received_at=transaction.local_time,
    )


async def keep_answer(
    transaction: Transaction,
    *,
    request: KeyedRequest,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
) -> None:
    """Keep the answer to a request for which ``find_answer`` has found none."""
    await transaction.execute(
        QUERIES.keep_answer,
        request=request.digest,
        user_id=request.user_id,
        path=request.path,
        key=request.key,
        fingerprint=request.fingerprint,
        status=status,
        headers=Json(dict(headers)),
        body=body,
        received_at=transaction.local_time,
    )


async def find_registration(
    transaction: Transaction, *, fingerprint: bytes, within: timedelta
) -> UUID | None:
    """The subscription that was made from these data, or None; waits as ``find_answer`` does.

    ``within``: how long ago it may have been made; KEPT at most.
    """
    await _lock(transaction, fingerprint)
    return await transaction.maybe(
        QUERIES.find_registration,
        UUID,
        fingerprint=fingerprint,
        within=within,
        received_at=transaction.local_time,
    )


async def keep_registration(
    transaction: Transaction, *, fingerprint: bytes, subscription_id: UUID
) -> None:
    """Record which subscription was made from these data."""
    await transaction.execute(
        QUERIES.keep_registration,
        fingerprint=fingerprint,
        subscription_id=subscription_id,
        received_at=transaction.local_time,
    )


async def delete_old(transaction: Transaction, *, limit: int) -> int:
    """Delete up to ``limit`` answers, and registrations, that no longer count; returns how many."""
    answers = await transaction.execute(QUERIES.delete_old_answers, kept=KEPT, limit=limit)
    registrations = await transaction.execute(
        QUERIES.delete_old_registrations, kept=KEPT, limit=limit
    )
    return answers + registrations


def _kept_answer(
    *, fingerprint: memoryview, status: int, headers: Mapping[str, str], body: memoryview
) -> StoredAnswer:
    return StoredAnswer(
        fingerprint=bytes(fingerprint), status=status, headers=headers, body=bytes(body)
    )


async def _lock(transaction: Transaction, digest: bytes) -> None:
    # If two digests have the same beginning, one request only waits for the other.
    lock = int.from_bytes(digest[:8], "big", signed=True)
    await transaction.execute(QUERIES.lock_request, lock=lock)

"""Requests that may come twice, and what was answered the first time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from attrs import frozen
from psycopg2.extras import Json

from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("idempotency")

# How long an answer counts, and how far back the longest window reaches.
KEPT = timedelta(hours=24)


@frozen(kw_only=True)
class KeyedRequest:
    """A request that its user has given a key to; ``user_id`` is None for the Scheduler's.

    ``digest`` tells it from all others by user, key and path, ``fingerprint`` what it says; both
    are of 32 bytes.
    """

    user_id: int | None
    path: str
    key: str
    digest: bytes
    fingerprint: bytes


@frozen(kw_only=True)
class KeptAnswer:
    """What a request was answered, as it went out; ``fingerprint`` is that of the request."""

    fingerprint: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


async def find_answer(transaction: Transaction, *, request: KeyedRequest) -> KeptAnswer | None:
    """The answer to a request with this key, or None: it is up to us, until the transaction ends.

    Whoever has the same request in hand is waited for.
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
    """Keep the answer to a request that ``find_answer`` has found none for."""
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
    """The subscription that was made of these data, or None: it is up to us, as above.

    ``within``: how long ago that may have been; KEPT at most.
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
    """Keep which subscription was made of these data."""
    await transaction.execute(
        QUERIES.keep_registration,
        fingerprint=fingerprint,
        subscription_id=subscription_id,
        received_at=transaction.local_time,
    )


async def delete_old(transaction: Transaction, *, limit: int) -> int:
    """Delete up to ``limit`` of each that no longer count; returns how many."""
    answers = await transaction.execute(QUERIES.delete_old_answers, kept=KEPT, limit=limit)
    registrations = await transaction.execute(
        QUERIES.delete_old_registrations, kept=KEPT, limit=limit
    )
    return answers + registrations


def _kept_answer(
    *, fingerprint: memoryview, status: int, headers: Mapping[str, str], body: memoryview
) -> KeptAnswer:
    return KeptAnswer(
        fingerprint=bytes(fingerprint), status=status, headers=headers, body=bytes(body)
    )


async def _lock(transaction: Transaction, digest: bytes) -> None:
    # Two requests whose digests begin alike would only wait for each other.
    lock = int.from_bytes(digest[:8], "big", signed=True)
    await transaction.execute(QUERIES.lock_request, lock=lock)

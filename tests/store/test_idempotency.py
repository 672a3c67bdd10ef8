"""Requests that come again while the first is under way."""

from __future__ import annotations

from hashlib import sha256

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.store import idempotency
from sbm.store.idempotency import KeyedRequest, StoredAnswer
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged
from tests.web.sockets import comes_true

NOTHING = sha256(b"").digest()
REQUEST = KeyedRequest(user_id=1, path="/x", key="k", digest=NOTHING, fingerprint=NOTHING)
ANSWER = StoredAnswer(fingerprint=NOTHING, status=201, headers={"Location": "y"}, body=b"\xff\0")
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
LOCKED = (
    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE datname = current_database() AND locktype = 'advisory'"
)


class GivesUp(Exception):
    """An error in the middle of the work."""


async def answer(
    transaction: Transaction, until: Deferred[None] | None = None
) -> tuple[StoredAnswer | None, StoredAnswer]:
    """The answer that was found, and the one that was given."""
    found = await idempotency.find_answer(transaction, request=REQUEST)
    if found is not None:
        return found, found
    await idempotency.keep_answer(
        transaction,
        request=REQUEST,
        status=ANSWER.status,
        headers=ANSWER.headers,
        body=ANSWER.body,
    )
    if until is not None:
        await until
    return None, ANSWER


@ensureDeferred
async def test_the_second_has_the_work_if_the_first_gave_it_up_and_the_answer_if_not(
    database: Database, direct: Arranged
) -> None:
    for outcome, expected in ((GivesUp(), None), (None, ANSWER)):
        until: Deferred[None] = Deferred()
        first = Deferred.fromCoroutine(database.transact(answer, until))
        await comes_true(lambda: bool(direct.value(LOCKED)))
        second = Deferred.fromCoroutine(database.transact(answer))
        await comes_true(lambda: bool(direct.value(WAITING)))
        if outcome is None:
            until.callback(None)
            assert await first == (None, ANSWER)
        else:
            until.errback(outcome)
            first.addErrback(lambda failure: failure.trap(GivesUp))
        assert await second == (expected, ANSWER)
        direct.rows("DELETE FROM idempotency_keys")

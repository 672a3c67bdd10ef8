from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.model.outbound import compose
from sbm.model.send import Send, Settled, objection
from sbm.store import resends, sends
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged

SENT = Settled(outcome="sent", stage="post", outbound_id="outbound-1")
ADOPTED = Settled(outcome="adopted", stage="post", outbound_id="outbound-1")
REFUSED = Settled(outcome="refused", stage="post", reason="no")
DRY_RUN = Settled(outcome="dry-run", stage="post")


async def claim(database: Database) -> list[Send]:
    lease = timedelta(seconds=60)
    return await database.transact(sends.claim, owner=uuid4(), limit=10, lease=lease)


async def settle(database: Database, send: Send, result: Settled) -> None:
    await database.transact(sends.settle, results=[(send, result)])


async def resend(database: Database, subscription: UUID) -> None:
    trigger = await database.transact(resends.owe, subscription_id=subscription)
    assert (trigger.found, trigger.accepted) == (True, True)


def mother_at(direct: Arranged, number: int, messages: Any = 5, **fields: Any) -> UUID:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule, messages=messages)
    (mother,) = direct.subscriptions(1, messageset, schedule, next_sequence_number=number, **fields)
    return mother


@pytest.mark.parametrize(
    ("number", "messages", "completed", "expected"),
    [
        (4, 5, False, 3),
        (1, 5, False, 1),
        (-(2**31), 5, False, 1),
        (5, 5, True, 5),
        (5, [2, 3, 7], False, 3),
        (1, [4, 7], False, 4),
        (99, 5, True, 5),
    ],
)
@ensureDeferred
async def test_the_last_message_is_resent_and_moves_nothing(
    database: Database,
    direct: Arranged,
    number: int,
    messages: Any,
    completed: bool,
    expected: int,
) -> None:
    mother = mother_at(direct, number, messages)
    if completed:
        direct.rows("UPDATE subscriptions SET completed = true, process_status = 2, active = false")
    before = direct.subscription(mother)
    await resend(database, mother)
    (send,) = await claim(database)
    assert objection(send) is None
    assert send.recipient is not None
    assert send.recipient.message is not None
    assert send.recipient.message.sequence_number == expected
    outbound = json.loads(compose(send, "+27820001001", "http://x/media"))
    assert (outbound["resend"], outbound["content"]) == ("true", f"pregnancy {expected} eng_ZA")
    await settle(database, send, SENT)
    assert direct.subscription(mother) == before
    (entry,) = direct.ledger()
    assert (entry["kind"], entry["outcome"], entry["sequence_number"]) == (
        "resend",
        "sent",
        expected,
    )
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_the_message_is_fixed_when_it_is_asked_for(
    database: Database, direct: Arranged
) -> None:
    mother = mother_at(direct, 3)
    await resend(database, mother)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 5, lang = 'zul_ZA'")
    (send,) = await claim(database)
    assert send.recipient is not None
    assert send.recipient.message is not None
    assert send.recipient.message.text_content == "pregnancy 2 eng_ZA"
    assert send.recipient.lang == "eng_ZA"


@ensureDeferred
async def test_the_request_gets_the_message_and_the_outbound(
    database: Database, direct: Arranged
) -> None:
    mother = mother_at(direct, 3)
    await resend(database, mother)
    (send,) = await claim(database)
    await settle(database, send, SENT)
    (request,) = direct.rows("SELECT * FROM resend_requests")
    message = direct.value("SELECT id FROM messages WHERE sequence_number = 2")
    assert (request["subscription_id"], request["message_id"]) == (mother, message)
    assert (request["send_id"], request["outbound_id"]) == (send.id, "outbound-1")


@ensureDeferred
async def test_a_second_request_joins_the_first_until_that_is_settled(
    database: Database, direct: Arranged
) -> None:
    mother = mother_at(direct, 3)
    await resend(database, mother)
    (send,) = await claim(database)
    await resend(database, mother)
    assert await claim(database) == []
    await settle(database, send, SENT)
    assert outbounds(direct) == ["outbound-1", "outbound-1"]
    assert sorted(entry["outcome"] for entry in direct.ledger()) == ["sent", "skipped"]
    assert direct.value("SELECT sum(triggers) FROM ticks") == 2
    assert direct.unbalanced_ticks() == []
    await resend(database, mother)
    assert len(await claim(database)) == 1


class UndoneError(Exception):
    """An error that makes a transaction roll back."""


async def during(
    database: Database,
    direct: Arranged,
    first: Callable[[Transaction], Awaitable[object]],
    second: Coroutine[Any, Any, None],
    *,
    is_undone: bool = False,
) -> None:
    """Begin ``second`` after ``first`` and before its end: a COMMIT, unless it ``is_undone``."""
    done: Deferred[None] = Deferred()
    may_end: Deferred[None] = Deferred()

    async def slowly(transaction: Transaction) -> None:
        await first(transaction)
        done.callback(None)
        await may_end

    ending = Deferred.fromCoroutine(database.transact(slowly))
    ending.addErrback(lambda failure: failure.trap(UndoneError) and None)
    await done
    waiting = Deferred.fromCoroutine(second)
    while not direct.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        assert not waiting.called
        await deferLater(reactor, 0.01)
    if is_undone:
        may_end.errback(UndoneError())
    else:
        may_end.callback(None)
    await ending
    await waiting


def outbounds(direct: Arranged) -> list[str | None]:
    """The outbound of each request to resend, the oldest first."""
    rows = direct.rows("SELECT outbound_id FROM resend_requests ORDER BY id")
    return [row["outbound_id"] for row in rows]


@pytest.mark.parametrize("is_undone", [False, True])
@pytest.mark.parametrize("result", [SENT, ADOPTED, REFUSED, DRY_RUN])
@ensureDeferred
async def test_a_request_that_joins_while_the_send_is_being_settled_gets_its_outbound(
    database: Database, direct: Arranged, result: Settled, is_undone: bool
) -> None:
    mother = mother_at(direct, 3)
    await resend(database, mother)
    (send,) = await claim(database)
    joins = partial(resends.owe, subscription_id=mother)
    await during(database, direct, joins, settle(database, send, result), is_undone=is_undone)
    assert outbounds(direct) == [result.outbound_id] * (1 if is_undone else 2)
    assert direct.value("SELECT count(*) FROM sends") == 0
    assert direct.unbalanced_ticks() == []


@pytest.mark.parametrize("is_undone", [False, True])
@ensureDeferred
async def test_a_request_that_comes_too_late_to_join_opens_a_send_of_its_own(
    database: Database, direct: Arranged, is_undone: bool
) -> None:
    mother = mother_at(direct, 3)
    await resend(database, mother)
    (send,) = await claim(database)
    settles = partial(sends.settle, results=[(send, SENT)])
    await during(database, direct, settles, resend(database, mother), is_undone=is_undone)
    if is_undone:
        await settle(database, send, SENT)
        assert outbounds(direct) == ["outbound-1", "outbound-1"]
    else:
        assert outbounds(direct) == ["outbound-1", None]
        (other,) = await claim(database)
        await settle(database, other, evolve(SENT, outbound_id="outbound-2"))
        assert outbounds(direct) == ["outbound-1", "outbound-2"]
    assert direct.value("SELECT count(*) FROM sends") == 0
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_resend_stands_beside_a_next_and_leaves_it_its_prepend(
    database: Database, direct: Arranged
) -> None:
    metadata = {"prepend_next_delivery": "Dear mother"}
    mother = mother_at(direct, 3, metadata=metadata)
    await database.transact(sends.owe, subscription_id=mother)
    await resend(database, mother)
    claimed = {send.kind: send for send in await claim(database)}
    assert (claimed["next"].prepend, claimed["resend"].prepend) == ("Dear mother", None)
    await settle(database, claimed["resend"], SENT)
    assert direct.subscription(mother)["metadata"] == metadata
    await settle(database, claimed["next"], SENT)
    assert direct.subscription(mother)["next_sequence_number"] == 4
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_resend_without_an_address_marks_nobody_and_is_a_failure(
    database: Database, direct: Arranged
) -> None:
    mother = mother_at(direct, 3)
    await resend(database, mother)
    (send,) = await claim(database)
    await settle(database, send, Settled(outcome="failed", stage="address", reason="no address"))
    assert direct.subscription(mother)["process_status"] == 0
    (failed,) = direct.rows("SELECT * FROM failed_tasks")
    assert (failed["kind"], failed["stage"], failed["send_id"]) == ("resend", "address", send.id)


@pytest.mark.parametrize("deletion", ["DELETE FROM messages", "SELECT 1"])
@ensureDeferred
async def test_where_there_is_no_message_the_delivery_says_so(
    database: Database, direct: Arranged, deletion: str
) -> None:
    mother = mother_at(direct, 3, 0 if deletion == "SELECT 1" else 5)
    await resend(database, mother)
    direct.rows(deletion)
    (send,) = await claim(database)
    problem = objection(send)
    assert problem is not None
    assert (problem.outcome, problem.stage) == ("failed", "content")


@ensureDeferred
async def test_a_resend_for_nobody_finds_nobody(database: Database, direct: Arranged) -> None:
    assert not (await database.transact(resends.owe, subscription_id=uuid4())).found
    assert direct.value("SELECT count(*) FROM ticks") == 0
    assert direct.value("SELECT count(*) FROM resend_requests") == 0

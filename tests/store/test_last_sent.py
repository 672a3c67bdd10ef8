"""Resends by the ledger: the last message that was sent, and none in its place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.send import Send, Settled, objection
from sbm.store import resends, sends
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
ADOPTED = Settled(outcome="adopted", stage="post", outbound_id="1")
DRY_RUN = Settled(outcome="dry-run", stage="post")
ASSUMED = Settled(outcome="failed", stage="post", reason="at most once", is_assumed=True)
REFUSED = Settled(outcome="refused", stage="post", reason="no such channel")
FAILED = Settled(outcome="failed", stage="post", reason="500")
LEASE = timedelta(seconds=60)


async def claim(database: Database) -> Send:
    (send,) = await database.transact(sends.claim, owner=uuid4(), limit=10, lease=LEASE)
    return send


async def send_next(database: Database, mother: UUID, result: Settled = SENT) -> None:
    await database.transact(sends.owe, subscription_id=mother)
    await database.transact(sends.settle, results=[(await claim(database), result)])


async def resent(database: Database, mother: UUID) -> str:
    """The text that a resend carries, or why it carries none."""
    trigger = await database.transact(resends.owe, subscription_id=mother)
    assert trigger.accepted
    send = await claim(database)
    found = objection(send)
    await database.transact(sends.settle, results=[(send, found or SENT)])
    if found is not None:
        assert (found.outcome, found.stage) == ("failed", "content")
        return found.reason
    assert send.recipient is not None
    assert send.recipient.message is not None
    assert send.recipient.message.text_content is not None
    return send.recipient.message.text_content


def subscribed(
    direct: Arranged, messages: Any, langs: tuple[str, ...] = ("eng_ZA",), **fields: Any
) -> UUID:
    schedule = direct.schedule()
    direct.messageset("baby", schedule, langs=langs)
    pregnancy = direct.messageset("pregnancy", schedule, messages=messages, langs=langs)
    (mother,) = direct.subscriptions(1, pregnancy, schedule, **fields)
    return mother


@pytest.mark.parametrize("result", [SENT, ADOPTED, DRY_RUN, ASSUMED])
@ensureDeferred
async def test_of_a_set_with_gaps_the_last_one_sent_is_resent(
    database: Database, direct: Arranged, result: Settled
) -> None:
    mother = subscribed(direct, [1, 5])
    for expected in (1, 5):
        await send_next(database, mother, result)
        assert await resent(database, mother) == f"pregnancy {expected} eng_ZA"
    assert direct.unbalanced_ticks() == []


@pytest.mark.parametrize("result", [REFUSED, FAILED])
@ensureDeferred
async def test_what_was_not_sent_is_not_resent(
    database: Database, direct: Arranged, result: Settled
) -> None:
    mother = subscribed(direct, [1, 3, 5])
    await send_next(database, mother)
    await send_next(database, mother, result)
    assert await resent(database, mother) == "pregnancy 1 eng_ZA"


@pytest.mark.parametrize(
    "change",
    [
        "next_sequence_number = 1",
        "next_sequence_number = 99",
        "completed = true, active = false, process_status = 2",
        "active = false",
    ],
)
@ensureDeferred
async def test_where_the_subscription_stands_does_not_matter(
    database: Database, direct: Arranged, change: str
) -> None:
    mother = subscribed(direct, 5)
    for _ in range(2):
        await send_next(database, mother)
    direct.rows(f"UPDATE subscriptions SET {change}")  # noqa: S608
    assert await resent(database, mother) == "pregnancy 2 eng_ZA"


@ensureDeferred
async def test_it_comes_in_the_language_of_now_or_else_as_it_was_sent(
    database: Database, direct: Arranged
) -> None:
    mother = subscribed(direct, 3, ("eng_ZA", "zul_ZA"))
    await send_next(database, mother)
    direct.rows("UPDATE subscriptions SET lang = 'zul_ZA'")
    assert await resent(database, mother) == "pregnancy 1 zul_ZA"
    direct.rows("UPDATE subscriptions SET lang = 'xho_ZA'")
    assert await resent(database, mother) == "pregnancy 1 eng_ZA"


@ensureDeferred
async def test_the_failure_of_another_language_is_told_in_the_ledger_as_it_is(
    database: Database, direct: Arranged
) -> None:
    mother = subscribed(direct, 3, ("eng_ZA", "zul_ZA"))
    await send_next(database, mother)
    direct.rows("UPDATE subscriptions SET lang = 'xho_ZA'")
    await resent(database, mother)
    entry = direct.ledger()[-1]
    assert (entry["kind"], entry["sequence_number"], entry["lang"]) == ("resend", 1, "eng_ZA")


@ensureDeferred
async def test_after_a_change_of_set_it_is_the_last_one_of_the_present_set(
    database: Database, direct: Arranged
) -> None:
    mother = subscribed(direct, 5)
    pregnancy, baby = (
        direct.value("SELECT id FROM messagesets WHERE short_name = %s", name)
        for name in ("pregnancy", "baby")
    )
    for _ in range(3):
        await send_next(database, mother)
    direct.rows("UPDATE subscriptions SET messageset_id = %s, next_sequence_number = 2", baby)
    nothing = await resent(database, mother)
    assert nothing.startswith("there is no message to resend: no message of baby is known")
    await send_next(database, mother)
    assert await resent(database, mother) == "baby 2 eng_ZA"
    direct.rows("UPDATE subscriptions SET messageset_id = %s, next_sequence_number = 1", pregnancy)
    assert await resent(database, mother) == "pregnancy 3 eng_ZA"


@pytest.mark.parametrize("when", ["before", "after"])
@ensureDeferred
async def test_one_that_no_longer_exists_is_told_and_no_other_is_sent(
    database: Database, direct: Arranged, when: str
) -> None:
    mother = subscribed(direct, 5)
    for _ in range(2):
        await send_next(database, mother)
    gone = "DELETE FROM messages WHERE sequence_number = 2"
    if when == "before":
        direct.rows(gone)
    await database.transact(resends.owe, subscription_id=mother)
    direct.rows(gone)
    send = await claim(database)
    found = objection(send)
    assert found is not None
    reason = "message 2 of pregnancy, which was sent last, no longer exists"
    assert found.reason == reason
    await database.transact(sends.settle, results=[(send, found)])
    (task,) = direct.rows("SELECT kind, stage, reason, sequence_number FROM failed_tasks")
    assert task == {"kind": "resend", "stage": "content", "reason": reason, "sequence_number": 2}
    assert direct.ledger()[-1]["reason"] == reason
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_of_an_imported_subscription_it_is_told_by_its_position_until_something_is_sent(
    database: Database, direct: Arranged
) -> None:
    mother = subscribed(direct, 5, next_sequence_number=4)
    await send_next(database, mother, REFUSED)
    assert await resent(database, mother) == "pregnancy 3 eng_ZA"
    direct.rows("UPDATE subscriptions SET next_sequence_number = 2")
    await send_next(database, mother)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 5")
    assert await resent(database, mother) == "pregnancy 2 eng_ZA"


@ensureDeferred
async def test_what_a_move_went_over_was_not_sent(database: Database, direct: Arranged) -> None:
    mother = subscribed(direct, 5, next_sequence_number=3)
    for place in (3, 4):
        direct.rows(
            "INSERT INTO ledger (send_id, kind, outcome, stage, subscription_id, identity,"
            " messageset_id, sequence_number) SELECT gen_random_uuid(), 'move', 'moved',"
            " 'trigger', id, identity, messageset_id, %s FROM subscriptions",
            place,
        )
    direct.rows("UPDATE subscriptions SET next_sequence_number = 5")
    assert await resent(database, mother) == "pregnancy 2 eng_ZA"


@ensureDeferred
async def test_the_last_one_is_the_last_one_whatever_the_clock_said(
    database: Database, direct: Arranged
) -> None:
    mother = subscribed(direct, 5)
    await send_next(database, mother)
    direct.rows("UPDATE ledger SET settled_at = settled_at + interval '1 day'")
    await send_next(database, mother)
    assert await resent(database, mother) == "pregnancy 2 eng_ZA"


@ensureDeferred
async def test_the_first_move_is_the_first_one_whatever_the_clock_said(
    database: Database, direct: Arranged
) -> None:
    mother = subscribed(direct, 5)
    for place, ahead in ((3, timedelta(days=1)), (4, timedelta(0))):
        direct.rows(
            "INSERT INTO ledger (send_id, kind, outcome, stage, subscription_id, identity,"
            " messageset_id, sequence_number, settled_at) SELECT gen_random_uuid(), 'move',"
            " 'moved', 'trigger', id, identity, messageset_id, %s, now() + %s FROM subscriptions",
            *(place, ahead),
        )
    direct.rows("UPDATE subscriptions SET next_sequence_number = 5")
    assert await resent(database, mother) == "pregnancy 2 eng_ZA"


@ensureDeferred
async def test_what_others_were_sent_does_not_matter(database: Database, direct: Arranged) -> None:
    mother = subscribed(direct, 5)
    other = direct.subscriptions(1, 2, 1, next_sequence_number=4)[0]
    await send_next(database, mother)
    await send_next(database, other)
    assert await resent(database, mother) == "pregnancy 1 eng_ZA"

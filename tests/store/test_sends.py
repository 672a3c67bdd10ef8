from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.send import GivenBack, Send, SendResult, Settled, Unknown
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
LEASE = timedelta(seconds=60)


async def tick(database: Database, schedule: int) -> None:
    await database.transact(ticks.open_tick, schedule_id=schedule)
    while await database.transact(ticks.expand, limit=100) is not None:
        pass


async def claim(database: Database, limit: int = 100) -> list[Send]:
    return await database.transact(sends.claim, owner=uuid4(), limit=limit, lease=LEASE)


async def settle(database: Database, claimed: list[Send], result: SendResult) -> set[UUID]:
    results = [(send, result) for send in claimed]
    return (await database.transact(sends.settle, results=results)).sends


@ensureDeferred
async def test_a_trigger_owes_the_next_message_once(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    first = await database.transact(sends.owe, subscription_id=mother)
    second = await database.transact(sends.owe, subscription_id=mother)
    assert (first.accepted, second.accepted) == (True, False)
    assert "already owed" in second.reason
    assert direct.value("SELECT count(*) FROM sends") == 1
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_trigger_for_nobody_finds_nobody(database: Database, direct: Arranged) -> None:
    assert not (await database.transact(sends.owe, subscription_id=uuid4())).found
    assert direct.value("SELECT count(*) FROM ticks") == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("active = false", "not active"),
        ("completed = true, process_status = 2", "completed"),
        ("process_status = -1", "in error"),
    ],
)
@ensureDeferred
async def test_a_trigger_is_skipped_with_its_reason(
    database: Database, direct: Arranged, change: str, reason: str
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    direct.rows(f"UPDATE subscriptions SET {change}")  # noqa: S608
    trigger = await database.transact(sends.owe, subscription_id=mother)
    assert (trigger.found, trigger.accepted) == (True, False)
    assert reason in trigger.reason
    (entry,) = direct.ledger()
    assert (entry["outcome"], entry["reason"]) == ("skipped", trigger.reason)
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_claim_brings_all_that_delivery_needs(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule, channel="sms", messages=0)
    direct.message(messageset, 1, "eng_ZA", "Hello", file_name="a.png", metadata={"k": "v"})
    (mother,) = direct.subscriptions(
        1, messageset, schedule, metadata={"prepend_next_delivery": "Dear mother", "x": 1}
    )
    await tick(database, schedule)
    (send,) = await claim(database)
    recipient = send.recipient
    assert recipient is not None
    assert recipient.message is not None
    assert (send.kind, send.attempt, send.subscription_id) == ("next", 1, mother)
    assert send.prepend == "Dear mother"
    assert (recipient.messageset, recipient.channel, recipient.lang) == (
        "pregnancy",
        "sms",
        "eng_ZA",
    )
    assert recipient.message.text_content == "Hello"
    assert recipient.message.file_name == "a.png"
    assert recipient.message.metadata.value == {"k": "v"}


@pytest.mark.parametrize(
    ("prepend", "text", "odd"),
    [
        ('"Hi"', "Hi", None),
        ('""', None, None),
        ("null", None, None),
        ("false", None, "boolean"),
        ("{}", None, "object"),
        ('["Hi"]', None, "array"),
        ("9" * 5000, None, "number"),
    ],
)
@ensureDeferred
async def test_a_prepend_that_is_not_a_text_is_claimed_as_one_that_cannot_be_sent(
    database: Database, direct: Arranged, prepend: str, text: str | None, odd: str | None
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    metadata = f'{{"prepend_next_delivery": {prepend}}}'
    direct.rows("UPDATE subscriptions SET metadata = %s", metadata)
    await tick(database, schedule)
    (send,) = await claim(database)
    assert (send.prepend, send.odd_prepend) == (text, odd)
    assert send.sequence_number == 1


@ensureDeferred
async def test_nobody_claims_what_is_claimed(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(10, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    first, second, third = await claim(database, 6), await claim(database, 6), await claim(database)
    assert (len(first), len(second), third) == (6, 4, [])
    assert len({send.id for send in first + second}) == 10


@ensureDeferred
async def test_single_sends_overtake_those_of_a_tick(database: Database, direct: Arranged) -> None:
    schedule, other = direct.schedule(), direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    direct.subscriptions(5, messageset, schedule)
    (late,) = direct.subscriptions(1, messageset, other)
    await tick(database, schedule)
    await database.transact(sends.owe, subscription_id=late)
    (send,) = await claim(database, 1)
    assert send.subscription_id == late


@ensureDeferred
async def test_a_sent_message_moves_its_subscription_on(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    claimed = await claim(database)
    assert await settle(database, claimed, SENT) == {claimed[0].id}
    assert direct.subscription(mother)["next_sequence_number"] == 2
    (entry,) = direct.ledger()
    assert (entry["outcome"], entry["sequence_number"], entry["outbound_id"]) == ("sent", 1, "1")
    assert direct.value("SELECT count(*) FROM sends") == 0
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_gap_in_the_numbers_is_stepped_over(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule, messages=[3, 7])
    (mother,) = direct.subscriptions(1, messageset, schedule)
    await tick(database, schedule)
    await settle(database, await claim(database), SENT)
    subscription = direct.subscription(mother)
    assert (subscription["next_sequence_number"], subscription["completed"]) == (4, False)


@ensureDeferred
async def test_the_last_message_completes_and_begins_the_next_set(
    database: Database, direct: Arranged
) -> None:
    schedule, weekly = direct.schedule(), direct.schedule(day_of_week="1")
    baby = direct.messageset("baby", weekly)
    pregnancy = direct.messageset("pregnancy", schedule, next_set=baby)
    (mother,) = direct.subscriptions(1, pregnancy, schedule, next_sequence_number=3)
    await tick(database, schedule)
    await settle(database, await claim(database), SENT)
    done = direct.subscription(mother)
    assert (done["completed"], done["active"], done["process_status"]) == (True, False, 2)
    assert done["next_sequence_number"] == 3
    (new,) = direct.rows("SELECT * FROM subscriptions WHERE chained_from = %s", mother)
    assert (new["identity"], new["lang"]) == (done["identity"], done["lang"])
    assert (new["messageset_id"], new["schedule_id"]) == (baby, weekly)
    assert (new["next_sequence_number"], new["initial_sequence_number"]) == (1, 1)
    assert (new["active"], new["metadata"], new["version"]) == (True, None, 1)


@ensureDeferred
async def test_messages_in_another_language_do_not_keep_a_set_open(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule, messages=1)
    direct.message(messageset, 2, "zul_ZA", "more")
    (mother,) = direct.subscriptions(1, messageset, schedule)
    await tick(database, schedule)
    await settle(database, await claim(database), SENT)
    assert direct.subscription(mother)["completed"]


@ensureDeferred
async def test_a_carried_prepend_is_consumed_and_nothing_else(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    (mother,) = direct.subscriptions(
        1, messageset, schedule, metadata={"prepend_next_delivery": "Dear", "kept": [1]}
    )
    await tick(database, schedule)
    claimed = await claim(database)
    direct.rows("UPDATE subscriptions SET metadata = metadata || '{\"new\": 1}'")
    await settle(database, claimed, SENT)
    assert direct.subscription(mother)["metadata"] == {
        "prepend_next_delivery": None,
        "kept": [1],
        "new": 1,
    }


@ensureDeferred
async def test_a_prepend_that_changed_meanwhile_stays(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    metadata = {"prepend_next_delivery": "Dear"}
    (mother,) = direct.subscriptions(1, messageset, schedule, metadata=metadata)
    await tick(database, schedule)
    claimed = await claim(database)
    direct.rows("""UPDATE subscriptions SET metadata = '{"prepend_next_delivery": "Newer"}'""")
    await settle(database, claimed, SENT)
    assert direct.subscription(mother)["metadata"] == {"prepend_next_delivery": "Newer"}


@ensureDeferred
async def test_where_an_operator_moved_the_subscription_meanwhile_his_number_stands(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    claimed = await claim(database)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 3")
    await settle(database, claimed, SENT)
    assert direct.subscription(mother)["next_sequence_number"] == 3
    assert [entry["outcome"] for entry in direct.ledger()] == ["sent"]


@ensureDeferred
async def test_a_subscription_deleted_meanwhile_loses_no_ledger_row(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    claimed = await claim(database)
    direct.rows("DELETE FROM subscriptions")
    await settle(database, claimed, SENT)
    assert [entry["outcome"] for entry in direct.ledger()] == ["sent"]
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_no_address_marks_the_subscription_and_moves_nothing(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    lacking = Settled(outcome="failed", stage="address", reason="no address", is_unaddressed=True)
    await settle(database, await claim(database), lacking)
    subscription = direct.subscription(mother)
    assert (subscription["process_status"], subscription["next_sequence_number"]) == (-1, 1)
    assert subscription["active"]


@pytest.mark.parametrize(
    "result",
    [
        Settled(outcome="refused", stage="post", reason="too long"),
        Settled(outcome="dry-run", stage="post"),
        GivenBack(reason="away", delay=timedelta(0)),
        Unknown(reason="timed out"),
    ],
)
@ensureDeferred
async def test_a_lost_claim_moves_nothing(
    database: Database, direct: Arranged, result: SendResult
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    (loser,) = await claim(database)
    await settle(database, [loser], GivenBack(reason="away", delay=timedelta(0)))
    (winner,) = await claim(database)
    assert (winner.id, winner.attempt) == (loser.id, 2)
    assert await settle(database, [loser], result) == set()
    assert direct.subscription(mother)["next_sequence_number"] == 1
    assert await settle(database, [winner], SENT) == {winner.id}
    assert len(direct.ledger()) == 1


@pytest.mark.parametrize("again", ["owed", "claimed", "unknown"])
@ensureDeferred
async def test_an_outbound_is_evidence_whoever_has_the_send_by_now(
    database: Database, direct: Arranged, again: str
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    (late,) = await claim(database)
    await settle(database, [late], GivenBack(reason="away", delay=timedelta(0)))
    if again != "owed":
        (other,) = await claim(database)
    if again == "unknown":
        await settle(database, [other], Unknown(reason="timed out"))
    assert await settle(database, [late], SENT) == {late.id}
    assert direct.subscription(mother)["next_sequence_number"] == 2
    (entry,) = direct.ledger()
    assert (entry["outcome"], entry["outbound_id"]) == ("sent", "1")
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_second_outbound_of_a_settled_send_is_kept_as_a_double_once(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    claimed = await claim(database)
    await settle(database, claimed, SENT)
    other = Settled(outcome="sent", stage="post", outbound_id="2")
    committed = await database.transact(sends.settle, results=[(claimed[0], other)])
    assert committed.doubles == [(claimed[0].id, "2")]
    committed = await database.transact(sends.settle, results=[(claimed[0], other)])
    assert committed.doubles == []
    assert direct.value("SELECT array_agg(outbound_id) FROM doubles") == ["2"]
    assert len(direct.ledger()) == 1


@ensureDeferred
async def test_what_was_settled_with_this_outbound_before_is_no_double(
    database: Database, direct: Arranged
) -> None:
    """The answer to the settling was lost, and it is done again."""
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    claimed = await claim(database)
    await settle(database, claimed, SENT)
    assert await settle(database, claimed, SENT) == {claimed[0].id}
    assert direct.value("SELECT count(*) FROM doubles") == 0


@ensureDeferred
async def test_a_fault_is_counted_and_other_troubles_are_not(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    at_once = timedelta(0)
    for result in (
        GivenBack(reason="odd", delay=at_once, is_fault=True),
        GivenBack(reason="away", delay=at_once),
        GivenBack(reason="odd", delay=at_once, is_fault=True),
    ):
        await settle(database, await claim(database), result)
    (send,) = await claim(database)
    assert (send.attempt, send.faults) == (4, 2)


@ensureDeferred
async def test_a_prepend_waits_where_nothing_was_sent(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(
        1,
        direct.messageset("pregnancy", schedule),
        schedule,
        metadata={"prepend_next_delivery": "Dear mother"},
    )
    await tick(database, schedule)
    unaddressed = Settled(
        outcome="failed", stage="address", reason="no address", is_unaddressed=True
    )
    await settle(database, await claim(database), unaddressed)
    subscription = direct.subscription(mother)
    assert subscription["process_status"] == -1
    assert subscription["metadata"] == {"prepend_next_delivery": "Dear mother"}


@ensureDeferred
async def test_tries_that_are_spent_on_an_address_mark_nobody(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    spent = Settled(outcome="failed", stage="address", reason="500 (tried 10 times)")
    await settle(database, await claim(database), spent)
    assert direct.subscription(mother)["process_status"] == 0
    (failure,) = direct.rows("SELECT kind, stage, reason FROM failed_tasks")
    assert failure == {"kind": "next", "stage": "address", "reason": "500 (tried 10 times)"}


@ensureDeferred
async def test_what_is_given_back_is_owed_later(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    await settle(
        database, await claim(database), GivenBack(reason="away", delay=timedelta(minutes=5))
    )
    assert await claim(database) == []
    (row,) = direct.rows("SELECT state, reason, due_at - now() AS wait FROM sends")
    assert (row["state"], row["reason"]) == ("owed", "away")
    assert timedelta(minutes=4) < row["wait"] <= timedelta(minutes=5)


@pytest.mark.parametrize(
    "result",
    [
        Settled(outcome="failed", stage="address"),
        GivenBack(reason="away", delay=timedelta(0)),
        Unknown(reason="timed out"),
    ],
)
@ensureDeferred
async def test_a_result_is_fenced_by_the_owner_of_the_claim(
    database: Database, direct: Arranged, result: SendResult
) -> None:
    """After a failover that lost a claim, the next claim has the same attempt."""
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    lost = await claim(database)
    direct.rows(
        "UPDATE sends SET state = 'owed', owner = NULL, lease_until = NULL, attempt = 0 RETURNING 1"
    )
    (held,) = await claim(database)
    await settle(database, lost, result)
    (row,) = direct.rows("SELECT state, owner, attempt FROM sends")
    assert row == {"state": "claimed", "owner": held.owner, "attempt": lost[0].attempt}


@ensureDeferred
async def test_an_unknown_outcome_is_never_owed_again(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    await settle(database, await claim(database), Unknown(reason="timed out"))
    assert await claim(database) == []
    assert direct.value("SELECT state FROM sends") == "unknown"


@ensureDeferred
async def test_a_claim_whose_lease_ended_is_unknown(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(2, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    dead, alive = await claim(database)
    direct.rows("UPDATE sends SET lease_until = now() - interval '1 second' WHERE id = %s", dead.id)
    assert await database.transact(sends.expire, limit=10) == 1
    assert direct.value("SELECT state FROM sends WHERE id = %s", dead.id) == "unknown"
    assert await claim(database) == []
    assert direct.value("SELECT state FROM sends WHERE id = %s", alive.id) == "claimed"


@pytest.mark.parametrize(
    ("result", "left"),
    [(SENT, 0), (GivenBack(reason="away", delay=timedelta(0)), 1), (Unknown(reason="late"), 1)],
)
@ensureDeferred
async def test_what_the_owner_knows_still_counts_after_its_lease_ended(
    database: Database, direct: Arranged, result: SendResult, left: int
) -> None:
    """An outage of the database may outlast the leases of a daemon that lives."""
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    (send,) = await claim(database)
    direct.rows("UPDATE sends SET lease_until = now() - interval '1 second'")
    await database.transact(sends.expire, limit=10)
    assert await settle(database, [send], result) == {send.id}
    assert direct.value("SELECT count(*) FROM sends") == left
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_who_became_inactive_meanwhile_does_not_go_on_to_the_next_set(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    baby = direct.messageset("baby", schedule)
    pregnancy = direct.messageset("pregnancy", schedule, messages=1, next_set=baby)
    (mother,) = direct.subscriptions(1, pregnancy, schedule)
    await tick(database, schedule)
    claimed = await claim(database)
    direct.rows("UPDATE subscriptions SET active = false")
    await settle(database, claimed, SENT)
    assert direct.subscription(mother)["completed"]
    assert direct.value("SELECT count(*) FROM subscriptions") == 1


@ensureDeferred
async def test_old_ticks_go_with_the_ledger_and_what_is_owed_keeps_its_own(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    await tick(database, schedule)
    await tick(database, schedule)
    owing, old, kept = (row["id"] for row in direct.rows("SELECT id FROM ticks ORDER BY id"))
    direct.rows("UPDATE ticks SET created_at = now() - interval '13 months' WHERE id <> %s", kept)
    assert await database.transact(ticks.delete_old, months_kept=12, limit=10) == 1
    assert {row["id"] for row in direct.rows("SELECT id FROM ticks")} == {owing, kept}
    assert old not in (owing, kept)


@ensureDeferred
async def test_only_the_owner_renews_a_lease(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    owner = uuid4()
    (send,) = await database.transact(sends.claim, owner=owner, limit=1, lease=LEASE)
    ids = [send.id]
    assert await database.transact(sends.renew, owner=uuid4(), ids=ids, lease=2 * LEASE) == set()
    assert await database.transact(sends.renew, owner=owner, ids=ids, lease=2 * LEASE) == {send.id}
    assert direct.value("SELECT lease_until > now() + interval '100 seconds' FROM sends")


@ensureDeferred
async def test_a_tick_covers_the_active_subscriptions_that_are_older_than_it(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    members = set(direct.subscriptions(250, messageset, schedule))
    direct.subscriptions(5, messageset, direct.schedule())
    for change in ("active = false", "completed = true", "process_status = -1"):
        (one,) = direct.subscriptions(1, messageset, schedule)
        direct.rows(f"UPDATE subscriptions SET {change} WHERE id = %s", one)  # noqa: S608
    await database.transact(ticks.open_tick, schedule_id=schedule)
    direct.subscriptions(5, messageset, schedule)
    chunks = []
    while (chunk := await database.transact(ticks.expand, limit=100)) is not None:
        chunks.append(chunk.triggers)
    assert chunks == [100, 100, 50]
    owed = {row["subscription_id"] for row in direct.rows("SELECT subscription_id FROM sends")}
    assert owed == members
    assert direct.value("SELECT triggers FROM ticks") == 250


@ensureDeferred
async def test_a_second_tick_doubles_nobody(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(3, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    await tick(database, schedule)
    assert direct.value("SELECT count(*) FROM sends") == 3
    assert [entry["outcome"] for entry in direct.ledger()] == ["skipped"] * 3
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_there_is_no_tick_for_a_schedule_that_does_not_exist(database: Database) -> None:
    assert await database.transact(ticks.open_tick, schedule_id=7) is None


@ensureDeferred
async def test_the_settle_time_does_not_depend_on_the_age_of_a_transaction(
    database: Database, direct: Arranged
) -> None:
    """A row that a younger transaction has dated was not dated by a wrong clock."""
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await tick(database, schedule)
    claimed = await claim(database)

    async def overtaken(transaction: Transaction) -> datetime:
        await transaction.begin()
        await settle(database, claimed, Unknown(reason="timed out"))
        since: datetime = direct.value("SELECT unknown_since FROM sends")
        direct.rows("UPDATE sends SET due_at = '-infinity' RETURNING 1")
        await sends.take_unknown(transaction, limit=1, settle=LEASE, lease=LEASE)
        return since

    since = await database.transact(overtaken)
    assert direct.value("SELECT unknown_since FROM sends") == since

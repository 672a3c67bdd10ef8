"""Whom a tick covers: those who were members, and committed, when it was opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.send import Settled
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged, arranged
from tests.store.transactions import together

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
SPARED = "the tick before it was still being sent"


@define(eq=False, slots=False)
class World:
    """A schedule with a message set of one message, which another set of the same follows."""

    database: Database
    direct: Arranged

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule()
        after = self.direct.messageset("after", self.schedule)
        self.messageset = self.direct.messageset(
            "before", self.schedule, messages=1, next_set=after
        )

    def subscribe(self, count: int = 1, by: Arranged | None = None) -> list[UUID]:
        return (by or self.direct).subscriptions(count, self.messageset, self.schedule)

    async def open(self) -> int:
        opened = await self.database.transact(ticks.open_tick, schedule_id=self.schedule)
        assert opened is not None
        return opened

    async def expand(self, limit: int = 100) -> ticks.Chunk | None:
        return await self.database.transact(ticks.expand, limit=limit)

    async def expand_all(self) -> None:
        while await self.expand() is not None:
            pass

    async def settle(self, limit: int) -> None:
        claimed = await self.database.transact(
            sends.claim, owner=uuid4(), limit=limit, lease=timedelta(minutes=1)
        )
        assert len(claimed) == limit
        await self.database.transact(sends.settle, results=[(one, SENT) for one in claimed])

    def asked_for(self, tick: int) -> dict[UUID, str]:
        """What each member of a tick got of it: a live send, or the outcome in the ledger."""
        rows = self.direct.rows(
            "SELECT subscription_id, 'live' AS outcome FROM sends WHERE tick_id = %s UNION ALL"
            " SELECT subscription_id, outcome FROM ledger WHERE tick_id = %s",
            *(tick, tick),
        )
        found = {row["subscription_id"]: row["outcome"] for row in rows}
        assert len(found) == len(rows)
        return found


@pytest.fixture
def world(database: Database, direct: Arranged) -> World:
    return World(database, direct)


@pytest.fixture
def other(database_uri: str) -> Iterator[Arranged]:
    """Somebody else, on a connection of her own."""
    with arranged(database_uri) as other:
        yield other


@ensureDeferred
async def test_who_is_committed_before_a_tick_is_covered_and_who_is_under_way_is_not(
    world: World, other: Arranged
) -> None:
    other.rows("BEGIN")
    (under_way,) = world.subscribe(by=other)
    (committed,) = world.subscribe()
    tick = await world.open()
    other.rows("COMMIT")
    (later,) = world.subscribe()
    await world.expand_all()
    assert set(world.asked_for(tick)) == {committed}
    assert set(world.asked_for(await opened_and_expanded(world))) == {committed, under_way, later}


async def opened_and_expanded(world: World) -> int:
    tick = await world.open()
    await world.expand_all()
    return tick


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("active = false", "active = true"),
        ("completed = true", "completed = false"),
        ("process_status = -1", "process_status = 0"),
        ("schedule_id = {other}", "schedule_id = {own}"),
    ],
)
@ensureDeferred
async def test_who_becomes_a_member_later_is_not_covered(
    world: World, before: str, after: str
) -> None:
    schedules = {"own": world.schedule, "other": world.direct.schedule()}
    early, late, out = world.subscribe(3)

    def change(subscription: UUID, how: str) -> None:
        world.direct.rows(
            f"UPDATE subscriptions SET {how.format(**schedules)} WHERE id = %s",  # noqa: S608
            subscription,
        )

    for one in (early, late, out):
        change(one, before)
    change(early, after)
    tick = await world.open()
    change(late, after)
    # Whoever changes something else stays what she was.
    world.direct.rows("UPDATE subscriptions SET active = active, version = version + 1")
    await world.expand_all()
    assert set(world.asked_for(tick)) == {early}
    assert out not in world.asked_for(await opened_and_expanded(world))


@ensureDeferred
async def test_who_leaves_before_her_turn_gets_nothing(world: World) -> None:
    stays, leaves = world.subscribe(2)
    tick = await world.open()
    world.direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", leaves)
    await world.expand_all()
    assert set(world.asked_for(tick)) == {stays}


@ensureDeferred
async def test_who_is_chained_while_a_tick_is_expanded_is_not_covered(world: World) -> None:
    members = world.subscribe(40)
    tick = await world.open()
    await world.expand(limit=10)
    await world.settle(10)
    chained = world.direct.rows("SELECT id FROM subscriptions WHERE chained_from IS NOT NULL")
    assert len(chained) == 10
    await world.expand_all()
    assert set(world.asked_for(tick)) == set(members)
    assert world.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_step_is_no_joining(world: World) -> None:
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    (member,) = world.subscribe()
    joined = world.direct.subscription(member)["joined_xid"]
    await opened_and_expanded(world)
    await world.settle(1)
    stands = world.direct.subscription(member)
    assert (stands["next_sequence_number"], stands["joined_xid"]) == (2, joined)


@pytest.mark.parametrize(
    "restored",
    [
        "joined_xid = '9000000000', joined_at = now()",
        "joined_xid = pg_snapshot_xmax(snapshot), joined_at = now() - interval '2 days'",
        "joined_xid = NULL, joined_at = NULL",
    ],
)
@ensureDeferred
async def test_whoever_came_with_the_data_of_another_server_is_covered(
    world: World, restored: str
) -> None:
    (member,) = world.subscribe()
    tick = await world.open()
    world.direct.value("SELECT pg_current_xact_id()")
    world.direct.rows(f"UPDATE subscriptions SET {restored} FROM ticks")  # noqa: S608
    await world.expand_all()
    assert set(world.asked_for(tick)) == {member}


@pytest.mark.parametrize("snapshot", [None, "9000000000:9000000000:"])
@ensureDeferred
async def test_for_a_tick_of_another_server_or_version_the_times_have_to_do(
    world: World, snapshot: str | None
) -> None:
    (before,) = world.subscribe()
    tick = await world.open()
    world.direct.rows("UPDATE ticks SET snapshot = %s", snapshot)
    world.subscribe()
    await world.expand_all()
    assert set(world.asked_for(tick)) == {before}


# Ticks that come while another is being sent


@ensureDeferred
async def test_while_a_tick_is_being_sent_the_next_one_doubles_nobody_sent_already_or_not(
    world: World,
) -> None:
    members = world.subscribe(5)
    first = await opened_and_expanded(world)
    await world.settle(2)
    chained = [
        row["id"]
        for row in world.direct.rows("SELECT id FROM subscriptions WHERE chained_from IS NOT NULL")
    ]
    (new,) = world.subscribe()
    second = await opened_and_expanded(world)
    third = await opened_and_expanded(world)
    asked = world.asked_for(second)
    waiting = {one for one in members if world.asked_for(first)[one] == "live"}
    assert len(waiting) == 3
    assert asked == dict.fromkeys(waiting, "skipped") | dict.fromkeys([*chained, new], "live")
    assert set(world.asked_for(third).values()) == {"skipped"}
    follows = world.direct.rows("SELECT id, follows FROM ticks ORDER BY id")
    assert [row["follows"] for row in follows] == [None, first, second]
    reasons = {entry["reason"] for entry in world.direct.ledger() if entry["outcome"] == "skipped"}
    assert reasons == {SPARED}
    assert world.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_who_was_sent_the_one_is_not_sent_the_other(world: World) -> None:
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    world.subscribe(5)
    await opened_and_expanded(world)
    await world.settle(2)
    await opened_and_expanded(world)
    await world.settle(3)
    numbers = "SELECT next_sequence_number AS number FROM subscriptions"
    assert [row["number"] for row in world.direct.rows(numbers)] == [2] * 5
    assert world.direct.value("SELECT count(*) FROM sends") == 0
    # It is over, so this is the next occasion.
    await opened_and_expanded(world)
    assert world.direct.value("SELECT count(*) FROM sends") == 5


@pytest.mark.parametrize(
    "trouble",
    [
        "UPDATE ticks SET created_at = created_at - interval '61 minutes'",
        "UPDATE sends SET due_at = now() + interval '1 minute'",
        "UPDATE sends SET state = 'unknown', unknown_since = now()",
    ],
)
@ensureDeferred
async def test_a_tick_that_is_held_up_keeps_those_who_got_theirs_from_no_other(
    world: World, trouble: str
) -> None:
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    world.subscribe(3)
    await opened_and_expanded(world)
    await world.settle(2)
    world.direct.rows(trouble)
    outcomes = world.asked_for(await opened_and_expanded(world)).values()
    assert sorted(outcomes) == ["live", "live", "skipped"]


@ensureDeferred
async def test_ticks_that_only_skip_keep_nobody_from_the_next_one(world: World) -> None:
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    members = world.subscribe(3)
    await opened_and_expanded(world)
    second = await world.open()
    (new,) = world.subscribe()
    await world.settle(3)
    third, fourth = await world.open(), await world.open()
    fifth = await opened_and_expanded(world)
    everybody = [*members, new]
    assert world.asked_for(second) == dict.fromkeys(members, "skipped")
    # The second has somebody to skip still, but what it skips them for is over.
    assert world.asked_for(third) == dict.fromkeys(everybody, "live")
    assert world.asked_for(fourth) == dict.fromkeys(everybody, "skipped")
    # The fourth has told of them.
    again = "SELECT skipped_again FROM ticks WHERE id = %s"
    assert (world.asked_for(fifth), world.direct.value(again, fifth)) == ({}, len(everybody))
    assert world.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_whom_a_tick_that_only_skips_has_for_itself_are_not_doubled(world: World) -> None:
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    members = world.subscribe(3)
    await opened_and_expanded(world)
    (new,) = world.subscribe()
    second = await world.open()
    await world.settle(3)
    third = await world.open()
    await world.expand()
    await world.settle(1)
    await world.expand_all()
    assert world.asked_for(second) == dict.fromkeys(members, "skipped") | {new: "sent"}
    assert world.asked_for(third) == dict.fromkeys(members, "live") | {new: "skipped"}


@ensureDeferred
async def test_after_ticks_that_were_held_up_for_hours_everybody_is_sent_one_message(
    world: World,
) -> None:
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    world.subscribe(6)
    opened = []
    for _ in range(3):
        opened.append(await world.open())
        world.direct.rows(
            "UPDATE ticks SET created_at = created_at - interval '1 day', snapshot = NULL"
        )
        world.direct.rows(
            "UPDATE subscriptions SET created_at = created_at - interval '2 days',"
            " joined_at = joined_at - interval '2 days'"
        )
    # They take turns, and what is owed is sent at once.
    after = 0
    while (chunk := await world.database.transact(ticks.expand, limit=2, after=after)) is not None:
        after = chunk.tick_id
        if chunk.owed:
            await world.settle(chunk.owed)
    numbers = "SELECT next_sequence_number AS number FROM subscriptions"
    assert [row["number"] for row in world.direct.rows(numbers)] == [2] * 6
    outcomes = [sorted(world.asked_for(tick).values()) for tick in opened]
    assert outcomes == [["sent"] * 6, ["skipped"] * 6, ["skipped"] * 6]
    assert world.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_result_of_a_transaction_that_began_before_the_tick_was_opened_counts(
    world: World,
) -> None:
    """The send was unknown, so that the later tick does not follow its tick."""
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    world.subscribe()
    await opened_and_expanded(world)
    (send,) = await world.database.transact(
        sends.claim, owner=uuid4(), limit=1, lease=timedelta(minutes=1)
    )
    world.direct.rows(
        "UPDATE sends SET state = 'unknown', unknown_since = now(), owner = NULL,"
        " lease_until = NULL"
    )

    async def overtaken(transaction: Transaction) -> int:
        await transaction.begin()  # which is the time of its results
        later = await world.open()
        await sends.settle(transaction, results=[(send, SENT)])
        return later

    later = await world.database.transact(overtaken)
    await world.expand_all()
    assert set(world.asked_for(later).values()) == {"skipped"}


@ensureDeferred
async def test_who_is_settled_while_a_later_tick_goes_through_her_is_not_sent_to_again(
    world: World,
) -> None:
    world.direct.message(world.messageset, 2, "eng_ZA", "two")
    (member,) = world.subscribe()
    await opened_and_expanded(world)
    world.direct.rows("UPDATE ticks SET created_at = created_at - interval '1 day'")
    later = await world.open()
    claimed = await world.database.transact(
        sends.claim, owner=uuid4(), limit=1, lease=timedelta(minutes=1)
    )
    settled, may_commit = Deferred[None](), Deferred[None]()

    async def settle(transaction: Transaction) -> None:
        await sends.settle(transaction, results=[(one, SENT) for one in claimed])
        settled.callback(None)
        await may_commit

    settling = Deferred.fromCoroutine(world.database.transact(settle))
    await settled
    expanding = Deferred.fromCoroutine(world.expand_all())
    while not world.direct.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        await Deferred.fromCoroutine(world.database.transact(turn))
    may_commit.callback(None)
    await settling
    await expanding
    assert world.asked_for(later) == {member: "skipped"}
    assert world.direct.value("SELECT count(*) FROM sends") == 0
    assert world.direct.unbalanced_ticks() == []


@pytest.mark.parametrize("is_expanded", [False, True])
@ensureDeferred
async def test_a_tick_follows_one_of_a_transaction_that_began_later(
    world: World, is_expanded: bool
) -> None:
    world.subscribe()

    async def overtaken(transaction: Transaction) -> tuple[int, int | None]:
        await transaction.begin()  # which is its now()
        first = await (opened_and_expanded(world) if is_expanded else world.open())
        return first, await ticks.open_tick(transaction, schedule_id=world.schedule)

    first, second = await world.database.transact(overtaken)
    follows = {row["id"]: row["follows"] for row in world.direct.rows("SELECT * FROM ticks")}
    assert follows == {first: None, second: first}


@ensureDeferred
async def test_of_two_ticks_at_the_same_moment_one_comes_after_the_other(
    world: World, other: Arranged
) -> None:
    world.subscribe()
    other.rows("BEGIN")
    other.rows("SELECT FROM schedules FOR UPDATE")
    both = together([world.open(), world.open()])
    while world.direct.value("SELECT count(*) FROM pg_locks WHERE NOT granted") < 2:
        await Deferred.fromCoroutine(world.database.transact(turn))
    other.rows("COMMIT")
    first, second = sorted(await both)
    follows = {row["id"]: row["follows"] for row in world.direct.rows("SELECT * FROM ticks")}
    assert follows == {first: None, second: first}


async def turn(transaction: Transaction) -> None:
    """Let the reactor go on."""
    await ticks.has_room(transaction, most=1)


@ensureDeferred
async def test_who_joined_in_a_younger_transaction_is_no_member_by_the_times_either(
    world: World,
) -> None:
    """A tick without a usable snapshot compares times, and now() is that of BEGIN."""
    tick = await world.open()
    world.direct.rows("UPDATE ticks SET snapshot = NULL")

    async def overtaken(transaction: Transaction) -> ticks.Chunk | None:
        await transaction.begin()
        world.subscribe()
        return await ticks.expand(transaction, limit=10)

    chunk = await world.database.transact(overtaken)
    assert chunk is not None
    assert (chunk.tick_id, chunk.triggers) == (tick, 0)

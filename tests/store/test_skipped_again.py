"""Members that a tick skips once more, because the message before is not finished, are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_twisted import blockon, ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.send import GivenBack, Send, Settled, Unknown, objection
from sbm.store import ledger_balance, people, sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged
from tests.pipeline.simulated import apart
from tests.store.transactions import together

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
AWAY = GivenBack(reason="away", delay=timedelta(minutes=5))
SPARED = "the tick before it was still being sent"
OWED = "a message is already owed to the subscription"
CALLS = 300
PEOPLE = 308


@define(eq=False, slots=False)
class Flood:
    """A schedule with a message set, and ticks of it that come while one is not finished."""

    database: Database
    direct: Arranged
    schedule: int = field(init=False)
    messageset: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule()
        self.messageset = self.direct.messageset("pregnancy", self.schedule, messages=9)

    def subscribe(self, count: int = 1) -> list[UUID]:
        return self.direct.subscriptions(count, self.messageset, self.schedule)

    async def open(self) -> int:
        opened = await self.database.transact(ticks.open_tick, schedule_id=self.schedule)
        assert opened is not None
        return opened

    async def expand(self, limit: int = 2000, after: int = 0) -> ticks.Chunk | None:
        return await self.database.transact(ticks.expand, limit=limit, after=after)

    async def tick(self, limit: int = 2000) -> int:
        opened = await self.open()
        while await self.expand(limit) is not None:
            pass
        return opened

    async def claim(self, limit: int = 2000) -> list[Send]:
        return await self.database.transact(
            sends.claim, owner=uuid4(), limit=limit, lease=timedelta(minutes=1)
        )

    async def settle(
        self, claimed: list[Send], result: Settled | GivenBack | Unknown = SENT
    ) -> None:
        await self.database.transact(sends.settle, results=[(one, result) for one in claimed])

    async def finish(self) -> None:
        """Send all that is live."""
        self.direct.rows(
            "UPDATE sends SET state = 'owed', due_at = now(), owner = NULL, lease_until = NULL,"
            " unknown_since = NULL"
        )
        while claimed := await self.claim():
            await self.settle(claimed)

    def rows(self, tick: int) -> Counter[str]:
        """The rows of a tick in the ledger, by their reasons or outcomes."""
        rows = self.direct.rows(
            "SELECT CASE WHEN reason = '' THEN outcome ELSE reason END AS told FROM ledger"
            " WHERE tick_id = %s",
            tick,
        )
        return Counter(row["told"] for row in rows)

    def owed_by(self, subscription: UUID) -> int:
        """The tick whose send to the subscription is live."""
        return int(
            self.direct.value("SELECT tick_id FROM sends WHERE subscription_id = %s", subscription)
        )

    def again(self, tick: int) -> tuple[int, int | None]:
        """How many members it has only counted, and since which tick."""
        (row,) = self.direct.rows(
            "SELECT skipped_again, skipped_again_since FROM ticks WHERE id = %s", tick
        )
        return row["skipped_again"], row["skipped_again_since"]

    async def told(self, subscription: UUID) -> dict[int, int]:
        """What the person's story says: for each row that was skipped, how many ticks followed."""
        identity = str(self.direct.subscription(subscription)["identity"])
        events, _ = await self.database.read(people.list_events, identity=identity, limit=1000)
        return {
            event.details.value["tick"]: event.skipped_again.ticks
            for event in events
            if event.skipped_again is not None
        }

    async def assert_balanced(self) -> None:
        """Whether all that counts finds each trigger."""
        ids = [row["id"] for row in self.direct.rows("SELECT id FROM ticks")]
        for one in await self.database.read(ledger_balance.count, ids=ids):
            assert one.missing == 0
            assert sum(one.outcomes.values()) == one.settled
        for number in ids:
            tick = await self.database.read(ticks.find, tick_id=number)
            assert tick is not None
            assert tick.outcomes is not None
            assert sum(tick.outcomes.values()) == tick.settled
            unsent = await self.database.read(ticks.count_unsent, ids=[number])
            sent = tick.outcomes.get("sent", 0)
            assert sum(one.count for one in unsent) == tick.settled - sent


@pytest.fixture
def flood(database: Database, direct: Arranged) -> Flood:
    return Flood(database, direct)


async def owed(flood: Flood) -> None:
    """Nothing is claimed."""


async def away(flood: Flood) -> None:
    """The Message Sender is away: what was owed waits for the next try."""
    await flood.settle(await flood.claim(), AWAY)


async def unknown(flood: Flood) -> None:
    """No answer came."""
    await flood.settle(await flood.claim(), Unknown(reason="no answer"))


@pytest.mark.slow
@ensureDeferred
async def test_a_flood_of_ticks_writes_two_rows_for_each_member_and_no_more(flood: Flood) -> None:
    """Before, these 300 calls wrote 92,400 rows; and 300 are the rows of the ticks."""
    members = flood.subscribe(PEOPLE)
    first = await flood.tick()
    await away(flood)
    second, *further = [await flood.tick() for _ in range(CALLS - 1)]
    assert (flood.rows(second), flood.again(second)) == ({OWED: PEOPLE}, (0, None))
    assert set(map(flood.again, further)) == {(PEOPLE, second)}
    await flood.finish()
    assert flood.rows(first) == {"sent": PEOPLE}
    written = "SELECT (SELECT count(*) FROM ledger) + (SELECT count(*) FROM ticks)"
    assert flood.direct.value(written) == PEOPLE * 2 + CALLS
    assert await flood.told(members[0]) == {second: CALLS - 2}
    assert await flood.told(members[-1]) == {second: CALLS - 2}
    await flood.assert_balanced()


@pytest.mark.parametrize("unfinished", [owed, away, unknown])
@ensureDeferred
async def test_whatever_the_message_before_waits_for_each_member_is_told_once(
    flood: Flood, unfinished: Callable[[Flood], Awaitable[None]]
) -> None:
    members = flood.subscribe(5)
    await flood.tick(limit=2)
    await unfinished(flood)
    second, *further = [await flood.tick(limit=2) for _ in range(4)]
    assert flood.rows(second).total() == 5
    assert [flood.again(tick) for tick in further] == [(5, second)] * 3
    await flood.assert_balanced()
    await flood.finish()
    assert [await flood.told(one) for one in members] == [{second: 3}] * 5
    await flood.assert_balanced()


@ensureDeferred
async def test_ticks_that_waited_and_are_expanded_when_all_was_sent_are_told_once(
    flood: Flood,
) -> None:
    members = flood.subscribe(3)
    first, second, *further = [await flood.open() for _ in range(5)]
    await flood.expand()
    await flood.finish()
    while await flood.expand() is not None:
        pass
    assert (flood.rows(first), flood.rows(second)) == ({"sent": 3}, {SPARED: 3})
    assert [flood.again(tick) for tick in further] == [(3, second)] * 3
    assert await flood.told(members[0]) == {second: 3}
    await flood.assert_balanced()


@ensureDeferred
async def test_a_tick_is_not_told_with_the_row_of_a_later_one(flood: Flood) -> None:
    """Another daemon has expanded the later one first."""
    (member,) = flood.subscribe()
    await flood.tick()
    second, third = await flood.open(), await flood.open()
    await flood.expand(limit=1, after=second)
    fourth = await flood.tick()
    assert [flood.rows(tick) for tick in (second, third)] == [{SPARED: 1}] * 2
    assert flood.again(fourth) == (1, third)
    assert await flood.told(member) == {third: 1}


@ensureDeferred
async def test_those_who_are_counted_do_not_make_the_numbers_a_part(flood: Flood) -> None:
    """The rows of a tick are counted up to a number; the count needs no row."""
    flood.subscribe(4)
    _, second, third = [await flood.tick() for _ in range(3)]
    unsent = await flood.database.read(ticks.count_unsent, ids=[second, third], most=3)
    told = [(one.tick_id, one.reason_kind, one.count, one.is_part) for one in unsent]
    assert told == [(second, "already-owed", 3, True), (third, "already-owed", 4, False)]


@ensureDeferred
async def test_those_who_join_meanwhile_get_theirs_and_rows_of_their_own(flood: Flood) -> None:
    members = flood.subscribe(3)
    await flood.tick()
    await away(flood)
    second, third = await flood.tick(), await flood.tick()
    (new,) = flood.subscribe()
    fourth, fifth, sixth = [await flood.tick() for _ in range(3)]
    assert [flood.again(tick) for tick in (third, fourth)] == [(3, second)] * 2
    assert flood.owed_by(new) == fourth
    assert (flood.rows(fifth), flood.again(fifth)) == ({SPARED: 1}, (3, second))
    assert flood.again(sixth) == (4, second)
    await flood.finish()
    assert flood.rows(fourth) == {"sent": 1}
    assert await flood.told(new) == {fifth: 1}
    assert await flood.told(members[0]) == {second: 4}
    await flood.assert_balanced()


@ensureDeferred
async def test_those_who_leave_are_counted_no_more_and_are_due_when_they_are_back(
    flood: Flood,
) -> None:
    """The message that was owed to the one who left is skipped when it is claimed."""
    left, _ = flood.subscribe(2)
    await flood.tick()
    second = await flood.tick()
    active = "UPDATE subscriptions SET active = %s WHERE id = %s"
    flood.direct.rows(active, False, left)
    third = await flood.tick()
    assert flood.again(third) == (1, second)
    claimed = await flood.claim()
    results = [(one, objection(one) or SENT) for one in claimed]
    await flood.database.transact(sends.settle, results=results)
    flood.direct.rows(active, True, left)
    fourth = await flood.tick()
    assert flood.owed_by(left) == fourth
    await flood.assert_balanced()


@ensureDeferred
async def test_whoever_has_left_is_not_told_of_later_floods(flood: Flood) -> None:
    left, stays = flood.subscribe(2)
    _, second, _ = [await flood.tick() for _ in range(3)]
    await flood.finish()
    flood.direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", left)
    _, later, last = [await flood.tick() for _ in range(3)]
    assert flood.again(last) == (1, later)
    assert await flood.told(left) == {second: 1}
    assert await flood.told(stays) == {second: 1, later: 1}


@ensureDeferred
async def test_the_first_tick_that_meets_another_unfinished_message_is_told_again(
    flood: Flood,
) -> None:
    (member,) = flood.subscribe()
    first, second, third = [await flood.tick() for _ in range(3)]
    await flood.finish()
    fourth, fifth, sixth = [await flood.tick() for _ in range(3)]
    assert [flood.again(tick) for tick in (third, sixth)] == [(1, second), (1, fifth)]
    assert flood.rows(fifth) == {SPARED: 1}
    assert await flood.told(member) == {second: 1, fifth: 1}
    await flood.finish()
    assert [flood.rows(tick) for tick in (first, fourth)] == [{"sent": 1}] * 2
    assert await flood.told(member) == {second: 1, fifth: 1}


@ensureDeferred
async def test_a_call_for_the_person_in_between_is_no_tick_of_the_schedule(flood: Flood) -> None:
    (member,) = flood.subscribe()
    await flood.database.transact(sends.owe, subscription_id=member)
    await flood.database.transact(sends.owe, subscription_id=member)
    first, second = await flood.tick(), await flood.tick()
    assert (flood.rows(first), flood.again(second)) == ({OWED: 1}, (1, first))
    await flood.assert_balanced()


@ensureDeferred
async def test_another_schedule_tells_for_itself(flood: Flood) -> None:
    (member,) = flood.subscribe()
    await flood.tick()
    await away(flood)
    second = await flood.tick()
    there = flood.direct.schedule()
    flood.direct.rows("UPDATE subscriptions SET schedule_id = %s", there)
    flood.schedule = there
    third, fourth = await flood.tick(), await flood.tick()
    assert (flood.rows(third), flood.again(fourth)) == ({OWED: 1}, (1, third))
    assert await flood.told(member) == {third: 1}
    assert flood.rows(second) == {OWED: 1}


@ensureDeferred
async def test_after_a_day_it_is_told_again(flood: Flood) -> None:
    flood.subscribe()
    await flood.tick()
    await away(flood)
    await flood.tick()
    flood.direct.rows("UPDATE ledger SET settled_at = settled_at - interval '25 hours'")
    third, fourth = await flood.tick(), await flood.tick()
    assert (flood.rows(third), flood.again(fourth)) == ({OWED: 1}, (1, third))


@ensureDeferred
async def test_whom_a_pause_skips_is_told_each_time(flood: Flood) -> None:
    """A later tick asks the ledger who was skipped for another reason."""
    flood.subscribe()
    await flood.tick()
    await away(flood)
    await flood.tick()
    flood.direct.rows(
        "INSERT INTO pauses (kind, on_ticks, paused_by, schedule_id, reason)"
        " VALUES ('operator', 'skip', 'ann', %s, '')",
        flood.schedule,
    )
    paused = [await flood.tick() for _ in range(2)]
    assert [flood.rows(tick).total() for tick in paused] == [1, 1]
    flood.direct.rows("UPDATE pauses SET ended_at = now()")
    after, further = await flood.tick(), await flood.tick()
    assert (flood.rows(after).total(), flood.again(further)) == (1, (1, after))


@ensureDeferred
async def test_a_crash_between_two_chunks_counts_nobody_twice_and_leaves_nobody_out(
    flood: Flood,
) -> None:
    class Killed(Exception):
        pass

    async def killed(transaction: Transaction) -> None:
        await ticks.expand(transaction, limit=2)
        raise Killed

    flood.subscribe(5)
    await flood.tick()
    second = await flood.tick()
    third = await flood.open()
    while await flood.expand(limit=2) is not None:
        with suppress(Killed):
            await flood.database.transact(killed)
    assert flood.again(third) == (5, second)
    assert flood.direct.value("SELECT triggers FROM ticks WHERE id = %s", third) == 5
    await flood.assert_balanced()


@ensureDeferred
async def test_daemons_that_expand_at_the_same_time_count_each_member_once(flood: Flood) -> None:
    members = flood.subscribe(20)
    first = await flood.tick()
    opened = [await flood.open() for _ in range(6)]
    while any(await together([flood.expand(limit=3, after=first + at) for at in range(4)])):
        pass
    assert [flood.rows(tick).total() + flood.again(tick)[0] for tick in opened] == [20] * 6
    await flood.finish()
    assert flood.rows(first) == {"sent": 20}
    for member in members:
        told = await flood.told(member)
        rows = flood.direct.value("SELECT count(*) FROM ledger WHERE subscription_id = %s", member)
        assert sum(told.values()) + rows == 1 + len(opened)
    await flood.assert_balanced()


Ops = list[tuple[str, int]]
OPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["open", "tick", "tick", "expand", "send", "give back", "join", "leave", "come back"]
        ),
        st.integers(1, 4),
    ),
    max_size=25,
)


@define(eq=False, slots=False)
class Story:
    """Ticks that come, and members who join and leave, in any order; and who was asked for when."""

    flood: Flood
    members: list[UUID] = field(factory=list)
    left: set[UUID] = field(factory=set)
    covered: dict[int, set[UUID]] = field(factory=dict)
    asked: Counter[UUID] = field(factory=Counter)

    async def play(self, ops: Ops) -> None:
        """Do all of it; then send what is left."""
        await self._join(3)
        for name, count in ops:
            await getattr(self, "_" + name.replace(" ", "_"))(count)
        await self._expand(100)
        await self.flood.finish()

    async def _open(self, _count: int) -> None:
        self.covered[await self.flood.open()] = set(self.members)

    async def _tick(self, count: int) -> None:
        await self._open(count)
        await self._expand(100)

    async def _expand(self, count: int) -> None:
        """In chunks of three; whoever is a member then is asked for, in the order of the ids."""
        for _ in range(count):
            rows = self.flood.direct.rows(
                "SELECT id, expanded_up_to FROM ticks WHERE state = 'expanding' ORDER BY id LIMIT 1"
            )
            if not rows:
                break
            covered = self.covered[rows[0]["id"]].intersection(self.members)
            chunk = sorted(one for one in covered if one > rows[0]["expanded_up_to"])[:3]
            self.asked.update(chunk)
            expanded = await self.flood.expand(limit=3)
            assert expanded is not None
            assert expanded.triggers == len(chunk)

    async def _send(self, count: int) -> None:
        claimed = await self.flood.claim(count)
        results = [(one, objection(one) or SENT) for one in claimed]
        await self.flood.database.transact(sends.settle, results=results)

    async def _give_back(self, count: int) -> None:
        await self.flood.settle(await self.flood.claim(count), AWAY)

    async def _join(self, count: int) -> None:
        self.members += self.flood.subscribe(count)

    async def _leave(self, count: int) -> None:
        leaving = self.members[:count]
        del self.members[:count]
        self.left.update(leaving)
        for one in leaving:
            self.flood.direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", one)

    async def _come_back(self, count: int) -> None:
        for one in sorted(self.left.difference(self.members))[:count]:
            self.flood.direct.rows("UPDATE subscriptions SET active = true WHERE id = %s", one)
            self.members.append(one)
            for covered in self.covered.values():
                covered.discard(one)


@pytest.mark.slow
@ensureDeferred
async def test_a_story_tells_of_each_tick_that_asked_for_the_person(
    database: Database, direct: Arranged
) -> None:
    """Of whoever has left, it may tell of ticks of the time after that, too."""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(OPS)
    def run(ops: Ops) -> None:
        blockon(Deferred.fromCoroutine(tells(ops)))

    async def tells(ops: Ops) -> None:
        direct.rows("TRUNCATE sends, ledger, ticks, subscriptions, messagesets, schedules CASCADE")
        story = Story(Flood(database, direct))
        await story.play(ops)
        for member, asked in story.asked.items():
            told = sum((await story.flood.told(member)).values())
            told += direct.value("SELECT count(*) FROM ledger WHERE subscription_id = %s", member)
            assert told >= asked if member in story.left else told == asked
        await story.flood.assert_balanced()

    await apart(run)

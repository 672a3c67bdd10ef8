"""Repairs of subscriptions that are behind leave what the pipeline would have left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from attrs import define, frozen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.model.behind import BehindRecord, RepairCount
from sbm.model.ids import BEFORE_ALL
from sbm.model.send import Settled
from sbm.model.signature import Signature
from sbm.operations import behind
from sbm.store import behind_subscriptions as store
from sbm.store import schedule_runs, sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from tests.arrange import Arranged, arranged
from tests.pipeline.simulated import apart

BEGAN = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SENT = Settled(outcome="sent", stage="post", outbound_id="1")
SIGNED = Signature(actor="thandi", reason="the clock stood still")

T = TypeVar("T")


@define
class World:
    """Three sets that follow each other, and a search that knows when their schedules ran."""

    database: Database
    direct: Arranged
    daily: int
    weekly: int
    pregnancy: int
    search_id: int

    @classmethod
    async def built(cls, database: Database, direct: Arranged) -> World:
        daily, weekly = direct.schedule(), direct.schedule(day_of_week="1")
        toddler = direct.messageset("toddler", daily, messages=9)
        baby = direct.messageset("baby", weekly, messages=2, next_set=toddler)
        pregnancy = direct.messageset("pregnancy", daily, messages=[1, 4, 5], next_set=baby)
        search_id, _ = await database.transact(schedule_runs.begin, as_of=None)
        return cls(database, direct, daily, weekly, pregnancy, search_id)

    def begun(self, count: int, **fields: Any) -> list[UUID]:
        subscriptions = self.direct.subscriptions(count, self.pregnancy, self.daily)
        for name, value in ({"created_at": BEGAN} | fields).items():
            self.direct.rows(f"UPDATE subscriptions SET {name} = %s", value)  # noqa: S608
        return sorted(subscriptions)

    async def ran(self, schedules: list[int]) -> None:
        """These schedules ran, an hour after each other."""
        for schedule in set(schedules):
            runs = [BEGAN + (n + 1) * HOUR for n, one in enumerate(schedules) if one == schedule]
            await self.database.transact(
                schedule_runs.add_runs,
                search_id=self.search_id,
                schedule_id=schedule,
                first=1,
                runs=runs,
            )

    async def look(self) -> list[BehindRecord]:
        found = await self.database.transact(
            store.look,
            search_id=self.search_id,
            after=BEFORE_ALL,
            limit=100,
            wanted=schedule_runs.EVERYBODY,
        )
        return found.found if found else []

    async def help(self, work: Callable[..., Awaitable[RepairCount]], *ids: UUID) -> RepairCount:
        return await self.database.transact(work, runs_id=self.search_id, ids=ids, signature=SIGNED)

    def chain(self, first: UUID) -> list[dict[str, Any]]:
        """A subscription and its successors after a repair, without values that always differ."""
        rows = self.direct.rows(
            "WITH RECURSIVE chain AS (SELECT 1 AS place, s.* FROM subscriptions s WHERE id = %s"
            " UNION ALL SELECT place + 1, s.* FROM chain JOIN subscriptions s"
            " ON s.chained_from = chain.id)"
            " SELECT * FROM chain ORDER BY place",
            first,
        )
        own = {"id", "identity", "chained_from", "created_at", "updated_at"}
        own |= {"joined_at", "joined_xid"}
        return [{name: row[name] for name in row if name not in own} for row in rows]


@ensureDeferred
async def test_whoever_is_moved_is_left_as_the_ordinary_way_would_have_left_her(
    database: Database, direct: Arranged
) -> None:
    world = await World.built(database, direct)
    walks, jumps = world.begun(2)
    runs = [world.daily] * 3 + [world.weekly] * 2 + [world.daily] * 4
    for schedule in runs:
        await database.transact(ticks.open_tick, schedule_id=schedule)
        # Only this one is sent to: the ticks have not reached the other one.
        direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", jumps)
        while await database.transact(ticks.expand, limit=100) is not None:
            pass
        claimed = await database.transact(sends.claim, owner=uuid4(), limit=9, lease=HOUR)
        await database.transact(sends.settle, results=[(send, SENT) for send in claimed])
    direct.rows("UPDATE subscriptions SET active = true WHERE id = %s", jumps)
    await world.ran(runs)
    (found,) = [one for one in await world.look() if one.id == jumps]
    assert found.messages_behind == len(runs)
    assert await world.help(behind.fast_forward_these, jumps) == RepairCount(done=1, begun=2)
    assert world.chain(jumps) == world.chain(walks)
    assert len(world.chain(jumps)) == 3
    assert [step.messageset_name for step in found.path] == ["pregnancy", "baby", "toddler"]
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_move_is_in_the_ledger_with_who_and_why(
    database: Database, direct: Arranged
) -> None:
    world = await World.built(database, direct)
    (mother,) = world.begun(1)
    await world.ran([world.daily] * 3 + [world.weekly])
    await world.help(behind.fast_forward_these, mother)
    mothers, babys = direct.ledger()
    for entry in (mothers, babys):
        assert (entry["kind"], entry["outcome"], entry["stage"]) == ("move", "moved", "trigger")
        assert (entry["tick_id"], entry["actor"]) == (None, "thandi")
        told = "from pregnancy 1 to baby 2, 4 behind: the clock stood still"
        assert entry["reason"] == told
    assert (mothers["subscription_id"], mothers["messageset_id"]) == (mother, world.pregnancy)
    assert (mothers["sequence_number"], babys["sequence_number"]) == (1, 1)
    (baby,) = direct.rows("SELECT * FROM subscriptions WHERE chained_from = %s", mother)
    assert (babys["subscription_id"], baby["created_at"]) == (baby["id"], BEGAN + 3 * HOUR)
    (entry,) = direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["action"]) == ("thandi", "behind fast-forward")
    assert (entry["reason"], entry["details"]["done"]) == ("the clock stood still", 1)


@ensureDeferred
async def test_whoever_is_sent_to_is_owed_one_message_in_the_operators_name(
    database: Database, direct: Arranged
) -> None:
    world = await World.built(database, direct)
    mother, owed = world.begun(2)
    await world.ran([world.daily] * 2)
    await database.transact(sends.owe, subscription_id=owed)
    assert {one.id: one.unsendable for one in await world.look()} == {
        mother: None,
        owed: "a message is already owed to the subscription",
    }
    assert await world.help(behind.owe_to_these, mother, owed) == RepairCount(done=1, skipped=1)
    assert await world.help(behind.owe_to_these, mother, owed) == RepairCount(done=0, skipped=2)
    claimed = await database.transact(sends.claim, owner=uuid4(), limit=9, lease=HOUR)
    await database.transact(sends.settle, results=[(send, SENT) for send in claimed])
    actors = {row["subscription_id"]: row["actor"] for row in direct.ledger()}
    assert actors == {mother: "thandi", owed: None}
    assert direct.unbalanced_ticks() == []
    assert {one.messages_behind for one in await world.look()} == {1}


@pytest.mark.parametrize(
    ("change", "held_back", "unsendable"),
    [
        (
            "UPDATE subscriptions SET process_status = -1",
            "the subscription is in error",
            "the subscription is in error",
        ),
        (
            "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
            " SELECT 'next', 'tick', id, identity, 1 FROM subscriptions",
            "a message is already owed to the subscription",
            "a message is already owed to the subscription",
        ),
        (
            "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, chained_from,"
            " completed, active) SELECT identity, messageset_id, schedule_id, lang, id, true,"
            " false FROM subscriptions",
            "the next set was begun already",
            None,
        ),
        (
            "UPDATE subscriptions SET next_sequence_number = 6;"
            " INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id,"
            " identity, messageset_id)"
            " SELECT gen_random_uuid(), 1, 'next', 'sent', 'post', id, identity, messageset_id"
            " FROM subscriptions",
            None,
            "no message of its set is left to send",
        ),
    ],
)
@ensureDeferred
async def test_what_stands_in_the_way_is_told_and_respected(
    database: Database,
    direct: Arranged,
    change: str,
    held_back: str | None,
    unsendable: str | None,
) -> None:
    world = await World.built(database, direct)
    (mother,) = world.begun(1)
    await world.ran([world.daily] * 3 + [world.weekly])
    direct.rows(change)
    (found,) = await world.look()
    assert (found.held_back, found.unsendable) == (held_back, unsendable)
    before = direct.rows("SELECT * FROM subscriptions")
    refused = RepairCount(done=0, skipped=1)
    if unsendable:
        assert await world.help(behind.owe_to_these, mother) == refused
    if held_back:
        assert await world.help(behind.fast_forward_these, mother) == refused
        assert direct.rows("SELECT * FROM subscriptions") == before
        assert direct.ledger() == []
    assert direct.rows("SELECT * FROM audit") == []


@ensureDeferred
async def test_whoever_is_changed_meanwhile_is_judged_anew(
    database: Database, direct: Arranged, database_uri: str
) -> None:
    world = await World.built(database, direct)
    (mother,) = world.begun(1)
    await world.ran([world.daily] * 2)
    assert len(await world.look()) == 1
    with arranged(database_uri) as other:
        other.rows("BEGIN")
        other.rows("UPDATE subscriptions SET next_sequence_number = 5")
        helping = Deferred.fromCoroutine(world.help(behind.fast_forward_these, mother))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not helping.called and not direct.value(waiting):
            await deferLater(reactor, 0.01)
        other.rows("COMMIT")
        assert await helping == RepairCount()
    assert direct.subscription(mother)["next_sequence_number"] == 5
    assert direct.ledger() == []


@ensureDeferred
async def test_a_search_that_was_lost_with_the_database_does_not_find_nobody(
    database: Database, direct: Arranged
) -> None:
    world = await World.built(database, direct)
    (mother,) = world.begun(1)
    await world.ran([world.daily] * 2)
    direct.rows("TRUNCATE searches, schedule_runs")
    with pytest.raises(DatabaseUnavailable):
        await world.look()
    with pytest.raises(DatabaseUnavailable):
        await world.help(behind.fast_forward_these, mother)
    with pytest.raises(DatabaseUnavailable):
        await database.transact(store.search, search_id=world.search_id, after=BEFORE_ALL, limit=9)


# Anything that can be told of sets, schedules and subscriptions, against a walk in plain Python.


@frozen
class Subscriber:
    began: int
    schedule: int
    initial: int
    stands_at: int
    was_sent_to: bool


@frozen
class Plan:
    """Sets in a row or a circle: numbers of messages, the schedule, and where they lead."""

    sets: list[tuple[list[int], int, int | None]]
    runs: list[list[int]]
    subscribers: list[Subscriber]


NUMBERS = st.lists(st.integers(1, 9), max_size=4, unique=True).map(sorted)
PLANS = st.builds(
    Plan,
    st.lists(
        st.tuples(NUMBERS, st.integers(0, 1), st.none() | st.integers(0, 2)),
        min_size=3,
        max_size=3,
    ),
    st.lists(
        st.lists(st.integers(0, 30), max_size=20, unique=True).map(sorted), min_size=2, max_size=2
    ),
    st.lists(
        st.builds(
            Subscriber,
            began=st.integers(0, 30),
            schedule=st.integers(0, 1),
            initial=st.integers(1, 5),
            stands_at=st.integers(1, 10),
            was_sent_to=st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
)


def walked(plan: Plan, one: Subscriber) -> tuple[int, list[int], int, bool]:
    """Messages behind, the sets on the way, where it ends, and whether it is completed there."""
    here, at, schedule, since = 0, one.initial, one.schedule, one.began
    sent: list[tuple[int, int]] = []  # the place on the way, and the number
    way, completed = [0], False
    ends = bool(plan.sets[0][0]) and one.stands_at > max(plan.sets[0][0])
    if ends and not one.was_sent_to:
        return 0, way, one.stands_at, True  # it completes, and does not go on
    for moment in range(31):
        numbers, _, following = plan.sets[here]
        left = [number for number in numbers if number >= at]
        is_gone = ends and len(way) == 1 and not left  # all that there was from its beginning on
        if completed or moment not in plan.runs[schedule] or moment <= since:
            continue
        if not left and not is_gone:
            continue
        sent += [(len(way), number) for number in left[:1]]
        if len(left) > 1:
            at = left[0] + 1
        elif following is None:
            at, completed = max(left, default=at), True
        else:
            here, at, since = following, 1, moment
            schedule = plan.sets[here][1]
            way.append(here)
    last = max((number for place, number in sent if place == 1), default=0)
    direct = sum(one.stands_at <= number <= last for number in plan.sets[0][0])
    return direct + sum(place > 1 for place, _ in sent), way, at, completed


async def check(database: Database, direct: Arranged, plan: Plan) -> None:
    direct.rows("DELETE FROM subscriptions; DELETE FROM messages; DELETE FROM messagesets")
    direct.rows("DELETE FROM schedules; DELETE FROM searches; DELETE FROM schedule_runs")
    schedules = [direct.schedule(), direct.schedule()]
    ids = [
        direct.messageset(str(place), schedules[schedule], messages=numbers)
        for place, (numbers, schedule, _) in enumerate(plan.sets)
    ]
    for messageset, (_, _, following) in zip(ids, plan.sets, strict=True):
        if following is not None:
            direct.rows(
                "UPDATE messagesets SET next_set_id = %s WHERE id = %s", ids[following], messageset
            )
    search_id, _ = await database.transact(schedule_runs.begin, as_of=None)
    for schedule, runs in zip(schedules, plan.runs, strict=True):
        await database.transact(
            schedule_runs.add_runs,
            search_id=search_id,
            schedule_id=schedule,
            first=1,
            runs=[BEGAN + run * HOUR for run in runs],
        )
    expected = {}
    for one in plan.subscribers:
        (subscription,) = direct.subscriptions(1, ids[0], schedules[one.schedule])
        direct.rows(
            "UPDATE subscriptions SET created_at = %s, initial_sequence_number = %s,"
            " next_sequence_number = %s WHERE id = %s",
            BEGAN + one.began * HOUR,
            one.initial,
            one.stands_at,
            subscription,
        )
        if one.was_sent_to:
            direct.rows(
                "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id,"
                " identity, messageset_id) SELECT gen_random_uuid(), 1, 'next', 'sent', 'post', id,"
                " identity, messageset_id FROM subscriptions WHERE id = %s",
                subscription,
            )
        missed, way, at, completed = walked(plan, one)
        if missed:
            expected[subscription] = missed, [ids[place] for place in way], at, completed
    world = World(database, direct, schedules[0], schedules[1], ids[0], search_id)
    found = await world.look()
    assert {
        one.id: (
            one.messages_behind,
            [step.messageset_id for step in one.path],
            one.path[-1].next_sequence_number,
            one.path[-1].completed,
        )
        for one in found
    } == expected
    await world.help(behind.fast_forward_these, *expected)
    assert await world.look() == []


@ensureDeferred
async def test_whatever_the_sets_and_schedules_a_walk_run_by_run_finds_the_same(
    database: Database, direct: Arranged
) -> None:
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(PLANS)
    def run(plan: Plan) -> None:
        blockon(Deferred.fromCoroutine(check(database, direct, plan)))

    await apart(run)


@ensureDeferred
async def test_those_that_are_named_are_judged(database: Database, direct: Arranged) -> None:
    world = await World.built(database, direct)
    first, second, third = world.begun(3)
    await world.ran([world.daily] * 2)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 5 WHERE id = %s", third)

    async def judged(*ids: UUID) -> list[UUID]:
        found = await database.read(behind.judge_these, runs_id=world.search_id, ids=ids)
        return [one.id for one in found]

    assert await judged(second, third) == [second]
    assert await judged(first, second, uuid4()) == [first, second]
    assert await judged() == []

"""Pauses of sends: what they hold back, when they are in force, and what becomes of ticks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from sbm.model.paging import PageRequest
from sbm.model.send import GivenBack, Send, SendResult, Settled, Unknown
from sbm.model.send_pause import OnTicks, PauseScope, PauseState
from sbm.store import resends, send_pauses, sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import RowLocked
from tests.arrange import Arranged, arranged

LEASE = timedelta(seconds=60)
SENT = Settled(outcome="sent", stage="post", outbound_id="1")
SECOND = timedelta(seconds=1)


async def pause(database: Database, scope: PauseScope, on_ticks: OnTicks = "later") -> int:
    return await database.transact(
        send_pauses.begin,
        scope=scope,
        on_ticks=on_ticks,
        reason="why",
        paused_by="me",
        until=None,
    )


async def finish(database: Database, pause_id: int, seen_for: timedelta = SECOND) -> bool:
    return bool(await database.transact(send_pauses.finish, seen_for={pause_id: seen_for}))


async def resume(database: Database) -> None:
    ids = [one.id for one in await database.transact(send_pauses.list_open)]
    await database.transact(send_pauses.end, ids=ids, ended_by="me")


async def claim(database: Database, owner: UUID | None = None, limit: int = 100) -> list[Send]:
    return await database.transact(sends.claim, owner=owner or uuid4(), limit=limit, lease=LEASE)


async def settle(database: Database, claimed: Sequence[Send]) -> None:
    await database.transact(sends.settle, results=[(send, SENT) for send in claimed])


async def open_tick(database: Database, schedule: int) -> None:
    await database.transact(ticks.open_tick, schedule_id=schedule)


async def expand(database: Database) -> None:
    after = 0
    while (chunk := await database.transact(ticks.expand, limit=100, after=after)) is not None:
        after = chunk.tick_id


class Clinic:
    """Two schedules and two message sets; a subscription to each pair of them."""

    def __init__(self, database: Database, direct: Arranged) -> None:
        self.database, self.direct = database, direct
        self.schedules = direct.schedule(), direct.schedule()
        self.sets = tuple(direct.messageset(name, self.schedules[0]) for name in ("one", "two"))
        self.people = {
            (schedule, messageset): direct.subscriptions(1, messageset, schedule)[0]
            for schedule in self.schedules
            for messageset in self.sets
        }

    async def tick(self) -> None:
        for schedule in self.schedules:
            await open_tick(self.database, schedule)
        await expand(self.database)

    async def claimed(self) -> set[tuple[int, int]]:
        found = {send.subscription_id for send in await claim(self.database)}
        return {pair for pair, person in self.people.items() if person in found}


@pytest.fixture
def clinic(database: Database, direct: Arranged) -> Clinic:
    return Clinic(database, direct)


@pytest.mark.parametrize("lane", ["single", "tick"])
@pytest.mark.parametrize("of", ["programme", "schedule", "set", "both", "lane"])
@ensureDeferred
async def test_what_is_paused_is_not_claimed_and_the_rest_is(
    clinic: Clinic, of: str, lane: str
) -> None:
    schedule, messageset = clinic.schedules[0], clinic.sets[1]
    scope = {
        "programme": PauseScope(),
        "schedule": PauseScope(schedule_id=schedule),
        "set": PauseScope(messageset_id=messageset),
        "both": PauseScope(schedule_id=schedule, messageset_id=messageset),
        "lane": PauseScope(lane="single"),
    }[of]
    if lane == "tick":
        await clinic.tick()
    else:
        for person in clinic.people.values():
            await clinic.database.transact(sends.owe, subscription_id=person)
    await pause(clinic.database, scope)
    free = {
        (one, other)
        for one, other in clinic.people
        if (scope.schedule_id not in (None, one) or scope.messageset_id not in (None, other))
        or (scope.lane not in (None, lane))
    }
    assert await clinic.claimed() == free
    await resume(clinic.database)
    assert await clinic.claimed() == clinic.people.keys() - free
    assert clinic.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_subscription_that_moves_takes_what_it_is_owed_along(clinic: Clinic) -> None:
    await clinic.tick()
    await pause(clinic.database, PauseScope(messageset_id=clinic.sets[0]))
    into, out = (clinic.schedules[0], clinic.sets[1]), (clinic.schedules[0], clinic.sets[0])
    for pair, messageset in ((into, clinic.sets[0]), (out, clinic.sets[1])):
        clinic.direct.rows(
            "UPDATE subscriptions SET messageset_id = %s WHERE id = %s",
            *(messageset, clinic.people[pair]),
        )
    assert await clinic.claimed() == {out, (clinic.schedules[1], clinic.sets[1])}


@ensureDeferred
async def test_a_send_in_the_wrong_queue_is_not_claimed_but_moved(clinic: Clinic) -> None:
    """Its subscription was moved while it was being owed."""
    await clinic.tick()
    paused, other = clinic.sets
    await pause(clinic.database, PauseScope(messageset_id=paused))
    clinic.direct.rows("UPDATE sends SET queue_messageset_id = %s", other)
    of_the_other = {pair for pair in clinic.people if pair[1] == other}
    assert await clinic.claimed() == of_the_other
    assert await clinic.claimed() == set()
    queues = clinic.direct.rows(
        "SELECT DISTINCT queue_messageset_id AS id FROM sends WHERE state = 'owed'"
    )
    assert [row["id"] for row in queues] == [paused]


@ensureDeferred
async def test_a_resend_is_of_the_set_of_its_message(clinic: Clinic) -> None:
    person = clinic.people[clinic.schedules[0], clinic.sets[0]]
    await clinic.database.transact(resends.owe, subscription_id=person)
    clinic.direct.rows(
        "UPDATE subscriptions SET messageset_id = %s WHERE id = %s", clinic.sets[1], person
    )
    await pause(clinic.database, PauseScope(messageset_id=clinic.sets[0]))
    assert await claim(clinic.database) == []
    await resume(clinic.database)
    await pause(clinic.database, PauseScope(messageset_id=clinic.sets[1]))
    (send,) = await claim(clinic.database)
    assert (send.kind, send.subscription_id) == ("resend", person)


@ensureDeferred
async def test_a_row_that_was_inserted_without_its_queue_gets_it(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("one", schedule)
    (person,) = direct.subscriptions(1, messageset, schedule)
    direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " VALUES ('next', 'tick', %s, 'x', 7), ('next', 'single', gen_random_uuid(), 'x', 7)",
        person,
    )
    found = direct.rows(
        "SELECT tick_id, schedule_id, messageset_id FROM owed_queues ORDER BY tick_id"
    )
    assert [tuple(row.values()) for row in found] == [(0, 0, 0), (7, schedule, messageset)]
    assert len(await claim(database)) == 2


@ensureDeferred
async def test_a_pause_waits_for_the_claims_under_way_and_no_later_one_misses_it(
    database: Database, direct: Arranged, database_uri: str
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("one", schedule), schedule)
    await open_tick(database, schedule)
    await expand(database)
    with arranged(database_uri) as other:
        other.rows("BEGIN")
        other.rows("SELECT lock_due_sends(1, 1, '{}', NULL, NULL)")
        with pytest.raises(RowLocked):
            await pause(database, PauseScope())
        assert direct.value("SELECT count(*) FROM pauses") == 0
        other.rows("ROLLBACK")
        await pause(database, PauseScope())
    assert await claim(database) == []


@ensureDeferred
async def test_a_pause_is_in_force_when_nothing_of_it_is_in_hand(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(2, direct.messageset("one", schedule), schedule)
    await open_tick(database, schedule)
    await expand(database)
    claimed = await claim(database)
    pause_id = await pause(database, PauseScope(schedule_id=schedule))
    assert not await finish(database, pause_id)
    found = await database.transact(send_pauses.find, pause_id=pause_id)
    assert found is not None
    assert (found.state, found.in_hand, found.paused_by) == ("pausing", 2, "me")
    await settle(database, claimed)
    assert await finish(database, pause_id)
    assert not await finish(database, pause_id)
    found = await database.transact(send_pauses.find, pause_id=pause_id)
    assert found is not None
    assert (found.state, found.in_hand) == ("paused", 0)


@ensureDeferred
async def test_it_is_in_force_after_one_lease_at_the_latest(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("one", schedule), schedule)
    await open_tick(database, schedule)
    await expand(database)
    owner = uuid4()
    (send,) = await claim(database, owner)
    pause_id = await pause(database, PauseScope())
    renewed = await database.transact(sends.renew, owner=owner, ids=[send.id], lease=LEASE)
    assert renewed == set()
    assert not await finish(database, pause_id, LEASE)
    assert await finish(database, pause_id, LEASE + 2 * SECOND)


@ensureDeferred
async def test_other_leases_are_renewed_meanwhile(database: Database, direct: Arranged) -> None:
    schedule, other = direct.schedule(), direct.schedule()
    direct.subscriptions(1, direct.messageset("one", schedule), schedule)
    await open_tick(database, schedule)
    await expand(database)
    owner = uuid4()
    (send,) = await claim(database, owner)
    await pause(database, PauseScope(schedule_id=other))
    renewed = await database.transact(sends.renew, owner=owner, ids=[send.id], lease=LEASE)
    assert renewed == {send.id}


@ensureDeferred
async def test_a_tick_that_is_paused_is_not_expanded_and_takes_no_room(
    database: Database, direct: Arranged
) -> None:
    schedule, other = direct.schedule(), direct.schedule()
    messageset = direct.messageset("one", schedule)
    direct.subscriptions(5, messageset, schedule)
    direct.subscriptions(3, messageset, other)
    await open_tick(database, schedule)
    await database.transact(ticks.expand, limit=2)
    await pause(database, PauseScope(schedule_id=schedule))
    assert not await database.transact(ticks.has_room, most=100)
    await open_tick(database, other)
    assert await database.transact(ticks.has_room, most=1)
    await expand(database)
    assert direct.value("SELECT count(*) FROM sends") == 2 + 3
    assert {send.schedule_id for send in await claim(database)} == {other}


@ensureDeferred
async def test_of_several_ticks_during_a_pause_each_person_gets_one_message(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("one", schedule)
    direct.subscriptions(3, messageset, schedule)
    await pause(database, PauseScope(schedule_id=schedule))
    await open_tick(database, schedule)
    direct.rows("UPDATE ticks SET created_at = created_at - interval '1 day'")
    direct.rows(
        "UPDATE subscriptions SET joined_at = joined_at - interval '2 days',"
        " created_at = created_at - interval '2 days'"
    )
    await open_tick(database, schedule)
    direct.subscriptions(1, messageset, schedule)  # a member of the last tick only
    await open_tick(database, schedule)
    await expand(database)
    assert direct.value("SELECT count(*) FROM sends") == 0
    await resume(database)
    sent = []
    for _ in range(4):
        await database.transact(ticks.expand, limit=2)
        claimed = await claim(database)
        await settle(database, claimed)
        sent += claimed
    await expand(database)
    claimed = await claim(database)
    await settle(database, claimed)
    assert len({send.subscription_id for send in [*sent, *claimed]}) == 4
    assert len([*sent, *claimed]) == 4
    assert direct.value("SELECT bool_and(state = 'expanded') FROM ticks")
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_ticks_during_a_pause_can_be_skipped_and_the_next_one_is_not(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(3, direct.messageset("one", schedule), schedule)
    await pause(database, PauseScope(schedule_id=schedule), "skip")
    await open_tick(database, schedule)
    await expand(database)
    reasons = direct.rows("SELECT outcome, stage, reason, count(*) FROM ledger GROUP BY 1, 2, 3")
    assert [tuple(row.values()) for row in reasons] == [
        ("skipped", "trigger", "it was paused when the tick came", 3)
    ]
    await open_tick(database, schedule)  # it is not expanded before the end of the pause
    direct.rows("UPDATE ticks SET state = 'expanding' WHERE state = 'expanded'")
    await resume(database)
    await open_tick(database, schedule)
    await expand(database)
    assert len(await claim(database)) == 3
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_pause_of_a_set_that_skips_ticks_skips_only_its_members(clinic: Clinic) -> None:
    await pause(clinic.database, PauseScope(messageset_id=clinic.sets[0]), "skip")
    await clinic.tick()
    others = {pair for pair in clinic.people if pair[1] == clinic.sets[1]}
    assert await clinic.claimed() == others
    assert len(clinic.direct.ledger()) == 2
    await resume(clinic.database)
    # The first ticks are still being sent: their members wait, but not those that were skipped.
    await clinic.tick()
    assert await clinic.claimed() == clinic.people.keys() - others
    assert clinic.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_what_was_owed_before_is_kept_even_if_ticks_are_skipped(clinic: Clinic) -> None:
    await clinic.tick()
    await pause(clinic.database, PauseScope(), "skip")
    await clinic.tick()
    await resume(clinic.database)
    assert await clinic.claimed() == clinic.people.keys()


@ensureDeferred
async def test_a_pause_ends_by_itself(database: Database, direct: Arranged) -> None:
    pause_id = await pause(database, PauseScope())
    assert await database.transact(send_pauses.end_due) == []
    direct.rows("UPDATE pauses SET until = now() - interval '1 second'")
    assert await database.transact(send_pauses.end_due) == [pause_id]
    found = await database.transact(send_pauses.find, pause_id=pause_id)
    assert found is not None
    assert (found.state, found.ended_by) == ("ended", None)


@ensureDeferred
async def test_pauses_are_listed_by_state(database: Database) -> None:
    ids = [await pause(database, PauseScope(lane="tick")) for _ in range(3)]
    await finish(database, ids[1])
    await database.transact(send_pauses.end, ids=[ids[0]], ended_by="me")
    page = PageRequest(limit=10)
    states: list[tuple[PauseState, int]]
    states = [("ended", ids[0]), ("paused", ids[1]), ("pausing", ids[2])]
    for state, found in states:
        listed = await database.transact(send_pauses.list_page, page=page, state=state)
        assert [one.id for one in listed.rows] == [found]
        assert listed.rows[0] == await database.transact(send_pauses.find, pause_id=found)
    everything = await database.transact(send_pauses.list_page, page=evolve(page, limit=2))
    assert [one.id for one in everything.rows] == [ids[2], ids[1]]


@ensureDeferred
async def test_nobody_gets_two_messages_because_a_tick_was_skipped(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(2, direct.messageset("one", schedule), schedule)
    await pause(database, PauseScope(schedule_id=schedule), "skip")
    await open_tick(database, schedule)
    await resume(database)
    await open_tick(database, schedule)
    await expand(database)
    (first,) = await claim(database, limit=1)
    await settle(database, [first])
    await open_tick(database, schedule)  # the one before it is still being sent
    await expand(database)
    rest = await claim(database)
    assert [send.subscription_id for send in rest] != [first.subscription_id]
    assert len(rest) == 1
    assert direct.unbalanced_ticks() == []


@pytest.mark.parametrize("way", ["given back", "unknown"])
@ensureDeferred
async def test_a_send_that_is_owed_again_goes_into_the_queue_of_its_subscription(
    database: Database, direct: Arranged, way: str
) -> None:
    schedule, other = direct.schedule(), direct.schedule()
    direct.subscriptions(1, direct.messageset("one", schedule), schedule)
    await open_tick(database, schedule)
    await expand(database)
    (send,) = await claim(database)
    direct.rows("UPDATE subscriptions SET schedule_id = %s", other)
    result: SendResult = GivenBack(reason="x", delay=timedelta(0))
    if way == "unknown":
        result = Unknown(reason="reset")
    await database.transact(sends.settle, results=[(send, result)])
    if way == "unknown":
        (asked,) = await database.transact(
            sends.take_unknown, limit=1, settle=timedelta(0), lease=LEASE
        )
        await database.transact(sends.owe_again, absent=[(asked, timedelta(0))], reason="no")
    await pause(database, PauseScope(schedule_id=schedule))
    (again,) = await claim(database)
    assert again.schedule_id == other

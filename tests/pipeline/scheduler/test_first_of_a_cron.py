"""The first schedule with a cron is made alone, over all daemons; the others follow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from sbm.model.scheduler_call import Postponed
from sbm.pipeline.scheduler.outbox import AT_A_TIME, SchedulerOutbox
from sbm.store import scheduler_calls
from sbm.store.postgres.transaction import Transaction
from tests.e2e.end_to_end import pause
from tests.operations.test_scheduler_sync import differences
from tests.pipeline.scheduler.test_outbox import Outbox, answering, hang_up, store_and_hang_up
from tests.pipeline.scheduler.test_outbox import here as here

MINUTE = timedelta(seconds=60)


@define
class Gate:
    """Holds every POST until it is opened, and counts those that are under way together."""

    here: Outbox
    held: list[Any] = field(factory=list)
    most: int = 0
    _under_way: set[Any] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.here.door.troubles = _Always(self)  # type: ignore[assignment]

    def __call__(self, request: Any, body: Any) -> bool:
        if request.method != b"POST":
            return False
        self.held.append((request, body))
        self.most = max(self.most, len(self.held))
        return True

    def open(self) -> None:
        """Answer all that are held, as the Scheduler does."""
        held, self.held = self.held, []
        for request, body in held:
            made = self.here.door.model.create(**body)
            request.setResponseCode(201)
            request.write(b'{"id": "%s"}' % made.id.encode())
            request.finish()

    async def until(self, count: int) -> None:
        while len(self.held) < count:
            await pause(0.01)


class _Always:
    """The same trouble for every request."""

    def __init__(self, trouble: Any) -> None:
        self.trouble = trouble

    def pop(self, _: int) -> Any:
        return self.trouble


def begun(doing: SchedulerOutbox) -> Any:
    return Deferred.fromCoroutine(doing.one_pass())


def states(here: Outbox) -> dict[str, int]:
    rows = here.direct.rows("SELECT state, count(*) AS count FROM scheduler_calls GROUP BY state")
    return {row["state"]: row["count"] for row in rows}


@ensureDeferred
async def test_a_new_cron_is_told_once_and_then_by_many(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(30, here.set, here.schedule)
    gate = Gate(here)
    daemons = [here.doing(), here.doing()]
    first = begun(daemons[0])
    await gate.until(1)
    # The other finds nothing that it may do, however often it looks.
    while await daemons[1].one_pass():
        pass
    assert states(here) == {"claimed": 1, "waiting": 29}
    assert (gate.most, here.direct.value("SELECT max(attempt) FROM scheduler_calls")) == (1, 1)
    gate.open()
    await first
    passes = gatherResults([begun(one) for one in daemons])
    await gate.until(2 * AT_A_TIME)
    gate.open()
    await passes
    assert gate.most == 2 * AT_A_TIME
    last = begun(daemons[0])
    await gate.until(9)
    gate.open()
    await last
    assert (states(here), len(here.door.model)) == ({}, 30)


@ensureDeferred
async def test_what_waits_keeps_no_other_cron_from_its_turn(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(5000, here.set, here.schedule)
    other = here.direct.schedule(hour="17")
    here.direct.subscriptions(1, here.set, other)
    gate = Gate(here)
    daemons = [here.doing(), here.doing()]
    first = begun(daemons[0])
    await gate.until(1)
    second = begun(daemons[1])
    passes = 1
    while not gate.held[1:]:
        await pause(0.01)
        if second.called:
            second, passes = begun(daemons[1]), passes + 1
    assert [body["cron_definition"] for _, body in gate.held] == ["30 8 * * *", "* 17 * * *"]
    assert passes < 20
    gate.open()
    await gatherResults([first, second])


@ensureDeferred
async def test_several_new_crons_are_told_at_the_same_time(here: Outbox) -> None:
    await here.announce("subscription")
    for hour in range(3):
        here.direct.subscriptions(2, here.set, here.direct.schedule(hour=str(hour)))
    gate = Gate(here)
    doing = here.doing()
    first = begun(doing)
    await gate.until(3)
    assert len({body["cron_definition"] for _, body in gate.held}) == 3
    gate.open()
    await first
    second = begun(doing)
    await gate.until(3)
    gate.open()
    await second
    assert (states(here), len(here.door.model)) == ({}, 6)


@ensureDeferred
async def test_the_real_one_is_never_poisoned_by_several_daemons(here: Outbox) -> None:
    """The stand-in leaves two rows of a cron that two POSTs find missing at the same time."""
    await here.announce("subscription")
    for hour in range(5):
        here.direct.subscriptions(8, here.set, here.direct.schedule(hour=str(hour)))
    daemons = [here.doing() for _ in range(3)]
    while here.direct.value("SELECT count(*) FROM scheduler_calls"):
        here.hurry()
        await gatherResults([begun(one) for one in daemons])
        # From a second row on, the calls with that cron would never end.
        assert max(here.door.model.crons.count(f"* {hour} * * *") for hour in range(5)) <= 1
    assert len(here.door.model.enabled()) == 40


@pytest.mark.parametrize("longer", [timedelta(0), 10 * MINUTE])
@ensureDeferred
async def test_a_claim_of_a_later_transaction_keeps_the_cron(
    here: Outbox, longer: timedelta
) -> None:
    """A reservation that ends later than ours would is no sign of a wrong clock."""
    await here.announce("subscription")
    here.direct.subscriptions(2, here.set, here.schedule)
    first, second = here.database("subscription"), here.database("subscription")
    claim: dict[str, Any] = {"limit": 1, "window": 1, "lease": MINUTE, "settle": MINUTE}

    async def overtaken(transaction: Transaction) -> scheduler_calls.Claim:
        await transaction.begin()  # which is its now()
        later = await second.transact(scheduler_calls.claim, **claim | {"lease": MINUTE + longer})
        assert len(later.claimed) == 1
        return await scheduler_calls.claim(transaction, **claim)

    claimed = await first.transact(overtaken)
    assert (claimed.claimed, claimed.held_back) == ([], 1)
    assert states(here) == {"claimed": 1, "waiting": 1}
    await first.transact(scheduler_calls.claim, **claim)
    assert states(here) == {"claimed": 1, "waiting": 1}


@ensureDeferred
async def test_a_reservation_by_a_wrong_clock_ends(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(2, here.set, here.schedule)
    database = here.database("subscription")
    claim: dict[str, Any] = {"limit": 1, "window": 1, "lease": MINUTE, "settle": MINUTE}
    await database.transact(scheduler_calls.claim, **claim)
    here.direct.rows("UPDATE scheduler_crons SET taken_until = now() + interval '1 day'")
    doubted = await database.transact(scheduler_calls.claim, **claim, takes_over=False)
    assert (doubted.claimed, doubted.held_back) == ([], 1)
    claimed = await database.transact(scheduler_calls.claim, **claim)
    assert len(claimed.claimed) == 1


@ensureDeferred
async def test_a_lost_answer_keeps_the_cron_until_the_outcome_is_known(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(3, here.set, here.schedule)
    doing = here.doing()
    here.door.troubles.append(store_and_hang_up(here.door))
    await doing.one_pass()
    assert states(here) == {"owed": 1, "waiting": 2}
    await here.do_all(doing)
    assert states(here) == {}
    assert len(here.door.model) == 3


@ensureDeferred
async def test_a_lost_answer_keeps_the_cron_for_the_settle_time_at_most(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(3, here.set, here.schedule)
    doing = here.doing()
    here.door.troubles.append(hang_up)
    await doing.one_pass()
    here.hurry()
    await doing.one_pass()  # not found yet
    assert states(here) == {"owed": 1, "waiting": 2}
    assert [method for method, _ in here.door.changes] == ["POST"]
    here.age()
    await here.do_all(doing)
    assert (states(here), len(here.door.model)) == ({}, 3)
    assert {row["attempt"] for row in here.scheduler_calls()} == set()


@ensureDeferred
async def test_a_dead_daemon_keeps_the_cron_for_lease_and_settle_time(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(2, here.set, here.schedule)
    database = here.database("subscription")
    await database.transact(scheduler_calls.claim, limit=1, window=1, lease=MINUTE, settle=MINUTE)
    # It is deleted by hand, say: nobody will ever tell what came of its POST.
    here.direct.rows("DELETE FROM scheduler_calls WHERE state = 'claimed'")
    doing = here.doing()
    while await doing.one_pass():
        pass
    assert states(here) == {"waiting": 1}
    here.direct.rows("UPDATE scheduler_crons SET taken_until = now() - interval '1 second'")
    await doing.one_pass()
    assert states(here) == {}
    assert len(here.door.model) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 429])
@ensureDeferred
async def test_one_that_was_surely_not_made_leaves_the_cron_to_another(
    here: Outbox, status: int
) -> None:
    here.max_faults = 1
    await here.announce("subscription")
    here.direct.subscriptions(3, here.set, here.schedule)
    doing = here.doing()
    here.door.troubles.append(answering(status))
    await doing.one_pass()
    assert states(here).get("waiting", 0) == 1
    here.now += 3600
    await here.do_all(doing)
    assert len(here.door.model) == 3 - (status in (400, 404, 409))


@ensureDeferred
async def test_one_that_waits_uses_up_no_try(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(2, here.set, here.schedule)
    doing = here.doing()
    here.door.troubles += [answering(500), lambda *_: False]
    await doing.one_pass()
    (waiting,) = here.direct.rows("SELECT * FROM scheduler_calls WHERE state = 'waiting'")
    assert (waiting["attempt"], waiting["faults"], waiting["unknown_since"]) == (0, 0, None)


@ensureDeferred
async def test_one_that_waits_and_gets_another_cron_does_not_wait(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.subscriptions(2, here.set, here.schedule)
    doing = here.doing()
    here.door.troubles.append(hang_up)
    await doing.one_pass()
    other = here.direct.schedule(hour="17")
    here.direct.rows(
        "UPDATE subscriptions SET schedule_id = %s WHERE id::text IN"
        " (SELECT target FROM scheduler_calls WHERE state = 'waiting')",
        other,
    )
    here.direct.rows(
        "UPDATE scheduler_calls SET due_at = now() + interval '1 hour' WHERE attempt > 0"
    )
    await doing.one_pass()
    assert [one.cron_definition for one in here.door.model.enabled()] == ["* 17 * * *"]


@ensureDeferred
async def test_a_late_result_frees_no_cron_that_was_taken_since(here: Outbox) -> None:
    await here.announce("subscription")
    here.subscribe()
    database = here.database("subscription")
    claim: dict[str, Any] = {"limit": 1, "window": 1, "lease": -MINUTE, "settle": timedelta(0)}
    (late,) = (await database.transact(scheduler_calls.claim, **claim)).claimed
    await database.transact(scheduler_calls.expire, limit=1)
    here.direct.rows("UPDATE scheduler_calls SET unknown_since = NULL")
    await database.transact(scheduler_calls.claim, **(claim | {"lease": MINUTE}))
    await database.transact(
        scheduler_calls.settle, call=late, result=Postponed(reason="", delay=MINUTE, doubt="none")
    )
    (cron,) = here.direct.rows("SELECT * FROM scheduler_crons")
    assert cron["attempt"] == 2


@ensureDeferred
async def test_a_cron_that_a_listing_shows_is_known(here: Outbox) -> None:
    here.door.model.create(
        endpoint="http://elsewhere/", auth_token="x", cron_definition="30 8 * * *"
    )
    changed = here.door.model.create(
        endpoint="http://elsewhere/", auth_token="x", cron_definition="1 1 * * *"
    )
    here.door.model.change(changed.id, cron_definition="2 2 * * *")
    await here.announce("subscription")
    await differences(here)
    assert known(here) == ["30 8 * * *"]


def known(here: Outbox) -> list[str]:
    rows = here.direct.rows("SELECT cron_definition FROM scheduler_crons WHERE known_at < now()")
    return [row["cron_definition"] for row in rows]


@ensureDeferred
async def test_a_cron_that_no_listing_shows_is_forgotten(here: Outbox) -> None:
    """There is another Scheduler at the same address."""
    await here.announce("subscription")
    here.direct.subscriptions(3, here.set, here.schedule)
    await here.do_all(here.doing())
    assert known(here) == ["30 8 * * *"]
    for entry in here.door.model.entries():
        here.door.model.delete(entry.id)
    await differences(here, is_dry=True)
    assert known(here) == ["30 8 * * *"]
    await differences(here)
    assert known(here) == []
    doing = here.doing()
    await doing.one_pass()  # the ids in their metadata are gone
    gate = Gate(here)
    first = begun(doing)
    await gate.until(1)
    assert states(here) == {"claimed": 1, "waiting": 2}
    gate.open()
    await first


@ensureDeferred
async def test_the_cron_of_one_that_is_gone_is_forgotten(here: Outbox) -> None:
    await here.announce("subscription")
    here.subscribe()
    doing = here.doing()
    await here.do_all(doing)
    (entry,) = here.door.model.enabled()
    here.door.model.delete(entry.id)
    here.direct.rows("UPDATE scheduler_schedules SET enabled = false")
    here.direct.rows("SELECT owe_scheduler_call(kind, target) FROM scheduler_schedules")
    await doing.one_pass()
    assert known(here) == []
    await here.do_all(doing)
    assert known(here) == ["30 8 * * *"]

"""The Scheduler is told about changes, with a real database and over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.web.resource import Resource, getChildForRequest
from twisted.web.server import NOT_DONE_YET, Request, Site

from sbm.clients.scheduler import Scheduler as SimulatedServices
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import LeaseTime, LongestDelay, RequestTimeout, SettleTime, TickGrace
from sbm.model.scheduler_call import RemoteSchedule, Scheduling, StepDone
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.scheduler.missed_moments import MissedMoments
from sbm.pipeline.scheduler.outbox import SchedulerOutbox
from sbm.pipeline.scheduling_mode import SchedulingMode
from sbm.sandbox.stand_ins.scheduler import SchedulerApp
from sbm.sandbox.stand_ins.schedules import Scheduler
from sbm.settings.endpoints import DatabaseAddress, ServiceAddress
from sbm.store import scheduler_calls
from sbm.store.postgres.database import Database
from sbm.store.postgres.statements import Query
from sbm.telemetry import Telemetry
from tests.arrange import Arranged
from tests.wrong_clock import WrongClock

reactor: Any = _reactor

UTC = ZoneInfo("UTC")

Trouble = Callable[[Request, Any], bool]


@define(eq=False, slots=False)
class FaultyScheduler(Resource):
    """The Scheduler's HTTP face, with something wrong now and then; notes what was asked."""

    model: Scheduler
    troubles: list[Trouble] = field(factory=list)
    asked: list[tuple[str, str, Any]] = field(factory=list)
    isLeaf = True

    def __attrs_post_init__(self) -> None:
        Resource.__init__(self)
        self._face = SchedulerApp(
            scheduler=self.model, page_size=2, turn=lambda: deferLater(reactor, 0)
        ).resource()

    def render(self, request: Any) -> Any:
        body = json.loads(request.content.read() or b"null")
        request.content.seek(0)
        self.asked.append((request.method.decode(), request.uri.decode(), body))
        if self.troubles and self.troubles.pop(0)(request, body):
            return NOT_DONE_YET
        return getChildForRequest(self._face, request).render(request)

    @property
    def changes(self) -> list[tuple[str, Any]]:
        """The requests that it got."""
        return [(method, body) for method, _, body in self.asked if method != "GET"]


@define(eq=False)
class Outbox:
    """A database with one message set, a Scheduler, and who does the calls between them."""

    direct: Arranged
    address: DatabaseAddress
    url: str
    door: FaultyScheduler
    databases: list[Database] = field(factory=list)
    settle: timedelta = timedelta(seconds=60)
    max_faults: int = 10
    time_zone: ZoneInfo = UTC
    grace: timedelta = timedelta(hours=1)
    now: float = 0.0
    schedule: int = 0
    set: int = 0

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule(hour="8", minute=" 30 ")
        self.set = self.direct.messageset("set", self.schedule)

    def database(self, mode: Scheduling) -> Database:
        self.databases.append(
            Database(reactor=reactor, address=self.address, size=3, scheduling=mode)
        )
        return self.databases[-1]

    def doing(self, mode: Scheduling = "subscription") -> SchedulerOutbox:
        return SchedulerOutbox(
            database=self.database(mode),
            scheduler=SimulatedServices(
                client=ServiceClient(
                    reactor=reactor,
                    address=ServiceAddress(url=self.url, token="t"),
                    timeout=RequestTimeout(timedelta(seconds=30)),
                )
            ),
            breaker=Breaker(service="Scheduler", seconds=lambda: self.now, draw=lambda: 0.0),
            telemetry=Telemetry(),
            missed=MissedMoments(time_zone=self.time_zone, grace=TickGrace(self.grace)),
            public_url="http://sbm",
            auth_token="inbound",
            request_timeout=RequestTimeout(timedelta(seconds=30)),
            lease=LeaseTime(timedelta(seconds=150)),
            settle=SettleTime(self.settle),
            max_faults=self.max_faults,
            cap=LongestDelay(timedelta(seconds=60)),
            draw=lambda: 0.0,
        )

    async def announce(self, mode: Scheduling) -> None:
        await SchedulingMode(database=self.database(mode), mode=mode).one_pass()

    async def do_all(self, doing: SchedulerOutbox) -> None:
        """Do what is owed, as if no time had to pass."""
        while self.direct.value("SELECT count(*) FROM scheduler_calls WHERE state = 'owed'"):
            self.hurry()
            assert await doing.one_pass()

    async def do_all_of(self, kind: str, doing: SchedulerOutbox) -> None:
        """Do what is owed of a kind, while nothing of another is owed yet."""
        while self.direct.value("SELECT count(*) FROM scheduler_calls WHERE kind = %s", kind):
            await doing.one_pass()

    def hurry(self) -> None:
        self.direct.rows("UPDATE scheduler_calls SET due_at = now() WHERE state = 'owed'")

    def age(self) -> None:
        """Let the settle time be over."""
        self.direct.rows(
            "UPDATE scheduler_calls SET unknown_since = now() - interval '1 day'"
            " WHERE unknown_since IS NOT NULL"
        )

    def subscribe(self) -> UUID:
        return self.direct.subscriptions(1, self.set, self.schedule)[0]

    def scheduler_calls(self) -> list[dict[str, Any]]:
        return self.direct.rows("SELECT * FROM scheduler_calls ORDER BY id")

    def remote_id(self, subscription: UUID) -> Any:
        return (self.direct.subscription(subscription)["metadata"] or {}).get(
            "scheduler_schedule_id"
        )


@pytest_twisted.async_yield_fixture
async def here(direct: Arranged, database_uri: str) -> AsyncIterator[Outbox]:
    door = FaultyScheduler(Scheduler())
    port = reactor.listenTCP(0, Site(door), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    here = Outbox(direct, DatabaseAddress.parse(database_uri), url, door)
    yield here
    for database in here.databases:
        database.stopService()
    await port.stopListening()


def store_and_hang_up(door: FaultyScheduler) -> Trouble:
    def trouble(request: Any, body: Any) -> bool:
        door.model.create(**body)
        request.transport.abortConnection()
        return True

    return trouble


def answering(status: int) -> Trouble:
    def trouble(request: Any, _: Any) -> bool:
        request.setResponseCode(status)
        request.write(b'{"detail": "so it is"}')
        request.finish()
        return True

    return trouble


def hang_up(request: Any, _: Any) -> bool:
    request.transport.abortConnection()
    return True


def nothing(_request: Request, _body: Any) -> bool:
    return False


def payload(subscription: UUID) -> dict[str, Any]:
    return {
        "frequency": None,
        "cron_definition": "30 8 * * *",
        "endpoint": f"http://sbm/api/v1/subscriptions/{subscription}/send",
        "auth_token": "inbound",
    }


@ensureDeferred
async def test_a_subscription_is_told_of_disabled_enabled_and_changed(here: Outbox) -> None:
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.subscribe()
    await here.do_all(doing)
    assert here.door.changes == [("POST", payload(subscription))]
    (entry,) = here.door.model.enabled()
    assert here.remote_id(subscription) == entry.id

    for change, told in (
        ("completed = true, active = false", {"enabled": False}),
        ("completed = false, active = true", {"enabled": True}),
        ("active = false", {"enabled": False}),
        ("active = true", {"enabled": True}),
    ):
        here.direct.rows(f"UPDATE subscriptions SET {change}")  # noqa: S608
        await here.do_all(doing)
        assert here.door.changes[-1] == ("PATCH", told)

    other = here.direct.schedule(day_of_week="1, 3")
    here.direct.rows("UPDATE subscriptions SET schedule_id = %s", other)
    await here.do_all(doing)
    assert here.door.changes[-2:] == [
        ("PATCH", {"enabled": False}),
        ("POST", payload(subscription) | {"cron_definition": "* * * * 1,3"}),
    ]
    (entry,) = here.door.model.enabled()
    assert here.remote_id(subscription) == entry.id
    here.direct.rows("DELETE FROM subscriptions")
    await here.do_all(doing)
    assert here.door.changes[-1] == ("PATCH", {"enabled": False})
    assert len(here.door.changes) == 8
    assert here.direct.rows("SELECT * FROM scheduler_schedules") == []


@ensureDeferred
async def test_what_changes_nothing_for_the_scheduler_owes_it_nothing(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.rows(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, active)"
        " VALUES ('x', %s, %s, 'eng', false)",
        *(here.set, here.schedule),
    )
    here.direct.rows("UPDATE subscriptions SET completed = true, active = false, lang = 'zul'")
    here.direct.rows("UPDATE schedules SET minute = '30', next_tick_at = now()")
    assert here.scheduler_calls() == []


@ensureDeferred
async def test_a_change_that_is_rolled_back_owes_nothing(here: Outbox) -> None:
    await here.announce("subscription")
    here.direct.rows(
        "DO $$ BEGIN INSERT INTO schedules DEFAULT VALUES;"
        " INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)"
        " SELECT 'x', id, default_schedule_id, 'eng' FROM messagesets; RAISE 'no';"
        " EXCEPTION WHEN raise_exception THEN NULL; END $$"
    )
    assert here.scheduler_calls() == []


@ensureDeferred
async def test_a_whole_schedule_is_told_of_and_its_members_are_not(here: Outbox) -> None:
    await here.announce("schedule")
    doing = here.doing("schedule")
    here.subscribe()
    schedule = here.direct.schedule(day_of_week="2")
    await here.do_all(doing)
    told = {
        "frequency": None,
        "cron_definition": "* * * * 2",
        "endpoint": f"http://sbm/api/v1/schedule/{schedule}/send/",
        "auth_token": "inbound",
    }
    here.direct.rows("UPDATE schedules SET day_of_week = '' WHERE id = %s", schedule)
    await here.do_all(doing)
    here.direct.rows("DELETE FROM schedules WHERE id = %s", schedule)
    await here.do_all(doing)
    assert here.door.changes == [
        ("POST", told),
        ("PATCH", {"enabled": False}),
        ("POST", told | {"cron_definition": "* * * * *"}),
        ("PATCH", {"enabled": False}),
    ]


@ensureDeferred
async def test_other_fields_of_a_schedule_are_told_for_each_of_its_members(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    doing = here.doing()
    first, second, gone = (here.subscribe() for _ in range(3))
    await here.do_all(doing)
    here.direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", gone)
    await here.do_all(doing)
    here.door.asked.clear()
    here.direct.rows("UPDATE schedules SET hour = '9' WHERE id = %s", here.schedule)
    await here.do_all(doing)
    told = [body["endpoint"] for method, body in here.door.changes if method == "POST"]
    assert sorted(told) == sorted(payload(one)["endpoint"] for one in (first, second))
    assert {one.cron_definition for one in here.door.model.enabled()} == {"30 9 * * *"}


@ensureDeferred
async def test_a_daemon_goes_by_its_own_setting_before_anybody_has_announced_it(
    here: Outbox,
) -> None:
    database = here.database("subscription")

    async def subscribe(transaction: Any) -> None:
        await transaction.execute(
            _query("INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)"),
        )

    await database.transact(subscribe)
    (call,) = here.scheduler_calls()
    assert call["kind"] == "subscription"


def _query(insert: str) -> Any:
    return Query(
        name="subscribe",
        returns="exec",
        sql=f"{insert} SELECT 'x', id, default_schedule_id, 'eng' FROM messagesets",  # noqa: S608
    )


@ensureDeferred
async def test_one_whose_answer_was_lost_is_found_and_not_made_again(here: Outbox) -> None:
    await here.announce("subscription")
    doing = here.doing()
    for _ in range(3):  # so that it is not on the first page
        here.door.model.create(endpoint="http://elsewhere/", auth_token="x")
    subscription = here.subscribe()
    here.door.troubles.append(store_and_hang_up(here.door))
    await doing.one_pass()
    for _ in range(3):
        here.door.model.create(endpoint="http://elsewhere/", auth_token="x")
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes] == ["POST"]
    assert here.remote_id(subscription) in {one.id for one in here.door.model.enabled()}


@ensureDeferred
async def test_a_clock_that_is_days_ahead_does_not_hide_one_that_was_made(here: Outbox) -> None:
    WrongClock(here.direct).set(3 * 86_400.0)
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.subscribe()
    here.door.troubles.append(store_and_hang_up(here.door))
    await doing.one_pass()
    for _ in range(3):  # so that it is not on the first page
        here.door.model.create(endpoint="http://elsewhere/", auth_token="x")
    here.hurry()
    here.age()
    await doing.one_pass()
    assert [method for method, _ in here.door.changes] == ["POST"]
    assert here.remote_id(subscription) in {one.id for one in here.door.model.enabled()}


@ensureDeferred
async def test_one_that_is_not_found_is_made_when_the_settle_time_is_over(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()
    here.door.troubles.append(hang_up)
    await doing.one_pass()
    here.hurry()
    await doing.one_pass()
    assert [method for method, _ in here.door.changes] == ["POST"]
    (call,) = here.scheduler_calls()
    assert "looked for" in call["reason"]
    here.age()
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes] == ["POST", "POST"]
    assert len(here.door.model) == 1


@ensureDeferred
async def test_one_that_a_dead_daemon_may_have_had_made_is_looked_for(here: Outbox) -> None:
    await here.announce("subscription")
    subscription = here.subscribe()
    dead = here.database("subscription")
    await dead.transact(
        scheduler_calls.claim,
        limit=1,
        window=1,
        lease=timedelta(seconds=60),
        settle=timedelta(seconds=60),
    )
    made = here.door.model.create(**payload(subscription))
    doing = here.doing()
    assert await doing.one_pass() == 0
    here.direct.rows("UPDATE scheduler_calls SET lease_until = now() - interval '1 second'")
    await doing.expire()
    await here.do_all(doing)
    assert here.door.changes == []
    assert here.remote_id(subscription) == made.id


@ensureDeferred
async def test_of_several_that_were_made_one_stays_enabled(here: Outbox) -> None:
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.subscribe()
    first = here.door.model.create(**payload(subscription))
    here.door.troubles.append(store_and_hang_up(here.door))
    await doing.one_pass()
    await here.do_all(doing)
    assert [one.id for one in here.door.model.enabled()] == [first.id]
    assert here.remote_id(subscription) == first.id


@ensureDeferred
async def test_one_that_was_made_by_who_had_lost_the_lease_is_disabled(here: Outbox) -> None:
    await here.announce("subscription")
    subscription = here.subscribe()
    database = here.database("subscription")
    late: Any = here.doing()
    claim = await database.transact(
        scheduler_calls.claim,
        limit=1,
        window=1,
        lease=timedelta(seconds=0),
        settle=timedelta(seconds=0),
    )
    (claimed,) = claim.claimed
    await late.expire()
    here.direct.rows("UPDATE scheduler_calls SET unknown_since = NULL")
    await here.do_all(late)
    surplus = here.door.model.create(**payload(subscription))
    told = StepDone(
        remote=RemoteSchedule(id=surplus.id, cron_definition="30 8 * * *", enabled=True)
    )
    await database.transact(scheduler_calls.settle, call=claimed, result=told)
    await here.do_all(late)
    (kept,) = here.door.model.enabled()
    assert kept.id == here.remote_id(subscription) != surplus.id


@ensureDeferred
async def test_what_changes_while_a_scheduler_call_is_done_is_told_after_it(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()

    def change(_request: Any, _body: Any) -> bool:
        here.direct.rows("UPDATE subscriptions SET active = false")
        return False

    here.door.troubles.append(change)
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes] == ["POST", "PATCH"]
    assert here.door.model.enabled() == []


@ensureDeferred
async def test_a_scheduler_that_is_away_is_waited_for(here: Outbox) -> None:
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()
    here.door.troubles += [answering(401)]
    await doing.one_pass()
    here.hurry()
    (call,) = here.scheduler_calls()
    assert (call["state"], call["unknown_since"]) == ("owed", None)
    assert "401" in call["reason"]
    here.now += 3600
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes] == ["POST", "POST"]


@ensureDeferred
async def test_what_the_scheduler_refuses_is_kept_and_tried_again_once_changed(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.subscribe()
    here.door.troubles += [answering(400)]
    await doing.one_pass()
    (call,) = here.scheduler_calls()
    assert call["state"] == "refused"
    assert "400" in call["reason"]
    here.hurry()
    assert await doing.one_pass() == 0
    here.direct.rows("UPDATE subscriptions SET active = false")
    here.direct.rows("UPDATE subscriptions SET active = true")
    await here.do_all(doing)
    assert here.remote_id(subscription) is not None


@ensureDeferred
async def test_a_change_that_always_fails_is_given_up(here: Outbox) -> None:
    here.max_faults = 2
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()
    await here.do_all(doing)
    here.direct.rows("UPDATE subscriptions SET active = false")
    here.door.troubles += [answering(500), nothing, answering(500), nothing]
    await doing.one_pass()
    here.hurry()
    await doing.one_pass()
    (call,) = here.scheduler_calls()
    assert call["state"] == "refused"
    assert "tried 2 times" in call["reason"]


@ensureDeferred
async def test_a_change_is_not_given_up_while_the_scheduler_answers_nothing_but_errors(
    here: Outbox,
) -> None:
    here.max_faults = 1
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()
    await here.do_all(doing)
    here.direct.rows("UPDATE subscriptions SET active = false")
    here.door.troubles += [answering(500), answering(500)]
    await doing.one_pass()
    assert [call["state"] for call in here.scheduler_calls()] == ["owed"]
    await here.do_all(doing)
    assert here.door.model.enabled() == []


@ensureDeferred
async def test_what_is_gone_there_is_made_anew_or_left(here: Outbox) -> None:
    await here.announce("subscription")
    doing = here.doing()
    kept, left = here.subscribe(), here.subscribe()
    await here.do_all(doing)
    for entry in here.door.model.enabled():
        here.door.model.delete(entry.id)
    here.door.asked.clear()
    here.direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", left)
    here.direct.rows(
        "UPDATE subscriptions SET schedule_id = %s WHERE id = %s", here.direct.schedule(), kept
    )
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes if method == "POST"] == ["POST"]
    (entry,) = here.door.model.enabled()
    assert here.remote_id(kept) == entry.id
    assert here.remote_id(left) is None


@ensureDeferred
async def test_a_404_of_somebody_else_proves_nothing(here: Outbox) -> None:
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.subscribe()
    await here.do_all(doing)
    here.direct.rows("UPDATE subscriptions SET active = false")
    here.door.troubles += [answering(404), answering(404)]
    await doing.one_pass()
    assert here.remote_id(subscription) is not None
    here.now += 3600
    await here.do_all(doing)
    assert here.door.model.enabled() == []


@pytest.mark.parametrize("metadata", [["a"], "text"])
@ensureDeferred
async def test_metadata_that_is_no_object_is_left_as_it_is(here: Outbox, metadata: Any) -> None:
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.direct.subscriptions(1, here.set, here.schedule, metadata=metadata)[0]
    await here.do_all(doing)
    here.direct.rows("UPDATE subscriptions SET active = false")
    await here.do_all(doing)
    assert here.direct.subscription(subscription)["metadata"] == metadata
    assert [body for _, body in here.door.changes][-1] == {"enabled": False}


@ensureDeferred
async def test_an_id_that_only_the_metadata_has_is_believed(here: Outbox) -> None:
    old = here.door.model.create(endpoint="http://old/send", auth_token="old")
    subscription = here.direct.subscriptions(
        1, here.set, here.schedule, metadata={"scheduler_schedule_id": old.id, "a": 1}
    )[0]
    await here.announce("subscription")
    doing = here.doing()
    here.direct.rows("DELETE FROM subscriptions WHERE id = %s", subscription)
    await here.do_all(doing)
    assert here.door.changes == [("PATCH", {"enabled": False})]


@ensureDeferred
async def test_an_id_in_metadata_that_was_copied_from_another_is_not_hers(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    doing = here.doing()
    first = here.subscribe()
    await here.do_all(doing)
    copied = {"scheduler_schedule_id": here.remote_id(first)}
    second, gone = here.direct.subscriptions(2, here.set, here.schedule, metadata=copied)
    here.direct.rows("DELETE FROM subscriptions WHERE id = %s", gone)
    await here.do_all(doing)
    enabled = {one.endpoint: one.id for one in here.door.model.enabled()}
    assert enabled == {payload(one)["endpoint"]: here.remote_id(one) for one in (first, second)}


@ensureDeferred
async def test_several_daemons_make_each_call_once(here: Outbox) -> None:
    await here.announce("subscription")
    ids = [here.subscribe() for _ in range(12)]
    doing = [here.doing(), here.doing()]
    while here.direct.value("SELECT count(*) FROM scheduler_calls"):
        here.hurry()
        await gatherResults([_begun(one) for one in doing])
    assert sorted(body["endpoint"] for _, body in here.door.changes) == sorted(
        payload(one)["endpoint"] for one in ids
    )


def _begun(doing: SchedulerOutbox) -> Any:
    return Deferred.fromCoroutine(doing.one_pass())


@ensureDeferred
async def test_a_scheduler_call_for_what_was_never_there_is_done_without_a_call(
    here: Outbox,
) -> None:
    doing = here.doing()
    database = here.database("subscription")
    await database.transact(scheduler_calls.owe, kind="subscription", target=str(uuid4()))
    await here.do_all(doing)
    assert here.door.asked == []


@ensureDeferred
async def test_that_it_is_scheduled_otherwise_is_new_once_and_only_to_schedules(
    here: Outbox,
) -> None:
    database = here.database("subscription")
    said = [
        await database.transact(scheduler_calls.set_scheduling, mode="subscription")
        for _ in range(2)
    ]
    assert said == [True, False]
    here.direct.rows("DELETE FROM messages; DELETE FROM messagesets; DELETE FROM schedules")
    assert not await database.transact(scheduler_calls.set_scheduling, mode="schedule")
    assert await database.transact(scheduler_calls.read_scheduling) == "schedule"

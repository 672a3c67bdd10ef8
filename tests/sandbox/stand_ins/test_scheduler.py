"""The stand-in of the Scheduler, and the calls that it makes."""

from __future__ import annotations

import json
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from attrs import define, field
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import ResponseNeverReceived
from twisted.web.test.requesthelper import DummyRequest

from sbm.sandbox.stand_ins.scheduler import CallBacks, SchedulerApp
from sbm.sandbox.stand_ins.schedules import Schedule, Scheduler
from tests.sandbox.wire import SetClock, Wire, result_of

ENDPOINT = "http://sbm.example/api/v1/schedule/1/send/"
NEW = {
    "frequency": None,
    "cron_definition": "0 8 * * 1",
    "endpoint": ENDPOINT,
    "auth_token": "inbound",
}


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def scheduler(clock: SetClock) -> Scheduler:
    return Scheduler(clock=clock)


@pytest.fixture
def wire(scheduler: Scheduler) -> Wire:
    return Wire(SchedulerApp(scheduler=scheduler, page_size=2).resource())


def test_a_post_answers_with_all_of_the_schedule() -> None:
    schedule_id = UUID("00000000-0000-4000-8000-000000000001")
    scheduler = Scheduler(clock=SetClock(), new_id=lambda: schedule_id)
    answer = Wire(SchedulerApp(scheduler=scheduler).resource()).post("/schedule/", NEW)
    assert answer.status == 201
    assert list(answer.body.items()) == [
        ("url", f"http://far.example/schedule/{schedule_id}/"),
        ("id", str(schedule_id)),
        ("frequency", None),
        ("cron_definition", "0 8 * * 1"),
        ("interval_definition", None),
        ("endpoint", ENDPOINT),
        ("payload", {}),
        ("auth_token", "inbound"),
        ("next_send_at", None),
        ("enabled", True),
        ("created_at", "2024-05-01T12:00:00Z"),
        ("created_by", None),
        ("updated_at", "2024-05-01T12:00:00Z"),
        ("updated_by", None),
    ]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, ["endpoint", "auth_token"]),
        ({**NEW, "endpoint": "nowhere"}, ["endpoint"]),
        ({**NEW, "auth_token": ""}, ["auth_token"]),
        ({**NEW, "enabled": "perhaps"}, ["enabled"]),
        ({**NEW, "frequency": "often"}, ["frequency"]),
    ],
)
def test_what_makes_no_schedule_is_refused_by_name(
    wire: Wire, body: dict[str, Any], names: list[str]
) -> None:
    answer = wire.post("/schedule/", body)
    assert (answer.status, list(answer.body)) == (400, names)


def test_a_list_is_newest_first_by_pages(wire: Wire) -> None:
    ids = [wire.post("/schedule", NEW).body["id"] for _ in range(3)]
    first = wire.get("/schedule/").body
    second = wire.get(first["next"]).body
    assert [row["id"] for row in first["results"] + second["results"]] == ids[::-1]
    assert second["next"] is None
    assert wire.get(second["previous"]).body["results"] == first["results"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_patch_sets_what_it_names(wire: Wire, clock: SetClock, slash: str) -> None:
    created = wire.post("/schedule/", NEW).body
    clock.advance(hours=1)
    path = f"/schedule/{created['id']}{slash}"
    changed = wire.ask("PATCH", path, {"enabled": False, "id": "other", "colour": "red"})
    assert changed.status == 200
    assert changed.body == {**created, "enabled": False, "updated_at": "2024-05-01T13:00:00Z"}
    assert wire.get(path).body == changed.body


def test_a_deleted_schedule_is_gone(wire: Wire) -> None:
    path = f"/schedule/{wire.post('/schedule/', NEW).body['id']}/"
    assert wire.ask("DELETE", path).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert wire.ask(method, path, {"enabled": False}).status == 404


def test_schedules_hold_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "schedules.jsonl"
    before = Scheduler(path=path)
    ids = [before.create(endpoint=ENDPOINT, auth_token="x").id for _ in range(3)]
    before.change(ids[0], enabled=False, payload={"a": 1})
    before.delete(ids[1])
    before.close()
    after = Scheduler(path=path)
    assert [after.get(ids[0]), after.get(ids[2])] == [before.get(ids[0]), before.get(ids[2])]
    assert [schedule.id for schedule in after.enabled()] == [ids[2]]
    assert len(after) == 2
    after.close()


def test_a_patch_of_the_cron_changes_the_text_and_not_when_it_fires(
    wire: Wire, scheduler: Scheduler
) -> None:
    made = wire.post("/schedule/", NEW).body
    changed = wire.ask("PATCH", f"/schedule/{made['id']}/", {"cron_definition": "0 9 * * 1"})
    assert (changed.status, changed.body["cron_definition"]) == (200, "0 9 * * 1")
    assert scheduler.get(made["id"]).fires_at == "0 8 * * 1"


def test_when_it_fires_and_the_rows_of_crons_hold_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "schedules.jsonl"
    before = Scheduler(path=path)
    made = before.create(endpoint=ENDPOINT, auth_token="x", cron_definition="0 8 * * *")
    before.change(made.id, cron_definition="0 9 * * *")
    before.add_cron("0 8 * * *")
    before.close()
    after = Scheduler(path=path)
    assert after.get(made.id).fires_at == "0 8 * * *"
    assert [after.crons.count(cron) for cron in ("0 8 * * *", "0 9 * * *")] == [2, 0]
    after.close()


def test_concurrent_posts_with_a_new_cron_spoil_it_for_good(scheduler: Scheduler) -> None:
    turns: list[Deferred[None]] = []

    def turn() -> Deferred[None]:
        turns.append(Deferred())
        return turns[-1]

    app = SchedulerApp(scheduler=scheduler, turn=turn)
    posts = [Deferred.fromCoroutine(app.create(posted(NEW))) for _ in range(3)]
    answers: list[Any] = []
    for post in posts:
        post.addBoth(answers.append)
    while turns:
        turns.pop(0).callback(None)
    assert answers[0].status == 201
    assert {answer.value.reply.status for answer in answers[1:]} == {500}
    assert (len(scheduler), scheduler.crons.count("0 8 * * 1")) == (1, 3)
    later = Wire(SchedulerApp(scheduler=scheduler).resource()).ask(
        "POST", "/schedule/", NEW, parse=False
    )
    assert (later.status, later.headers["content-type"]) == (500, "text/html")
    other = Wire(SchedulerApp(scheduler=scheduler).resource()).post(
        "/schedule/", NEW | {"cron_definition": "0 9 * * 1"}
    )
    assert other.status == 201


def posted(body: dict[str, Any]) -> Any:
    """A request as a handler sees it."""
    request: Any = DummyRequest([b"schedule"])
    request.path = b"/schedule/"
    request.content = BytesIO(json.dumps(body).encode())
    request.requestHeaders.setRawHeaders("content-type", ["application/json"])
    request.requestHeaders.setRawHeaders("host", ["far.example"])
    request.isSecure = lambda: False
    return request


def test_posts_one_after_the_other_spoil_nothing(wire: Wire, scheduler: Scheduler) -> None:
    assert [wire.post("/schedule/", NEW).status for _ in range(3)] == [201] * 3
    assert scheduler.crons.count("0  8 * * 1") == 1


@pytest.mark.parametrize("cron", ["0 8 * * 7", "0 8 * * 5-7", "5/20 8 * * *", "0 8 * * 1,7"])
def test_what_never_fires_is_taken_and_never_called(
    wire: Wire, scheduler: Scheduler, cron: str
) -> None:
    assert wire.post("/schedule/", NEW | {"cron_definition": cron}).status == 201
    endpoint = CalledEndpoint()
    new_schedule(scheduler, endpoint="http://sbm.example/other", cron_definition="* * * * *")
    _, clock = calling(scheduler, endpoint.treq())
    clock.advance(3)
    assert [url for url, _, _ in endpoint.calls] == ["http://sbm.example/other"]


def test_a_date_that_does_not_exist_hangs_all_for_good(scheduler: Scheduler) -> None:
    endpoint = CalledEndpoint()
    new_schedule(scheduler, cron_definition="* * * * *")
    hanging = new_schedule(scheduler, cron_definition="0 0 31 4,6 *")
    _, clock = calling(scheduler, endpoint.treq())
    clock.advance(3)
    scheduler.change(hanging.id, enabled=False)
    clock.advance(3)
    scheduler.delete(hanging.id)
    clock.advance(3)
    assert endpoint.calls == []


@define
class CalledEndpoint:
    """An endpoint that remembers the calls, and answers with a status."""

    status: int = 202
    calls: list[tuple[str, str, Any]] = field(factory=list)

    def answer(
        self, _method: bytes, url: str, _params: object, headers: Any, data: bytes
    ) -> tuple[int, dict[str, bytes], bytes]:
        self.calls.append((url, headers[b"Authorization"][0].decode(), json.loads(data)))
        return self.status, {}, b"{}"

    def treq(self) -> Any:
        return StubTreq(StringStubbingResource(self.answer))


@define
class NoAnswer:
    """A client whose calls stay open until they are cancelled."""

    open: list[Deferred[Any]] = field(factory=list)
    cancelled: int = 0

    def post(self, url: str, **kwargs: Any) -> Deferred[Any]:
        def cancel(waiting: Deferred[Any]) -> None:
            self.cancelled += 1
            waiting.errback(ResponseNeverReceived([]))

        call: Deferred[Any] = Deferred(cancel)
        self.open.append(call)
        return call


def calling(scheduler: Scheduler, treq: Any, **settings: Any) -> tuple[CallBacks, Clock]:
    clock: Any = Clock()
    pace = timedelta(seconds=3)
    service = CallBacks(scheduler=scheduler, treq=treq, clock=clock, pace=pace, **settings)
    service.startService()
    return service, clock


def new_schedule(scheduler: Scheduler, **fields: Any) -> Schedule:
    return scheduler.create(**{"endpoint": ENDPOINT, "auth_token": "inbound", **fields})


def test_every_enabled_schedule_is_called_once_per_pace(scheduler: Scheduler) -> None:
    endpoint = CalledEndpoint()
    new_schedule(scheduler)
    new_schedule(scheduler, endpoint="http://sbm.example/off", enabled=False)
    _, clock = calling(scheduler, endpoint.treq())
    assert endpoint.calls == []
    clock.pump([3, 3])
    assert endpoint.calls == [(ENDPOINT, "Token inbound", {})] * 2
    assert list(scheduler.failures) == []


def test_with_turns_each_schedule_is_called_in_its_own(scheduler: Scheduler) -> None:
    endpoint = CalledEndpoint()
    ends = [f"http://sbm.example/{number}" for number in range(4)]
    for end in ends:
        new_schedule(scheduler, endpoint=end)
    _, clock = calling(scheduler, endpoint.treq(), turns=3)
    clock.pump([3] * 4)
    called = [url for url, _, _ in endpoint.calls]
    assert called == [ends[0], ends[3], ends[1], ends[2], ends[0], ends[3]]


def test_a_schedule_made_or_disabled_while_running_counts_at_once(scheduler: Scheduler) -> None:
    endpoint = CalledEndpoint()
    _, clock = calling(scheduler, endpoint.treq())
    schedule = new_schedule(scheduler)
    clock.advance(3)
    scheduler.change(schedule.id, enabled=False)
    clock.advance(3)
    assert len(endpoint.calls) == 1


def test_an_answer_that_is_no_success_is_recorded_and_called_again(scheduler: Scheduler) -> None:
    endpoint = CalledEndpoint(status=503)
    schedule = new_schedule(scheduler)
    _, clock = calling(scheduler, endpoint.treq())
    clock.pump([3, 3])
    assert [(f.schedule_id, f.reason) for f in scheduler.failures] == [
        (schedule.id, "status 503")
    ] * 2


def test_a_refused_connection_is_recorded_and_called_again(scheduler: Scheduler) -> None:
    client = NoAnswer()
    new_schedule(scheduler)
    _, clock = calling(scheduler, client)
    clock.advance(3)
    client.open[0].errback(error.ConnectionRefusedError())
    clock.advance(3)
    assert [failure.reason.partition(":")[0] for failure in scheduler.failures] == [
        "ConnectionRefusedError"
    ]
    assert len(client.open) == 2


def test_a_schedule_whose_call_is_under_way_is_passed_over(scheduler: Scheduler) -> None:
    client = NoAnswer()
    new_schedule(scheduler)
    _, clock = calling(scheduler, client)
    clock.pump([3, 3, 3])
    assert len(client.open) == 1


def test_a_call_that_is_not_answered_in_time_is_recorded(scheduler: Scheduler) -> None:
    client = NoAnswer()
    new_schedule(scheduler)
    _, clock = calling(scheduler, client, patience=timedelta(seconds=2))
    clock.pump([3, 2])
    assert client.cancelled == 1
    assert [failure.reason for failure in scheduler.failures] == [
        "TimeoutError: no answer within 2.0 s"
    ]


def test_calls_beyond_the_concurrency_wait_for_a_place(scheduler: Scheduler) -> None:
    client = NoAnswer()
    for _ in range(3):
        new_schedule(scheduler)
    _, clock = calling(scheduler, client, concurrency=2)
    clock.advance(3)
    assert len(client.open) == 2
    client.open[0].errback(error.ConnectionRefusedError())
    assert len(client.open) == 3


def test_a_schedule_disabled_while_it_waited_is_not_called(scheduler: Scheduler) -> None:
    client = NoAnswer()
    _, second = new_schedule(scheduler), new_schedule(scheduler)
    _, clock = calling(scheduler, client, concurrency=1)
    clock.advance(3)
    scheduler.change(second.id, enabled=False)
    client.open[0].errback(error.ConnectionRefusedError())
    assert len(client.open) == 1


def test_stopping_breaks_off_every_call_and_makes_no_more(scheduler: Scheduler) -> None:
    client = NoAnswer()
    for _ in range(3):
        new_schedule(scheduler)
    service, clock = calling(scheduler, client, concurrency=2)
    clock.advance(3)
    result_of(service.stopService())
    clock.pump([3, 30])
    assert (len(client.open), client.cancelled) == (2, 2)
    assert list(scheduler.failures) == []
    assert clock.getDelayedCalls() == []


class SlowToCancel:
    """A client whose call, cancelled, closes its socket, and only then ends."""

    def __init__(self) -> None:
        self.closed: Deferred[Any] = Deferred()

    def post(self, url: str, **kwargs: Any) -> Deferred[Any]:
        call: Deferred[Any] = Deferred(lambda waiting: waiting.callback(None))
        return call.addCallback(lambda _: self.closed)


def test_stopping_waits_for_a_call_that_ends_later(scheduler: Scheduler) -> None:
    client = SlowToCancel()
    new_schedule(scheduler)
    service, clock = calling(scheduler, client)
    clock.advance(3)
    stopped = service.stopService()
    waited = not stopped.called
    client.closed.errback(ResponseNeverReceived([]))
    assert (waited, stopped.called) == (True, True)
    assert list(scheduler.failures) == []


def test_it_starts_again_after_it_was_stopped(scheduler: Scheduler) -> None:
    endpoint = CalledEndpoint()
    new_schedule(scheduler)
    service, clock = calling(scheduler, endpoint.treq())
    result_of(service.stopService())
    service.startService()
    clock.advance(3)
    assert len(endpoint.calls) == 1

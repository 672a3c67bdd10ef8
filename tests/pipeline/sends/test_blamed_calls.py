"""A failure of one call to the Scheduler counts against it, and stops no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from sbm.clients.http_connection import MAX_BODY_BYTES
from tests.pipeline.scheduler.test_outbox import Outbox
from tests.pipeline.scheduler.test_outbox import here as here

# Of the Scheduler as a whole, whatever it was asked.
ITS_OWN = (401, 403, 429, 503)
# Neither the Scheduler's own, nor understood and refused.
OTHERS = (302, 304, 402, 404, 405, 408, 409, 418, 451, 500, 502, 504, 599)
GARBLED = {
    "no id": b'{"detail": "made"}',
    "no JSON": b"<h1>Created</h1>",
    "a list": b"[]",
    "NUL": b"\0\0",
    "an id that is none": b'{"id": "\\u0000"}',
    "a surrogate for an id": b'{"id": "\\ud800"}',
    "too long": b'"' + b"x" * MAX_BODY_BYTES + b'"',
}


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "call" in event:
            lines.append(f"{event['log_level'].name} {event['call']}: {event['reason']}")

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@define
class FailsForOne:
    """Answers every call of one method about one target in this way, others as it should."""

    here: Outbox
    method: bytes
    about: str
    status: int = 500
    body: bytes = b"<h1>Server Error (500)</h1>"
    count: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.here.door.troubles = self  # type: ignore[assignment]

    def pop(self, _: int) -> Any:
        return self._answer

    def _answer(self, request: Any, body: Any) -> bool:
        about = f"{request.uri.decode()} {(body or {}).get('endpoint')}"
        if request.method != self.method or self.about not in about:
            return False
        self.count += 1
        request.setResponseCode(self.status)
        if self.status not in (304,):
            request.write(self.body)
        request.finish()
        return True


async def until_ended(here: Outbox, doing: Any) -> None:
    """Do what is owed until all is done or refused, with all the time that has to pass."""
    while here.direct.value("SELECT count(*) FROM scheduler_calls WHERE state <> 'refused'"):
        here.hurry()
        here.age()
        await doing.one_pass()


@pytest.mark.parametrize("status", OTHERS)
@ensureDeferred
async def test_a_post_that_is_never_taken_ends_as_refused_beside_others(
    here: Outbox, status: int, logged: list[str]
) -> None:
    here.max_faults = 3
    await here.announce("subscription")
    bad, *good = here.direct.subscriptions(4, here.set, here.schedule)
    answers = FailsForOne(here, b"POST", str(bad), status)
    doing = here.doing()
    await until_ended(here, doing)
    assert not doing._breaker.openings
    assert len(here.door.model) == len(good)
    (call,) = here.scheduler_calls()
    assert (call["state"], call["target"], answers.count) == ("refused", str(bad), 3)
    assert f"answered {status}" in call["reason"]
    assert "(tried 3 times)" in call["reason"]
    about = f"subscription {bad} on schedule {here.schedule} with cron '30 8 * * *'"
    assert [line.partition(":")[0].split(" ", 1) for line in logged][-1] == ["error", about]
    assert all(about in line for line in logged)


@pytest.mark.parametrize("body", GARBLED)
@ensureDeferred
async def test_a_post_whose_answer_cannot_be_read_ends_as_refused(here: Outbox, body: str) -> None:
    here.max_faults = 2
    await here.announce("subscription")
    (bad,) = here.direct.subscriptions(1, here.set, here.schedule)
    answers = FailsForOne(here, b"POST", str(bad), 201, GARBLED[body])
    await until_ended(here, here.doing())
    assert ([call["state"] for call in here.scheduler_calls()], answers.count) == (["refused"], 2)


@pytest.mark.parametrize("status", [500, 502, 408, 302])
@ensureDeferred
async def test_one_that_was_made_all_the_same_is_found_before_it_is_refused(
    here: Outbox, status: int
) -> None:
    here.max_faults = 1
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.subscribe()

    def store_and_fail(request: Any, body: Any) -> bool:
        here.door.model.create(**body)
        request.setResponseCode(status)
        request.finish()
        return True

    here.door.troubles.append(store_and_fail)
    await until_ended(here, doing)
    (entry,) = here.door.model.enabled()
    assert (here.scheduler_calls(), here.remote_id(subscription)) == ([], entry.id)


@pytest.mark.parametrize("status", ITS_OWN)
@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
@ensureDeferred
async def test_what_is_due_to_the_scheduler_uses_up_no_try(
    here: Outbox, method: bytes, status: int
) -> None:
    here.max_faults = 2
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()
    if method == b"PATCH":
        await here.do_all(doing)
        here.direct.rows("UPDATE subscriptions SET active = false")
    answers = FailsForOne(here, method, "", status, b"no")
    for _ in range(6):
        here.now += 3600
        here.hurry()
        here.age()
        await doing.one_pass()
    (call,) = here.scheduler_calls()
    assert (call["state"], call["faults"]) == ("owed", 0)
    assert answers.count >= 2
    # Of a POST it is looked for what it made, and that is answered.
    assert bool(doing._breaker.openings) == ((method, status) != (b"POST", 503))


@pytest.mark.parametrize("status", [s for s in OTHERS if s != 404])
@ensureDeferred
async def test_a_patch_that_is_never_taken_ends_as_refused_beside_others(
    here: Outbox, status: int, logged: list[str]
) -> None:
    here.max_faults = 3
    await here.announce("subscription")
    doing = here.doing()
    bad, *_ = here.direct.subscriptions(3, here.set, here.schedule)
    await here.do_all(doing)
    answers = FailsForOne(here, b"PATCH", str(here.remote_id(bad)), status)
    here.direct.rows("UPDATE subscriptions SET active = false")
    await until_ended(here, doing)
    assert not doing._breaker.openings
    assert [one.id for one in here.door.model.enabled()] == [here.remote_id(bad)]
    (call,) = here.scheduler_calls()
    assert (call["state"], answers.count) == ("refused", 3)
    assert any(str(bad) in line and line.startswith("error") for line in logged)


@ensureDeferred
async def test_a_change_that_is_refused_never_makes_a_second_schedule(here: Outbox) -> None:
    """The old one cannot be disabled: a new one beside it would double everything."""
    here.max_faults = 2
    await here.announce("subscription")
    doing = here.doing()
    subscription = here.subscribe()
    await here.do_all(doing)
    FailsForOne(here, b"PATCH", str(here.remote_id(subscription)), 500)
    here.direct.rows("UPDATE schedules SET hour = '9'")
    await until_ended(here, doing)
    assert len(here.door.model) == 1
    assert [call["state"] for call in here.scheduler_calls()] == ["refused"]


@ensureDeferred
async def test_a_500_while_nothing_is_listed_is_nobodys_fault(here: Outbox) -> None:
    here.max_faults = 1
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()
    FailsForOne(here, b"", "")

    def fail(request: Any, _: Any) -> bool:
        request.setResponseCode(500)
        request.finish()
        return True

    here.door.troubles = [fail, fail]
    await doing.one_pass()
    (call,) = here.scheduler_calls()
    assert (call["state"], call["faults"]) == ("owed", 0)
    assert call["unknown_since"] is not None
    await until_ended(here, doing)
    assert len(here.door.model) == 1


@pytest.mark.parametrize("status", [404, 500, 200])
@ensureDeferred
async def test_a_page_that_cannot_be_read_hinders_only_who_has_to_read_it(
    here: Outbox, status: int
) -> None:
    await here.announce("subscription")
    doing = here.doing()
    for _ in range(3):
        here.door.model.create(endpoint="http://elsewhere/", auth_token="x")
    lost = here.subscribe()
    FailsForOne(here, b"GET", "cursor=", status, b"<h1>no</h1>")
    here.direct.rows("UPDATE scheduler_calls SET unknown_since = now()")
    for _ in range(8):
        here.hurry()
        await doing.one_pass()
    assert not doing._breaker.openings
    subscription = here.subscribe()
    await doing.one_pass()
    assert here.remote_id(subscription) is not None
    assert here.remote_id(lost) is None


@ensureDeferred
async def test_the_list_is_read_once_for_all_that_are_looked_for(here: Outbox) -> None:
    await here.announce("subscription")
    doing = here.doing()
    ids: list[UUID] = here.direct.subscriptions(5, here.set, here.schedule)
    made = [
        here.door.model.create(
            endpoint=f"http://sbm/api/v1/subscriptions/{one}/send",
            auth_token="inbound",
            cron_definition="30 8 * * *",
        )
        for one in ids[:4]
    ]
    here.direct.rows("UPDATE scheduler_calls SET unknown_since = now()")
    await doing.one_pass()
    assert [method for method, _, _ in here.door.asked] == ["GET", "GET"]  # two pages
    assert [here.remote_id(one) for one in ids] == [*(one.id for one in made), None]

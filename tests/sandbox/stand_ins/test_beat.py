"""The calls of the stand-in of the Scheduler at the moments of its crons."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import define, field
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.task import Clock

from sbm.sandbox.stand_ins.beat import Beat
from sbm.sandbox.stand_ins.celery_cron import CeleryCron
from sbm.sandbox.stand_ins.schedules import Scheduler
from tests.sandbox.wire import result_of

ENDPOINT = "http://sbm.example/api/v1/schedule/1/send/"
BEGIN = datetime(2026, 11, 23, 7, 59, 30, tzinfo=timezone.utc)  # a Monday


@define
class Endpoint:
    """An endpoint that notes when it is called, with which headers, and answers in turn."""

    clock: Clock
    statuses: list[int] = field(factory=list)
    calls: list[tuple[float, str, bytes]] = field(factory=list)
    names: set[bytes] = field(factory=set)

    def answer(
        self, _method: bytes, url: str, _params: object, headers: Any, data: bytes
    ) -> tuple[int, dict[str, bytes], bytes]:
        self.calls.append((self.clock.seconds(), headers[b"Authorization"][0].decode(), data))
        self.names |= set(headers)
        return (self.statuses.pop(0) if self.statuses else 201), {}, b"{}"


@define
class Beating:
    scheduler: Scheduler = field(factory=Scheduler)
    clock: Any = field(factory=Clock)
    zone: Any = timezone.utc
    draw: float = 0.0
    endpoint: Endpoint = field(init=False)
    beat: Beat = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.endpoint = Endpoint(self.clock)
        treq: Any = StubTreq(StringStubbingResource(self.endpoint.answer))
        self.beat = Beat(
            scheduler=self.scheduler,
            treq=treq,
            clock=self.clock,
            now=lambda: BEGIN + timedelta(seconds=self.clock.seconds()),
            draw=lambda: self.draw,
            zone=self.zone,
        )
        self.beat.startService()

    def make(self, cron: str, **fields: Any) -> Any:
        return self.scheduler.create(
            endpoint=ENDPOINT, auth_token="inbound", cron_definition=cron, **fields
        )

    def pass_seconds(self, seconds: int) -> list[float]:
        """When it has called by then."""
        self.clock.pump([1] * seconds)
        return [at for at, _, _ in self.endpoint.calls]


def test_it_calls_at_the_moments_of_the_cron() -> None:
    beating = Beating()
    beating.make("0,2 8 * * 1")
    beating.make("0 8 * * 2")
    assert beating.pass_seconds(600) == [30, 150]


def test_it_reads_the_cron_in_its_time_zone() -> None:
    beating = Beating(zone=ZoneInfo("Africa/Johannesburg"))
    beating.make("0 10 * * *")
    assert beating.pass_seconds(60) == [30]


def test_another_cron_changes_nothing_and_another_token_does() -> None:
    beating = Beating()
    made = beating.make("0 8 * * *")
    beating.scheduler.change(made.id, cron_definition="5 8 * * *", auth_token="other")
    assert beating.pass_seconds(600) == [30]
    assert beating.endpoint.calls[0][1] == "Token other"


def test_a_disabled_schedule_is_not_called() -> None:
    beating = Beating()
    beating.make("0 8 * * *", enabled=False)
    assert beating.pass_seconds(60) == []


@pytest.mark.parametrize("status", [404, 500, 302])
def test_a_call_that_fails_is_repeated_as_it_was(status: int) -> None:
    beating = Beating()
    beating.make("0 8 * * *", payload={"a": 1})
    beating.endpoint.statuses = [status, status]
    assert beating.pass_seconds(60) == [30, 35, 37]
    assert {(token, data) for _, token, data in beating.endpoint.calls} == {
        ("Token inbound", b'{"a":1}')
    }
    assert b"Idempotency-Key" not in beating.endpoint.names
    assert list(beating.scheduler.failures) == []


@pytest.mark.parametrize(("draw", "last"), [(0.0, 13), (1.0, 5 + 16 + 64 + 256 + 1024)])
def test_after_five_repetitions_it_is_a_failure(draw: float, last: int) -> None:
    beating = Beating(draw=draw)
    made = beating.make("0 8 * * *")
    beating.endpoint.statuses = [500] * 6
    calls = beating.pass_seconds(1500)
    assert (len(calls), calls[-1]) == (6, 30 + last)
    (failure,) = beating.scheduler.failures
    assert (failure.schedule_id, failure.reason) == (made.id, "status 500")


def test_a_date_that_does_not_exist_stops_all_calls() -> None:
    beating = Beating()
    beating.make("* * * * *")
    beating.make("0 0 30 2 *", enabled=False)
    assert beating.pass_seconds(120) == []


def test_what_came_due_while_it_did_not_look_is_called_once() -> None:
    beating = Beating()
    beating.make("* * * * *")
    beating.clock.advance(600)
    assert len(beating.endpoint.calls) == 1


def test_stopping_breaks_off_what_waits_to_be_repeated() -> None:
    beating = Beating()
    beating.make("0 8 * * *")
    beating.endpoint.statuses = [500] * 6
    beating.pass_seconds(32)
    result_of(beating.beat.stopService())
    assert beating.pass_seconds(60) == [30]
    assert beating.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("definition", "moment", "is_due"),
    [
        ("*/15 * * * *", "2026-11-23 08:45", True),
        ("*/15 * * * *", "2026-11-23 08:50", False),
        ("0 8-17/3 * * *", "2026-11-23 14:00", True),
        ("0 8 * * 0", "2026-11-22 08:00", True),
        ("0 8 1-7 * 1", "2026-11-02 08:00", True),
        ("0 8 1-7 * 1", "2026-11-03 08:00", False),
        ("0 8 1-7 * 1", "2026-11-09 08:00", False),
        ("0 8 29 2 *", "2028-02-29 08:00", True),
    ],
)
def test_all_fields_have_to_match(definition: str, moment: str, is_due: bool) -> None:
    cron = CeleryCron.read(definition)
    assert cron is not None
    assert cron.is_due(datetime.fromisoformat(moment)) is is_due


@pytest.mark.parametrize(
    "definition",
    [
        "* * * * 7",
        "5/10 * * * *",
        "* * * * 5-7",
        "60 * * * *",
        "* * * *",
        "a * * * *",
        "5-1 * * * *",
    ],
)
def test_what_it_cannot_read_never_fires(definition: str) -> None:
    assert CeleryCron.read(definition) is None


@pytest.mark.parametrize(
    ("definition", "is_endless"),
    [
        ("0 0 31 4 *", True),
        ("0 0 30 2 *", True),
        ("0 0 31 4,6,9,11 *", True),
        ("0 0 29 2 *", False),
        ("0 0 31 4,5 *", False),
        ("0 0 30,31 4 1", False),
    ],
)
def test_a_date_that_does_not_exist_is_known(definition: str, is_endless: bool) -> None:
    cron = CeleryCron.read(definition)
    assert cron is not None
    assert cron.is_endless is is_endless

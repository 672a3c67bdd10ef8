"""Failures in the log become reports to Sentry, whether it answers or not."""

from __future__ import annotations

import atexit
import http.client
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from sentry_sdk import get_client
from twisted.internet import reactor as _reactor
from twisted.internet import task
from twisted.logger import Logger, LogLevel, LogPublisher

from sbm.runtime.already_logged import AlreadyLogged
from sbm.runtime.failure_reports import WINDOW_SECONDS
from sbm.runtime.sentry import QUEUE_SIZE, Sentry
from tests.e2e.end_to_end import pause
from tests.patience import patience
from tests.ports import free_port
from tests.sentry_server import KEY, SentryServer, sentry_server

SECRET = "+27820000001"

reactor: Any = _reactor


@pytest.fixture(autouse=True)
def without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would use the proxy of this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[SentryServer]:
    with sentry_server() as server:
        yield server


@define(eq=False)
class Reporting:
    """A log, and reports of its failures; ``lines`` are the warnings of the reports."""

    dsn: str
    clock: task.Clock = field(factory=task.Clock)
    publisher: LogPublisher = field(factory=LogPublisher)
    lines: list[Any] = field(factory=list)
    sentry: Sentry = field(init=False)
    log: Logger = field(init=False)

    def __attrs_post_init__(self) -> None:
        log = Logger("sbm.reports", observer=self.lines.append)  # type: ignore[arg-type]
        self.sentry = Sentry(
            reactor=reactor,
            dsn=self.dsn,
            release="sbm@1.2.3",
            tags={"host": "node-1"},
            publisher=self.publisher,
            seconds=self.clock.seconds,
            log=log,
        )
        self.sentry.startService()
        self.log = Logger("sbm.tests", observer=self.publisher)

    def fail(self, number: int = 0) -> None:
        text = SECRET
        try:
            raise ValueError(f"identity {text}")
        except ValueError:
            # Each template is another failure.
            self.log.failure(f"{{identity}} failed, {number}", identity=text)

    async def until(self, condition: Callable[[], Any]) -> None:
        give_up_at = reactor.seconds() + patience()
        while not condition():
            assert reactor.seconds() < give_up_at, "it never came to that"
            await pause(0.01)

    def told(self) -> list[str]:
        return [
            line["log_format"].format(**line)
            for line in self.lines
            if line["log_level"] is LogLevel.warn
        ]


@ensureDeferred
async def test_a_failure_is_reported_without_any_value(server: SentryServer) -> None:
    reporting = Reporting(server.dsn)
    reporting.fail()
    await reporting.sentry.stopService()
    (report,) = server.reports()
    assert (report["release"], report["tags"]) == ("sbm@1.2.3", {"host": "node-1"})
    assert report["exception"]["values"][0]["type"] == "ValueError"
    assert report["logentry"]["message"] == "{identity} failed, 0"
    assert report["extra"] == {"left_out": 0}
    assert SECRET not in server.requests[0] + server.headers[0]
    assert KEY not in server.requests[0]
    # The SDK adds these, and no other.
    assert set(report) == {
        *("level", "logger", "logentry", "exception", "tags", "extra", "release"),
        *("event_id", "timestamp", "environment", "platform", "sdk", "server_name"),
    }
    assert (report["server_name"], report["environment"]) == ("", "production")
    assert report["sdk"]["integrations"] == []
    (frame,) = report["exception"]["values"][0]["stacktrace"]["frames"]
    assert set(frame) == {"module", "function", "filename", "lineno", "in_app"}
    assert reporting.told() == []


@ensureDeferred
async def test_troubles_that_are_expected_are_not_reported(server: SentryServer) -> None:
    reporting = Reporting(server.dsn)
    reporting.log.error("the service is away")
    reporting.log.warn("the database cannot be used")
    try:
        raise AlreadyLogged
    except AlreadyLogged:
        reporting.log.failure("a pass failed")
    reporting.fail()
    await reporting.sentry.stopService()
    assert len(server.reports()) == 1


@ensureDeferred
async def test_what_is_left_out_is_told_with_the_next_report(server: SentryServer) -> None:
    reporting = Reporting(server.dsn)
    for _ in range(3):
        reporting.fail()
    reporting.clock.advance(WINDOW_SECONDS)
    reporting.fail()
    await reporting.sentry.stopService()
    assert [report["extra"]["left_out"] for report in server.reports()] == [0, 2]


@ensureDeferred
async def test_what_is_left_out_is_logged_at_the_end(server: SentryServer) -> None:
    reporting = Reporting(server.dsn)
    reporting.fail()
    reporting.fail()
    await reporting.sentry.stopService()
    assert reporting.told() == [
        "failures that were not reported to Sentry, because there were too many: 1"
    ]


@ensureDeferred
async def test_threads_may_fail_at_the_same_time(server: SentryServer) -> None:
    reporting = Reporting(server.dsn)
    barrier = threading.Barrier(8)

    def fail() -> None:
        barrier.wait()
        reporting.fail()

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reporting.clock.advance(WINDOW_SECONDS)
    reporting.fail()
    await reporting.sentry.stopService()
    assert [report["extra"]["left_out"] for report in server.reports()] == [0, 7]


@ensureDeferred
async def test_a_stop_does_not_wait_for_a_slow_sentry_and_lets_the_reactor_work() -> None:
    with sentry_server(is_open=False) as server:
        reporting = Reporting(server.dsn)
        reporting.fail()
        await reporting.until(lambda: server.requests)
        worked: list[str] = []
        stopped = reporting.sentry.stopService()
        stopped.addCallback(lambda _: worked.append("stopped"))
        reactor.callLater(0.01, worked.append, "the reactor worked")
        await stopped
        assert worked == ["the reactor worked", "stopped"]
        # The SDK has not given up its request: the stop did not wait for that.
        assert reporting.told() == []


@ensureDeferred
async def test_a_stop_that_did_not_wait_says_so() -> None:
    with sentry_server(is_open=False) as server:
        reporting = Reporting(server.dsn)
        reporting.sentry._seconds = reactor.seconds
        reporting.fail()
        await reporting.until(lambda: server.requests)
        await reporting.sentry.stopService()
        assert reporting.told() == ["Sentry did not accept the last reports in time"]


@ensureDeferred
async def test_a_stop_waits_for_a_sentry_that_answers_in_time() -> None:
    with sentry_server(is_open=False) as server:
        reporting = Reporting(server.dsn)
        for number in range(3):
            reporting.fail(number)
        await reporting.until(lambda: server.requests)
        stopped = reporting.sentry.stopService()
        server.is_open.set()
        await stopped
        assert len(server.reports()) == 3


@ensureDeferred
async def test_reports_that_cannot_be_sent_are_told() -> None:
    reporting = Reporting(f"http://{KEY}@127.0.0.1:{free_port()}/7")
    reporting.fail()
    await reporting.until(reporting.told)
    assert reporting.told() == ["a report could not be sent to Sentry: network"]
    await reporting.sentry.stopService()
    assert len(reporting.told()) == 1


@ensureDeferred
async def test_the_queue_for_a_slow_sentry_is_bounded() -> None:
    with sentry_server(is_open=False) as server:
        reporting = Reporting(server.dsn)
        reporting.fail()
        await reporting.until(lambda: server.requests)
        for number in range(QUEUE_SIZE + 2):
            reporting.clock.advance(WINDOW_SECONDS)
            reporting.fail(number)
        await reporting.until(reporting.told)
        assert reporting.told() == ["a report could not be sent to Sentry: full_queue"] * 2
        server.is_open.set()
        await reporting.sentry.stopService()
        assert len(server.reports()) == 1 + QUEUE_SIZE


@ensureDeferred
async def test_a_stop_without_a_report_begins_no_thread(server: SentryServer) -> None:
    before = set(threading.enumerate())
    reporting = Reporting(server.dsn)
    await reporting.sentry.stopService()
    assert not [one for one in set(threading.enumerate()) - before if "sentry" in one.name.lower()]


@ensureDeferred
async def test_nothing_is_reported_after_the_stop(server: SentryServer) -> None:
    reporting = Reporting(server.dsn)
    await reporting.sentry.stopService()
    reporting.fail()
    assert server.requests == []


@ensureDeferred
async def test_the_sdk_hooks_into_nothing(
    server: SentryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda function, *_: registered.append(function))
    # The SDK reads these, too; they may be there for another program.
    monkeypatch.setenv("SENTRY_SPOTLIGHT", "1")
    monkeypatch.setenv("SENTRY_DEBUG", "1")

    def hooks() -> tuple[Any, ...]:
        return (
            *(sys.excepthook, sys.unraisablehook, threading.excepthook),
            *(threading.Thread.start, threading.Thread.run, subprocess.Popen.__init__),
            *(http.client.HTTPConnection.putrequest, logging.Logger.callHandlers),
            tuple(logging.getLogger().handlers),
        )

    before = hooks()
    reporting = Reporting(server.dsn)
    reporting.fail()
    await reporting.sentry.stopService()
    assert hooks() == before
    # Others may register something at the same time, as weakref does once in a process.
    of_sdk = [one for one in registered if str(one.__module__).startswith("sentry_sdk")]
    assert not [one for one in of_sdk if "profiler" not in one.__qualname__]
    assert not get_client().is_active()

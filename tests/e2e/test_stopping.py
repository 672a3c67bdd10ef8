"""SIGTERM at every kind of moment: real processes, which end by themselves, and with 0."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from attrs import field, frozen
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from sbm.pipeline.ticks import MOST_WAITING
from sbm.runtime.loop import Loop
from sbm.runtime.services import ServiceGroup
from sbm.sandbox.stand_ins.message_sender import MessageSenderApp
from sbm.sandbox.stand_ins.rest import Response
from sbm.settings.endpoints import DatabaseAddress
from tests.e2e.daemons import DaemonProcess, processes
from tests.e2e.end_to_end import SCHEDULER_TOKEN, World, mounted
from tests.store.postgres.database_proxy import DatabaseProxy

CONCURRENCY = 5
MOTHERS = 30

# prctl's option to become the parent of processes that have lost theirs.
PR_SET_CHILD_SUBREAPER = 36


@frozen(eq=False, kw_only=True)
class PatientSender(MessageSenderApp):
    """Stores an outbound, and answers, when it is told to."""

    waiting: list[Deferred[None]] = field(factory=list)

    async def create(self, request: Request) -> Response:  # type: ignore[override]
        told: Deferred[None] = Deferred()
        self.waiting.append(told)
        await told
        return super().create(request)

    def answer(self) -> None:
        """Answer all who wait."""
        for told in self.waiting:
            if not told.called:
                told.callback(None)


@pytest_twisted.async_yield_fixture
async def line(database_uri: str) -> AsyncIterator[DatabaseProxy]:
    """The way of one daemon to the database."""
    line = DatabaseProxy(DatabaseAddress.parse(database_uri))
    line.open()
    yield line
    await line.close()
    line.remove()


def states(seed: World) -> dict[str, int]:
    """How many sends are in which state."""
    rows = seed.direct.rows("SELECT state, count(*) FROM sends GROUP BY state")
    return {row["state"]: row["count"] for row in rows}


async def patient(seed: World) -> PatientSender:
    """Replace the Message Sender by one that answers when it is told to."""
    sender = PatientSender(sender=seed.sender)
    await seed.message_sender.close()
    seed.message_sender.resource = mounted(sender.resource())
    seed.message_sender.open()
    return sender


async def under_way(seed: World, daemon: DaemonProcess) -> PatientSender:
    """A daemon whose hand is full, and the Message Sender that it waits for."""
    schedule = seed.direct.schedule()
    seed.subscribe(MOTHERS, seed.direct.messageset("pregnancy", schedule), schedule)
    sender = await patient(seed)
    await daemon.start()
    status, _ = await seed.call("POST", f"/api/v1/schedule/{schedule}/send/", at=daemon.url)
    assert status == 202
    await seed.until(lambda: len(sender.waiting) == CONCURRENCY)
    await seed.until(lambda: states(seed).get("claimed") == 4 * CONCURRENCY)
    return sender


def hand(**settings: str) -> dict[str, str]:
    return {"SBM_CONCURRENCY": str(CONCURRENCY), "SBM_STOP_GRACE_SECONDS": "120", **settings}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@ensureDeferred
async def test_a_daemon_with_nothing_to_do_ends_with_0(seed: World, number: signal.Signals) -> None:
    with processes(seed, 1) as (daemon,):
        await daemon.start()
        assert await daemon.end(number) == 0
        assert "Traceback" not in daemon.output


# Each by itself would have ended the process at once.
OTHERS = ("SIGQUIT", "SIGABRT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGXCPU", "SIGPROF", "SIGIO")


@pytest.mark.parametrize("number", [*(getattr(signal, one) for one in OTHERS), signal.SIGRTMIN + 1])
@ensureDeferred
async def test_other_signals_that_would_kill_a_daemon_leave_it_its_grace(
    seed: World, number: int
) -> None:
    with processes(seed, 1, **hand()) as (daemon,):
        sender = await under_way(seed, daemon)
        assert daemon.running is not None
        daemon.running.send_signal(number)
        await seed.until(partial(_is, seed, claimed=CONCURRENCY, owed=MOTHERS - CONCURRENCY))
        sender.answer()
        assert await daemon.ended() == 0
    assert [entry["outcome"] for entry in seed.direct.ledger()] == ["sent"] * CONCURRENCY


@ensureDeferred
async def test_a_daemon_goes_on_when_its_terminal_hangs_up(seed: World) -> None:
    with processes(seed, 1) as (daemon,):
        await daemon.start()
        daemon.tell(signal.SIGHUP)
        await seed.until(lambda: "SIGHUP: ignored" in daemon.output)
        assert daemon.answers
        assert await daemon.end() == 0


@ensureDeferred
async def test_a_daemon_that_logs_to_a_file_rotates_it_at_sigusr1(seed: World) -> None:
    with processes(seed, 1) as (daemon,):
        daemon.begin("-n", "--pidfile=", "--logfile=sbm.log")
        await seed.until(lambda: daemon.answers)
        daemon.tell(signal.SIGUSR1)
        await seed.until(lambda: (daemon.folder / "sbm.log.1").exists())
        assert daemon.answers
        assert await daemon.end() == 0


@contextmanager
def children_of_children() -> Iterator[None]:
    """Be told the exit status of a process whose own parent has ended."""
    prctl: Any = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


@ensureDeferred
async def test_a_daemon_in_the_background_ends_with_0_and_takes_its_pidfile_along(
    seed: World,
) -> None:
    with processes(seed, 1) as (daemon,), children_of_children():
        starter = daemon.begin("--pidfile=sbm.pid", "--logfile=sbm.log")
        await seed.until(lambda: starter.poll() is not None)
        assert starter.returncode == 0, daemon.output
        pidfile = daemon.folder / "sbm.pid"
        pid = int(pidfile.read_text())
        os.kill(pid, signal.SIGTERM)
        ended: list[int] = []
        await seed.until(lambda: ended or _reap(pid, ended))
        assert ended == [0]
        assert not pidfile.exists()
        assert "Traceback" not in (daemon.folder / "sbm.log").read_text()


def _reap(pid: int, ended: list[int]) -> bool:
    found, status = os.waitpid(pid, os.WNOHANG)
    if found:
        ended.append(os.waitstatus_to_exitcode(status))
    return bool(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@ensureDeferred
async def test_a_start_that_waits_for_a_silent_database_ends_with_0(
    seed: World, line: DatabaseProxy, number: signal.Signals
) -> None:
    line.is_silent = True
    seed.database_uri = line.address.uri()
    with processes(seed, 1) as (daemon,):
        process = daemon.begin()
        await seed.until(lambda: line.lines)
        process.send_signal(number)
        assert await daemon.ended() == 0
        assert daemon.output == ""  # it did not wait for the answer, and go on without


@ensureDeferred
async def test_the_first_signal_gives_back_what_was_not_begun_and_waits_for_the_rest(
    seed: World,
) -> None:
    with processes(seed, 1, **hand()) as (daemon,):
        sender = await under_way(seed, daemon)
        daemon.tell(signal.SIGTERM)
        await seed.until(partial(_is, seed, claimed=CONCURRENCY, owed=MOTHERS - CONCURRENCY))
        assert not daemon.answers
        assert seed.direct.value("SELECT count(*) FROM sends WHERE due_at > now()") == 0
        sender.answer()
        assert await daemon.ended() == 0
    assert _is(seed, owed=MOTHERS - CONCURRENCY)
    assert [entry["outcome"] for entry in seed.direct.ledger()] == ["sent"] * CONCURRENCY
    assert seed.direct.unbalanced_ticks() == []


def _is(seed: World, **wanted: int) -> bool:
    return states(seed) == wanted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@ensureDeferred
async def test_the_second_signal_breaks_off_what_was_begun_which_is_written_down_as_unknown(
    seed: World, number: signal.Signals
) -> None:
    with processes(seed, 1, **hand()) as (daemon,):
        await under_way(seed, daemon)
        daemon.tell(signal.SIGTERM)
        await seed.until(partial(_is, seed, claimed=CONCURRENCY, owed=MOTHERS - CONCURRENCY))
        assert await daemon.end(number) == 0
    assert _is(seed, unknown=CONCURRENCY, owed=MOTHERS - CONCURRENCY)
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_when_the_grace_ends_what_was_begun_is_written_down_as_unknown(
    seed: World,
) -> None:
    with processes(seed, 1, **hand(SBM_STOP_GRACE_SECONDS="1")) as (daemon,):
        await under_way(seed, daemon)
        assert await daemon.end() == 0
    assert _is(seed, unknown=CONCURRENCY, owed=MOTHERS - CONCURRENCY)


@pytest.mark.slow
@pytest.mark.parametrize("is_silent", [False, True])
@ensureDeferred
async def test_without_its_database_a_daemon_ends_with_0_and_loses_nothing(
    seed: World, line: DatabaseProxy, is_silent: bool
) -> None:
    seed.database_uri = line.address.uri()
    with processes(seed, 1, **hand(SBM_STOP_GRACE_SECONDS="1")) as (daemon,):
        sender = await under_way(seed, daemon)
        if is_silent:
            line.is_silent = True
            for one in line.lines:
                one.is_deaf = True
        else:
            await line.close()
        sender.answer()
        await seed.until(lambda: len(seed.sender) >= CONCURRENCY)
        assert await daemon.end() == 0
    # On a line that is deaf the statements still arrive: some results may have been committed.
    assert sum(states(seed).values()) + len(seed.direct.ledger()) == MOTHERS
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_tick_whose_expansion_is_stopped_is_expanded_by_the_next_start(
    seed: World,
) -> None:
    many = MOST_WAITING - 1  # all of them may wait at once
    schedule = seed.direct.schedule()
    seed.direct.subscriptions(many, seed.direct.messageset("pregnancy", schedule), schedule)
    await seed.identity_store.close()
    with processes(seed, 1) as (daemon,):
        await daemon.start()
        status, _ = await seed.call("POST", f"/api/v1/schedule/{schedule}/send/", at=daemon.url)
        assert status == 202
        await seed.until(lambda: states(seed))
        assert await daemon.end() == 0
        assert seed.direct.unbalanced_ticks() == []
        await daemon.start()
        await seed.until(lambda: sum(states(seed).values()) == many)
        assert await daemon.end() == 0
    assert states(seed) == {"owed": many}
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_request_under_way_is_answered(seed: World) -> None:
    body = b'{"minute": "5"}'
    head = "\r\n".join(
        [
            "POST /api/v1/schedule/ HTTP/1.1",
            "Host: h",
            f"Authorization: Token {await seed.token()}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "\r\n",
        ]
    )
    with processes(seed, 1, **hand()) as (daemon,):
        await daemon.start()
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(head.encode("ascii") + body[:5])
            # A later connection is answered, so this one was accepted before.
            urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/livez").close()
            daemon.tell(signal.SIGTERM)
            await seed.until(lambda: not daemon.answers)
            client.sendall(body[5:])
            answer = client.makefile("rb").read()
        assert await daemon.ended() == 0
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert seed.direct.value("SELECT count(*) FROM schedules") == 1


@ensureDeferred
async def test_a_client_that_does_not_end_her_request_holds_nobody_up_for_long(
    seed: World,
) -> None:
    with processes(seed, 1, **hand(SBM_STOP_GRACE_SECONDS="1")) as (daemon,):
        await daemon.start()
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(
                b"POST /api/v1/schedule/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n"
                b"Authorization: Token %s\r\n\r\n" % SCHEDULER_TOKEN.encode()
            )
            assert await daemon.end() == 0


def loops(services: Any) -> Iterator[Loop]:
    """All loops of a daemon."""
    for service in services:
        if isinstance(service, ServiceGroup):
            yield from loops(service)
        elif isinstance(service, Loop):
            yield service


@ensureDeferred
async def test_no_claim_is_begun_once_the_daemon_has_been_told_to_stop(seed: World) -> None:
    seed.start()
    daemon, _ = seed.daemons.pop()
    claims = [loop for loop in loops(daemon) if loop.name == "claim"]
    assert [loop.running for loop in claims] == [True]
    stopped = daemon.stopService()
    assert [loop.running for loop in claims] == [False]
    await stopped

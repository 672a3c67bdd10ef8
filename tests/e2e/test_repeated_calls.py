"""The Scheduler repeats a call whose answer it did not get: nobody is sent a second message."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from pytest_twisted import ensureDeferred

from sbm.sandbox.stand_ins.schedules import Schedule
from tests.e2e.daemons import processes
from tests.e2e.end_to_end import World

API = "/api/v1"
PEOPLE = 20
JOINING = {"SBM_SCHEDULER_JOIN_SECONDS": "1800", "SBM_SCHEDULER_TIMEZONE": "Africa/Johannesburg"}


async def scheduled(seed: World, minutes: int) -> int:
    """A schedule that was due so many minutes ago where the Scheduler is, made by the API."""
    now = "(now() - make_interval(mins => %s)) AT TIME ZONE 'Africa/Johannesburg'"
    text = seed.direct.value(f"SELECT to_char({now}, 'FMMI FMHH24')", minutes)
    minute, hour = text.split()
    token = await seed.token()
    status, made = await seed.call(
        "POST", f"{API}/schedule/", {"minute": minute, "hour": hour}, token=token
    )
    assert status == 201
    return int(made["id"])


async def told(seed: World, count: int) -> list[Schedule]:
    """The schedules at the Scheduler, once it has so many and is owed nothing."""
    await seed.until(
        lambda: (
            len(seed.schedules.enabled()) == count
            and not seed.direct.value("SELECT count(*) FROM scheduler_calls")
        )
    )
    return seed.schedules.enabled()


@contextmanager
def lost(entries: Iterable[Schedule], url: str) -> Iterator[None]:
    """Call back for these, as the Scheduler does; the connections end before an answer is read."""
    address = urlsplit(url)
    with ExitStack() as clients:
        for entry in entries:
            client = clients.enter_context(
                socket.create_connection((str(address.hostname), int(address.port or 0)))
            )
            path = urlsplit(entry.endpoint).path
            client.sendall(
                f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Token {entry.auth_token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".encode("ascii")
            )
        yield


async def repeat(seed: World, entry: Schedule, url: str) -> tuple[int, Any]:
    """Make the same call again."""
    return await seed.call(
        "POST", urlsplit(entry.endpoint).path, {}, token=entry.auth_token, at=url
    )


def triggers(seed: World) -> int:
    return int(seed.direct.value("SELECT COALESCE(sum(triggers), 0) FROM ticks"))


@ensureDeferred
async def test_a_call_for_a_schedule_whose_answer_is_lost_is_one_tick(seed: World) -> None:
    with processes(seed, 2, SBM_SCHEDULING="schedule", **JOINING) as daemons:
        for daemon in daemons:
            await daemon.start()
        one, two = (daemon.url for daemon in daemons)
        seed.daemons.append((None, one))  # type: ignore[arg-type]
        schedule = await scheduled(seed, 3)
        seed.daemons.pop()
        people = seed.subscribe(PEOPLE, seed.direct.messageset("set", schedule), schedule)
        (entry,) = await told(seed, 1)

        with lost([entry], one):
            await seed.until(lambda: seed.direct.value("SELECT count(*) FROM scheduler_callbacks"))
        # Once while the first tick is being sent, perhaps, and once after everybody was sent to.
        assert await repeat(seed, entry, two) == (202, {})
        await seed.settled()
        for url in (one, two):
            assert await repeat(seed, entry, url) == (202, {})
        await seed.settled()

        received = seed.received()
        assert list(received.values()) == [["set 1 eng_ZA"]] * len(people)
        assert seed.direct.value("SELECT count(*) FROM ticks") == 1
        assert triggers(seed) == len(seed.direct.ledger()) == PEOPLE
        assert seed.direct.unbalanced_ticks() == []
        for daemon in daemons:
            assert await daemon.end() == 0, daemon.output
            assert "fits no moment" not in daemon.output


@pytest.mark.parametrize("at_once", [False, True])
@ensureDeferred
async def test_calls_for_subscriptions_whose_answers_are_lost_send_one_message_each(
    seed: World, at_once: bool
) -> None:
    one = seed.start(SBM_SCHEDULING="subscription", **JOINING)
    two = seed.start(SBM_SCHEDULING="subscription", **JOINING)
    schedule = await scheduled(seed, 3)
    messages = seed.direct.messageset("set", schedule)
    await seed.until(lambda: seed.direct.value("SELECT mode = 'subscription' FROM scheduling"))
    seed.subscribe(PEOPLE, messages, schedule)
    entries = await told(seed, PEOPLE)

    with lost(entries, one):
        if not at_once:
            await seed.until(lambda: triggers(seed) == PEOPLE)
            await seed.settled()
        for url in (two, one):
            answers = await seed.together(repeat(seed, entry, url) for entry in entries)
            assert {status for status, _ in answers} == {201}
        await seed.settled()

    assert list(seed.received().values()) == [["set 1 eng_ZA"]] * PEOPLE
    assert triggers(seed) == len(seed.direct.ledger()) == PEOPLE
    assert seed.direct.unbalanced_ticks() == []

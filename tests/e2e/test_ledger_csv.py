"""A month of the ledger is read as CSV while messages are sent, and the memory stays flat."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TypeVar

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.e2e.daemons import DaemonProcess, processes
from tests.e2e.end_to_end import USER_TOKEN, World

T = TypeVar("T")

ROWS = 50_000
MEMBERS = 100

# Of a month that is over, whenever the test runs; more than the buffers of a connection take.
A_MONTH = (
    "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,"
    " messageset_id, sequence_number, lang, prepend, settled_at)"
    " SELECT gen_random_uuid(), 1, 'next', 'skipped', 'trigger', 'it is older than max_age',"
    " gen_random_uuid(), gen_random_uuid(), 1, 1, 'eng_ZA', repeat('a', 1000),"
    " timestamptz '2026-02-01 00:00Z' + n * interval '28 days' / %s"
    " FROM generate_series(0, %s - 1) n"
)
PATH = "/api/v1/ledger/?format=csv&after=2026-02-01T00:00:00Z&before=2026-02-28T23:59:59.999999Z"
MEGABYTE = 2**20


def peak(daemon: DaemonProcess) -> int:
    """The most memory that the process has had, in bytes."""
    assert daemon.running is not None
    status = Path(f"/proc/{daemon.running.pid}/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024


def opened(daemon: DaemonProcess) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", daemon.port)
    connection.request("GET", PATH, headers={"Authorization": f"Token {USER_TOKEN}"})
    return connection.getresponse()


async def blocking(work: Callable[..., T], *arguments: object) -> T:
    return await deferToThread(work, *arguments)


@pytest.mark.slow
@ensureDeferred
async def test_memory_is_flat_and_sending_goes_on_while_clients_read_a_month(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, messages=9)
    seed.subscribe(MEMBERS, messageset, schedule)
    seed.direct.rows(A_MONTH, ROWS, ROWS)
    with processes(seed, 1) as (daemon,):
        await daemon.start()

        async def tick() -> None:
            path = f"/api/v1/schedule/{schedule}/send/"
            assert (await seed.call("POST", path, at=daemon.url))[0] == 202
            await seed.settled()

        await tick()
        first = await blocking(opened, daemon)
        assert first.status == 200
        await blocking(first.read, MEGABYTE)
        first.close()
        before = peak(daemon)

        slow, fast = await blocking(opened, daemon), await blocking(opened, daemon)
        parts = [await blocking(slow.read, MEGABYTE)]
        # One takes nothing, and the other all that it gets.
        reading = Deferred.fromCoroutine(blocking(fast.read))
        await tick()
        whole = await reading
        assert len(seed.sender) == 2 * MEMBERS
        assert peak(daemon) - before < 12 * MEGABYTE
        await tick()
        parts.append(await blocking(slow.read))

        assert peak(daemon) - before < 12 * MEGABYTE
        assert len(seed.sender) == 3 * MEMBERS
        assert len(whole) > 50 * MEGABYTE
        assert b"".join(parts) == whole
        found = list(csv.DictReader(io.StringIO(whole.decode("utf-8"))))
        assert len({row["id"] for row in found}) == ROWS

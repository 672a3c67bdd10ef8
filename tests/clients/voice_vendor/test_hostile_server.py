"""An SFTP server that wants to end the daemon: whatever it sends, its connection ends instead."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.conch.ssh.common import MP, NS
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sbm.clients.outcomes import Rejected, Unavailable
from sbm.clients.voice_vendor import sftp
from sbm.clients.voice_vendor.sftp import VoiceVendor
from sbm.clients.voice_vendor.ssh import LONGEST_MESSAGE, MOST_OTHER_MESSAGES, Ssh
from tests.clients.voice_vendor.sftp import Vendor

reactor: Any = global_reactor

NAME, HANDLE, STATUS = 104, 102, 101


@pytest_twisted.async_yield_fixture
async def vendor(tmp_path: Path) -> AsyncIterator[Vendor]:
    vendor = Vendor(tmp_path)
    vendor.listen()
    yield vendor
    await vendor.close()


def client(vendor: Vendor) -> VoiceVendor:
    return VoiceVendor(reactor=reactor, address=vendor.address(), timeout=timedelta(seconds=60))


async def sizes(client: VoiceVendor) -> dict[str, int]:
    await client.connect()
    found: dict[str, int] = {}
    async for part in client.list_sizes():
        found |= part
    return found


async def again_and_again(client: VoiceVendor) -> None:
    while True:
        async for _ in client.list_sizes():
            pass


def message(kind: int, data: bytes, *, request: int = 0) -> bytes:
    body = struct.pack("!BL", kind, request) + data
    return struct.pack("!L", len(body)) + body


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            struct.pack("!LB", LONGEST_MESSAGE + 1, NAME),
            f"a message of {LONGEST_MESSAGE + 1} bytes",
        ),
        (struct.pack("!LB", 2**32 - 1, NAME) + b"x" * 100_000, "a message of 4294967295 bytes"),
        (struct.pack("!LB", 0, NAME), "a message of 0 bytes"),
        (message(STATUS, b"\0" * 8, request=99) * 1000, "is no answer"),
        (message(77, b"") * 1000, "is no answer"),
        (message(NAME, struct.pack("!L", 2**32 - 1)), "cannot be read"),
        (message(HANDLE, NS(b"h" * 257)), "cannot be read"),
    ],
)
@ensureDeferred
async def test_what_is_no_answer_or_too_long_ends_the_connection(
    vendor: Vendor, said: bytes, why: str
) -> None:
    vendor.says = said
    with pytest.raises(Unavailable, match=why):
        await sizes(client(vendor))


@ensureDeferred
async def test_messages_that_nobody_asked_for_have_an_end(vendor: Vendor) -> None:
    """Each asks for an answer, and a server that does not read it would fill our memory."""
    asking = client(vendor)
    await asking.connect()
    (server,) = vendor.connections
    for _ in range(MOST_OTHER_MESSAGES + 1):
        server.sendPacket(80, NS(b"are-you@there") + b"\1")
    with pytest.raises(Unavailable, match="without end"):
        await again_and_again(asking)


def test_a_prime_that_takes_minutes_to_reckon_with_is_refused(vendor: Vendor) -> None:
    told: list[str] = []
    ssh = Ssh(vendor.address(), Deferred(), told.append)
    wire: Any = StringTransport()
    ssh.makeConnection(wire)  # type: ignore[no-untyped-call]
    ssh.kexAlg = b"diffie-hellman-group-exchange-sha256"
    ssh.ssh_KEX_DH_GEX_GROUP(MP(2**5000 - 1) + MP(2))
    assert wire.disconnecting
    assert told == ["prime"]
    assert "the prime" in str(ssh.why(Failure(ConnectionLost())))


@ensureDeferred
async def test_a_list_without_end_is_left(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        vendor.claims[f"{number}.mp3"] = number
    vendor.at_a_time = 1
    assert len(await sizes(client(vendor))) == 30
    monkeypatch.setattr(sftp, "MOST_FILES", 29)
    with pytest.raises(Rejected, match="more than 29 files"):
        await sizes(client(vendor))
    monkeypatch.setattr(sftp, "MOST_FILES", 30)
    monkeypatch.setattr(sftp, "MOST_PARTS", 9)
    with pytest.raises(Rejected, match="no end"):
        await sizes(client(vendor))


@ensureDeferred
async def test_what_a_server_says_is_one_line_that_executes_nothing(vendor: Vendor) -> None:
    vendor.refusal = "no\x1b[2J\r\n2026-11-28 all is well"
    with pytest.raises(Rejected) as caught:
        await sizes(client(vendor))
    assert str(caught.value) == "no\\u001b[2J 2026-11-28 all is well"

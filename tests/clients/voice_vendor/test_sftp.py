"""Files for the voice vendor, against an SFTP server of our own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from pytest_twisted import ensureDeferred
from twisted.conch.ssh.keys import Key
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from sbm.clients.outcomes import Rejected, Unavailable
from sbm.clients.voice_vendor.sftp import BLOCK_BYTES, WINDOW_BYTES, VoiceVendor
from tests.clients.voice_vendor.sftp import PASSWORD, Vendor, a_key, pinned

reactor: Any = global_reactor

SOUND = random.Random(1).randbytes(WINDOW_BYTES * 3 + 7)
SIZE = len(SOUND)


@pytest_twisted.async_yield_fixture
async def vendor(tmp_path: Path) -> AsyncIterator[Vendor]:
    vendor = Vendor(tmp_path)
    vendor.listen()
    yield vendor
    await vendor.close()


def client(vendor: Vendor, seconds: float = 60, **changes: Any) -> VoiceVendor:
    return VoiceVendor(
        reactor=reactor, address=vendor.address(**changes), timeout=timedelta(seconds=seconds)
    )


async def put(client: VoiceVendor, name: str = "one.mp3", sound: bytes = SOUND) -> bool:
    async def read(offset: int, length: int) -> bytes:
        return sound[offset : offset + length]

    async def moved(_count: int) -> None:
        """Nobody asks."""

    await client.connect()
    return await client.put(name, len(sound), read, moved)


async def sizes(client: VoiceVendor) -> dict[str, int]:
    await client.connect()
    found: dict[str, int] = {}
    async for part in client.list_sizes():
        found |= part
    return found


@ensureDeferred
async def test_a_file_gets_its_name_when_it_is_whole_and_is_not_sent_twice(vendor: Vendor) -> None:
    to = client(vendor)
    assert await put(to) is True
    assert (vendor.folder / "one.mp3").read_bytes() == SOUND
    assert {name for name, _, _ in vendor.written} == {"one.mp3.part"}
    assert await sizes(to) == {"one.mp3": SIZE}
    vendor.written.clear()
    assert await put(to) is False
    assert vendor.written == []
    to.close()


@ensureDeferred
async def test_a_file_of_another_size_is_replaced(vendor: Vendor) -> None:
    (vendor.folder / "one.mp3").write_bytes(b"short")
    to = client(vendor)
    assert await put(to) is True
    assert (vendor.folder / "one.mp3").read_bytes() == SOUND
    to.close()


@ensureDeferred
async def test_what_was_begun_is_gone_on_with(vendor: Vendor) -> None:
    to = client(vendor)
    vendor.at(2 * WINDOW_BYTES, vendor.cut)
    with pytest.raises(Unavailable, match="lost"):
        await put(to)
    begun = (vendor.folder / "one.mp3.part").stat().st_size
    assert not (vendor.folder / "one.mp3").exists()
    # As if of what was on its way when the connection was cut a part had got lost.
    with (vendor.folder / "one.mp3.part").open("r+b") as file:
        file.seek(begun - WINDOW_BYTES)
        file.write(bytes(BLOCK_BYTES))
    vendor.written.clear()
    assert await put(to) is True
    assert min(offset for _, offset, _ in vendor.written) == begun - WINDOW_BYTES > 0
    assert (vendor.folder / "one.mp3").read_bytes() == SOUND
    to.close()


@ensureDeferred
async def test_what_was_begun_and_is_too_long_is_begun_anew(vendor: Vendor) -> None:
    (vendor.folder / "one.mp3.part").write_bytes(bytes(SIZE + 1))
    to = client(vendor)
    assert await put(to) is True
    assert (vendor.folder / "one.mp3").read_bytes() == SOUND
    to.close()


@ensureDeferred
async def test_a_file_that_is_refused_leaves_the_connection_to_the_next(vendor: Vendor) -> None:
    to = client(vendor)
    with pytest.raises(Rejected, match="permission denied"):
        await put(to, "denied.mp3")
    assert await put(to, "two.mp3", b"two") is True
    assert len(vendor.connections) == 1
    to.close()


@ensureDeferred
async def test_what_is_refused_halfway_is_no_burden_to_the_others(vendor: Vendor) -> None:
    """Of a full disk it would be the largest part."""
    vendor.full_at = WINDOW_BYTES
    to = client(vendor)
    with pytest.raises(Rejected, match="no space"):
        await put(to)
    assert await put(to, "two.mp3", b"two") is True
    assert [one.name for one in vendor.folder.iterdir()] == ["two.mp3"]
    to.close()


@pytest.mark.parametrize("kind", ["", "ssh-ed25519"])
@ensureDeferred
async def test_another_host_key_is_told_nothing_about_us(vendor: Vendor, kind: str) -> None:
    expected = pinned(a_key())
    to = client(vendor, host_key=expected, host_key_type=kind)
    with pytest.raises(Rejected) as caught:
        await to.connect()
    assert expected in str(caught.value)
    assert pinned(vendor.host_key) in str(caught.value)
    assert vendor.services == []


@ensureDeferred
async def test_a_server_without_a_key_of_the_pinned_type_is_refused(vendor: Vendor) -> None:
    with pytest.raises(Rejected, match=r"no secure connection.*ssh-rsa \(SBM_AUDIO_FTP_HOST_KEY"):
        await client(vendor, host_key_type="ssh-rsa").connect()
    assert vendor.services == []


@ensureDeferred
async def test_a_wrong_password_is_tried_once(vendor: Vendor) -> None:
    with pytest.raises(Rejected, match="AUDIO_FTP_PASS"):
        await client(vendor, password="wrong").connect()
    assert [one.password for one in vendor.tries] == [b"wrong"]


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@ensureDeferred
async def test_a_key_does_in_the_place_of_a_password(vendor: Vendor, kind: str) -> None:
    private = (
        Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, 2048)
    )
    vendor.user_keys.append(Key(private))
    await vendor.close()
    vendor.listen()
    to = client(vendor, password="", key=private)
    assert await put(to) is True
    (credentials,) = vendor.tries
    assert credentials.algName == {"ed25519": b"ssh-ed25519", "rsa": b"rsa-sha2-512"}[kind]
    to.close()


@ensureDeferred
async def test_where_the_key_is_refused_the_password_is_tried(vendor: Vendor) -> None:
    to = client(vendor, password=PASSWORD, key=Ed25519PrivateKey.generate())
    await to.connect()
    assert len(vendor.tries) == 2
    to.close()


@ensureDeferred
async def test_who_does_not_answer_is_hung_up_on(vendor: Vendor) -> None:
    to = client(vendor)
    await to.connect()
    usual, to._timeout = to._timeout, timedelta(seconds=0.2)
    with pytest.raises(Unavailable, match="not answered"):
        await put(to, "silent.mp3")
    to._timeout = usual
    assert await put(to) is True
    to.close()


@ensureDeferred
async def test_a_vendor_that_is_away_is_unavailable_and_so_is_one_that_does_not_let_in(
    vendor: Vendor,
) -> None:
    await vendor.close()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await client(vendor).connect()
    mute = reactor.listenTCP(vendor.number, Factory.forProtocol(Protocol), interface="127.0.0.1")
    with pytest.raises(Unavailable, match="no SFTP session within"):
        await client(vendor, 0.1).connect()
    to = client(vendor, 60)
    connecting = Deferred.fromCoroutine(to.connect())
    reactor.callLater(0.05, to.abandon)
    with pytest.raises(Unavailable, match="the daemon ended the connection"):
        await connecting
    await mute.stopListening()


@ensureDeferred
async def test_a_folder_that_is_not_there_is_named(vendor: Vendor) -> None:
    with pytest.raises(Rejected, match=r"no folder 'sounds'.*AUDIO_FTP_ROOT"):
        await sizes(client(vendor, root="sounds"))
    (vendor.folder / "sounds").mkdir()
    to = client(vendor, root="sounds")
    assert await put(to) is True
    assert (vendor.folder / "sounds" / "one.mp3").read_bytes() == SOUND
    assert await sizes(to) == {"one.mp3": SIZE}
    to.close()

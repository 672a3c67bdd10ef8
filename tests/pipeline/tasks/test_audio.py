"""Files on their way to the voice vendor, with a real database and a real SFTP server."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.application.service import Service
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.clients.voice_vendor.sftp import WINDOW_BYTES, VoiceVendor
from sbm.model.durations import LongestDelay
from sbm.pipeline.tasks import audio
from sbm.pipeline.tasks.audio import AudioCopies
from sbm.runtime.wakeups import Wakeup
from sbm.store import tasks
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.clients.voice_vendor.sftp import Vendor, a_key, pinned

reactor: Any = global_reactor

# Longer than a test may take: who waits for its end is not done in time.
HOUR = timedelta(hours=1)

LONG = random.Random(2).randbytes(3 * WINDOW_BYTES + 5)


@define(eq=False)
class World:
    """Files here, and a vendor who is to have them."""

    vendor: Vendor
    media: Path
    database: Database
    direct: Arranged

    def files(self, **sounds: bytes | None) -> None:
        """Files by name; None: the row is there, and the file is not."""
        for name, sound in sounds.items():
            self.direct.rows("INSERT INTO binary_contents (content) VALUES (%s)", f"{name}.mp3")
            if sound is not None:
                (self.media / f"{name}.mp3").write_bytes(sound)

    def there(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in self.vendor.folder.iterdir()}

    def copies(self, **changes: Any) -> AudioCopies:
        """The object that does the tasks, a pass at a time."""
        told: dict[str, Any] = {
            "vendor": VoiceVendor(
                reactor=reactor, address=self.vendor.address(), timeout=timedelta(seconds=60)
            ),
            "media_root": self.media,
            "draw": lambda: 0.01,
        }
        told |= changes
        copies = AudioCopies(
            reactor=reactor,
            database=self.database,
            vendor=told["vendor"],
            media_root=told["media_root"],
            owner=uuid4(),
            draw=told["draw"],
            backoff_max=LongestDelay(timedelta(seconds=60)),
            wakeup=Wakeup(reactor=reactor),
        )
        Service.startService(copies)
        return copies

    async def ask(self) -> None:
        await self.database.transact(tasks.request, kind="sync-audio-files", requested_by=None)

    async def sync(self, **changes: Any) -> dict[str, Any]:
        """Ask, and have it done."""
        await self.ask()
        assert await self.copies(**changes).one_pass() == 1
        return self.task()

    def task(self) -> dict[str, Any]:
        (row, *_) = self.direct.rows("SELECT * FROM tasks ORDER BY requested_at DESC")
        return row


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path, database: Database, direct: Arranged) -> AsyncIterator[World]:
    media, folder = tmp_path / "media", tmp_path / "vendor"
    media.mkdir()
    folder.mkdir()
    vendor = Vendor(folder)
    vendor.listen()
    yield World(vendor, media, database, direct)
    await vendor.close()


def counts(total: int, *, there: int = 0, copied: int = 0, size: int = 0, failed: int = 0) -> Any:
    return {
        "total": total,
        "there": there,
        "copied": copied,
        "copied_bytes": size,
        "failed": failed,
    }


@ensureDeferred
async def test_what_is_missing_is_copied_and_nothing_else(world: World) -> None:
    world.files(one=b"1", two=b"22", three=b"333")
    (world.vendor.folder / "one.mp3").write_bytes(b"?")
    (world.vendor.folder / "theirs.mp3").write_bytes(b"theirs")
    first = await world.sync()
    assert world.there() == {
        "one.mp3": b"?",  # of the same size, so it is taken for the same
        "two.mp3": b"22",
        "three.mp3": b"333",
        "theirs.mp3": b"theirs",
    }
    told = counts(3, there=1, copied=2, size=5)
    assert (first["state"], first["reason"]) == ("done", "")
    assert first["result"] == {**told, "faults": []}
    assert first["progress"] == {**told, "done": 3, "waiting_for": None}
    for name in ("two", "three"):
        (world.vendor.folder / f"{name}.mp3").unlink()
    world.direct.rows("DELETE FROM binary_contents WHERE content = 'three.mp3'")
    world.files(four=b"4444")
    world.vendor.written.clear()
    second = await world.sync()
    assert second["result"] == {**counts(3, there=1, copied=2, size=6), "faults": []}
    assert {name for name, _, _ in world.vendor.written} == {"two.mp3.part", "four.mp3.part"}
    rows = world.direct.rows(
        "SELECT name, size, copied_by, seen_by FROM audio_copies ORDER BY name"
    )
    assert [(row["name"], row["size"]) for row in rows] == [
        ("four.mp3", 4),
        ("one.mp3", 1),
        ("two.mp3", 2),
    ]
    assert [row["copied_by"] for row in rows] == [second["id"], None, second["id"]]


@ensureDeferred
async def test_what_is_wrong_with_one_file_does_not_stop_the_others(world: World) -> None:
    world.files(denied=b"no", gone=None, two=b"22")
    (world.media / "link.mp3").symlink_to(world.media / "two.mp3")
    world.files(link=None)
    world.direct.rows("INSERT INTO binary_contents (content) VALUES ('../two.mp3')")
    done = await world.sync()
    assert world.there() == {"two.mp3": b"22"}
    assert done["state"] == "failed"
    assert done["reason"] == "4 of 5 files could not be copied: see the result"
    assert done["result"] == {
        **counts(5, copied=1, size=2, failed=4),
        "faults": [
            {"file": "denied.mp3", "reason": "permission denied"},
            {"file": "gone.mp3", "reason": "it is not in the media folder"},
            {"file": "link.mp3", "reason": "it is not a regular file"},
            {"file": "../two.mp3", "reason": "its name is not a plain file name"},
        ],
    }


@ensureDeferred
async def test_a_connection_that_is_cut_in_the_middle_of_a_file_costs_little(world: World) -> None:
    world.files(long=LONG, two=b"22")
    world.vendor.at(2 * WINDOW_BYTES, world.vendor.cut)
    done = await world.sync()
    assert (done["state"], done["result"]["copied"]) == ("done", 2)
    assert world.there() == {"long.mp3": LONG, "two.mp3": b"22"}
    sent = sum(count for name, _, count in world.vendor.written if name == "long.mp3.part")
    assert len(LONG) < sent <= len(LONG) + WINDOW_BYTES
    assert world.vendor.listings == 1


@ensureDeferred
async def test_a_file_that_always_loses_the_connection_is_given_up(world: World) -> None:
    world.files(cutting=b"bad", two=b"22")
    done = await world.sync(draw=lambda: 0.0)
    assert world.there() == {"two.mp3": b"22"}
    (fault,) = done["result"]["faults"]
    assert fault["file"] == "cutting.mp3"
    assert fault["reason"].startswith(f"given up, {audio.MAX_LOSSES} times in a row: ")


@ensureDeferred
async def test_a_task_waits_for_a_vendor_who_is_away(world: World) -> None:
    world.files(one=b"1")
    await world.vendor.close()
    await world.ask()
    copying = Deferred.fromCoroutine(world.copies().one_pass())
    while not world.task()["progress"].get("waiting_for"):
        await deferLater(reactor, 0.01)
    task = world.task()
    assert task["state"] == "begun"
    assert "cannot be reached" in task["progress"]["waiting_for"]
    world.vendor.listen()
    assert await copying == 1
    assert world.task()["state"] == "done"
    assert world.there() == {"one.mp3": b"1"}


@ensureDeferred
async def test_a_copy_that_is_stopped_in_the_middle_goes_on_in_another_daemon(world: World) -> None:
    world.files(one=b"1", long=LONG)
    await world.ask()
    copies = world.copies()
    world.vendor.at(2 * WINDOW_BYTES, copies.stopService)
    assert await copies.one_pass() == 0
    assert world.there().keys() == {"one.mp3", "long.mp3.part"}
    world.vendor.written.clear()
    assert await world.copies().one_pass() == 1
    assert min(offset for _, offset, _ in world.vendor.written) > 0
    assert world.there() == {"one.mp3": b"1", "long.mp3": LONG}
    done = world.task()
    assert done["state"] == "done"
    assert done["result"] == {**counts(2, copied=2, size=len(LONG) + 1), "faults": []}


@ensureDeferred
async def test_a_long_pause_is_no_reason_to_lose_the_task_nor_to_keep_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "RENEW_SECONDS", 0.01)
    await world.vendor.close()
    await world.ask()
    copies = world.copies(draw=lambda: HOUR.total_seconds())
    copying = Deferred.fromCoroutine(copies.one_pass())
    while not world.task()["progress"].get("waiting_for"):
        await deferLater(reactor, 0.01)
    lease = world.task()["lease_until"]
    while world.task()["lease_until"] == lease and not copying.called:
        await deferLater(reactor, 0.01)
    world.direct.rows("UPDATE tasks SET owner = %s", str(uuid4()))
    assert await copying == 0


@pytest.mark.parametrize("change", [LONG[::-1], LONG + b"!", LONG[:5]])
@ensureDeferred
async def test_a_file_that_changes_on_its_way_is_not_there_and_nor_is_what_was_begun(
    world: World, change: bytes
) -> None:
    world.files(long=LONG)
    world.vendor.at(WINDOW_BYTES, lambda: (world.media / "long.mp3").write_bytes(change))
    done = await world.sync()
    assert world.there() == {}
    assert done["result"]["faults"] == [
        {"file": "long.mp3", "reason": "it was changed here while it was copied"}
    ]
    assert (await world.sync())["state"] == "done"
    assert world.there() == {"long.mp3": change}


@ensureDeferred
async def test_a_listing_that_cannot_be_true_is_not_believed(world: World) -> None:
    world.files(one=b"1")
    world.vendor.claims["one.mp3"] = 2**64 - 1
    assert (await world.sync())["state"] == "done"
    assert world.there() == {"one.mp3": b"1"}


@ensureDeferred
async def test_what_is_uploaded_meanwhile_counts_among_all(world: World) -> None:
    world.files(one=b"1")
    world.vendor.at(1, lambda: world.files(two=b"22"))
    done = await world.sync()
    assert done["result"] == {**counts(2, copied=2, size=3), "faults": []}


@pytest.mark.parametrize("is_away", [False, True])
@ensureDeferred
async def test_to_stop_waits_for_no_answer_of_the_vendor_and_not_for_his_return(
    world: World, is_away: bool
) -> None:
    world.files(silent=b"1")
    if is_away:
        await world.vendor.close()
    await world.ask()
    vendor = VoiceVendor(reactor=reactor, address=world.vendor.address(), timeout=HOUR)
    copies = world.copies(vendor=vendor, draw=lambda: HOUR.total_seconds())
    copying = Deferred.fromCoroutine(copies.one_pass())
    while not (world.vendor.silenced or world.task()["progress"].get("waiting_for")):
        await deferLater(reactor, 0.01)
    copies.stopService()
    assert await copying == 0
    assert await world.database.transact(
        tasks.begin, owner=uuid4(), kinds=["sync-audio-files"], lease=timedelta(seconds=60)
    )


@ensureDeferred
async def test_a_vendor_who_is_somebody_else_ends_the_task(world: World) -> None:
    world.files(one=b"1")
    other = VoiceVendor(
        reactor=reactor,
        address=world.vendor.address(host_key=pinned(a_key())),
        timeout=timedelta(seconds=10),
    )
    done = await world.sync(vendor=other)
    assert done["state"] == "failed"
    assert "SBM_AUDIO_FTP_HOST_KEY" in done["reason"]
    assert world.there() == {}


@pytest.mark.parametrize(
    ("missing", "setting"), [("vendor", "AUDIO_FTP_HOST"), ("media_root", "SBM_MEDIA_ROOT")]
)
@ensureDeferred
async def test_a_task_that_lacks_a_setting_names_it(
    world: World, missing: str, setting: str
) -> None:
    done = await world.sync(**{missing: None})
    assert done["state"] == "failed"
    assert done["reason"].startswith(f"{setting} is not set")

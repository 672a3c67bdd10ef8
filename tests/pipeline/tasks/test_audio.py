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
class Town:
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
        """What does the tasks, a pass at a time."""
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
async def town(tmp_path: Path, database: Database, direct: Arranged) -> AsyncIterator[Town]:
    media, folder = tmp_path / "media", tmp_path / "vendor"
    media.mkdir()
    folder.mkdir()
    vendor = Vendor(folder)
    vendor.listen()
    yield Town(vendor, media, database, direct)
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
async def test_what_is_missing_is_copied_and_nothing_else(town: Town) -> None:
    town.files(one=b"1", two=b"22", three=b"333")
    (town.vendor.folder / "one.mp3").write_bytes(b"?")
    (town.vendor.folder / "theirs.mp3").write_bytes(b"theirs")
    first = await town.sync()
    assert town.there() == {
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
        (town.vendor.folder / f"{name}.mp3").unlink()
    town.direct.rows("DELETE FROM binary_contents WHERE content = 'three.mp3'")
    town.files(four=b"4444")
    town.vendor.written.clear()
    second = await town.sync()
    assert second["result"] == {**counts(3, there=1, copied=2, size=6), "faults": []}
    assert {name for name, _, _ in town.vendor.written} == {"two.mp3.part", "four.mp3.part"}
    rows = town.direct.rows("SELECT name, size, copied_by, seen_by FROM audio_copies ORDER BY name")
    assert [(row["name"], row["size"]) for row in rows] == [
        ("four.mp3", 4),
        ("one.mp3", 1),
        ("two.mp3", 2),
    ]
    assert [row["copied_by"] for row in rows] == [second["id"], None, second["id"]]


@ensureDeferred
async def test_what_is_wrong_with_one_file_does_not_stop_the_others(town: Town) -> None:
    town.files(denied=b"no", gone=None, two=b"22")
    (town.media / "link.mp3").symlink_to(town.media / "two.mp3")
    town.files(link=None)
    town.direct.rows("INSERT INTO binary_contents (content) VALUES ('../two.mp3')")
    done = await town.sync()
    assert town.there() == {"two.mp3": b"22"}
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
async def test_a_connection_that_is_cut_in_the_middle_of_a_file_costs_little(town: Town) -> None:
    town.files(long=LONG, two=b"22")
    town.vendor.at(2 * WINDOW_BYTES, town.vendor.cut)
    done = await town.sync()
    assert (done["state"], done["result"]["copied"]) == ("done", 2)
    assert town.there() == {"long.mp3": LONG, "two.mp3": b"22"}
    sent = sum(count for name, _, count in town.vendor.written if name == "long.mp3.part")
    assert len(LONG) < sent <= len(LONG) + WINDOW_BYTES
    assert town.vendor.listings == 1


@ensureDeferred
async def test_a_file_that_always_loses_the_connection_is_given_up(town: Town) -> None:
    town.files(cutting=b"bad", two=b"22")
    done = await town.sync(draw=lambda: 0.0)
    assert town.there() == {"two.mp3": b"22"}
    (fault,) = done["result"]["faults"]
    assert fault["file"] == "cutting.mp3"
    assert fault["reason"].startswith(f"given up, {audio.MAX_LOSSES} times in a row: ")


@ensureDeferred
async def test_a_task_waits_for_a_vendor_who_is_away(town: Town) -> None:
    town.files(one=b"1")
    await town.vendor.close()
    await town.ask()
    copying = Deferred.fromCoroutine(town.copies().one_pass())
    while not town.task()["progress"].get("waiting_for"):
        await deferLater(reactor, 0.01)
    task = town.task()
    assert task["state"] == "begun"
    assert "cannot be reached" in task["progress"]["waiting_for"]
    town.vendor.listen()
    assert await copying == 1
    assert town.task()["state"] == "done"
    assert town.there() == {"one.mp3": b"1"}


@ensureDeferred
async def test_a_copy_that_is_stopped_in_the_middle_goes_on_in_another_daemon(town: Town) -> None:
    town.files(one=b"1", long=LONG)
    await town.ask()
    copies = town.copies()
    town.vendor.at(2 * WINDOW_BYTES, copies.stopService)
    assert await copies.one_pass() == 0
    assert town.there().keys() == {"one.mp3", "long.mp3.part"}
    town.vendor.written.clear()
    assert await town.copies().one_pass() == 1
    assert min(offset for _, offset, _ in town.vendor.written) > 0
    assert town.there() == {"one.mp3": b"1", "long.mp3": LONG}
    done = town.task()
    assert done["state"] == "done"
    assert done["result"] == {**counts(2, copied=2, size=len(LONG) + 1), "faults": []}


@ensureDeferred
async def test_a_long_pause_is_no_reason_to_lose_the_task_nor_to_keep_it(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "RENEW_SECONDS", 0.01)
    await town.vendor.close()
    await town.ask()
    copies = town.copies(draw=lambda: HOUR.total_seconds())
    copying = Deferred.fromCoroutine(copies.one_pass())
    while not town.task()["progress"].get("waiting_for"):
        await deferLater(reactor, 0.01)
    lease = town.task()["lease_until"]
    while town.task()["lease_until"] == lease and not copying.called:
        await deferLater(reactor, 0.01)
    town.direct.rows("UPDATE tasks SET owner = %s", str(uuid4()))
    assert await copying == 0


@pytest.mark.parametrize("change", [LONG[::-1], LONG + b"!", LONG[:5]])
@ensureDeferred
async def test_a_file_that_changes_on_its_way_is_not_there_and_nor_is_what_was_begun(
    town: Town, change: bytes
) -> None:
    town.files(long=LONG)
    town.vendor.at(WINDOW_BYTES, lambda: (town.media / "long.mp3").write_bytes(change))
    done = await town.sync()
    assert town.there() == {}
    assert done["result"]["faults"] == [
        {"file": "long.mp3", "reason": "it was changed here while it was copied"}
    ]
    assert (await town.sync())["state"] == "done"
    assert town.there() == {"long.mp3": change}


@ensureDeferred
async def test_a_listing_that_cannot_be_true_is_not_believed(town: Town) -> None:
    town.files(one=b"1")
    town.vendor.claims["one.mp3"] = 2**64 - 1
    assert (await town.sync())["state"] == "done"
    assert town.there() == {"one.mp3": b"1"}


@ensureDeferred
async def test_what_is_uploaded_meanwhile_counts_among_all(town: Town) -> None:
    town.files(one=b"1")
    town.vendor.at(1, lambda: town.files(two=b"22"))
    done = await town.sync()
    assert done["result"] == {**counts(2, copied=2, size=3), "faults": []}


@pytest.mark.parametrize("is_away", [False, True])
@ensureDeferred
async def test_to_stop_waits_for_no_answer_of_the_vendor_and_not_for_his_return(
    town: Town, is_away: bool
) -> None:
    town.files(silent=b"1")
    if is_away:
        await town.vendor.close()
    await town.ask()
    vendor = VoiceVendor(reactor=reactor, address=town.vendor.address(), timeout=HOUR)
    copies = town.copies(vendor=vendor, draw=lambda: HOUR.total_seconds())
    copying = Deferred.fromCoroutine(copies.one_pass())
    while not (town.vendor.silenced or town.task()["progress"].get("waiting_for")):
        await deferLater(reactor, 0.01)
    copies.stopService()
    assert await copying == 0
    assert await town.database.transact(
        tasks.begin, owner=uuid4(), kinds=["sync-audio-files"], lease=timedelta(seconds=60)
    )


@ensureDeferred
async def test_a_vendor_who_is_somebody_else_ends_the_task(town: Town) -> None:
    town.files(one=b"1")
    other = VoiceVendor(
        reactor=reactor,
        address=town.vendor.address(host_key=pinned(a_key())),
        timeout=timedelta(seconds=10),
    )
    done = await town.sync(vendor=other)
    assert done["state"] == "failed"
    assert "SBM_AUDIO_FTP_HOST_KEY" in done["reason"]
    assert town.there() == {}


@pytest.mark.parametrize(
    ("missing", "setting"), [("vendor", "AUDIO_FTP_HOST"), ("media_root", "SBM_MEDIA_ROOT")]
)
@ensureDeferred
async def test_a_task_that_lacks_a_setting_names_it(town: Town, missing: str, setting: str) -> None:
    done = await town.sync(**{missing: None})
    assert done["state"] == "failed"
    assert done["reason"].startswith(f"{setting} is not set")

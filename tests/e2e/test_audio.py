"""From the request to the voice vendor's folder."""

from __future__ import annotations

from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.clients.voice_vendor.sftp import PASSWORD, USER, Vendor, pinned
from tests.e2e.end_to_end import World, pause


@ensureDeferred
async def test_sound_that_is_asked_for_comes_to_the_vendor(seed: World, tmp_path: Path) -> None:
    media, folder = tmp_path / "media", tmp_path / "vendor"
    media.mkdir()
    folder.mkdir()
    vendor = Vendor(folder)
    vendor.listen()
    (media / "hello.mp3").write_bytes(b"hello")
    seed.direct.rows("INSERT INTO binary_contents (content) VALUES ('hello.mp3')")
    seed.start(
        SBM_MEDIA_ROOT=str(media),
        AUDIO_FTP_HOST="127.0.0.1",
        AUDIO_FTP_PORT=str(vendor.number),
        AUDIO_FTP_USER=USER,
        AUDIO_FTP_PASS=PASSWORD,
        SBM_AUDIO_FTP_HOST_KEY=pinned(vendor.host_key),
    )
    _, asked = await seed.call("POST", "/api/v1/sync_audio_files/")
    task = {"state": "waiting"}
    while task["state"] in ("waiting", "begun"):
        await pause(0.05)
        _, task = await seed.call("GET", f"/api/v1/tasks/{asked['task_id']}/")
    assert task["state"] == "done"
    assert (folder / "hello.mp3").read_bytes() == b"hello"
    await vendor.close()

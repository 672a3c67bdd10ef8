"""A daemon that is started with SBM_PAUSED answers requests, and does nothing by itself."""

from __future__ import annotations

from pytest_twisted import ensureDeferred

from tests.e2e.end_to_end import World
from tests.e2e.test_restored import pause_of, paused, resume, stop_daemons, working


@ensureDeferred
async def test_nothing_is_expanded_or_sent_until_it_is_resumed(seed: World) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(3, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start(SBM_PAUSED="1")
    await paused(seed, "SBM_PAUSED is set")
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await paused(seed, "SBM_PAUSED is set")
    assert seed.direct.value("SELECT count(*) FROM ticks WHERE state = 'expanding'") == 1
    assert seed.direct.value("SELECT count(*) FROM sends") == 0
    assert "this pause has ended" in await resume(seed)
    await seed.settled()
    assert len(seed.sender) == 3


@ensureDeferred
async def test_only_its_own_setting_pauses_a_daemon(seed: World) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(3, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start()
    await working(seed)
    seed.start(SBM_PAUSED="1")
    await paused(seed, "SBM_PAUSED is set")
    await seed.tick(schedule)
    assert len(seed.sender) == 3
    await stop_daemons(seed)
    assert seed.direct.value("SELECT count(*) FROM pauses") == 0
    seed.start()
    await working(seed)
    assert (await pause_of(seed)) == {"is_paused": False, "reason": ""}


@ensureDeferred
async def test_a_pause_survives_that_its_row_is_gone(seed: World) -> None:
    """As when the database is restored while the daemon is paused."""
    seed.start(SBM_PAUSED="1")
    await paused(seed, "SBM_PAUSED is set")
    assert seed.direct.rows("DELETE FROM pauses RETURNING 1")
    await seed.until(lambda: seed.direct.value("SELECT count(*) FROM pauses"))
    await paused(seed, "SBM_PAUSED is set")

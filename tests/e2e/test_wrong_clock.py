"""The database's clock is wrong for four seconds, in the middle of a tick, by whole daemons."""

from __future__ import annotations

import signal

import pytest
from pytest_twisted import ensureDeferred

from tests.e2e.daemons import processes
from tests.e2e.end_to_end import World, pause
from tests.e2e.gates import gated
from tests.wrong_clock import WrongClock

DAY = 86_400.0
PLACES = 4
PEOPLE = 12

# So that what is in doubt is trusted again within the test; a claim is renewed every two seconds.
SETTINGS = {
    "SBM_SCHEDULING": "builtin",
    "SCHEDULER_URL": "",
    "SBM_CONCURRENCY": "2",
    "DEFAULT_REQUEST_TIMEOUT": "6",
    "SBM_LEASE_SECONDS": "12",
    "SBM_SETTLE_SECONDS": "8",
}


async def _try(seed: World, jumps: tuple[float, ...]) -> None:
    wrong_clock = WrongClock(seed.direct)
    # It is asked to send by hand, and never by the clock.
    yearly = seed.direct.schedule(minute="0", hour="0", day_of_month="29", month_of_year="2")
    messageset = seed.direct.messageset("pregnancy", yearly, messages=len(jumps) + 1)
    seed.subscribe(PEOPLE, messageset, yearly)
    minutely = seed.direct.schedule()
    often = seed.direct.messageset("often", minutely, messages=99)
    seed.subscribe(2, often, minutely)
    storing = (await gated(seed)).only("storing")

    def had() -> list[list[str]]:
        told = [
            [text for text in texts if text.startswith("pregnancy")]
            for texts in seed.received().values()
        ]
        return [texts for texts in told if texts]

    with processes(seed, 2, **SETTINGS) as (first, second):
        await first.start()
        await second.start()
        storing.open()
        for number, by in enumerate(jumps, start=1):
            # All have had theirs, but a tick that comes before that is settled skips them.
            await seed.settled()
            storing.is_shut = True
            status, _ = await seed.call("POST", f"/api/v1/schedule/{yearly}/send/", at=first.url)
            assert status == 202
            await seed.until(lambda: len(storing.waiting) >= PLACES)
            wrong_clock.set(by)
            await pause(4)
            wrong_clock.set(0)
            storing.open()
            expected = [f"pregnancy {one} eng_ZA" for one in range(1, number + 1)]
            await seed.until(lambda expected=expected: had() == [expected] * PEOPLE)  # type: ignore[misc]
        # A restart helps nobody to believe what the wrong clock wrote.
        await second.end(signal.SIGKILL)
        await second.start()
        returned_at = seed.direct.value("SELECT now()")
        await seed.until(
            lambda: seed.direct.value(
                "SELECT count(*) FROM ticks WHERE schedule_id = %s AND state = 'expanded'"
                " AND due_at > %s",
                *(minutely, returned_at),
            )
        )
        await seed.until(lambda: not seed.direct.value("SELECT count(*) FROM sends"))
        assert had() == [expected] * PEOPLE
        log = first.output + second.output
    # No tick was made, or recorded as missed, by a clock that was wrong.
    early = "SELECT * FROM ticks WHERE source = 'clock' AND due_at > pg_catalog.now()"
    assert seed.direct.rows(early) == []
    assert seed.direct.value("SELECT count(*) FROM ticks WHERE state = 'missed'") <= 4 * len(jumps)
    for texts in seed.received().values():
        assert len(texts) == len(set(texts)), "somebody was sent something twice"
    assert seed.direct.unbalanced_ticks() == []
    assert seed.direct.rows("SELECT * FROM doubles") == []
    assert "the database's clock was set forward" in log
    assert "the database's clock was set back" in log


@pytest.mark.slow
@ensureDeferred
async def test_a_clock_that_is_wrong_by_a_day_for_seconds_loses_and_doubles_nothing(
    seed: World,
) -> None:
    await _try(seed, (DAY, -DAY))


@pytest.mark.long
@ensureDeferred
async def test_a_clock_that_is_wrong_by_seconds_hours_or_days_loses_and_doubles_nothing(
    seed: World,
) -> None:
    await _try(seed, (30, -30, 7200, -7200, 3 * DAY, -3 * DAY))

"""Subscriptions that are behind are listed, sent to, or moved on."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.behind import BehindRecord
from sbm.model.signature import Signature
from sbm.model.time_zones import TimeZones
from sbm.operations.behind import (
    FARTHEST,
    BehindCount,
    Expectation,
    MomentTooFar,
    fast_forward,
    list_behind,
    send_to_behind,
)
from sbm.operations.selection import Filters, NoMessageSet, NoSchedule, Repair
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.operations.told import ToldProgress

ZONE = ZoneInfo("Africa/Johannesburg")
NOW = Expectation(zones=TimeZones(default=ZONE))
SIGNED = Signature(actor="thandi", reason="the clock stood still")
OWED = "a message is already owed to the subscription"


@pytest.fixture
def mothers(direct: Arranged) -> list[UUID]:
    """Three who should be in the next set by now; one of them is owed a message."""
    schedule = direct.schedule(minute="0", hour="8")
    baby = direct.messageset("baby", schedule, messages=90)
    pregnancy = direct.messageset("pregnancy", schedule, messages=4, next_set=baby)
    mothers = sorted(direct.subscriptions(3, pregnancy, schedule))
    direct.rows("UPDATE subscriptions SET created_at = now() - interval '10 days'")
    direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " SELECT 'next', 'tick', id, identity, 1 FROM subscriptions WHERE id = %s",
        mothers[0],
    )
    return mothers


@ensureDeferred
async def test_all_who_are_behind_are_told_of_and_nothing_stays(
    database: Database, direct: Arranged, mothers: list[UUID]
) -> None:
    found: list[BehindRecord] = []
    told = ToldProgress()
    count = await list_behind(
        database,
        expectation=NOW,
        filters=Filters(),
        limit=None,
        tell=found.append,
        progress=told,
    )
    assert [one.id for one in found] == mothers
    assert [step.messageset_name for step in found[0].path] == ["pregnancy", "baby"]
    assert (count.done, count.skipped) == (3, {})
    assert (told.what, told.count, sum(told.done), told.is_over) == ("subscriptions", 3, 3, True)
    assert direct.rows("SELECT * FROM searches") == []


@pytest.mark.parametrize("is_dry", [True, False])
@ensureDeferred
async def test_those_who_are_not_held_back_are_moved(
    database: Database, direct: Arranged, mothers: list[UUID], is_dry: bool
) -> None:
    repair = Repair(signature=SIGNED, is_dry=is_dry)
    count = await fast_forward(database, expectation=NOW, repair=repair)
    assert (count.done, count.begun, count.skipped) == (2, 2, {OWED: 1})
    moved = [one for one in mothers if direct.subscription(one)["completed"]]
    assert moved == ([] if is_dry else mothers[1:])
    assert direct.rows("SELECT actor, reason FROM audit") == (
        [] if is_dry else [{"actor": "thandi", "reason": "the clock stood still"}]
    )


@ensureDeferred
async def test_so_many_are_owed_a_message(
    database: Database, direct: Arranged, mothers: list[UUID]
) -> None:
    repair = Repair(signature=SIGNED, limit=1)
    first: BehindCount = await send_to_behind(database, expectation=NOW, repair=repair)
    assert (first.done, first.skipped) == (1, {OWED: 1})
    second = await send_to_behind(database, expectation=NOW, repair=Repair(signature=SIGNED))
    assert (second.done, second.skipped) == (1, {OWED: 2})
    assert direct.value("SELECT count(*) FROM sends") == 3


@ensureDeferred
async def test_what_cannot_be_told_is_refused_the_moment_first(
    database: Database, mothers: list[UUID]
) -> None:
    far = Expectation(
        zones=TimeZones(default=ZONE), as_of=datetime.now(timezone.utc) + FARTHEST * 2
    )
    near = Expectation(
        zones=TimeZones(default=ZONE), as_of=datetime.now(timezone.utc) - timedelta(days=1)
    )
    nowhere = Filters(messageset="nope", schedule_id=4711)
    for expectation, filters, refusal in (
        (far, nowhere, MomentTooFar),
        (near, nowhere, NoSchedule),
        (near, Filters(messageset="nope"), NoMessageSet),
    ):
        with pytest.raises(refusal):
            await list_behind(
                database,
                expectation=expectation,
                filters=filters,
                limit=None,
                tell=lambda _one: None,
            )

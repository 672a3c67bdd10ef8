"""The checks find inconsistent data, and return it as values."""

from __future__ import annotations

from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from pytest_twisted import ensureDeferred

from sbm.model.ledger_balance import TickBalance
from sbm.model.time_zones import TimeZones
from sbm.operations.checks import LedgerCheck, LedgerFinding, check_ledger, check_schedules
from sbm.store.ledger_balance import Double, OrphanSend, Surplus
from sbm.store.postgres.database import Database
from tests.arrange import Arranged


@ensureDeferred
async def test_each_kind_of_finding_is_told_and_counted(
    database: Database, direct: Arranged
) -> None:
    tick = direct.value(
        "INSERT INTO ticks (source, state, schedule_id, triggers, due_at)"
        " VALUES ('post-back', 'expanded', 1, 3, now()) RETURNING id"
    )
    orphan: UUID = direct.value(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " VALUES ('next', 'tick', gen_random_uuid(), 'i', %s) RETURNING id",
        tick + 1,
    )
    twice = uuid4()
    for outbound in ("one", "two"):
        direct.rows(
            "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id,"
            " identity, outbound_id) VALUES (%s, %s, 'next', 'sent', 'post', %s, 'i', %s)",
            twice,
            tick,
            twice,
            outbound,
        )
    direct.rows(
        "INSERT INTO doubles (send_id, subscription_id, outbound_id, noticed_at)"
        " VALUES (%s, %s, 'three', now())",
        twice,
        twice,
    )
    found: list[LedgerFinding] = []
    check = await check_ledger(database, tell=found.append)
    balance, lost, double, surplus = found
    assert isinstance(balance, TickBalance)
    assert (balance.tick_id, balance.missing) == (tick, 1)
    assert lost == OrphanSend(send_id=orphan, tick_id=tick + 1)
    assert isinstance(double, Double)
    assert (double.send_id, double.times) == (twice, 2)
    assert isinstance(surplus, Surplus)
    assert surplus.outbound_id == "three"
    assert check == LedgerCheck(
        ticks=1, not_kept=0, unbalanced=1, orphans=1, sent_twice=1, doubles=1
    )
    assert check.is_unbalanced


@ensureDeferred
async def test_schedules_that_are_never_due_are_faulty(
    database: Database, direct: Arranged
) -> None:
    direct.schedule(day_of_month="1-7", day_of_week="1")
    never = direct.schedule(day_of_month="31", month_of_year="2")
    check = await check_schedules(database, zones=TimeZones(default=ZoneInfo("UTC")))
    assert (check.schedules, check.faulty) == (2, {never})
    assert [remark.fate for remark in check.remarks] == ["both days", "never due"]


@ensureDeferred
async def test_next_ticks_are_in_the_zone_of_each_schedule_and_unknown_zones_are_faulty(
    database: Database, direct: Arranged
) -> None:
    both = {"minute": "0", "hour": "8", "day_of_month": "1-7", "day_of_week": "1"}
    direct.schedule(time_zone="Asia/Tokyo", **both)
    direct.schedule(**both)
    lost = direct.schedule(time_zone="Mars/Base", **both)
    check = await check_schedules(database, zones=TimeZones(default=ZoneInfo("UTC")))
    tokyo, utc, unknown = check.remarks
    assert all(tick.endswith("T08:00+09:00") for tick in tokyo.next_ticks)
    assert all(tick.endswith("T08:00+00:00") for tick in utc.next_ticks)
    assert (unknown.id, unknown.fate, check.faulty) == (lost, "unknown time zone", {lost})
    assert "Mars/Base" in str(unknown)


@ensureDeferred
async def test_a_zone_that_is_not_that_of_the_scheduler_is_faulty(
    database: Database, direct: Arranged
) -> None:
    zone = ZoneInfo("Africa/Johannesburg")
    both = {"minute": "0", "hour": "8", "day_of_month": "1-7", "day_of_week": "1"}
    direct.schedule(time_zone=zone.key)
    other = direct.schedule(time_zone="Asia/Tokyo", **both)
    check = await check_schedules(database, zones=TimeZones(default=zone, scheduler=zone))
    remark, ticks = check.remarks
    assert (remark.fate, ticks.fate, check.faulty) == ("other time zone", "both days", {other})
    assert all(tick.endswith("T08:00+02:00") for tick in ticks.next_ticks)

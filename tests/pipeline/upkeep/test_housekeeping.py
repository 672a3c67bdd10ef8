"""The ledger's partitions, and rows that are kept for some time only."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_twisted import ensureDeferred

from sbm.pipeline.upkeep import housekeeping as module
from sbm.pipeline.upkeep.housekeeping import MONTHS_AHEAD, CallbackHousekeeping, Housekeeping
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

MONTHS = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^ledger_\\d' ORDER BY relname"
)


@ensureDeferred
async def test_it_makes_the_coming_months_and_drops_those_that_are_no_longer_kept(
    database: Database, direct: Arranged
) -> None:
    fresh = [row["relname"] for row in direct.rows(MONTHS)]
    assert len(fresh) == 1 + MONTHS_AHEAD
    direct.rows(f"DROP TABLE {fresh[-1]}")
    direct.rows(
        "CREATE TABLE ledger_2001_01 PARTITION OF ledger"
        " FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00')"
    )
    housekeeping = Housekeeping(
        database=database, ledger_months=24, audit_months=24, intake_months=24
    )
    for _ in range(2):
        assert await housekeeping.one_pass() == 0
        assert [row["relname"] for row in direct.rows(MONTHS)] == fresh


@ensureDeferred
async def test_ticks_of_months_that_are_no_longer_kept_go_unless_they_are_owed_something(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    for state, months in (("expanded", 1), ("expanded", 30), ("missed", 30), ("expanding", 30)):
        direct.rows(
            "INSERT INTO ticks (source, state, schedule_id, created_at)"
            " VALUES ('post-back', %s, %s, now() - make_interval(months => %s))",
            *(state, schedule, months),
        )
    live = direct.value(
        "INSERT INTO ticks (source, state, schedule_id, created_at)"
        " VALUES ('post-back', 'expanded', %s, '2001-01-01') RETURNING id",
        schedule,
    )
    direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " VALUES ('next', 'tick', gen_random_uuid(), 'i', %s)",
        live,
    )
    housekeeping = Housekeeping(
        database=database, ledger_months=24, audit_months=24, intake_months=24
    )
    assert [await housekeeping.one_pass() for _ in range(2)] == [2, 0]
    left = direct.rows("SELECT state, id = %s AS live FROM ticks ORDER BY id", live)
    assert left == [
        {"state": "expanded", "live": False},
        {"state": "expanding", "live": False},
        {"state": "expanded", "live": True},
    ]


@ensureDeferred
async def test_a_month_that_is_kept_stays(database: Database, direct: Arranged) -> None:
    direct.rows(
        "CREATE TABLE ledger_2001_01 PARTITION OF ledger"
        " FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00')"
    )
    await Housekeeping(
        database=database, ledger_months=1200, audit_months=1200, intake_months=1200
    ).one_pass()
    assert direct.rows(MONTHS)[0]["relname"] == "ledger_2001_01"


@ensureDeferred
async def test_what_is_kept_for_a_day_goes_after_it_in_portions(
    database: Database, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct.rows(
        "INSERT INTO idempotency_keys (request, created_at, path, key, fingerprint, status,"
        " headers, body) SELECT sha256(hours::text::bytea), now() - hours * interval '1 hour', '/',"
        " 'k', sha256(''), 201, '{}', '' FROM unnest(array[23.9, 24, 25, 26]) hours"
    )
    direct.rows(
        "INSERT INTO recent_registrations (fingerprint, created_at, subscription_id)"
        " SELECT request, created_at, gen_random_uuid() FROM idempotency_keys"
    )
    monkeypatch.setattr(module, "ANSWERS_PER_PASS", 2)
    housekeeping = Housekeeping(
        database=database, ledger_months=24, audit_months=24, intake_months=24
    )
    assert [await housekeeping.one_pass() for _ in range(3)] == [4, 2, 0]
    left = direct.rows(
        "SELECT now() - created_at < '24h' AS young FROM idempotency_keys"
        " UNION ALL SELECT now() - created_at < '24h' FROM recent_registrations"
    )
    assert left == [{"young": True}] * 2


@ensureDeferred
async def test_recorded_calls_go_in_portions_when_they_are_old_or_later_than_now(
    database: Database, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct.rows(
        "INSERT INTO scheduler_callbacks (kind, target, moment, created_at, received_at, status,"
        " body) SELECT 'schedule', '1', moment, moment, moment, 202, '{}'"
        " FROM unnest(array[-1500, -70, -60.1, -59, 0, 1.5, 2.5, 60, 1500]) minutes,"
        " LATERAL (SELECT now() + minutes * interval '1 minute' AS moment) one"
    )
    monkeypatch.setattr(module, "CALLBACKS_PER_PASS", 2)
    housekeeping = CallbackHousekeeping(database=database, kept=timedelta(hours=1))
    assert [await housekeeping.one_pass() for _ in range(3)] == [4, 2, 0]
    left = direct.rows(
        "SELECT round(extract(epoch FROM moment - now()) / 60) AS m"
        " FROM scheduler_callbacks ORDER BY m"
    )
    assert [int(row["m"]) for row in left] == [-59, 0, 1]


@ensureDeferred
async def test_a_recorded_call_that_is_young_by_the_clock_of_the_daemon_is_kept(
    database: Database, direct: Arranged
) -> None:
    """It may be repeated yet: the database's clock was wrong then, or is wrong now."""
    direct.rows(
        "INSERT INTO scheduler_callbacks (kind, target, moment, created_at, received_at, status,"
        " body) SELECT 'schedule', '1', moment, moment, now(), 202, '{}'"
        " FROM unnest(array[-1500, 1500]) minutes,"
        " LATERAL (SELECT now() + minutes * interval '1 minute' AS moment) one"
    )
    housekeeping = CallbackHousekeeping(database=database, kept=timedelta(hours=1))
    assert await housekeeping.one_pass() == 0
    direct.rows("UPDATE scheduler_callbacks SET received_at = received_at - interval '2 hours'")
    assert await housekeeping.one_pass() == 2


@ensureDeferred
async def test_ended_sessions_and_unused_links_of_the_console_go(
    database: Database, direct: Arranged
) -> None:
    user = direct.value("INSERT INTO users (username) VALUES ('ann') RETURNING id")
    for number, (began, used) in enumerate((("1 hour", "1 minute"), ("1 hour", "40 minutes"))):
        direct.rows(
            "INSERT INTO console_sessions (digest, user_id, began_at, used_at, address, browser)"
            " VALUES (sha256(%s), %s, now() - %s::interval, now() - %s::interval, '', '')",
            *(b"%d" % number, user, began, used),
        )
        direct.rows(
            "INSERT INTO console_links (digest, user_id, expires_at)"
            " VALUES (sha256(%s), %s, now() + %s::interval)",
            *(b"%d" % number, user, ("1 hour", "-1 minute")[number]),
        )
    await Housekeeping(
        database=database, ledger_months=24, audit_months=24, intake_months=24
    ).one_pass()
    assert direct.value("SELECT count(*) FROM console_sessions") == 1
    assert direct.value("SELECT count(*) FROM console_links") == 1

from __future__ import annotations

from pytest_twisted import ensureDeferred

from sbm.store import ledger
from sbm.store.database import Database
from tests.arrange import Arranged

ROW = (
    "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity,"
    " settled_at) VALUES (gen_random_uuid(), 1, 'next', 'sent', 'post', gen_random_uuid(), 'i',"
    " now() + %s::interval)"
)


def partitions(behind: Arranged) -> list[str]:
    rows = behind.rows(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
        " WHERE inhparent = 'ledger'::regclass ORDER BY 1"
    )
    return [row["relname"] for row in rows]


@ensureDeferred
async def test_partitions_are_made_ahead_once(database: Database, behind: Arranged) -> None:
    before = len(partitions(behind))
    assert await database.transact(ledger.make_partitions, months_ahead=6) == 4
    assert await database.transact(ledger.make_partitions, months_ahead=6) == 0
    assert len(partitions(behind)) == before + 4


@ensureDeferred
async def test_rows_of_a_month_without_a_partition_are_kept_and_moved_into_it(
    database: Database, behind: Arranged
) -> None:
    behind.rows(ROW, "5 months")
    assert behind.value("SELECT count(*) FROM ledger_default") == 1
    await database.transact(ledger.make_partitions, months_ahead=6)
    assert behind.value("SELECT count(*) FROM ledger_default") == 0
    assert len(behind.ledger()) == 1


@ensureDeferred
async def test_only_months_that_are_no_longer_kept_are_dropped(
    database: Database, behind: Arranged
) -> None:
    for months in (3, 4, 5):
        behind.rows(
            "DO $$ DECLARE m timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC')"
            f" AT TIME ZONE 'UTC' - make_interval(months => {months}); BEGIN"
            " EXECUTE format('CREATE TABLE %I PARTITION OF ledger FOR VALUES FROM (%L) TO (%L)',"
            " 'ledger_' || to_char(m AT TIME ZONE 'UTC', 'YYYY_MM'), m, m + interval '1 month');"
            " END $$"
        )
    kept = partitions(behind)
    assert await database.transact(ledger.drop_partitions, months_kept=4) == 1
    assert partitions(behind) == kept[1:]
    assert await database.transact(ledger.drop_partitions, months_kept=4) == 0

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred

from sbm.store.partitions import drop, make
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

ROW = (
    "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity,"
    " settled_at) VALUES (gen_random_uuid(), 1, 'next', 'sent', 'post', gen_random_uuid(), 'i',"
    " now() + %s::interval)"
)


def partitions(direct: Arranged) -> list[str]:
    rows = direct.rows(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
        " WHERE inhparent = 'ledger'::regclass ORDER BY 1"
    )
    return [row["relname"] for row in rows]


@ensureDeferred
async def test_partitions_are_made_ahead_once(database: Database, direct: Arranged) -> None:
    before = len(partitions(direct))
    assert await database.transact(make, parent="ledger", months_ahead=6) == 4
    assert await database.transact(make, parent="ledger", months_ahead=6) == 0
    assert len(partitions(direct)) == before + 4


@ensureDeferred
async def test_rows_of_a_month_without_a_partition_are_kept_and_moved_into_it(
    database: Database, direct: Arranged
) -> None:
    direct.rows(ROW, "5 months")
    assert direct.value("SELECT count(*) FROM ledger_default") == 1
    await database.transact(make, parent="ledger", months_ahead=6)
    assert direct.value("SELECT count(*) FROM ledger_default") == 0
    assert len(direct.ledger()) == 1


@ensureDeferred
async def test_only_months_that_are_no_longer_kept_are_dropped(
    database: Database, direct: Arranged
) -> None:
    for months in (3, 4, 5):
        direct.rows(
            "DO $$ DECLARE m timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC')"
            f" AT TIME ZONE 'UTC' - make_interval(months => {months}); BEGIN"
            " EXECUTE format('CREATE TABLE %I PARTITION OF ledger FOR VALUES FROM (%L) TO (%L)',"
            " 'ledger_' || to_char(m AT TIME ZONE 'UTC', 'YYYY_MM'), m, m + interval '1 month');"
            " END $$"
        )
    kept = partitions(direct)
    assert await database.transact(drop, parent="ledger", months_kept=4) == 1
    assert partitions(direct) == kept[1:]
    assert await database.transact(drop, parent="ledger", months_kept=4) == 0


# People

MANUAL = Path(__file__).parents[2] / "docs" / "monitoring.rst"


def of_one_person() -> str:
    """The query of the manual."""
    text = MANUAL.read_text(encoding="utf-8")
    match = re.search(r"All that ever happened to one person::\n\n(.+?;)\n", text, re.DOTALL)
    assert match is not None
    return match[1].replace("'...'", "%s")


@ensureDeferred
async def test_somebody_whose_subscription_was_deleted_is_found_by_the_query_of_the_manual(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    made = direct.subscriptions(2, direct.messageset("a", schedule), schedule)
    identity = direct.subscription(made[0])["identity"]
    for months in (0, 1, 9):
        direct.rows(
            "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity,"
            " messageset_id, settled_at) SELECT gen_random_uuid(), 1, 'next', 'sent', 'post', id,"
            " identity, messageset_id, now() + make_interval(months => %s) FROM subscriptions",
            months,
        )
    direct.rows("DELETE FROM subscriptions")
    found = direct.rows(of_one_person(), identity)
    assert [row["short_name"] for row in found] == ["a"] * 3


def indexes(plan: Any) -> list[str]:
    """The kinds of the scans of a plan that read partitions of the ledger."""
    here = [plan["Node Type"]] if "ledger" in plan.get("Relation Name", "") else []
    return here + [one for below in plan.get("Plans", ()) for one in indexes(below)]


@ensureDeferred
async def test_the_query_of_the_manual_reads_no_partition_whole(
    database: Database, direct: Arranged
) -> None:
    await database.transact(make, parent="ledger", months_ahead=6)
    direct.rows(
        "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity,"
        " settled_at) SELECT gen_random_uuid(), 1, 'next', 'sent', 'post', gen_random_uuid(),"
        " gen_random_uuid(), now() + make_interval(months => n %% %s)"
        " FROM generate_series(1, 20000) n",
        len(partitions(direct)) + 1,
    )
    direct.rows("ANALYZE ledger")
    plan = direct.value(f"EXPLAIN (FORMAT JSON) {of_one_person()}", "nobody")[0]["Plan"]
    scans = indexes(plan)
    assert len(scans) == len(partitions(direct))
    assert set(scans) <= {"Index Scan", "Bitmap Heap Scan"}


@ensureDeferred
async def test_every_partition_has_the_indexes_of_the_ledger(
    database: Database, direct: Arranged
) -> None:
    await database.transact(make, parent="ledger", months_ahead=6)
    counts = direct.rows(
        "SELECT parent.relname, count(*) FILTER (WHERE of_child.indisvalid) AS attached"
        "  FROM pg_index of_parent JOIN pg_class parent ON parent.oid = of_parent.indexrelid"
        "  JOIN pg_inherits ON inhparent = parent.oid"
        "  JOIN pg_index of_child ON of_child.indexrelid = inhrelid"
        " WHERE of_parent.indrelid = 'ledger'::regclass GROUP BY 1"
    )
    attached = {row["relname"]: row["attached"] for row in counts}
    assert set(attached.values()) == {len(partitions(direct))}
    assert "ledger_identity" in attached

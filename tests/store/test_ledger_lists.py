"""Each filter of the ledger's list reads the rows of its page from an index, and no others.

What is read is counted in rows, which do not depend on the machine. The rows that are asked for are
the oldest, and as few as can be: a plan that reads on until it has found them shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
import pytest_twisted
from attrs import define
from psycopg2.extras import register_uuid

from sbm.model.ledger_entry import LedgerFilter
from sbm.operations import ledger
from sbm.operations.ledger import SERVED
from sbm.store.postgres.statements import Query
from tests.arrange import Arranged, arranged
from tests.db.databases import Databases
from tests.store.test_plans import Explaining, Plan

register_uuid()

MONTHS = 24
A_MONTH = 4000
# Statistics then tell of a million sends a week, which are a hundred million in all.
TOLD_FACTOR = 4_300_000 / A_MONTH
LIMIT = 20

# Of each month, one in two hundred was not sent, by all outcomes; each tick has 500 rows.
FILLED = (
    "SELECT make_partitions('ledger', 0), make_partitions('deliveries', 0)",
    "DO $$ DECLARE m timestamptz; BEGIN FOR n IN 1..%(months)s LOOP"
    " m := (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => n))"
    " AT TIME ZONE 'UTC';"
    " EXECUTE format('CREATE TABLE %%I PARTITION OF ledger FOR VALUES FROM (%%L) TO (%%L)',"
    " 'ledger_' || to_char(m AT TIME ZONE 'UTC', 'YYYY_MM'), m,"
    " (m AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');"
    " EXECUTE format('CREATE TABLE %%I PARTITION OF deliveries FOR VALUES FROM (%%L) TO (%%L)',"
    " 'deliveries_' || to_char(m AT TIME ZONE 'UTC', 'YYYY_MM'), m,"
    " (m AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'); END LOOP; END $$",
    # Nothing tells other statistics meanwhile.
    "DO $$ DECLARE one text; BEGIN FOR one IN SELECT oid::regclass FROM pg_class"
    " WHERE relkind = 'r' AND relname ~ '^(ledger|deliveries)_' LOOP"
    " EXECUTE format('ALTER TABLE %%s SET (autovacuum_enabled = false)', one); END LOOP; END $$",
    "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,"
    " messageset_id, sequence_number, lang, settled_at)"
    " SELECT gen_random_uuid(), n / 500, 'next', CASE WHEN n %% 200 = 0"
    " THEN (ARRAY['refused', 'failed'])[1 + n / 200 %% 2] ELSE 'sent' END, 'post', '',"
    " md5((n %% 3000)::text)::uuid, n %% 3000, 1 + n %% 4, 1 + n / 4 %% 70,"
    " (ARRAY['eng', 'zul'])[1 + n / 280 %% 2],"
    " now() - interval '1 month' * (%(rows)s - n) / %(month)s FROM generate_series(1, %(rows)s) n",
    # So few rows as this month would have are read without an index.
    "DELETE FROM ledger WHERE settled_at < date_trunc('month', now()) - interval '23 months'",
    # What is asked for: the oldest rows of a month long ago.
    "UPDATE ledger SET tick_id = 999999, messageset_id = 99, sequence_number = 9, lang = 'x'"
    " WHERE id IN (SELECT id FROM ledger WHERE settled_at >= date_trunc('month', now())"
    " - interval '9 months' ORDER BY settled_at, id LIMIT 3)",
    "UPDATE ledger SET outcome = 'skipped', stage = 'trigger',"
    " reason = 'it was paused when the tick came'"
    " WHERE id IN (SELECT id FROM ledger WHERE tick_id = 999999 ORDER BY settled_at, id LIMIT 2)",
    "INSERT INTO deliveries (settled_at, ledger_id, messageset_id, lang, delivered, is_final)"
    " SELECT settled_at, id, messageset_id, lang, messageset_id <> 99, true FROM ledger"
    " WHERE outcome IN ('sent', 'adopted')",
)

TICK = {"tick_id": 999999}
MESSAGE = {"messageset_id": 99, "sequence_number": 9, "lang": "x"}
BY_NAMES: dict[tuple[str, ...], dict[str, Any]] = {
    (): {},
    ("tick",): TICK,
    ("messageset", "sequence_number", "lang"): MESSAGE,
    ("outcome",): {"outcome": "skipped"},
    ("outcome", "stage"): {"outcome": "skipped", "stage": "trigger"},
    ("outcome", "tick"): {"outcome": "skipped", **TICK},
    ("outcome", "tick", "stage", "reason_kind"): {
        "outcome": "skipped",
        **TICK,
        "stage": "trigger",
        "reason_kind": "paused",
    },
    ("outcome", "messageset"): {"outcome": "skipped", "messageset_id": 99},
    ("reason_kind",): {"reason_kind": "paused"},
    ("delivered",): {"delivered": False},
    ("delivered", "messageset"): {"delivered": False, "messageset_id": 99},
}
# The version of a message is found by the index of its place.
ASKED = {
    **{" ".join(names) or "all": wanted for names, wanted in BY_NAMES.items()},
    "before": {"settled_before": datetime.now(timezone.utc) - timedelta(days=250)},
    "after": {"settled_after": datetime.now(timezone.utc) - timedelta(days=20)},
    "tick before": {**TICK, "settled_before": datetime.now(timezone.utc)},
    "tick of many rows": {"tick_id": 17},
    "identity": {"identity": "17"},
    "identity and others": {"identity": "17", "outcome": "refused", "delivered": True},
    "subscription": {"subscription_id": UUID("70efdf2e-c9b0-8607-9795-c442636b55fb")},
}


def test_each_filter_that_is_served_is_tried() -> None:
    assert {*BY_NAMES, ("version",)} == set(SERVED)


@define
class ExplainingAsGiven(Explaining):
    """Explains statements without the conditions whose parameters are null."""

    def _explain(self, query: Query, parameters: dict[str, Any]) -> None:
        self._explain_once(query, query.given(parameters), parameters)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.xdist_group(f"ledger lists, {name}"))
        for name in ("fresh statistics", "statistics of empty tables", "a hundred million told")
    ],
)
def months(request: Any, databases: Databases, template_database: str) -> Iterator[Any]:
    name = f"sbm_months_{uuid4().hex[:12]}"
    uri = databases.create(name, template=template_database)
    rows = {
        "months": MONTHS,
        "rows": MONTHS * A_MONTH,
        "month": A_MONTH,
        "factor": TOLD_FACTOR,
    }
    connection = psycopg2.connect(uri)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for number, statement in enumerate(FILLED):
            cursor.execute(statement, rows)
            if number == 2 and request.param == "statistics of empty tables":
                cursor.execute("ANALYZE")
        if request.param != "statistics of empty tables":
            cursor.execute("VACUUM ANALYZE ledger, deliveries")
        if request.param == "a hundred million told":
            cursor.execute(MANY_TOLD, rows)
    connection.autocommit = False
    yield connection
    connection.close()
    databases.drop(name)


@pytest.mark.parametrize("name", ASKED)
@pytest_twisted.ensureDeferred
async def test_a_page_reads_its_own_rows(months: Any, name: str) -> None:
    wanted = LedgerFilter(**ASKED[name])
    explaining = ExplainingAsGiven(months)

    await ledger.list_page(explaining, wanted=wanted, limit=LIMIT)  # type: ignore[arg-type]

    plan = explaining.plans[-1]
    # One row more than the page in each part of the merge, or the few rows of a person.
    assert max(read(plan).values()) <= LIMIT + 2, read(plan)
    assert dropped(plan) <= 3 * (LIMIT + 1)


def read(plan: Plan) -> dict[str, float]:
    return plan.rows


def dropped(plan: Plan) -> float:
    nodes = plan.nodes()
    return float(sum(one.get("Rows Removed by Filter", 0) * one["Actual Loops"] for one in nodes))


# Of the partitions and their indexes, which are as small as before: so the planner believes that it
# is cheap to read a partition, and must not do it all the same.
MANY_TOLD = (
    "UPDATE pg_class SET reltuples = reltuples * %(factor)s"
    " WHERE relkind IN ('r', 'i') AND relname ~ '^(ledger|deliveries)_\\d'"
)


def test_all_unsent_outcomes_are_in_the_partial_indexes(database_uri: str) -> None:
    with arranged(database_uri) as direct:
        assert _predicates(direct) == {
            "(outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]))"
        }


def _predicates(direct: Arranged) -> set[str]:
    rows = direct.rows(
        "SELECT pg_get_expr(indpred, indrelid) AS told FROM pg_index"
        " WHERE indrelid = 'ledger'::regclass AND indpred IS NOT NULL"
    )
    return {row["told"] for row in rows}

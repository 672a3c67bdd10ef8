"""The blocks that a page reads, when the planner knows little about the tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2.extras import Json

from sbm.model.paging import PageRequest
from sbm.store.paging import at, parameters
from sbm.store.postgres.prepared import Preparation
from sbm.store.postgres.statements import Query
from sbm.store.subscriptions import QUERIES, SubscriptionFilter, filter_parameters
from sbm.store.users import QUERIES as USERS
from tests.arrange import Arranged, arranged
from tests.db.databases import Databases

MANY = 20_000
OLD = datetime(2020, 1, 1, tzinfo=timezone.utc)
RARE = UUID(int=7)
EVERYTHING = SubscriptionFilter()

# One pass over the table takes several hundred.
FEW_BLOCKS = 120


# It takes a second to fill a database: one process does it, for all.
pytestmark = pytest.mark.xdist_group("lists")


@pytest.fixture(scope="module")
def filled(databases: Databases, template_database: str) -> Iterator[str]:
    """A database to copy."""
    name = f"sbm_lists_{uuid4().hex[:12]}"
    with arranged(databases.create(name, template=template_database)) as direct:
        direct.rows("ALTER TABLE subscriptions SET (autovacuum_enabled = false)")
        direct.rows("ALTER TABLE sends SET (autovacuum_enabled = false)")
        one, two = direct.schedule(), direct.schedule()
        usual = direct.messageset("usual", one, messages=0)
        rare = direct.messageset("rare", two, messages=0)
        assert (usual, rare) == (1, 2)
        direct.subscriptions(50, usual, one, metadata={"source": "hub"})
        direct.rows("ANALYZE")
        _fill(direct)
    yield name
    databases.drop(name)


@pytest.fixture
def stale(databases: Databases, filled: str) -> Iterator[Any]:
    """Many subscriptions, of which the statistics know the first few; the oldest differ."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    with contextlib.closing(
        psycopg2.connect(databases.create(name, template=filled))
    ) as connection:
        yield connection
    databases.drop(name)


def _fill(direct: Arranged) -> None:
    direct.rows(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, metadata,"
        " created_at) SELECT gen_random_uuid(), 1, 1, 'eng_ZA', '{\"source\": \"hub\"}',"
        " '2021-01-01Z'::timestamptz + n * interval '1 minute' FROM generate_series(1, %s) n",
        MANY,
    )
    direct.rows(
        "INSERT INTO subscriptions (id, identity, messageset_id, schedule_id, lang, active,"
        " completed, process_status, metadata, created_at)"
        " VALUES (%s, 'rare', 2, 2, 'zul', false, true, 2, '{\"rare\": 1}', %s),"
        " ('00000000-0000-0000-0000-000000000008', 'usual', 1, 1, 'eng', true, false, -1, NULL,"
        " %s), ('00000000-0000-0000-0000-000000000009', 'text', 1, 1, 'eng', true, false, 0,"
        " '\"abc\"', %s)",
        *(RARE, OLD, OLD, OLD),
    )
    direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " VALUES ('next', 'single', '00000000-0000-0000-0000-000000000009', 'x', 1)"
    )


def touched(
    connection: Any, page: PageRequest, wanted: SubscriptionFilter = EVERYTHING
) -> tuple[int, int]:
    """How many rows a page has, the one too many included, and the blocks that it took."""
    query = at(page, QUERIES.list_subscriptions)
    return worst(connection, query, {**filter_parameters(wanted), **parameters(page, query)})


def worst(connection: Any, query: Query, given: dict[str, Any]) -> tuple[int, int]:
    """The rows and blocks of a statement that sessions prepare.

    The plan for all values counts, and the plan for these.
    """
    preparation = Preparation.of(query.given(given), f"one_{uuid4().hex}")
    with connection.cursor() as cursor:
        cursor.execute(preparation.prepare)
        found = []
        for mode in ("force_custom_plan", "force_generic_plan"):
            cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {preparation.execute}", given)
            plan = cursor.fetchone()[0][0]["Plan"]
            blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            found.append((plan["Actual Rows"], blocks))
    return max(found)


def test_the_last_page_costs_what_the_first_one_does(stale: Any) -> None:
    late = (datetime(2021, 1, 1, 0, 30, tzinfo=timezone.utc), RARE)
    for page in (
        PageRequest(limit=10, count=MANY),
        PageRequest(limit=10, count=MANY, key=late),
        PageRequest(limit=10, count=MANY, key=late, backwards=True),
    ):
        rows, blocks = touched(stale, page)
        assert rows == 10
        assert blocks < FEW_BLOCKS


@pytest.mark.parametrize(
    "wanted",
    [
        SubscriptionFilter(id=RARE),
        SubscriptionFilter(identity="rare"),
        SubscriptionFilter(messageset_id=2),
        SubscriptionFilter(schedule_id=2),
        SubscriptionFilter(lang="zul"),
        SubscriptionFilter(active=False),
        SubscriptionFilter(completed=True),
        SubscriptionFilter(process_status=-1),
        SubscriptionFilter(process_status=1),
        SubscriptionFilter(process_status=2),
        SubscriptionFilter(metadata="abc"),
        SubscriptionFilter(metadata_has_key="rare"),
        SubscriptionFilter(created_at=OLD, lang="zul"),
        SubscriptionFilter(created_before=OLD, lang="zul"),
        SubscriptionFilter(messageset_id=2, active=False, completed=True, process_status=2),
    ],
)
def test_the_few_that_match_are_found_without_a_pass_over_the_table(
    stale: Any, wanted: SubscriptionFilter
) -> None:
    rows, blocks = touched(stale, PageRequest(limit=10), wanted)
    assert rows == 1
    assert blocks < FEW_BLOCKS


def test_a_page_looks_up_sends_by_key_even_while_a_tick_is_under_way(stale: Any) -> None:
    with stale.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
            " SELECT 'next', 'tick', id, identity, 1 FROM subscriptions"
            " ON CONFLICT (subscription_id, kind) DO NOTHING"
        )
    rows, blocks = touched(stale, PageRequest(limit=10, count=MANY))
    assert rows == 10
    assert blocks < FEW_BLOCKS
    rows, blocks = touched(
        stale, PageRequest(limit=10, count=MANY), SubscriptionFilter(process_status=1)
    )
    assert rows == 10


def test_a_create_looks_up_what_it_refers_to_and_writes_into_few_blocks(stale: Any) -> None:
    made = {
        "version": 1,
        "identity": "new",
        "messageset_id": 1,
        "schedule_id": 1,
        "lang": "eng_ZA",
        "next_sequence_number": 1,
        "initial_sequence_number": 1,
        "process_status": 0,
        "active": True,
        "completed": False,
        "metadata": Json({"source": "hub"}),
        "created_by": None,
    }
    worst(stale, QUERIES.insert_subscription, made)  # which reads the catalogues
    rows, blocks = worst(stale, QUERIES.insert_subscription, made)
    assert rows == 1
    # Eight indexes, of which each is read from its root to a leaf.
    assert blocks < FEW_BLOCKS // 3


def test_a_token_is_looked_up_by_its_digest(stale: Any) -> None:
    with stale.cursor() as cursor:
        cursor.execute("INSERT INTO users (username) SELECT n FROM generate_series(1, 5000) n")
        cursor.execute(
            "INSERT INTO tokens (user_id, digest) SELECT id, sha256(username::bytea) FROM users"
        )
    _, blocks = worst(stale, USERS.find_user_by_digest, {"digest": b"no token"})
    assert blocks < FEW_BLOCKS // 10


def test_no_index_holds_what_every_send_changes(database_uri: str) -> None:
    with arranged(database_uri) as direct:
        indexed = direct.rows(
            "SELECT DISTINCT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid"
            " AND attnum = ANY (indkey) WHERE indrelid = 'subscriptions'::regclass"
        )
    assert indexed
    assert not {row["attname"] for row in indexed} & {"next_sequence_number", "updated_at"}

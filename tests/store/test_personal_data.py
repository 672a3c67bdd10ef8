"""A person is found by indexes in the tables that grow without an end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from sbm.model.person import Person
from sbm.store.personal_data import QUERIES
from tests.db.databases import Databases
from tests.store.test_plans import FILLED

ROWS = 20_000

# To read so many rows as a whole costs some hundreds.
CHEAP = 20.0

# Read as a whole: they have only what is live or recent. The manual says so.
SCANNED = {"sends", "recent_registrations", "idempotency_keys", "tasks", "scheduler_listing"}


@pytest.fixture(scope="module")
def large(databases: Databases, template_database: str) -> Iterator[Any]:
    """A cursor on a database with many people."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    connection = psycopg2.connect(databases.create(name, template=template_database))
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        for statement in FILLED:
            cursor.execute(statement, (ROWS,) if "%s" in statement else ())
        cursor.execute(
            "INSERT INTO audit (actor, action, table_name, row_id, operation, identity)"
            " SELECT 'ann', 'PUT', 'subscriptions', id, 'update', identity FROM subscriptions"
        )
        cursor.execute(
            "INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity,"
            " initiated_at, attempt) SELECT gen_random_uuid(), 'next', 'post', '', id, identity,"
            " now(), 1 FROM subscriptions"
        )
        cursor.execute(
            "INSERT INTO scheduler_schedules (kind, target, remote_id)"
            " SELECT 'subscription', id, id FROM subscriptions"
        )
        cursor.execute("ANALYZE")
        yield cursor
    databases.drop(name)


@pytest.mark.parametrize("name", sorted(QUERIES.by_name))
def test_no_large_table_is_read_as_a_whole(large: Any, name: str) -> None:
    query = QUERIES.by_name[name]
    person = Person(identity="77")
    ids = (str(uuid4()), str(uuid4()))
    large.execute(
        f"EXPLAIN {query.sql}",
        {
            "names": list(person.names),
            "ids": list(ids),
            "needles": person.needles(ids),
            "after": None,
            "limit": 500,
            "mark": "forgotten-x",
            "secret": "s",
            "id": None,
            "action": "",
            "reason": "",
            "details": "{}",
            "wanted": "{}",
            "writers": ["1/2"],
        },
    )
    plan = "\n".join(row[0] for row in large.fetchall())
    # A partition without rows is read as a whole, which costs nothing.
    read = re.findall(r"Seq Scan on (\w+).*?\(cost=[\d.]+\.\.([\d.]+)", plan)
    assert {table for table, cost in read if float(cost) > CHEAP} <= SCANNED, plan

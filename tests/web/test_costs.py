"""What a create and a list cost, in counts: they do not depend on the machine."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define

from sbm.settings.endpoints import DatabaseAddress
from tests.arrange import Arranged
from tests.store.postgres.database_proxy import DatabaseProxy
from tests.web.conftest import IDENTITY, Api, served

SUBSCRIPTIONS = "/api/v1/subscriptions/"
REQUEST = "/api/v1/subscriptions/request"
FOUND = f"{SUBSCRIPTIONS}?identity={IDENTITY}&active=true"

# Of a create, in bytes of WAL: the row, eight indexes, locks of the rows that it refers to, COMMIT,
# about 750 for its entry in the audit, and about 450 for the one in the intake account.
WAL_BYTES = 3150
BATCH = 20


@define(eq=False)
class Watched:
    """An API with a database, and all that it says to the server."""

    api: Api
    proxy: DatabaseProxy
    body: Any

    async def round_trips(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The status of the answer, and the commands of each round trip."""
        self.proxy.queries.clear()
        answer = await self.api.call(method, path, body, **options)
        return answer.status, [commands(said.decode()) for said in self.proxy.queries]


def commands(said: str) -> str:
    """The first words of all commands in one round trip."""
    without_comments = re.sub(r"^ *--.*$", "", said, flags=re.MULTILINE)
    return " ".join(one.split()[0] for one in without_comments.split(";") if one.strip())


@pytest_twisted.async_yield_fixture
async def watched(database_uri: str, tmp_path: Path) -> AsyncIterator[Watched]:
    """An API whose session has prepared its statements already."""
    proxy = DatabaseProxy(DatabaseAddress.parse(database_uri))
    proxy.open()
    try:
        async with served(database_uri, tmp_path, address=proxy.address) as api:
            one = await api.subscription()
            wanted = ("identity", "messageset", "schedule", "lang")
            body = {"data": {name: one[name] for name in wanted}}
            assert (await api.post(REQUEST, body)).status == 201
            assert (await api.get(FOUND)).json["count"] == 2
            assert (await api.post(REQUEST, "{")).status == 400
            yield Watched(api, proxy, body)
    finally:
        await proxy.close()
        proxy.remove()


CREATED = ["BEGIN EXECUTE", "SET EXECUTE", "COMMIT"]
MADE_AND_SHOWN = ["BEGIN EXECUTE", "SET EXECUTE", "EXECUTE", "COMMIT"]
READ = ["EXECUTE", "EXECUTE"]
REFUSED = ["BEGIN EXECUTE", "ROLLBACK"]

# A refused request of a user is noted in a transaction of its own.
NOTED = ["BEGIN EXECUTE", "COMMIT"]


@pytest_twisted.ensureDeferred
async def test_the_webhook_takes_three_round_trips(watched: Watched) -> None:
    for _ in range(3):
        assert await watched.round_trips("POST", REQUEST, watched.body) == (201, CREATED)


@pytest_twisted.ensureDeferred
async def test_a_subscription_that_is_shown_at_once_takes_one_more(watched: Watched) -> None:
    direct = (SUBSCRIPTIONS, watched.body["data"])
    assert await watched.round_trips("POST", *direct) == (201, MADE_AND_SHOWN)


@pytest_twisted.ensureDeferred
async def test_a_list_and_a_row_take_two_round_trips(watched: Watched) -> None:
    for _ in range(3):
        assert await watched.round_trips("GET", FOUND) == (200, READ)
    (row,) = (await watched.api.get(f"{FOUND}&limit=1")).json["results"]
    assert await watched.round_trips("GET", f"{SUBSCRIPTIONS}{row['id']}/") == (200, READ)


@pytest_twisted.ensureDeferred
async def test_the_call_of_the_scheduler_needs_no_user(watched: Watched) -> None:
    status, trips = await watched.round_trips(
        "POST", f"{SUBSCRIPTIONS}{IDENTITY}/send", token="scheduler-token"
    )
    assert (status, trips[0]) == (400, "BEGIN")


@pytest.mark.parametrize(
    ("body", "token", "status", "expected"),
    [
        ("{", "wrong", 401, REFUSED),
        ("{", None, 400, [*REFUSED, *NOTED]),
        ({"data": {"lang": "x"}}, "wrong", 401, REFUSED),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_request_that_is_refused_reads_the_user_alone_and_is_noted_if_there_is_one(
    watched: Watched, body: Any, token: str | None, status: int, expected: list[str]
) -> None:
    assert await watched.round_trips("POST", REQUEST, body, token=token) == (status, expected)


@pytest_twisted.ensureDeferred
async def test_a_row_that_does_not_exist_is_looked_for_only_if_the_create_fails(
    watched: Watched,
) -> None:
    body = {"data": watched.body["data"] | {"schedule": 999}}
    status, trips = await watched.round_trips("POST", REQUEST, body)
    assert status == 400
    assert trips == ["BEGIN EXECUTE", "SET EXECUTE", "SELECT", "SELECT", "ROLLBACK", *NOTED]


@pytest_twisted.ensureDeferred
async def test_each_session_prepares_a_statement_once(watched: Watched) -> None:
    _, first = await watched.round_trips("GET", f"{SUBSCRIPTIONS}?lang=eng")
    assert first == ["EXECUTE", "PREPARE", "EXECUTE"]
    assert await watched.round_trips("GET", f"{SUBSCRIPTIONS}?lang=zul") == (200, READ)


@pytest_twisted.ensureDeferred
async def test_a_create_writes_few_bytes_of_wal(watched: Watched, direct: Arranged) -> None:
    """In the smallest of three batches: other sessions of the server, too, write now and then."""
    written = []
    for _ in range(3):
        before = direct.value("SELECT pg_current_wal_insert_lsn()")
        for _ in range(BATCH):
            await watched.api.post(REQUEST, watched.body)
        written.append(direct.value("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before))
    assert min(written) / BATCH < WAL_BYTES


@pytest_twisted.ensureDeferred
async def test_a_list_writes_nothing(watched: Watched, direct: Arranged) -> None:
    written = []
    for _ in range(3):
        before = direct.value("SELECT pg_current_wal_insert_lsn()")
        await watched.api.get(FOUND)
        written.append(direct.value("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before))
    assert min(written) == 0

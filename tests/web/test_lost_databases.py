"""What clients are told while the database is away, and when it is lost at the worst moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import connecting, connection
from sbm.store.postgres import database as module
from tests.arrange import arranged
from tests.store.postgres.database_proxy import DatabaseProxy
from tests.store.transactions import SOON
from tests.web.conftest import Answer, Api, served

PATH = "/api/v1/schedule/"


@pytest_twisted.async_yield_fixture
async def proxy(database_uri: str) -> AsyncIterator[DatabaseProxy]:
    """The way of the API to its database."""
    proxy = DatabaseProxy(DatabaseAddress.parse(database_uri))
    proxy.open()
    yield proxy
    await proxy.close()
    proxy.remove()


@pytest_twisted.async_yield_fixture
async def api(proxy: DatabaseProxy, tmp_path: Path) -> AsyncIterator[Api]:
    """The API, reached by way of the proxy."""
    async with served(proxy.address.uri(), tmp_path) as api:
        yield api


async def once(proxy: DatabaseProxy, fault: str) -> None:
    """Let this go wrong with COMMIT, but only once."""
    setattr(proxy, fault, b"COMMIT")
    await proxy.struck
    setattr(proxy, fault, b"")


async def lost(proxy: DatabaseProxy, fault: str, request: Awaitable[Answer]) -> Answer:
    """The answer to a request whose first COMMIT goes wrong."""
    struck = Deferred.fromCoroutine(once(proxy, fault))
    answer = await request
    await struck
    return answer


@pytest.mark.parametrize("fault", ["stop_before", "stop_after"])
@pytest_twisted.ensureDeferred
async def test_a_request_whose_commit_is_lost_is_done_once_and_answered_as_ever(
    api: Api, proxy: DatabaseProxy, fault: str
) -> None:
    answer = await lost(proxy, fault, api.post(PATH, {"minute": "7"}))
    assert (answer.status, answer.json["minute"]) == (201, "7")
    found = (await api.get(PATH)).json["results"]
    assert found == [answer.json]


@pytest_twisted.ensureDeferred
async def test_a_request_that_reads_is_answered_though_its_commit_is_lost(
    api: Api, proxy: DatabaseProxy
) -> None:
    answer = await lost(proxy, "stop_after", api.get("/api/metrics/"))
    assert (answer.status, list(answer.json)) == (200, ["metrics_available"])


@pytest_twisted.ensureDeferred
async def test_a_request_of_which_nobody_can_say_whether_it_was_done_is_answered_so(
    api: Api, proxy: DatabaseProxy, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", SOON)

    async def go() -> None:
        await once(proxy, "stop_after")
        await proxy.close()

    gone = Deferred.fromCoroutine(go())
    answer = await api.post(PATH, {"minute": "7"})
    await gone
    assert (answer.status, answer.header("Retry-After")) == (503, "5")
    assert answer.json == {
        "detail": "The database was lost while it stored this: it is not known whether this was"
        " done. Look before you try again."
    }
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM schedules") == 1


@pytest_twisted.ensureDeferred
async def test_with_a_key_a_request_of_which_nobody_can_say_whether_it_was_done_is_asked_again(
    api: Api, proxy: DatabaseProxy, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", SOON)
    path = f"{PATH}{(await api.made('schedule'))['id']}/send/"

    async def go() -> None:
        await once(proxy, "stop_after")
        await proxy.close()

    gone = Deferred.fromCoroutine(go())
    assert (await api.post(path, {}, Idempotency_Key="1")).status == 503
    await gone
    proxy.open()
    while (answer := await api.post(path, {}, Idempotency_Key="1")).status == 503:
        pass
    assert (answer.status, answer.header("Idempotency-Replayed")) == (202, "true")
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM ticks") == 1


@pytest.mark.parametrize("is_silent", [False, True])
@pytest_twisted.ensureDeferred
async def test_while_the_database_is_away_clients_are_asked_to_come_back_and_then_are_served(
    api: Api, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    made = await api.made("schedule")
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", SOON)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", SOON)
    monkeypatch.setattr(module, "PROMPT_SECONDS", SOON)
    if is_silent:
        proxy.fall_silent()
    else:
        await proxy.close()
    for method in ("GET", "POST"):
        answer = await api.call(method, PATH)
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert answer.json == {
            "detail": "The database cannot be used now. Nothing was done; try again later."
        }
    if is_silent:
        proxy.recover()
    else:
        proxy.open()
    while (answer := await api.get(PATH)).status == 503:
        pass
    assert (answer.status, answer.json["results"]) == (200, [made])


@pytest_twisted.ensureDeferred
async def test_the_health_says_what_is_wrong_with_a_database_that_answers(
    api: Api, database_uri: str
) -> None:
    up = (await api.get("/api/health/")).json
    assert (up["up"], up["result"]["database_reason"]) == (True, "")
    with arranged(database_uri) as direct:
        direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')")
        direct.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for _ in range(2):
            answer = await api.get("/api/health/")
            assert (answer.status, answer.json["up"]) == (503, False)
            assert answer.json["result"]["database"] == "Not accessible"
            assert answer.json["result"]["database_reason"] == (
                "the schema is of a newer release: it has 9999_from_the_future"
            )
        direct.rows("DELETE FROM schema_migrations WHERE name = '9999_from_the_future'")
    while (answer := await api.get("/api/health/")).status == 503:
        pass
    assert answer.json["result"]["database_reason"] == ""


@pytest_twisted.ensureDeferred
async def test_the_health_does_not_tell_where_a_database_is_that_does_not_answer(
    api: Api, proxy: DatabaseProxy
) -> None:
    await proxy.close()
    answer = await api.get("/api/health/")
    assert (answer.status, answer.json["result"]["database_reason"]) == (503, "")

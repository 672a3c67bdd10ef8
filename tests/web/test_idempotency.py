"""Requests that come again: with an Idempotency-Key, or as the duplicate of a webhook."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from sbm.web.http.endpoint import REPLAYED
from tests.arrange import Arranged, arranged
from tests.web.conftest import IDENTITY, SCHEDULER_TOKEN, Answer, Api, served
from tests.web.sockets import asked, comes_true, head

REQUEST = "/api/v1/subscriptions/request"
SENT = "SELECT coalesce(sum(triggers), 0) FROM ticks WHERE source = 'single'"


def data(made: Any, **fields: Any) -> dict[str, Any]:
    """What the Hub says of a subscription like this one."""
    names = ("identity", "lang", "messageset", "schedule")
    return {"data": {name: made[name] for name in names} | fields}


def told(answer: Answer) -> tuple[int, str, str | None]:
    return answer.status, answer.text, answer.header("Location")


async def at_once(database_uri: str, *requests: Coroutine[Any, Any, Answer]) -> list[Answer]:
    """The answers to requests, none of which can go on before all of them wait for a lock."""
    with arranged(database_uri) as holder, arranged(database_uri) as direct:
        hold(holder)
        answers = gatherResults([Deferred.fromCoroutine(one) for one in requests])
        await comes_true(lambda: waiting(direct) == len(requests))
        holder.rows("ROLLBACK")
        return list(await answers)


def hold(holder: Arranged) -> None:
    """Keep whoever subscribes waiting, until the transaction ends."""
    holder.rows("BEGIN")
    holder.rows("SELECT id FROM messagesets FOR UPDATE")


def waiting(direct: Arranged) -> int:
    """How many wait for a lock."""
    return int(
        direct.value(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize(
    ("path", "body", "done"),
    [
        (REQUEST, data, "SELECT count(*) - 1 FROM subscriptions"),
        (
            "/api/v1/subscriptions/",
            lambda made: data(made)["data"],
            "SELECT count(*) - 1 FROM subscriptions",
        ),
        ("/api/v1/schedule/{schedule}/send/", lambda _: {}, "SELECT count(*) FROM ticks"),
        ("/api/v1/subscriptions/{id}/send", lambda _: None, SENT),
        ("/api/v1/subscriptions/{id}/resend", lambda _: "{nope", SENT),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_request_that_comes_again_with_its_key_is_done_once_and_answered_as_before(
    api: Api,
    database_uri: str,
    tmp_path: Path,
    path: str,
    body: Callable[[Any], Any],
    done: str,
) -> None:
    made = await api.subscription()
    path = path.format(**made)
    first = await api.post(path, body(made), Idempotency_Key="8e03978e")
    assert (first.status < 300, first.header(REPLAYED)) == (True, None)
    again = await api.post(path, body(made), Idempotency_Key='"8e03978e"')
    assert (told(again), again.header(REPLAYED)) == (told(first), "true")
    async with served(database_uri, tmp_path) as other:
        token = api.token
        elsewhere = await other.post(path, body(made), Idempotency_Key="8e03978e", token=token)
    assert told(elsewhere) == told(first)
    with arranged(database_uri) as direct:
        assert direct.value(done) == 1
        another = await api.post(path, body(made), Idempotency_Key="f00d")
        assert (another.status < 300, another.header(REPLAYED)) == (True, None)
        assert direct.value(done) == 2
        assert direct.unbalanced_ticks() == []


@pytest_twisted.ensureDeferred
async def test_a_key_is_its_users_and_its_paths_own(api: Api, database_uri: str) -> None:
    first, second = await api.subscription(), await api.subscription()
    answers = [
        await api.post(path, {}, Idempotency_Key="1", token=token)
        for token in (api.token, api.user_token, SCHEDULER_TOKEN)
        for path in (f"/api/v1/schedule/{one['schedule']}/send" for one in (first, second))
    ]
    assert [(one.status, one.header(REPLAYED)) for one in answers] == [(202, None)] * 6
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM ticks") == 6
        users = "SELECT user_id IS NULL AS scheduler, count(*) FROM idempotency_keys GROUP BY 1"
        counts = {row["scheduler"]: row["count"] for row in direct.rows(users)}
    assert counts == {False: 4, True: 2}


@pytest_twisted.ensureDeferred
async def test_a_key_that_comes_with_another_body_is_refused_and_nothing_is_done(
    api: Api, database_uri: str
) -> None:
    made = await api.subscription()
    await api.post(REQUEST, data(made), Idempotency_Key="1")
    answer = await api.post(REQUEST, data(made, lang="zul_ZA"), Idempotency_Key="1")
    assert answer.status == 422
    assert answer.json == {
        "detail": "This Idempotency-Key was used for a request with another body."
    }
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM subscriptions WHERE lang = 'zul_ZA'") == 0


@pytest_twisted.ensureDeferred
async def test_what_was_refused_is_looked_at_again(api: Api, database_uri: str) -> None:
    made = await api.subscription()
    absent = made["messageset"] + 1
    request = data(made, messageset=absent)
    assert (await api.post(REQUEST, request, Idempotency_Key="1")).status == 400
    unknown = f"/api/v1/subscriptions/{IDENTITY}/send"
    assert (await api.post(unknown, Idempotency_Key="1")).status == 400
    with arranged(database_uri) as direct:
        assert direct.rows("SELECT * FROM idempotency_keys") == []
        direct.messageset("late", made["schedule"])
    answer = await api.post(REQUEST, request, Idempotency_Key="1")
    assert (answer.status, answer.header(REPLAYED)) == (201, None)


@pytest_twisted.ensureDeferred
async def test_of_two_at_the_same_moment_the_second_waits_for_the_first_and_repeats_its_answer(
    api: Api, database_uri: str
) -> None:
    made = await api.subscription()
    with arranged(database_uri) as direct:
        first, second = await at_once(
            database_uri,
            *(api.post(REQUEST, data(made), Idempotency_Key="1") for _ in range(2)),
        )
        assert direct.value("SELECT count(*) FROM subscriptions") == 2
    assert told(first) == told(second)
    assert {first.header(REPLAYED), second.header(REPLAYED)} == {None, "true"}


@pytest_twisted.ensureDeferred
async def test_whoever_hung_up_while_the_first_was_in_hand_and_asks_again_is_subscribed_once(
    api: Api, database_uri: str
) -> None:
    made = await api.subscription()
    body = json.dumps(data(made))
    first = head(
        api,
        f"POST {REQUEST}",
        *("Idempotency-Key: 1", "Content-Type: application/json", f"Content-Length: {len(body)}"),
    )
    with arranged(database_uri) as holder, arranged(database_uri) as direct:
        hold(holder)
        impatient = await asked(api, first + body.encode())
        await comes_true(lambda: waiting(direct) == 1)
        impatient.hang_up()
        await impatient.rest()
        again = Deferred.fromCoroutine(api.post(REQUEST, body, Idempotency_Key="1"))
        await comes_true(lambda: waiting(direct) == 2)
        holder.rows("ROLLBACK")
        assert (await again).status == 201
        assert direct.value("SELECT count(*) FROM subscriptions") == 2


@pytest_twisted.ensureDeferred
async def test_after_a_day_a_key_is_new(api: Api, database_uri: str) -> None:
    made = await api.subscription()
    path = f"/api/v1/schedule/{made['schedule']}/send/"
    with arranged(database_uri) as direct:
        for hours, replayed in (("0", None), ("23.9", "true"), ("24", None), ("1", "true")):
            direct.rows(
                "UPDATE idempotency_keys SET created_at = now() - %s * interval '1 hour'", hours
            )
            answer = await api.post(path, {}, Idempotency_Key="1")
            assert (answer.status, answer.header(REPLAYED)) == (202, replayed), hours


@pytest_twisted.ensureDeferred
async def test_what_is_no_key_is_refused_by_name(api: Api) -> None:
    wrong = ("", " ", '""', '"', "a b", '"a', 'a"b', "\u00e4", "a" * 256, '"a"; b=1')
    for lines in (*((one,) for one in wrong), ("a", "a")):
        sent = head(
            api,
            "POST /api/v1/schedule/1/send",
            *(f"Idempotency-Key: {line}" for line in lines),
            *("Content-Length: 0", "Connection: close"),
        )
        status, body = await (await asked(api, sent)).answer()
        assert status == 400, lines
        assert body["detail"].startswith("Idempotency-Key must be one key of 1 to 255 visible")


@pytest_twisted.ensureDeferred
async def test_a_key_may_be_of_255_characters_and_is_of_no_account_where_none_is_taken(
    api: Api,
) -> None:
    made = await api.subscription()
    path = f"/api/v1/schedule/{made['schedule']}/send/"
    assert (await api.post(path, {}, Idempotency_Key="~" * 255)).status == 202
    assert (await api.post("/api/v1/schedule/", {}, Idempotency_Key="~" * 256)).status == 201


# Duplicates of a webhook without a key


@pytest_twisted.async_yield_fixture
async def wary(database_uri: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API of a service that refuses duplicates for an hour."""
    async with served(database_uri, tmp_path, duplicate_window=timedelta(hours=1)) as api:
        yield api


@pytest_twisted.ensureDeferred
async def test_the_duplicate_of_a_webhook_is_refused_with_a_success_that_shows_the_first(
    wary: Api, database_uri: str
) -> None:
    made = await wary.subscription()
    asked_for = data(made, metadata={"a": 1, "b": [2]}, next_sequence_number=2)
    first = await wary.post(REQUEST, asked_for)
    assert (first.status, first.json) == (201, {"accepted": True})
    with arranged(database_uri) as direct:
        # A message was sent meanwhile.
        direct.rows("UPDATE subscriptions SET next_sequence_number = 3, metadata = '{}'")
        respelt = data(
            made | {"identity": IDENTITY.upper(), "schedule": str(made["schedule"])},
            metadata={"b": [2], "a": 1},
            next_sequence_number="2",
            initial_sequence_number=2,
            version=1,
        )
        duplicate = await wary.post(REQUEST, respelt, token=wary.user_token)
        assert (duplicate.status, duplicate.header("Location")) == (200, first.header("Location"))
        assert duplicate.json == {
            "accepted": False,
            "reason": "The same subscription was requested a short while ago",
        }
        assert direct.value("SELECT count(*) FROM subscriptions") == 2


@pytest_twisted.ensureDeferred
async def test_who_differs_is_no_duplicate(wary: Api) -> None:
    made = await wary.subscription()
    different: list[dict[str, Any]] = [
        {},
        {"identity": "16b0f41f-d7b6-44c8-a481-87a8c4a8c08d"},
        {"lang": "zul"},
        {"metadata": {"a": 1}},
        {"next_sequence_number": 2},
        {"active": False},
    ]
    for status in (201, 200):
        answers = [await wary.post(REQUEST, data(made, **fields)) for fields in different]
        assert [one.status for one in answers] == [status] * len(different)


@pytest_twisted.ensureDeferred
async def test_of_two_duplicates_at_the_same_moment_one_is_made(
    wary: Api, database_uri: str
) -> None:
    made = await wary.subscription()
    requests = (wary.post(REQUEST, data(made)) for _ in range(2))
    answers = await at_once(database_uri, *requests)
    assert sorted(one.status for one in answers) == [200, 201]
    assert len({one.header("Location") for one in answers}) == 1
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM subscriptions") == 2


@pytest_twisted.ensureDeferred
async def test_a_duplicate_is_made_after_the_window_without_the_first_or_with_a_key(
    wary: Api, database_uri: str
) -> None:
    made = await wary.subscription()
    locations = [(await wary.post(REQUEST, data(made))).header("Location") or ""]
    with arranged(database_uri) as direct:
        direct.rows("UPDATE recent_registrations SET created_at = now() - interval '61 minutes'")
    locations.append((await wary.post(REQUEST, data(made))).header("Location") or "")
    assert (await wary.call("DELETE", locations[1].removeprefix(wary.base))).status == 204
    locations.append((await wary.post(REQUEST, data(made))).header("Location") or "")
    keyed = await wary.post(REQUEST, data(made), Idempotency_Key="1")
    assert keyed.status == 201
    assert len({*locations, keyed.header("Location")}) == 4
    assert (await wary.post(REQUEST, data(made))).header("Location") == locations[2]


@pytest_twisted.ensureDeferred
async def test_duplicates_are_made_unless_the_service_is_told_to_refuse_them(api: Api) -> None:
    made = await api.subscription()
    answers = [await api.post(REQUEST, data(made)) for _ in range(2)]
    assert [one.status for one in answers] == [201, 201]

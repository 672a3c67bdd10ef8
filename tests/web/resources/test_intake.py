"""``/api/v1/intake/``: each authenticated request for a subscription ends in one row."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import pytest_twisted
from attrs import frozen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults

from sbm.settings.endpoints import DatabaseAddress
from sbm.web.http.endpoint import REPLAYED
from tests.arrange import Arranged
from tests.pipeline.simulated import apart
from tests.store.postgres.database_proxy import DatabaseProxy
from tests.web.conftest import IDENTITY, Answer, Api, served
from tests.web.sockets import asked as over_socket
from tests.web.sockets import comes_true, head

INTAKE = "/api/v1/intake/"
CREATE = "/api/v1/subscriptions/"
REQUEST = "/api/v1/subscriptions/request"
JSON = "Content-Type: application/json"
WINDOW = timedelta(minutes=10)


async def entries(api: Api, query: str = "") -> list[Any]:
    answer = await api.get(f"{INTAKE}?{query}")
    assert answer.status == 200, answer.text
    return list(answer.json["results"])


def asked(made: Any, **fields: Any) -> dict[str, Any]:
    """What the Hub says of a subscription like this one."""
    return {name: made[name] for name in ("identity", "lang", "messageset", "schedule")} | fields


@pytest_twisted.ensureDeferred
async def test_a_request_that_makes_a_subscription_has_a_row_with_its_caller_and_its_id(
    api: Api,
) -> None:
    one = await api.subscription()
    headers = {"X_Request_ID": "hub-1"}
    await api.post(REQUEST, {"data": asked(one)}, token=api.user_token, **headers)
    webhook, direct = await entries(api)
    webhook_made, direct_made = (await api.get(CREATE)).json["results"]
    assert webhook == {
        "id": webhook["id"],
        "received_at": webhook["received_at"],
        "outcome": "created",
        "reason": "",
        "fields": [],
        "caller": "user@example.org",
        "user": webhook["user"],
        "action": f"POST {REQUEST}",
        "request_id": "hub-1",
        "idempotency_key": None,
        "identity": IDENTITY,
        "subscription": webhook_made["id"],
        "payload": None,
    }
    assert (direct["action"], direct["caller"]) == (f"POST {CREATE}", "admin@example.org")
    assert direct["subscription"] == direct_made["id"]
    assert (await api.get(f"{INTAKE}{webhook['id']}/")).json == webhook


@pytest_twisted.ensureDeferred
async def test_a_replayed_request_and_a_twin_name_the_subscription_of_the_first(
    database_uri: str, tmp_path: Path
) -> None:
    async with served(database_uri, tmp_path, duplicate_window=WINDOW) as api:
        one = await api.subscription()
        for key in ("1", "1"):
            await api.post(REQUEST, {"data": asked(one)}, Idempotency_Key=key)
        for key in ("2", "2"):
            await api.post(CREATE, asked(one), Idempotency_Key=key)
        for _ in range(2):
            await api.post(REQUEST, {"data": asked(one, version=2)})
        found = await entries(api)
        outcomes = [row["outcome"] for row in found]
        assert outcomes == ["twin", *["created", "replayed"] * 2, "created", "created"]
        for again, first in ((0, 1), (2, 3), (4, 5)):
            assert found[again]["subscription"] == found[first]["subscription"] is not None
            assert found[again]["identity"] == IDENTITY


@pytest.mark.parametrize(
    ("change", "reason", "fields"),
    [
        ({"schedule": 999}, "invalid", ["schedule"]),
        ({"lang": "english", "messageset": "x"}, "invalid", ["messageset", "lang"]),
        ({"metadata": {"prepend_next_delivery": 5}}, "invalid", ["metadata"]),
    ],
)
@pytest.mark.parametrize("path", [CREATE, REQUEST])
@pytest_twisted.ensureDeferred
async def test_a_refused_request_says_why(
    api: Api, path: str, change: Any, reason: str, fields: list[str]
) -> None:
    body = asked(await api.subscription(), **change)
    assert (await api.post(path, {"data": body} if path == REQUEST else body)).status == 400
    (refused,) = await entries(api, "outcome=refused")
    assert (refused["reason"], refused["fields"]) == (reason, fields)
    assert (refused["identity"], refused["subscription"]) == (IDENTITY, None)


@pytest_twisted.ensureDeferred
async def test_bodies_that_cannot_be_read_wrong_keys_and_users_who_may_not_are_noted_too(
    api: Api, direct: Arranged
) -> None:
    one = await api.subscription()
    body = {"data": asked(one)}
    sent: list[tuple[Any, dict[str, str], str]] = [
        ("{nope", {}, "unreadable-body"),
        ("x", {"Content_Type": "text/plain"}, "media-type"),
        ([], {}, "invalid"),
        (body, {"Idempotency_Key": '"'}, "idempotency-key"),
        (body, {"X_Change_Reason": "x" * 2000}, "change-reason"),
    ]
    await api.post(REQUEST, body, Idempotency_Key="1")
    sent.append(({"data": asked(one, lang="zul_ZA")}, {"Idempotency_Key": "1"}, "key-reused"))
    for content, headers, _ in sent:
        assert 400 <= (await api.post(REQUEST, content, **headers)).status < 500
    direct.rows("UPDATE users SET is_limited = true WHERE username LIKE 'user@%%'")
    assert (await api.post(REQUEST, body, token=api.user_token)).status == 403
    found = [row["reason"] for row in await entries(api, "outcome=refused")]
    assert found[::-1] == [*(reason for *_, reason in sent), "forbidden"]


@pytest_twisted.ensureDeferred
async def test_a_request_without_a_user_or_with_a_body_that_is_too_large_is_only_counted(
    api: Api, direct: Arranged
) -> None:
    body = {"data": asked(await api.subscription())}
    statuses = [
        (await api.post(REQUEST, body, token="wrong")).status,
        (await api.post(REQUEST, body, token="")).status,
        (await api.post(REQUEST, "x" * 2**21)).status,
    ]
    assert statuses == [401, 401, 413]
    assert direct.value("SELECT count(*) FROM intake") == 1


@pytest_twisted.ensureDeferred
async def test_what_is_stored_of_a_refused_body_tells_nothing_about_a_person(
    api: Api, direct: Arranged
) -> None:
    body = {
        "identity": "+27 82 555 4417",
        "messageset": 7,
        "schedule": "27825554417",
        "lang": "Ann Example",
        "active": True,
        "msisdn": "0825554417",
        "Ann Example": 1,
        "metadata": {"name": "Ann", "hiv": True, "children": [{"name": "Bob"}], "age": 31},
    }
    assert (await api.post(REQUEST, {"data": body})).status == 400
    assert direct.value("SELECT payload FROM intake") == {
        "data": {
            "identity": "a text",
            "messageset": 7,
            "schedule": "a text",
            "lang": "a text",
            "active": True,
            "msisdn": "a text",
            "metadata": {
                "name": "a text",
                "hiv": "true or false",
                "children": "a list or a file",
                "age": "a number",
            },
        }
    }
    stored = str(direct.rows("SELECT * FROM intake"))
    for told in ("Ann", "Bob", "0825554417", "27825554417", "555 4417"):
        assert told not in stored


@pytest_twisted.ensureDeferred
async def test_counts_are_by_outcome_reason_fields_and_caller(api: Api) -> None:
    one = await api.subscription()
    for change, token in (({}, api.user_token), ({"schedule": 9}, api.token)) * 2:
        await api.post(REQUEST, {"data": asked(one, **change)}, token=token)
    answer = await api.get(f"{INTAKE}counts/")
    assert answer.json["requests"] == 5
    assert [
        (row["outcome"], row["reason"], row["fields"], row["caller"], row["count"])
        for row in answer.json["counts"]
    ] == [
        ("created", "", [], "user@example.org", 2),
        ("refused", "invalid", ["schedule"], "admin@example.org", 2),
        ("created", "", [], "admin@example.org", 1),
    ]
    narrowed = await api.get(f"{INTAKE}counts/?caller=user@example.org")
    assert narrowed.json["requests"] == 2


@pytest_twisted.ensureDeferred
async def test_no_more_than_a_month_is_looked_at(api: Api, direct: Arranged) -> None:
    await api.subscription()
    direct.rows("UPDATE intake SET received_at = now() - interval '32 days'")
    for path in (INTAKE, f"{INTAKE}counts/"):
        ends = "received_after=2026-01-01T00:00:00Z&received_before=2026-02-02T00:00:00Z"
        refused = await api.get(f"{path}?{ends}")
        assert (refused.status, list(refused.json)) == (400, ["received_before"])
    assert await entries(api) == []
    moment = direct.value("SELECT received_at FROM intake").isoformat().replace("+", "%2B")
    assert len(await entries(api, f"received_after={moment}")) == 1
    assert len(await entries(api, f"received_before={moment}")) == 1


@pytest.mark.parametrize(
    "query",
    [
        "reason=invalid",
        "outcome=refused&caller=admin@example.org",
        f"identity={IDENTITY}",
        "request_id=r1",
    ],
)
@pytest_twisted.ensureDeferred
async def test_filters_find_one_kind_of_request(api: Api, query: str) -> None:
    one = await api.subscription(identity="16b0f41f-d7b6-44c8-a481-87a8c4a8c08d")
    direct = (REQUEST, {"data": asked(one)})
    await api.post(*direct, token=api.user_token)
    refused = {"data": asked(one, identity=IDENTITY, schedule=9)}
    await api.post(REQUEST, refused, X_Request_ID="r1")
    found = await entries(api, query)
    assert [(row["outcome"], row["request_id"]) for row in found] == [("refused", "r1")]


@pytest.mark.parametrize("path", [INTAKE, f"{INTAKE}counts/"])
@pytest.mark.parametrize("name", ["received_after", "received_before"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest_twisted.ensureDeferred
async def test_a_month_ends_where_time_does(api: Api, path: str, name: str, moment: str) -> None:
    assert (await api.get(f"{path}?{name}={moment}")).status == 200


@pytest_twisted.ensureDeferred
async def test_a_wrong_time_of_the_counts_is_refused_as_it_is_described(api: Api) -> None:
    refused = await api.get(f"{INTAKE}counts/?received_after=x")
    assert (refused.status, list(refused.json)) == (400, ["received_after"])
    described = (await api.get("/api/v1/openapi.json")).json["paths"][f"{INTAKE}counts/"]
    assert described["get"]["responses"]["400"] == {"$ref": "#/components/responses/InvalidFilter"}


@pytest.mark.parametrize("query", ["", "&outcome=created"])
@pytest_twisted.ensureDeferred
async def test_a_caller_alone_is_refused_with_a_sentence(api: Api, query: str) -> None:
    refused = await api.get(f"{INTAKE}?caller=admin@example.org{query}")
    assert (refused.status, list(refused.json)) == (400, ["caller"])
    assert "add identity, request_id, reason" in refused.text


@pytest_twisted.ensureDeferred
async def test_the_key_of_a_request_is_told(api: Api) -> None:
    one = await api.subscription()
    for key in ("k1", "k1", '"k2"', "two words"):
        await api.post(REQUEST, {"data": asked(one)}, Idempotency_Key=key)
    await api.post(REQUEST, {"data": asked(one, schedule=9)}, Idempotency_Key="k3")
    assert [(row["outcome"], row["idempotency_key"]) for row in await entries(api)] == [
        ("refused", "k3"),
        ("refused", None),
        ("created", "k2"),
        ("replayed", "k1"),
        ("created", "k1"),
        ("created", None),
    ]


async def leave(api: Api, direct: Arranged, bodies: list[Any]) -> None:
    """Clients who go away while their requests wait for a lock."""
    clients = []
    for data in bodies:
        body = json.dumps({"data": data}).encode()
        start = head(api, f"POST {REQUEST}", f"Content-Length: {len(body)}", JSON)
        clients.append(await over_socket(api, start + body))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    await comes_true(lambda: direct.value(waiting) == len(bodies))
    for client in clients:
        client.hang_up()
    assert (await api.client.get(f"{api.base}/api/v1/openapi.json")).code == 200


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_before_its_user_is_known_leaves_no_work(
    api: Api, database_uri: str, direct: Arranged
) -> None:
    one = await api.subscription()
    with contextlib.closing(psycopg2.connect(database_uri)) as other:
        other.cursor().execute("LOCK TABLE users")
        await leave(api, direct, [asked(one)] * 2)
    assert (await api.post(REQUEST, {"data": asked(one)})).status == 201
    assert direct.value("SELECT count(*) FROM subscriptions") == 2


@pytest_twisted.ensureDeferred
async def test_a_request_whose_client_has_gone_is_noted_too(
    api: Api, database_uri: str, direct: Arranged
) -> None:
    one = await api.subscription()
    bodies = [asked(one), asked(one, schedule=999), {"identity": IDENTITY}]
    with contextlib.closing(psycopg2.connect(database_uri)) as other:
        other.cursor().execute("LOCK TABLE intake")
        await leave(api, direct, bodies)
    await comes_true(lambda: direct.value("SELECT count(*) FROM intake") == 1 + len(bodies))
    found = Counter(row["outcome"] for row in await entries(api))
    assert found == {"created": 2, "refused": 2}


# The law: every request ends in one row, whatever goes wrong meanwhile.


@frozen(kw_only=True)
class Asked:
    """One request of a round: its body's number, its key, and what is wrong with it."""

    person: int
    key: str | None
    path: str
    fault: str


REQUESTS = st.builds(
    Asked,
    person=st.integers(0, 1),
    key=st.sampled_from([None, None, "a", "b"]),
    path=st.sampled_from([REQUEST, REQUEST, CREATE]),
    fault=st.sampled_from(["", "", "", "schedule", "unreadable", "token", "large"]),
)
ROUNDS = st.lists(
    st.tuples(
        st.lists(REQUESTS, min_size=1, max_size=4),
        st.sampled_from([None, None, "stop_before", "stop_after"]),
    ),
    min_size=1,
    max_size=4,
)


def outcome_of(one: Asked, answer: Answer) -> str | None:
    """What the client knows of its request; None: it has no row."""
    if answer.status in (401, 413):
        return None
    if answer.status >= 400:
        return "refused"
    if answer.header(REPLAYED):
        return "replayed"
    return "created" if answer.status == 201 else "twin"


async def send(api: Api, one: Asked, salt: str, values: Any) -> Answer:
    headers = {} if one.key is None else {"Idempotency_Key": f"{salt}{one.key}"}
    data = values | {"identity": salt[:35] + str(one.person)}
    if one.fault == "schedule":
        data["schedule"] = 999
    body: Any = {"data": data} if one.path == REQUEST else data
    if one.fault == "unreadable":
        body = "{"
    if one.fault == "large":
        body = "x" * 2**21
    return await api.post(one.path, body, token="w" if one.fault == "token" else None, **headers)


async def strike(proxy: DatabaseProxy, fault: str) -> None:
    setattr(proxy, fault, b"COMMIT")
    await proxy.struck
    setattr(proxy, fault, b"")


async def play(api: Api, proxy: DatabaseProxy, direct: Arranged, values: Any, rounds: Any) -> None:
    salt = str(uuid4())
    direct.rows("DELETE FROM intake")
    direct.rows("DELETE FROM subscriptions")
    known: Counter[str] = Counter()
    for requests, fault in rounds:
        if fault is not None:
            Deferred.fromCoroutine(strike(proxy, fault))
        answers = await gatherResults(
            [Deferred.fromCoroutine(send(api, one, salt, values)) for one in requests]
        )
        for name in ("stop_before", "stop_after"):
            setattr(proxy, name, b"")
        outcomes = [outcome_of(one, it) for one, it in zip(requests, answers, strict=True)]
        assert all(answer.status < 500 for answer in answers), [one.text for one in answers]
        known.update(one for one in outcomes if one is not None)
    rows = direct.rows("SELECT outcome, count(*) FROM intake GROUP BY outcome")
    assert {row["outcome"]: row["count"] for row in rows} == known
    assert direct.value("SELECT count(*) FROM subscriptions") == known["created"]
    assert (
        direct.value(
            "SELECT count(*) FROM subscriptions FULL JOIN intake"
            " ON subscriptions.id = subscription_id AND outcome = 'created'"
            " WHERE outcome IS NULL AND subscriptions.id IS NOT NULL"
        )
        == 0
    )


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_requests_are_those_that_created_were_replayed_were_twins_or_were_refused(
    database_uri: str, direct: Arranged, tmp_path: Path
) -> None:
    """With races of the same requests, and commits that are lost before or after they are done."""
    proxy = DatabaseProxy(DatabaseAddress.parse(database_uri))
    proxy.open()
    try:
        way = {"address": proxy.address, "duplicate_window": WINDOW}
        async with served(database_uri, tmp_path, **way) as api:
            made = await api.subscription()
            values = asked(made)

            @settings(
                max_examples=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink],
            )
            @given(ROUNDS)
            def run(rounds: Any) -> None:
                pytest_twisted.blockon(
                    Deferred.fromCoroutine(play(api, proxy, direct, values, rounds))
                )

            await apart(run)
    finally:
        await proxy.close()
        proxy.remove()

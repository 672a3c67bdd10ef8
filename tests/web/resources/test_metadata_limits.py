"""How large metadata may be, asked at every door of the API."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from psycopg2.sql import SQL, Identifier
from pytest_twisted import ensureDeferred

from sbm.model.content_limits import ContentLimits
from sbm.web.http.bodies import FORM
from tests.arrange import Arranged, arranged
from tests.web.conftest import IDENTITY, Api, served

LARGE: Any = {"a": "x" * 16384}
MANY: Any = {"a": [[]] * 1000}
LONG = {"metadata": ["Ensure this value has no more than 16384 bytes as JSON."]}
FULL = {"metadata": ["Ensure this value has no more than 1000 values in it."]}
FITTING: Any = {"a": "x" * 15900, "b": [[]] * 100}

BOTH = pytest.mark.parametrize(("metadata", "problem"), [(LARGE, LONG), (MANY, FULL)])


async def _ids(api: Api) -> dict[str, Any]:
    schedule = (await api.made("schedule"))["id"]
    messageset = (await api.made("messageset", short_name="set", default_schedule=schedule))["id"]
    return {"schedule": schedule, "messageset": messageset}


async def _subscription(api: Api, **changes: Any) -> dict[str, Any]:
    return {"identity": IDENTITY, "lang": "eng_ZA", **await _ids(api), **changes}


@BOTH
@ensureDeferred
async def test_subscriptions_and_messages_are_not_made_with_large_metadata(
    api: Api, direct: Arranged, metadata: Any, problem: Any
) -> None:
    wanted = await _subscription(api, metadata=metadata)
    made = await api.post("/api/v1/subscriptions/", wanted)
    assert (made.status, made.json) == (400, problem)
    requested = await api.post("/api/v1/subscriptions/request", {"data": wanted})
    assert (requested.status, requested.json) == (400, problem)
    message = {
        "messageset": wanted["messageset"],
        "sequence_number": 1,
        "lang": "eng_ZA",
        "text_content": "Hello",
        "metadata": metadata,
    }
    refused = await api.post("/api/v1/message/", message)
    assert (refused.status, refused.json) == (400, problem)
    form = urlencode({**message, "metadata": json.dumps(metadata)})
    refused = await api.post("/api/v1/message/", form, Content_Type=FORM)
    assert (refused.status, refused.json) == (400, problem)
    assert direct.value("SELECT count(*) FROM subscriptions") == 0
    assert direct.value("SELECT count(*) FROM messages") == 0
    assert (await api.post("/api/v1/message/", message | {"metadata": FITTING})).status == 201
    for path, body in (("", wanted), ("request", {"data": wanted})):
        (body.get("data") or body)["metadata"] = FITTING
        assert (await api.post(f"/api/v1/subscriptions/{path}", body)).status == 201


@BOTH
@ensureDeferred
async def test_large_metadata_are_kept_and_written_back_and_made_smaller_only(
    api: Api, direct: Arranged, metadata: Any, problem: Any
) -> None:
    wanted = await _subscription(api)
    one = (await api.post("/api/v1/subscriptions/", wanted)).json["id"]
    place = {"messageset": wanted["messageset"], "sequence_number": 1, "lang": "eng_ZA"}
    number = (await api.made("message", **place, text_content="Hello"))["id"]
    rows = {
        f"/api/v1/subscriptions/{one}/": "subscriptions",
        f"/api/v1/message/{number}/": "messages",
    }
    for path, table in rows.items():
        direct.rows(
            SQL("UPDATE {} SET metadata = %s").format(Identifier(table)), json.dumps(metadata)
        )
        shown = (await api.get(path)).json
        assert shown["metadata"] == metadata
        assert (await api.call("PUT", path, shown)).status == 200
        assert (await api.call("PATCH", path, {"metadata": metadata})).status == 200
        assert (await api.call("PATCH", path, {"lang": "zul_ZA"})).status == 200
        for method, given in (("PATCH", {}), ("PUT", shown)):
            body = {**given, "metadata": {**metadata, "b": 1}}
            changed = await api.call(method, path, body)
            assert (changed.status, changed.json) == (400, problem)
        assert (await api.get(path)).json["metadata"] == metadata
        assert (await api.call("PATCH", path, {"metadata": FITTING})).status == 200
        assert (await api.get(path)).json["metadata"] == FITTING


@ensureDeferred
async def test_true_is_not_the_number_that_large_metadata_had_there(
    api: Api, direct: Arranged
) -> None:
    one = (await api.subscription())["id"]
    direct.rows("UPDATE subscriptions SET metadata = %s", json.dumps(LARGE | {"b": 1}))
    path = f"/api/v1/subscriptions/{one}/"
    changed = await api.call("PATCH", path, {"metadata": LARGE | {"b": True}})
    assert (changed.status, changed.json) == (400, LONG)
    assert (await api.call("PATCH", path, {"metadata": LARGE | {"b": 1.0}})).status == 200


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 2000 + "]" * 2000])
@ensureDeferred
async def test_a_subscription_whose_metadata_python_cannot_read_is_changed_and_told(
    api: Api, direct: Arranged, value: str
) -> None:
    one = (await api.subscription())["id"]
    direct.rows("UPDATE subscriptions SET metadata = %s", f'{{"a": {value}}}')
    path = f"/api/v1/subscriptions/{one}/"
    assert (await api.call("PATCH", path, {"active": False})).status == 200
    refused = await api.call("PATCH", path, {"metadata": LARGE})
    assert (refused.status, refused.json) == (400, LONG)
    assert (await api.call("PATCH", path, {"metadata": {"a": 1}})).status == 200
    story = await api.get(f"/api/v1/identities/{IDENTITY}/timeline/")
    assert story.status == 200
    assert value in story.text


@ensureDeferred
async def test_how_large_metadata_may_be_is_a_setting(database_uri: str, tmp_path: Any) -> None:
    limits = ContentLimits(metadata_bytes=2**18)
    async with served(database_uri, tmp_path, content_limits=limits) as api:
        wanted = await _subscription(api, metadata={"a": "x" * (2**18 - 9)})
        assert (await api.post("/api/v1/subscriptions/", wanted)).status == 201
        wanted["metadata"]["a"] += "x"
        refused = await api.post("/api/v1/subscriptions/", wanted)
        told = ["Ensure this value has no more than 262144 bytes as JSON."]
        assert (refused.status, refused.json) == (400, {"metadata": told})
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM subscriptions") == 1

"""``/api/v1/identities/``: a person is exported and forgotten, by administrators."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.web.resources import identities
from tests.arrange import Arranged
from tests.operations.test_privacy import Seeds, dump
from tests.web.conftest import IDENTITY, SCHEDULER_TOKEN, Api

FORGET = f"/api/v1/identities/{IDENTITY}/forget/"
EXPORT = f"/api/v1/identities/{IDENTITY}/export/"


@ensureDeferred
async def test_a_person_is_counted_exported_and_forgotten(api: Api, direct: Arranged) -> None:
    seeds = Seeds(direct, IDENTITY)
    exported = await api.get(EXPORT)
    assert exported.json["identity"] == IDENTITY
    tables = exported.json["tables"]
    assert tables.keys() == seeds.values.keys()
    assert tables["subscriptions"][0]["id"] == str(seeds.subscription)
    assert tables["subscriptions"][0]["created_at"].endswith("+00:00")

    counted = await api.post(f"{FORGET}?dry_run=true")
    assert counted.json["mark"] is None
    assert counted.json["tables"] == {name: len(rows) for name, rows in tables.items()}
    assert direct.subscription(seeds.subscription)

    done = await api.post(FORGET, X_Change_Reason="she asked", X_Request_ID="r-1")
    assert (done.status, done.json["tables"].keys()) == (200, tables.keys())
    assert IDENTITY not in dump(direct)
    (entry,) = direct.rows("SELECT * FROM audit WHERE request_id = 'r-1'")
    assert (entry["action"], entry["reason"]) == ("POST /api/v1/identities/*/forget/", "she asked")
    assert entry["details"]["mark"] == done.json["mark"]
    assert (await api.get(EXPORT)).json == {"identity": IDENTITY, "tables": {}}
    assert (await api.post(FORGET)).json["tables"] == {}


@ensureDeferred
async def test_what_the_api_stores_about_a_person_is_forgotten(api: Api, direct: Arranged) -> None:
    subscription = await api.subscription(metadata={"name": "Mary Poppins"})
    path = f"/api/v1/subscriptions/{subscription['id']}/"
    await api.call("PATCH", path, {"lang": "zul"}, X_Change_Reason="Mary Poppins moved")
    await api.post(f"{path}resend", Idempotency_Key="k1")
    await api.post("/api/v1/failed-tasks/", {"subscription_id": subscription["id"]})
    webhook = {"messageset": subscription["messageset"], "lang": "eng", "identity": IDENTITY}
    await api.post("/api/v1/subscriptions/", webhook, Idempotency_Key="k2")
    before = dump(direct)
    secrets: tuple[Any, ...] = (IDENTITY, subscription["id"], "mary poppins")
    assert all(one in before for one in secrets)
    assert (await api.post(FORGET)).status == 200
    left = dump(direct)
    # The Scheduler is told that the subscription is gone.
    left = "\n".join(line for line in left.splitlines() if not line.startswith("scheduler_calls"))
    assert not [one for one in secrets if one in left]


@pytest.mark.parametrize(("method", "path"), [("POST", FORGET), ("GET", EXPORT)])
@ensureDeferred
async def test_only_administrators_may(api: Api, direct: Arranged, method: str, path: str) -> None:
    Seeds(direct, IDENTITY)
    for token in (api.user_token, SCHEDULER_TOKEN):
        assert (await api.call(method, path, token=token)).status == 403
    assert (await api.call(method, path, token="")).status == 401
    assert direct.value("SELECT count(*) FROM subscriptions") == 1


@ensureDeferred
async def test_an_export_that_is_too_large_is_refused(
    api: Api, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    Seeds(direct, IDENTITY)
    monkeypatch.setattr(identities, "MAX_BYTES", 1000)
    answer = await api.get(EXPORT)
    assert answer.status == 409
    assert "sbm export" in json.dumps(answer.json)

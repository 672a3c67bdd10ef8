"""``/api/v1/silent/``: who is silent, as the last search found it."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest_twisted

from sbm.model.silence import CAUSES
from sbm.model.time_zones import TimeZones
from sbm.operations import silent
from tests.arrange import Arranged
from tests.web.conftest import Api

SILENT = "/api/v1/silent/"


async def search(api: Api) -> None:
    async def keep() -> None:
        """No lease is kept."""

    await silent.search(api.database, zones=TimeZones(default=ZoneInfo("UTC")), keep=keep)


@pytest_twisted.ensureDeferred
async def test_before_the_first_search_there_is_nothing(api: Api) -> None:
    answer = await api.get(f"{SILENT}counts/")
    assert answer.json == {
        "searched_at": None,
        "active": 0,
        "silent": 0,
        "by_cause": dict.fromkeys(CAUSES, 0),
        "groups": [],
    }
    assert (await api.get(SILENT)).json["results"] == []


@pytest_twisted.ensureDeferred
async def test_a_search_is_a_task(api: Api, direct: Arranged) -> None:
    answer = await api.post(f"{SILENT}search/")
    assert (answer.status, api.wakes) == (202, ["tasks"])
    task = (await api.get(f"/api/v1/tasks/{answer.json['task_id']}/")).json
    assert task["kind"] == "find-silent-subscriptions"
    assert direct.value("SELECT state FROM tasks") == "waiting"


@pytest_twisted.ensureDeferred
async def test_people_are_listed_by_cause_and_counted(api: Api) -> None:
    one = await api.subscription()
    other = await api.subscription(process_status=-1)
    await search(api)
    listed = (await api.get(SILENT)).json["results"]
    assert {row["subscription_id"]: row["cause"] for row in listed} == {
        one["id"]: "empty-set",
        other["id"]: "error",
    }
    (row,) = (await api.get(f"{SILENT}?cause=empty-set")).json["results"]
    assert (await api.get(f"{SILENT}{row['id']}/")).json == row
    assert (row["identity"], row["messageset"], row["schedule"], row["lang"]) == (
        *(one["identity"], one["messageset"], one["schedule"], one["lang"]),
    )
    counts = (await api.get(f"{SILENT}counts/")).json
    assert (counts["active"], counts["silent"]) == (2, 2)
    assert {cause: n for cause, n in counts["by_cause"].items() if n} == {
        "error": 1,
        "empty-set": 1,
    }
    assert counts["groups"][0]["count"] == 1
    assert (await api.get(f"{SILENT}?cause=bored")).status == 400

"""Ticks, as clients see them."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.send import Settled
from sbm.pipeline.upkeep.ledger_balance import LedgerBalance
from sbm.store import sends, ticks
from sbm.telemetry import Telemetry
from tests.arrange import Arranged
from tests.web.conftest import SCHEDULER_TOKEN, Api

PATH = "/api/v1/ticks/"
NONE = dict.fromkeys(("sent", "adopted", "dry-run", "skipped", "refused", "failed"), 0)


def scheduled(direct: Arranged, members: int) -> int:
    schedule = direct.schedule()
    direct.subscriptions(members, direct.messageset(f"set {schedule}", schedule), schedule)
    return schedule


async def tick(api: Api, schedule: int, token: str = "") -> None:
    answer = await api.post(f"/api/v1/schedule/{schedule}/send/", token=token or api.user_token)
    assert (answer.status, answer.json) == (202, {})


async def settle_two(api: Api) -> None:
    """One is sent, one is refused."""
    first, second = await api.database.transact(
        sends.claim, owner=uuid4(), limit=2, lease=timedelta(minutes=1)
    )
    results = [
        (first, Settled(outcome="sent", stage="post", outbound_id="1")),
        (second, Settled(outcome="refused", stage="post", reason="no")),
    ]
    await api.database.transact(sends.settle, results=results)


@ensureDeferred
async def test_a_tick_tells_who_opened_it_and_how_far_it_has_come(
    api: Api, direct: Arranged
) -> None:
    schedule = scheduled(direct, 5)
    await tick(api, schedule)
    opened = (await api.get(f"{PATH}1/", token=api.user_token)).json
    row = direct.rows("SELECT * FROM ticks")[0]
    created_at = row["created_at"].isoformat().replace("+00:00", "Z")
    assert opened == {
        "url": f"{api.base}{PATH}1/",
        "id": 1,
        "source": "post-back",
        "schedule": schedule,
        "state": "expanding",
        "due_at": created_at,
        "created_at": created_at,
        "expanded_at": None,
        "opened_by": "user@example.org",
        "follows": None,
        "triggers": 0,
        "skipped_again": 0,
        "progress": {
            "expanded_share": 0.0,
            "live": 0,
            "settled": 0,
            "outcomes": NONE,
            "counted_at": opened["progress"]["counted_at"],
        },
        "held": None,
        "stopped_by": None,
        "stopped_at": None,
    }
    await api.database.transact(ticks.expand, limit=3)
    under_way = (await api.get(f"{PATH}1/")).json
    assert 0 < under_way["progress"]["expanded_share"] < 1
    await api.database.transact(ticks.expand, limit=3)
    await settle_two(api)
    sent = (await api.get(f"{PATH}1/")).json
    assert (sent["state"], sent["triggers"]) == ("expanded", 5)
    assert sent["expanded_at"] > sent["created_at"]
    assert sent["progress"] == {
        "expanded_share": 1.0,
        "live": 3,
        "settled": 2,
        "outcomes": NONE | {"sent": 1, "refused": 1},
        "counted_at": sent["progress"]["counted_at"],
    }
    assert sent["progress"]["counted_at"] > opened["progress"]["counted_at"]


@ensureDeferred
async def test_of_a_large_tick_the_outcomes_are_those_of_the_last_check(
    api: Api, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "COUNTED_AT_ONCE", 4)
    await tick(api, scheduled(direct, 5))
    await api.database.transact(ticks.expand, limit=10)
    await settle_two(api)
    fresh = (await api.get(f"{PATH}1/")).json["progress"]
    assert (fresh["live"], fresh["settled"]) == (3, 2)
    assert (fresh["outcomes"], fresh["counted_at"]) == (None, None)
    await LedgerBalance(database=api.database, telemetry=Telemetry()).one_pass()
    await settle_two(api)
    found = (await api.get(f"{PATH}1/")).json["progress"]
    assert (found["live"], found["settled"]) == (1, 4)
    assert found["outcomes"] == NONE | {"sent": 1, "refused": 1}
    assert (await api.get(PATH)).json["results"][0]["progress"] == found
    direct.rows("UPDATE ticks SET triggers = 4")
    assert (await api.get(f"{PATH}1/")).json["progress"]["outcomes"]["sent"] == 2


@ensureDeferred
async def test_ticks_of_whole_schedules_are_listed_newest_first_and_filtered(
    api: Api, direct: Arranged
) -> None:
    one, two = scheduled(direct, 1), scheduled(direct, 2)
    await tick(api, one)
    await tick(api, two, SCHEDULER_TOKEN)
    await api.database.transact(ticks.expand, limit=10)
    direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, due_at, created_at)"
        " VALUES ('clock', 'missed', %s, '2026-01-01Z', '2026-01-02T10:00Z')",
        two,
    )
    (other,) = direct.subscriptions(1, 1, one)
    await api.post(f"/api/v1/subscriptions/{other}/send/")

    async def found(query: str) -> list[int]:
        answer = await api.get(f"{PATH}?{query}", token=api.user_token)
        assert answer.status == 200, answer.text
        assert answer.json["count"] == len(answer.json["results"])
        return [row["id"] for row in answer.json["results"]]

    assert await found("") == [3, 2, 1]
    assert await found(f"schedule={two}") == [3, 2]
    assert await found("source=clock") == [3]
    assert await found("source=post-back&state=expanded") == [1]
    assert await found("state=missed") == [3]
    assert await found("created_before=2026-01-02T10:00Z") == [3]
    assert await found("created_after=2026-01-02T10:00:00.000001Z") == [2, 1]
    assert (await api.get(f"{PATH}2/")).json["opened_by"] == "scheduler"
    single = (await api.get(f"{PATH}4/")).json
    assert (single["source"], single["schedule"], single["triggers"]) == ("single", None, 1)
    page = (await api.get(f"{PATH}?limit=2")).json
    assert [row["id"] for row in page["results"]] == [3, 2]
    rest = (await api.get(page["next"].removeprefix(api.base))).json
    assert ([row["id"] for row in rest["results"]], rest["next"]) == ([1], None)


@pytest.mark.parametrize(
    ("query", "wrong"),
    [("schedule=7", "schedule"), ("source=single", "source"), ("state=x", "state")],
)
@ensureDeferred
async def test_a_filter_that_is_wrong_is_refused(api: Api, query: str, wrong: str) -> None:
    answer = await api.get(f"{PATH}?{query}")
    assert (answer.status, list(answer.json)) == (400, [wrong])


@ensureDeferred
async def test_ticks_are_only_read(api: Api) -> None:
    for path in (PATH, f"{PATH}1/"):
        answer = await api.post(path, {}, token=api.user_token)
        assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD, OPTIONS")
        assert (await api.get(path, token="")).status == 401
    for path in (f"{PATH}1/", f"{PATH}x/", f"{PATH}{2**31}/"):
        assert (await api.get(path)).status == 404

"""Resends, failed tasks, and what else is asked for and done later."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_twisted

from sbm.model.send import Settled
from sbm.operations.requeue import AT_ONCE
from sbm.store import sends, tasks
from tests.arrange import Arranged, arranged
from tests.web.conftest import Api

OTHER = "16b0f41f-d7b6-44c8-a481-87a8c4a8c08d"
REFUSED = Settled(outcome="refused", stage="post", reason="400: no such channel")
NOT_ALLOWED = {"PUT": 405, "PATCH": 405, "DELETE": 405}


async def settle(api: Api, result: Settled) -> list[UUID]:
    """Bring what is owed to this end."""
    lease = timedelta(seconds=60)
    claimed = await api.database.transact(sends.claim, owner=uuid4(), limit=500, lease=lease)
    results = [(send, result) for send in claimed]
    await api.database.transact(sends.settle, results=results)
    return [send.id for send in claimed]


async def fail(api: Api) -> tuple[Any, UUID]:
    """A subscription, and its send that was refused."""
    made = await api.subscription()
    assert (await api.post(f"/api/v1/subscriptions/{made['id']}/send")).status == 201
    (send_id,) = await settle(api, REFUSED)
    api.wakes.clear()
    return made, send_id


async def methods_of(api: Api, path: str) -> dict[str, int]:
    names = ("PUT", "PATCH", "DELETE")
    return {name: (await api.call(name, path, "{nope")).status for name in names}


@pytest.mark.parametrize("end", ["", "/"])
@pytest_twisted.ensureDeferred
async def test_a_resend_is_accepted_stored_and_wakes_the_pipeline(
    api: Api, database_uri: str, end: str
) -> None:
    made = await api.subscription(completed=True)
    path = f"/api/v1/subscriptions/{made['id']}/resend{end}"
    for _ in range(2):
        answer = await api.post(path, "{nope", Content_Type="text/plain")
        assert (answer.status, answer.json) == (202, {"accepted": True})
    assert answer.header("Allow") == "POST, OPTIONS"
    assert set(api.wakes) == {"sends"}
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM resend_requests") == 2
        assert direct.value("SELECT kind FROM sends") == "resend"
    assert (await api.get(path)).status == 405


@pytest.mark.parametrize("key", [OTHER, "abc", "a/b/c"])
@pytest_twisted.ensureDeferred
async def test_a_resend_for_nobody_is_refused(api: Api, key: str) -> None:
    answer = await api.post(f"/api/v1/subscriptions/{key}/resend")
    reason = f"Cannot find subscription with ID {key}"
    assert (answer.status, answer.json) == (400, {"accepted": False, "reason": reason})
    assert api.wakes == []


@pytest_twisted.ensureDeferred
async def test_a_resend_does_not_read_as_in_process(api: Api) -> None:
    made = await api.subscription()
    path = f"/api/v1/subscriptions/{made['id']}/"
    await api.post(f"{path}resend")
    assert (await api.get(path)).json["process_status"] == 0


@pytest_twisted.ensureDeferred
async def test_a_failed_task_is_listed_and_read(api: Api) -> None:
    made, send_id = await fail(api)
    listed = await api.get("/api/v1/failed-tasks/?reason=x&subscription=zzz")
    assert (listed.status, listed.json["count"]) == (200, 1)
    (row,) = listed.json["results"]
    initiated_at = datetime.fromisoformat(row["initiated_at"].replace("Z", "+00:00"))
    assert initiated_at <= datetime.now(timezone.utc)
    assert list(row.items()) == [
        ("url", f"{api.base}/api/v1/failed-tasks/{row['id']}/"),
        ("id", row["id"]),
        ("subscription", made["url"]),
        ("subscription_id", made["id"]),
        ("task_id", str(send_id)),
        ("initiated_at", row["initiated_at"]),
        ("reason", "400: no such channel"),
    ]
    read = await api.get(f"/api/v1/failed-tasks/{row['id']}/")
    assert (read.status, read.json) == (200, row)
    assert read.header("Allow") == "GET, HEAD, OPTIONS"
    assert listed.header("Allow") == "GET, POST, HEAD, OPTIONS"


@pytest_twisted.ensureDeferred
async def test_failed_tasks_come_newest_first_a_page_at_a_time(api: Api) -> None:
    made = [await fail(api) for _ in range(3)]
    page = (await api.get("/api/v1/failed-tasks/?limit=2")).json
    ids = [row["subscription_id"] for row in page["results"]]
    assert ids == [made[2][0]["id"], made[1][0]["id"]]
    following = await api.get(page["next"].removeprefix(api.base))
    assert [row["subscription_id"] for row in following.json["results"]] == [made[0][0]["id"]]


@pytest_twisted.ensureDeferred
async def test_a_post_requeues_and_empties_the_list_whatever_its_body(api: Api) -> None:
    _, send_id = await fail(api)
    answer = await api.post("/api/v1/failed-tasks/", "{")
    assert (answer.status, answer.json) == (201, {"requeued_failed_tasks": True})
    assert api.wakes == ["sends"]
    assert (await api.get("/api/v1/failed-tasks/")).json["count"] == 0
    sent = Settled(outcome="sent", stage="post", outbound_id="1")
    assert await settle(api, sent) == [send_id]
    assert (await api.post("/api/v1/failed-tasks/")).status == 201


@pytest_twisted.ensureDeferred
async def test_a_long_list_is_left_to_a_task_up_to_where_it_ended(
    api: Api, database_uri: str
) -> None:
    made = await api.subscription()
    with arranged(database_uri) as direct:
        _failures(direct, made["id"], AT_ONCE + 10)
        assert (await api.post("/api/v1/failed-tasks/")).status == 201
        (task,) = direct.rows("SELECT kind, up_to FROM tasks")
        assert task["kind"] == "requeue-failed-tasks"
        assert task["up_to"] == direct.value("SELECT max(id) FROM failed_tasks")
        assert direct.value("SELECT count(*) FROM failed_tasks") == 10


def _failures(direct: Arranged, subscription_id: str, count: int) -> None:
    direct.rows(
        "INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity,"
        " initiated_at, attempt)"
        " SELECT gen_random_uuid(), 'next', 'post', 'no', %s, 'x', now(), 1"
        " FROM generate_series(1, %s)",
        *(subscription_id, count),
    )


@pytest_twisted.ensureDeferred
async def test_failed_tasks_know_no_other_methods_and_no_other_rows(api: Api) -> None:
    await fail(api)
    assert await methods_of(api, "/api/v1/failed-tasks/") == NOT_ALLOWED
    assert await methods_of(api, "/api/v1/failed-tasks/1/") == NOT_ALLOWED
    for key in ("9999", "abc", "2147483648"):
        missing = await api.get(f"/api/v1/failed-tasks/{key}/")
        assert (missing.status, missing.json) == (404, {"detail": "Not found."})


@pytest_twisted.ensureDeferred
async def test_options_describe_a_failed_task_as_it_was_recorded(api: Api) -> None:
    described = (await api.call("OPTIONS", "/api/v1/failed-tasks/")).json
    assert (described["name"], described["description"]) == ("Failed Task List", "")
    fields = described["actions"]["POST"]
    assert [
        (name, one["type"], one["required"], one["read_only"], one["label"])
        for name, one in fields.items()
    ] == [
        ("url", "field", False, True, "Url"),
        ("id", "integer", False, True, "ID"),
        ("subscription", "field", True, False, "Subscription"),
        ("subscription_id", "field", False, True, "Subscription id"),
        ("task_id", "string", True, False, "Task id"),
        ("initiated_at", "datetime", True, False, "Initiated at"),
        ("reason", "string", True, False, "Reason"),
    ]


@pytest.mark.parametrize(
    ("path", "kind", "accepted"),
    [
        ("runsendestimate", "estimate-sends", "accepted"),
        ("sync_audio_files/", "sync-audio-files", "sync_audio_files_initiated"),
        (
            "behind-subscriptions/find_behind_subscriptions/",
            "find-behind-subscriptions",
            "accepted",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_work_that_is_asked_for_is_stored_and_answered_with_its_id(
    api: Api, database_uri: str, path: str, kind: str, accepted: str
) -> None:
    answer = await api.post(f"/api/v1/{path}", "{nope", Content_Type="text/plain")
    task_id = answer.json["task_id"]
    assert (answer.status, answer.json) == (202, {accepted: True, "task_id": task_id})
    assert answer.header("Allow") == "POST, OPTIONS"
    assert api.wakes == ["audio_copies" if "audio" in kind else "tasks"]
    assert (await api.post(f"/api/v1/{path}")).json["task_id"] == task_id
    with arranged(database_uri) as direct:
        (row,) = direct.rows("SELECT id, kind, requested_by FROM tasks")
        assert (str(row["id"]), row["kind"]) == (task_id, kind)
        assert row["requested_by"] is not None
    refused = await api.get(f"/api/v1/{path}")
    assert (refused.status, refused.json) == (405, {"detail": 'Method "GET" not allowed.'})
    assert (await api.call("OPTIONS", f"/api/v1/{path}")).status == 200
    assert (await api.post(f"/api/v1/{path}", token="")).status == 401


@pytest_twisted.ensureDeferred
async def test_estimates_are_read_by_day_and_by_message_set(api: Api, database_uri: str) -> None:
    made = await api.subscription()
    with arranged(database_uri) as direct:
        for day, number in (("2026-03-02", 7), ("2026-03-01", 5)):
            direct.rows(
                "INSERT INTO estimated_sends (send_date, messageset_id, estimate_subscriptions,"
                " estimate_identities) VALUES (%s, %s, %s, 3)",
                *(day, made["messageset"], number),
            )
    path = "/api/v1/send-estimates/"
    answer = await api.get(path)
    assert answer.header("Allow") == "GET, HEAD, OPTIONS"
    first, second = answer.json["results"]
    assert (first["send_date"], second["send_date"]) == ("2026-03-01", "2026-03-02")
    assert first == {
        "id": first["id"],
        "send_date": "2026-03-01",
        "messageset": made["messageset"],
        "estimate_subscriptions": 5,
        "estimate_identities": 3,
    }
    query = f"?send_date=2026-03-02&messageset={made['messageset']}"
    assert (await api.get(path + query)).json["results"] == [second]
    wrong = await api.get(f"{path}?send_date=20260302&messageset=9999")
    assert (wrong.status, set(wrong.json)) == (400, {"send_date", "messageset"})
    assert wrong.json["send_date"] == ["Enter a valid date."]


@pytest_twisted.ensureDeferred
async def test_a_task_does_not_wait_for_another_of_its_kind_that_has_begun(api: Api) -> None:
    first = (await api.post("/api/v1/runsendestimate")).json["task_id"]
    begun = await api.database.transact(
        tasks.begin, owner=uuid4(), kinds=["estimate-sends"], lease=timedelta(minutes=1)
    )
    assert begun is not None
    assert (await api.post("/api/v1/runsendestimate")).json["task_id"] != first

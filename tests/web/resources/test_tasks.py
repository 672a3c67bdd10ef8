"""Tasks, as those who asked for them see them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest_twisted

from sbm.model.task import TaskKind
from sbm.store import tasks
from tests.arrange import arranged
from tests.web.conftest import Api

PATH = "/api/v1/tasks/"


@pytest_twisted.ensureDeferred
async def test_a_task_is_read_from_its_beginning_to_its_end(api: Api) -> None:
    asked = await api.post("/api/v1/sync_audio_files/", token=api.user_token)
    path = f"{PATH}{asked.json['task_id']}/"
    waiting = await api.get(path, token=api.user_token)
    assert waiting.header("Allow") == "GET, HEAD, OPTIONS"
    assert waiting.json == {
        "url": api.base + path,
        "id": asked.json["task_id"],
        "kind": "sync-audio-files",
        "state": "waiting",
        "requested_at": waiting.json["requested_at"],
        "requested_by": "user@example.org",
        "finished_at": None,
        "reason": "",
        "progress": {},
        "result": {},
    }
    owner, lease, kinds = uuid4(), timedelta(seconds=60), list[TaskKind](["sync-audio-files"])
    begun = await api.database.transact(tasks.begin, owner=owner, kinds=kinds, lease=lease)
    assert begun is not None
    await api.database.transact(
        tasks.renew, task_id=begun.id, owner=owner, lease=lease, progress={"done": 1}
    )
    await api.database.transact(tasks.renew, task_id=begun.id, owner=owner, lease=lease)
    told = (await api.get(path)).json
    assert told == {**waiting.json, "state": "begun", "progress": {"done": 1}}
    await api.database.transact(
        tasks.finish, task_id=begun.id, owner=owner, reason="no", result={"failed": 1}
    )
    ended = (await api.get(path)).json
    assert ended["finished_at"] is not None
    assert ended == {
        **told,
        "state": "failed",
        "finished_at": ended["finished_at"],
        "reason": "no",
        "result": {"failed": 1},
    }


@pytest_twisted.ensureDeferred
async def test_tasks_come_newest_first_a_page_at_a_time(api: Api, database_uri: str) -> None:
    with arranged(database_uri) as direct:
        direct.rows(
            "INSERT INTO tasks (kind, state, requested_at, finished_at) SELECT"
            " CASE n %% 2 WHEN 0 THEN 'estimate-sends' ELSE 'sync-audio-files' END, 'done',"
            " '2026-01-01T00:00:00Z'::timestamptz + n / 3 * interval '1 s', now()"
            " FROM generate_series(1, %s) n",
            7,
        )
        expected = [
            str(row["id"])
            for row in direct.rows("SELECT id FROM tasks ORDER BY requested_at DESC, id DESC")
        ]
    found: list[str] = []
    page: Any = {"next": f"{PATH}?limit=3"}
    while page["next"]:
        page = (await api.get(page["next"].removeprefix(api.base))).json
        assert page["count"] == 7
        found += [row["id"] for row in page["results"]]
    assert found == expected
    before = (await api.get(page["previous"].removeprefix(api.base))).json
    assert [row["id"] for row in before["results"]] == expected[3:6]
    filtered = (await api.get(f"{PATH}?kind=estimate-sends&state=done")).json
    assert (filtered["count"], len(filtered["results"])) == (3, 3)
    assert (await api.get(f"{PATH}?state=begun")).json["results"] == []
    wrong = await api.get(f"{PATH}?state=over&kind=x")
    assert (wrong.status, set(wrong.json)) == (400, {"state", "kind"})


@pytest_twisted.ensureDeferred
async def test_tasks_are_only_read_and_only_by_those_who_say_who_they_are(api: Api) -> None:
    for path in (PATH, f"{PATH}{uuid4()}/"):
        assert (await api.get(path, token="")).status == 401
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await api.call(method, path)).status == 405
    for key in (uuid4(), "abc", "1"):
        missing = await api.get(f"{PATH}{key}/")
        assert (missing.status, missing.json) == (404, {"detail": "Not found."})

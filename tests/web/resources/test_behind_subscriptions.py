from __future__ import annotations

from typing import Any

import pytest_twisted

from sbm.operations import users
from tests.arrange import arranged
from tests.web.conftest import Api

PATH = "/api/v1/behind-subscriptions/"
FORBIDDEN = (403, {"detail": "You do not have permission to perform this action."})


async def put_down(api: Api, database_uri: str, messages_behind: int) -> Any:
    """A subscription that a search found to be behind."""
    made = await api.subscription()
    with arranged(database_uri) as direct:
        direct.rows(
            "INSERT INTO behind_subscriptions (subscription_id, messages_behind,"
            " current_messageset_id, current_sequence_number, expected_messageset_id,"
            " expected_sequence_number) VALUES (%s, %s, %s, 1, %s, 2)",
            *(made["id"], messages_behind, made["messageset"], made["messageset"]),
        )
    return made


@pytest_twisted.ensureDeferred
async def test_those_behind_are_listed_newest_first_and_read(api: Api, database_uri: str) -> None:
    first = await put_down(api, database_uri, 1)
    second = await put_down(api, database_uri, 7)
    answer = await api.get(PATH)
    assert (answer.status, answer.header("Allow")) == (200, "GET, HEAD, OPTIONS")
    newest, oldest = answer.json["results"]
    assert oldest["subscription_id"] == first["id"]
    messageset = f"{api.base}/api/v1/messageset/{second['messageset']}/"
    assert list(newest.items()) == [
        ("id", newest["id"]),
        ("subscription", second["url"]),
        ("subscription_id", second["id"]),
        ("messages_behind", 7),
        ("current_messageset", messageset),
        ("current_messageset_id", second["messageset"]),
        ("current_messageset_name", "set1"),
        ("current_sequence_number", 1),
        ("expected_messageset", messageset),
        ("expected_messageset_id", second["messageset"]),
        ("expected_messageset_name", "set1"),
        ("expected_sequence_number", 2),
        ("created_at", newest["created_at"]),
    ]
    assert (await api.get(f"{PATH}{newest['id']}/")).json == newest
    page = (await api.get(f"{PATH}?limit=1&offset=1")).json
    assert page["results"] == [oldest]


@pytest_twisted.ensureDeferred
async def test_head_and_options_are_allowed(api: Api) -> None:
    assert (await api.call("HEAD", PATH)).status == 200
    assert (await api.call("OPTIONS", PATH)).json["name"] == "Behind Subscription List"


@pytest_twisted.ensureDeferred
async def test_what_there_is_not_is_not_found(api: Api) -> None:
    for key in ("9999", "abc"):
        missing = await api.get(f"{PATH}{key}/")
        assert (missing.status, missing.json) == (404, {"detail": "Not found."})
    assert (await api.call("DELETE", f"{PATH}1/")).status == 405


@pytest_twisted.ensureDeferred
async def test_whoever_lacks_the_permission_is_turned_away_before_all_else(
    api: Api, database_uri: str
) -> None:
    find = f"{PATH}find_behind_subscriptions/"
    for method, path in (
        ("GET", PATH),
        ("DELETE", PATH),
        ("OPTIONS", PATH),
        ("GET", f"{PATH}9999/"),
        ("POST", find),
    ):
        answer = await api.call(method, path, "{nope", token=api.user_token)
        assert (answer.status, answer.json) == FORBIDDEN, (method, path)
    with arranged(database_uri) as direct:
        assert direct.value("SELECT count(*) FROM tasks") == 0
    assert (await api.post(find, token="")).status == 401


@pytest_twisted.ensureDeferred
async def test_each_permission_is_for_its_own_paths(api: Api) -> None:
    find = f"{PATH}find_behind_subscriptions/"
    for permission, statuses in (
        ("view_behindsubscription", (200, 403)),
        ("can_find_behind_subscriptions", (200, 202)),
    ):
        await api.database.transact(users.grant, username="user@example.org", permission=permission)
        listed = await api.get(PATH, token=api.user_token)
        found = await api.post(find, token=api.user_token)
        assert (listed.status, found.status) == statuses


@pytest_twisted.ensureDeferred
async def test_who_asked_for_a_search_is_kept(api: Api, database_uri: str) -> None:
    await api.database.transact(
        users.grant,
        username="user@example.org",
        permission="can_find_behind_subscriptions",
    )
    answer = await api.post(f"{PATH}find_behind_subscriptions/", token=api.user_token)
    with arranged(database_uri) as direct:
        (task,) = direct.rows(
            "SELECT tasks.id, username FROM tasks JOIN users ON users.id = requested_by"
        )
    assert (str(task["id"]), task["username"]) == (answer.json["task_id"], "user@example.org")

"""Undoing keeps the rules, and what others have done since."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.arrange import Arranged
from tests.web.conftest import Answer, Api

AUDIT = "/api/v1/audit/"
IN_JOHANNESBURG = "Africa/Johannesburg"


async def newest(api: Api, query: str = "") -> Any:
    return (await api.get(f"{AUDIT}?{query}")).json["results"][0]


async def undo(api: Api, entry: Any, query: str = "") -> Answer:
    return await api.post(f"{AUDIT}{entry['id']}/undo/?{query}")


async def a_set(api: Api, **fields: Any) -> Any:
    schedule = await api.made("schedule", hour="8")
    return await api.made("messageset", short_name="a", default_schedule=schedule["id"], **fields)


async def a_message(api: Api, messageset: Any, number: int = 1) -> Any:
    return await api.made(
        *("message",),
        messageset=messageset["id"],
        sequence_number=number,
        lang="eng",
        text_content="Hi",
    )


def by_somebody(direct: Arranged, statement: str) -> None:
    """As a request does it, but without its checks."""
    direct.rows(
        f'BEGIN; SET LOCAL sbm.author = \'{{"actor": "a", "action": "b"}}\'; {statement}; COMMIT'
    )


@pytest_twisted.ensureDeferred
async def test_a_new_set_or_file_that_others_use_since_is_kept(api: Api, direct: Arranged) -> None:
    messageset = await a_set(api, content_type="audio")
    made = await newest(api)
    by_somebody(direct, "INSERT INTO binary_contents (content) VALUES ('a.mp3')")
    file = await newest(api)
    direct.rows(
        "INSERT INTO messages (messageset_id, sequence_number, lang, binary_content_id)"
        " VALUES (%s, 1, 'eng', %s)",
        *(messageset["id"], int(file["row"])),
    )
    for entry in (made, file):
        assert (await undo(api, entry)).status == 409
    assert direct.value("SELECT count(*) FROM messages") == 1
    direct.rows("DELETE FROM messages")
    for entry in (made, file):
        assert (await undo(api, entry)).json["undone"] == [entry["id"]]
    assert direct.value("SELECT count(*) FROM binary_contents") == 0


@pytest_twisted.ensureDeferred
async def test_a_name_that_another_user_has_since_does_not_come_back(
    api: Api, direct: Arranged
) -> None:
    bob = await api.made("users", username="bob")
    await api.call("PATCH", f"/api/v1/users/{bob['id']}/", {"username": "robert"})
    renaming = await newest(api, "table=users&operation=update")
    other = await api.made("users", username="Bob")
    assert (await undo(api, renaming)).status == 409
    await api.call("PATCH", f"/api/v1/users/{other['id']}/", {"username": "Eve"})
    assert (await undo(api, renaming)).status == 200
    assert direct.value("SELECT username FROM users WHERE id = %s", bob["id"]) == "bob"


@pytest_twisted.ensureDeferred
async def test_permissions_and_states_of_users_are_undone(api: Api, direct: Arranged) -> None:
    user = await api.made("users", username="bob", is_limited=True, permissions=["operate"])
    path = f"/api/v1/users/{user['id']}/"
    await api.call("PATCH", path, {"permissions": ["people.read"], "is_active": False})
    answer = await undo(api, await newest(api), "whole_request=true")
    assert len(answer.json["undone"]) == 3
    assert (await api.get(path)).json == user


@pytest_twisted.ensureDeferred
async def test_a_text_of_three_stars_is_no_secret(api: Api) -> None:
    message = await a_message(api, await a_set(api))
    path = f"/api/v1/message/{message['id']}/"
    await api.call("PATCH", path, {"text_content": "***"})
    assert (await undo(api, await newest(api))).status == 200
    assert (await api.get(path)).json["text_content"] == "Hi"


@pytest_twisted.ensureDeferred
async def test_a_secret_that_was_taken_away_is_not_put_back(api: Api, direct: Arranged) -> None:
    direct.rows("INSERT INTO users (username, password) VALUES ('eve', 'hash')")
    by_somebody(direct, "UPDATE users SET password = NULL WHERE username = 'eve'")
    assert (await undo(api, await newest(api, "table=users"))).status == 409
    assert direct.value("SELECT password FROM users WHERE username = 'eve'") is None


@pytest_twisted.ensureDeferred
async def test_the_rule_of_time_zones_holds(api: Api, direct: Arranged) -> None:
    """The API of these tests leaves the ticks to the Scheduler, which reads crons in UTC."""
    schedule = await api.made("schedule", hour="8")
    path = f"/api/v1/schedule/{schedule['id']}/"
    direct.rows("UPDATE schedules SET time_zone = %s", IN_JOHANNESBURG)
    assert (await api.call("PATCH", path, {"time_zone": None})).status == 200
    refused = await undo(api, await newest(api))
    assert (refused.status, "Scheduler" in refused.json["detail"]) == (409, True)


@pytest_twisted.ensureDeferred
async def test_a_file_that_does_not_fit_its_messages_is_not_put_back(
    api: Api, direct: Arranged
) -> None:
    messageset = await a_set(api, content_type="audio")
    file = direct.value("INSERT INTO binary_contents (content) VALUES ('x.jpg') RETURNING id")
    by_somebody(direct, "UPDATE binary_contents SET content = 'a.mp3'")
    direct.rows(
        "INSERT INTO messages (messageset_id, sequence_number, lang, binary_content_id)"
        " VALUES (%s, 1, 'eng', %s)",
        *(messageset["id"], file),
    )
    assert (await undo(api, await newest(api))).status == 409
    direct.rows("DELETE FROM messages")
    assert (await undo(api, await newest(api))).status == 200
    assert direct.value("SELECT content FROM binary_contents") == "x.jpg"


@pytest_twisted.ensureDeferred
async def test_of_several_requests_with_the_same_id_one_is_undone(api: Api) -> None:
    schedule, other = [await api.made("schedule", hour=hour) for hour in ("8", "1")]
    path = f"/api/v1/schedule/{schedule['id']}/"
    await api.call("PATCH", path, {"hour": "9"}, X_Request_ID="trace-1")
    entry = await newest(api)
    other_path = f"/api/v1/schedule/{other['id']}/"
    await api.call("PATCH", other_path, {"hour": "2"}, token=api.user_token, X_Request_ID="trace-1")
    answer = await undo(api, entry, "whole_request=true")
    assert answer.json["undone"] == [entry["id"]]
    assert (await api.get(other_path)).json["hour"] == "2"


@pytest_twisted.ensureDeferred
async def test_a_row_made_again_has_the_one_who_undid_as_last_author(api: Api) -> None:
    message = await a_message(api, await a_set(api))
    path = f"/api/v1/message/{message['id']}/"
    await api.call("DELETE", path, token=api.user_token)
    await undo(api, await newest(api))
    assert (await api.get(path)).json["updated_by"] == message["updated_by"]


@pytest_twisted.ensureDeferred
async def test_a_column_that_is_gone_is_told(api: Api, direct: Arranged) -> None:
    schedule = await api.made("schedule", hour="8")
    await api.call("PATCH", f"/api/v1/schedule/{schedule['id']}/", {"hour": "9"})
    entry = await newest(api)
    direct.rows("UPDATE audit SET before = '{\"former\": 1}', after = '{\"former\": null}'")
    refused = await undo(api, entry)
    assert (refused.status, "former" in refused.json["detail"]) == (409, True)


@pytest_twisted.ensureDeferred
async def test_a_subscription_that_is_given_to_another_person_is_found_by_both(api: Api) -> None:
    subscription = await api.subscription()
    new = "11111111-ba06-4964-825e-20f93388b9fe"
    await api.call("PATCH", f"/api/v1/subscriptions/{subscription['id']}/", {"identity": new})
    entry = await newest(api)
    for identity in (subscription["identity"], new):
        assert (await newest(api, f"identity={identity}")) == entry


@pytest_twisted.ensureDeferred
async def test_a_deleted_set_is_made_again_with_all_that_went_with_it(
    api: Api, direct: Arranged
) -> None:
    messageset = await a_set(api)
    before = await api.made(
        *("messageset",),
        short_name="b",
        default_schedule=messageset["default_schedule"],
        next_set=messageset["id"],
    )
    for number in range(1, 6):
        await a_message(api, messageset, number)
    await api.call("DELETE", f"/api/v1/messageset/{messageset['id']}/")
    answer = await undo(api, await newest(api), "whole_request=true")
    assert len(answer.json["undone"]) == 7
    assert direct.value("SELECT count(*) FROM messages") == 5
    read = (await api.get(f"/api/v1/messageset/{before['id']}/")).json
    assert read["next_set"] == messageset["id"]


@pytest_twisted.ensureDeferred
async def test_a_subscription_that_had_another_message_since_stays(
    api: Api, direct: Arranged
) -> None:
    subscription = await api.subscription()
    other = await api.made(
        "messageset", short_name="other", default_schedule=subscription["schedule"]
    )
    path = f"/api/v1/subscriptions/{subscription['id']}/"
    await api.call("PATCH", path, {"messageset": other["id"]})
    entry = await newest(api)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 2")  # as the settlement does
    stayed = (await undo(api, entry)).json["stayed"]
    assert stayed[0]["moved_on"] == {"next_sequence_number": 2}
    direct.rows("UPDATE subscriptions SET next_sequence_number = 1")
    assert (await undo(api, entry)).json["undone"] == [entry["id"]]
    assert (await api.get(path)).json["messageset"] == subscription["messageset"]


@pytest_twisted.ensureDeferred
async def test_what_does_not_move_a_subscription_is_undone_after_a_message(
    api: Api, direct: Arranged
) -> None:
    subscription = await api.subscription(metadata={"a": 1})
    path = f"/api/v1/subscriptions/{subscription['id']}/"
    await api.call("PATCH", path, {"metadata": {"a": 2}})
    entry = await newest(api)
    assert entry["before"] == {"metadata": {"a": 1}}
    direct.rows("UPDATE subscriptions SET next_sequence_number = 2")
    assert (await undo(api, entry)).json["undone"] == [entry["id"]]
    assert (await api.get(path)).json["metadata"] == {"a": 1}


@pytest.mark.parametrize(
    "change", [{"completed": True}, {"active": False}, {"process_status": -1}, {"lang": "zul"}]
)
@pytest_twisted.ensureDeferred
async def test_the_place_of_a_subscription_is_put_back(api: Api, change: dict[str, Any]) -> None:
    subscription = await api.subscription()
    path = f"/api/v1/subscriptions/{subscription['id']}/"
    await api.call("PATCH", path, change)
    assert (await undo(api, await newest(api))).json["stayed"] == []
    read = (await api.get(path)).json
    for name in ("lang", "active", "completed", "process_status", "next_sequence_number"):
        assert read[name] == subscription[name]


@pytest_twisted.ensureDeferred
async def test_the_reason_of_a_release_is_kept(api: Api, direct: Arranged) -> None:
    schedule = direct.schedule(canary="5")
    await api.post(f"/api/v1/schedule/{schedule}/send/", {})
    tick = direct.value("SELECT id FROM ticks")
    await api.post(f"/api/v1/ticks/{tick}/release/", X_Change_Reason="it is fine")
    entry = await newest(api)
    assert (entry["action"], entry["reason"]) == (
        f"POST /api/v1/ticks/{tick}/release/",
        "it is fine",
    )

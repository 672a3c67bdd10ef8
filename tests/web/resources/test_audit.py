"""``/api/v1/audit/``: every change by the API is there, and can be undone."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from sbm.model.audit_entry import AUDITED_TABLES
from tests.arrange import Arranged
from tests.web.conftest import IDENTITY, SCHEDULER_TOKEN, Api

AUDIT = "/api/v1/audit/"


async def listed(api: Api, query: str = "") -> list[Any]:
    answer = await api.get(f"{AUDIT}?{query}")
    assert answer.status == 200, answer.text
    return list(answer.json["results"])


async def newest(api: Api, query: str = "") -> Any:
    return (await listed(api, query))[0]


async def undo(api: Api, entry: Any, query: str = "") -> Any:
    answer = await api.post(f"{AUDIT}{entry['id']}/undo/?{query}")
    assert answer.status == 200, answer.text
    return answer.json


async def a_message(api: Api, text: str = "Hello") -> Any:
    schedule = await api.made("schedule", hour="8")
    messageset = await api.made("messageset", short_name="a", default_schedule=schedule["id"])
    return await api.made(
        "message", messageset=messageset["id"], sequence_number=1, lang="eng", text_content=text
    )


def test_the_tables_with_the_trigger_are_those_that_are_listed(direct: Arranged) -> None:
    rows = direct.rows(
        "SELECT tgrelid::regclass::text AS name FROM pg_trigger WHERE tgname = 'audit_row'"
    )
    assert {row["name"] for row in rows} == set(AUDITED_TABLES)


@pytest_twisted.ensureDeferred
async def test_a_change_has_its_author_its_values_its_reason_and_its_request(api: Api) -> None:
    message = await a_message(api)
    path = f"/api/v1/message/{message['id']}/"
    answer = await api.call(
        "PATCH",
        path,
        {"text_content": "Bye"},
        token=api.user_token,
        X_Request_ID="abc-1",
        X_Change_Reason="wrong süß text",
    )
    assert answer.header("X-Request-ID") == "abc-1"
    assert answer.json["updated_by"] is not None
    entry = await newest(api)
    assert entry["action"] == f"PATCH {path}"
    assert (entry["table"], entry["row"], entry["operation"]) == (
        *("messages", str(message["id"])),
        "update",
    )
    assert (entry["before"], entry["after"]) == (
        {"text_content": "Hello"},
        {"text_content": "Bye"},
    )
    assert (entry["reason"], entry["request_id"]) == ("wrong süß text", "abc-1")
    assert entry["user"] == answer.json["updated_by"]
    assert await listed(api, "request_id=abc-1") == [entry]
    assert await listed(api, f"table=messages&row={message['id']}&operation=update") == [entry]
    assert entry in await listed(api, f"actor={entry['actor']}")


@pytest_twisted.ensureDeferred
async def test_each_kind_of_change_leaves_an_entry_and_reads_leave_none(
    api: Api, direct: Arranged
) -> None:
    message = await a_message(api)
    subscription = await api.subscription()
    path = f"/api/v1/subscriptions/{subscription['id']}/"
    await api.call("PATCH", path, {"lang": "zul"})
    await api.call("DELETE", path)
    await api.post("/api/v1/user/token/", {"email": "ann@example.org"})
    await api.post("/api/v1/pauses/", {"reason": "wrong"})
    before = direct.value("SELECT count(*) FROM audit")
    for read in ("schedule", "message", "subscriptions", "audit"):
        await api.get(f"/api/v1/{read}/")
    await api.call("DELETE", f"/api/v1/messageset/{message['messageset']}/")
    rows = direct.rows(
        "SELECT table_name, operation, identity, before, after FROM audit ORDER BY id OFFSET 2"
    )
    assert before == len(rows)  # two before these, two after the reads
    assert [(row["table_name"], row["operation"]) for row in rows] == [
        ("messages", "insert"),
        ("schedules", "insert"),
        ("messagesets", "insert"),
        ("subscriptions", "insert"),
        ("subscriptions", "update"),
        ("subscriptions", "delete"),
        ("users", "insert"),
        ("tokens", "insert"),
        ("pauses", "insert"),
        ("messages", "delete"),
        ("messagesets", "delete"),
    ]
    assert {row["identity"] for row in rows if row["table_name"] == "subscriptions"} == {IDENTITY}
    (token,) = (row for row in rows if row["table_name"] == "tokens")
    assert token["after"]["digest"] == "***"
    assert len(await listed(api, f"identity={IDENTITY}")) == 3


@pytest_twisted.ensureDeferred
async def test_what_changes_nothing_leaves_nothing(api: Api, direct: Arranged) -> None:
    message = await a_message(api)
    before = direct.value("SELECT count(*) FROM audit")
    await api.call("PATCH", f"/api/v1/message/{message['id']}/", {"text_content": "Hello"})
    await api.call("PATCH", f"/api/v1/message/{message['id']}/", {"text_content": "“"})
    await api.call("DELETE", "/api/v1/message/99999/")
    assert direct.value("SELECT count(*) FROM audit") == before


@pytest_twisted.ensureDeferred
async def test_the_scheduler_is_an_author_too(api: Api, direct: Arranged) -> None:
    schedule = await api.made("schedule")
    await api.post(f"/api/v1/schedule/{schedule['id']}/send/", token=SCHEDULER_TOKEN)
    assert direct.value("SELECT count(*) FROM audit WHERE actor = 'scheduler'") == 0


@pytest.mark.parametrize("given", ["a b", "x" * 129, "-", "é", "", "{n}"])
@pytest_twisted.ensureDeferred
async def test_an_unfit_request_id_is_replaced(api: Api, given: str) -> None:
    answer = await api.get("/api/v1/schedule/", X_Request_ID=given)
    made = answer.header("X-Request-ID")
    assert made is not None
    assert made != given
    assert len(made) == 32


@pytest_twisted.ensureDeferred
async def test_every_answer_has_a_request_id(api: Api) -> None:
    for path, token in (("/nowhere/", None), ("/api/v1/schedule/", ""), ("/livez", None)):
        answer = await api.get(path, token=token)
        assert answer.header("X-Request-ID")


@pytest.mark.parametrize("given", ["x" * 501, "a\tb"])
@pytest_twisted.ensureDeferred
async def test_an_unfit_reason_is_refused(api: Api, direct: Arranged, given: str) -> None:
    answer = await api.post("/api/v1/schedule/", {}, X_Change_Reason=given)
    assert answer.status == 400
    assert "X-Change-Reason" in answer.text
    assert direct.value("SELECT count(*) FROM schedules") == 0


@pytest_twisted.ensureDeferred
async def test_only_administrators_read_the_audit_and_undo(api: Api) -> None:
    await a_message(api)
    entry = await newest(api)
    assert (await api.get(AUDIT, token=api.user_token)).status == 403
    undoing = await api.post(f"{AUDIT}{entry['id']}/undo/", token=api.user_token)
    assert undoing.status == 403


@pytest_twisted.ensureDeferred
async def test_a_change_is_undone_and_the_undoing_is_audited_and_undone(api: Api) -> None:
    message = await a_message(api)
    path = f"/api/v1/message/{message['id']}/"
    await api.call("PATCH", path, {"text_content": "Bye", "metadata": {"a": [1, None]}})
    change = await newest(api)
    assert await undo(api, change) == {"undone": [change["id"]], "stayed": []}
    read = (await api.get(path)).json
    assert (read["text_content"], read["metadata"]) == ("Hello", {})
    undoing = await newest(api)
    assert undoing["undoes"] == change["id"]
    assert undoing["action"] == f"POST {AUDIT}{change['id']}/undo/"
    await undo(api, undoing)
    read = (await api.get(path)).json
    assert (read["text_content"], read["metadata"]) == ("Bye", {"a": [1, None]})


@pytest_twisted.ensureDeferred
async def test_what_has_moved_on_stays_and_is_told(api: Api) -> None:
    subscription = await api.subscription()
    path = f"/api/v1/subscriptions/{subscription['id']}/"
    await api.call("PATCH", path, {"lang": "zul", "next_sequence_number": 5})
    change = await newest(api)
    await api.call("PATCH", path, {"next_sequence_number": 6})
    assert await undo(api, change) == {
        "undone": [],
        "stayed": [
            {
                "entry": change["id"],
                "table": "subscriptions",
                "row": subscription["id"],
                "moved_on": {"next_sequence_number": 6},
            }
        ],
    }
    assert (await api.get(path)).json["lang"] == "zul"
    await api.call("DELETE", path)
    assert (await undo(api, change))["stayed"][0]["moved_on"] is None


@pytest_twisted.ensureDeferred
async def test_rows_that_were_made_are_removed_and_removed_ones_made_again(api: Api) -> None:
    message = await a_message(api)
    path = f"/api/v1/message/{message['id']}/"
    made = await newest(api)
    await undo(api, made)
    assert (await api.get(path)).status == 404
    removed = await newest(api)
    assert removed["operation"] == "delete"
    await undo(api, removed)
    again = (await api.get(path)).json
    for name in ("updated_at", "updated_by"):
        del again[name], message[name]
    assert again == message
    assert (await undo(api, removed))["undone"] == []


@pytest_twisted.ensureDeferred
async def test_a_whole_request_is_undone_the_last_change_first(api: Api) -> None:
    message = await a_message(api)
    path = f"/api/v1/messageset/{message['messageset']}/"
    assert (await api.call("DELETE", path)).status == 204
    deletion = await newest(api)
    undone = await undo(api, deletion, "whole_request=true")
    assert len(undone["undone"]) == 2
    assert (await api.get(path)).status == 200
    assert (await api.get(f"/api/v1/message/{message['id']}/")).status == 200


@pytest_twisted.ensureDeferred
async def test_rules_and_references_hold_for_an_undoing(api: Api, direct: Arranged) -> None:
    message = await a_message(api)
    made_set = await newest(api, "table=messagesets")
    await api.subscription(messageset=message["messageset"], schedule=1)
    refused = await api.post(f"{AUDIT}{made_set['id']}/undo/")
    assert (refused.status, "messages in it" in refused.json["detail"]) == (409, True)
    made_schedule = await newest(api, "table=schedules")
    refused = await api.post(f"{AUDIT}{made_schedule['id']}/undo/")
    assert refused.status == 409

    # The text was right for the channel that the set had then.
    path = f"/api/v1/message/{message['id']}/"
    await api.call("PATCH", path, {"text_content": "two\nlines"})
    await api.call("PATCH", path, {"text_content": "one line"})
    change = await newest(api, "table=messages")
    await api.call("PATCH", f"/api/v1/messageset/{message['messageset']}/", {"channel": "WHATSAPP"})
    refused = await api.post(f"{AUDIT}{change['id']}/undo/")
    assert refused.status == 409, refused.text
    assert (await api.get(path)).json["text_content"] == "one line"


@pytest_twisted.ensureDeferred
async def test_tokens_and_secrets_are_not_put_back(api: Api) -> None:
    await api.post("/api/v1/user/token/", {"email": "ann@example.org"})
    for table in ("tokens", "users"):
        entry = await newest(api, f"table={table}")
        refused = await api.post(f"{AUDIT}{entry['id']}/undo/")
        assert (refused.status, "instead" in refused.json["detail"]) == (409, True)


@pytest_twisted.ensureDeferred
async def test_an_undoing_that_a_change_races_is_whole_or_not_at_all(api: Api) -> None:
    message = await a_message(api, "first")
    path = f"/api/v1/message/{message['id']}/"
    for round_ in range(10):
        await api.call("PATCH", path, {"text_content": f"b{round_}", "metadata": {"n": round_}})
        change = await newest(api)
        results = await gatherResults(
            [
                Deferred.fromCoroutine(undo(api, change)),
                Deferred.fromCoroutine(api.call("PATCH", path, {"text_content": f"c{round_}"})),
                Deferred.fromCoroutine(undo(api, change)),
            ]
        )
        undone = [one for one in (results[0], results[2]) if one["undone"]]
        read = (await api.get(path)).json
        assert len(undone) <= 1
        assert read["text_content"] == f"c{round_}"
        # The metadata went back with the text, or stayed with it.
        assert (read["metadata"] == {"n": round_}) is not bool(undone)

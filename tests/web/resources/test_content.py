"""Schedules, message sets and messages, where the recordings do not tell."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from sbm.store import binary_contents
from tests.arrange import arranged
from tests.web.conftest import SCHEDULER_TOKEN, Api

UNFIT = ["Text for WhatsApp must not include newline, tabs, or 4 consecutive spaces."]


async def messageset(api: Api, name: str = "set", **fields: Any) -> int:
    schedule = (await api.made("schedule"))["id"]
    made = await api.made("messageset", short_name=name, default_schedule=schedule, **fields)
    return int(made["id"])


async def message(api: Api, messageset: int, number: int, **fields: Any) -> Any:
    given = {"messageset": messageset, "sequence_number": number, "lang": "eng"} | fields
    return await api.post("/api/v1/message/", given)


@pytest_twisted.ensureDeferred
async def test_both_forms_of_a_path_answer_directly(api: Api) -> None:
    await message(api, await messageset(api), 1, text_content="one")
    for path in (
        *("schedule", "schedule/1", "schedule/001", "messageset", "messageset/1/messages"),
        *("message", "message/1", "message/1/content", "subscriptions"),
    ):
        for slash in ("", "/"):
            assert (await api.get(f"/api/v1/{path}{slash}")).status == 200, path + slash
    assert (await api.get("/api/v1")).status == 200
    assert (await api.get("/api/health")).status == 200


@pytest_twisted.ensureDeferred
async def test_a_post_back_opens_a_tick_and_wakes_the_pipeline(api: Api, database_uri: str) -> None:
    await api.made("schedule")
    for path, body in (("send/", "{}"), ("send", "{nope")):
        answer = await api.post(f"/api/v1/schedule/1/{path}", body, token=SCHEDULER_TOKEN)
        assert (answer.status, answer.json) == (202, {})
    with arranged(database_uri) as direct:
        assert (
            direct.rows("SELECT schedule_id, source FROM ticks")
            == [{"schedule_id": 1, "source": "post-back"}] * 2
        )
    assert api.wakes == ["ticks", "ticks"]


@pytest_twisted.ensureDeferred
async def test_a_post_back_for_no_schedule_is_not_found(api: Api) -> None:
    assert (await api.post("/api/v1/schedule/1/send/")).status == 404
    assert api.wakes == []


@pytest_twisted.ensureDeferred
async def test_a_schedule_has_valid_cron_fields(api: Api) -> None:
    answer = await api.post("/api/v1/schedule/", {"minute": "60", "day_of_week": "0,7"})
    assert (answer.status, list(answer.json)) == (400, ["minute"])


@pytest_twisted.ensureDeferred
async def test_what_is_in_use_is_not_deleted(api: Api) -> None:
    made = await api.subscription()
    schedule = await api.call("DELETE", f"/api/v1/schedule/{made['schedule']}/")
    assert (schedule.status, schedule.json) == (
        409,
        {"detail": "Cannot delete schedule 1: it is used by messagesets and subscriptions."},
    )
    used = await api.call("DELETE", f"/api/v1/messageset/{made['messageset']}/")
    assert used.status == 409
    assert (await api.get(f"/api/v1/messageset/{made['messageset']}/")).status == 200


@pytest_twisted.ensureDeferred
async def test_a_message_set_takes_its_messages_along(api: Api) -> None:
    number = await messageset(api)
    await message(api, number, 1, text_content="one")
    assert (await api.call("DELETE", f"/api/v1/messageset/{number}/")).status == 204
    assert (await api.get("/api/v1/message/")).json["count"] == 0


@pytest_twisted.ensureDeferred
async def test_the_channel_of_a_message_set_is_null_or_a_name(api: Api) -> None:
    number = await messageset(api)
    path = f"/api/v1/messageset/{number}/"
    assert (await api.get(path)).json["channel"] is None
    assert (await api.call("PATCH", path, {"channel": "CH"})).json["channel"] == "CH"
    names = list((await api.get(path)).json)
    assert names[names.index("content_type") + 1] == "channel"


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a    b"])
@pytest_twisted.ensureDeferred
async def test_whatsapp_takes_no_layout(api: Api, text: str) -> None:
    number = await messageset(api, channel="my-WhatsApp")
    answer = await message(api, number, 1, text_content=text)
    assert (answer.status, answer.json) == (400, UNFIT)
    assert (await message(api, number, 1, text_content=f"{text[0]}   b ")).status == 201


@pytest_twisted.ensureDeferred
async def test_an_audio_message_needs_no_text(api: Api) -> None:
    file = await api.database.transact(binary_contents.create, content="a b.mp3")
    number = await messageset(api, channel="whatsapp", content_type="audio")
    assert (await message(api, number, 1, binary_content=file.id)).status == 201
    content = (await api.get("/api/v1/message/1/content")).json
    assert content["binary_content"] == {"id": file.id, "content": f"{api.base}/media/a%20b.mp3"}
    assert "metadata" not in content


@pytest_twisted.ensureDeferred
async def test_a_message_keeps_its_text_or_file(api: Api) -> None:
    await message(api, await messageset(api), 1, text_content="one")
    answer = await api.call("PATCH", "/api/v1/message/1/", {"text_content": None})
    assert (answer.status, answer.json) == (400, ["Messages must have text or file attached"])


@pytest_twisted.ensureDeferred
async def test_a_message_moves_only_to_a_free_place(api: Api) -> None:
    number = await messageset(api)
    await message(api, number, 1, text_content="one")
    await message(api, number, 2, text_content="two")
    taken = await api.call("PATCH", "/api/v1/message/2/", {"sequence_number": 1})
    assert (taken.status, list(taken.json)) == (400, ["non_field_errors"])
    assert (await api.call("PATCH", "/api/v1/message/2/", {"sequence_number": 2})).status == 200


@pytest_twisted.ensureDeferred
async def test_messages_are_filtered(api: Api) -> None:
    one, two = await messageset(api), await messageset(api, "other")
    await message(api, one, 1, text_content="one")
    await message(api, one, 2, text_content="two")
    await message(api, two, 1, text_content="one", lang="zul_ZA")
    for query, ids in (
        (f"messageset={one}", [1, 2]),
        ("sequence_number=1", [1, 3]),
        ("lang=zul_ZA", [3]),
        (f"messageset={one}&sequence_number=2&lang=eng", [2]),
    ):
        page = (await api.get(f"/api/v1/message/?{query}")).json
        assert [row["id"] for row in page["results"]] == ids
        assert page["count"] == len(ids)


@pytest_twisted.ensureDeferred
async def test_message_sets_are_filtered_by_their_kind(api: Api) -> None:
    await messageset(api)
    audio = await messageset(api, "other", content_type="audio")
    page = (await api.get("/api/v1/messageset/?content_type=audio")).json
    assert [row["id"] for row in page["results"]] == [audio]
    wrong = await api.get("/api/v1/messageset/?content_type=x")
    assert wrong.json == {
        "content_type": ["Select a valid choice. x is not one of the available choices."]
    }


@pytest_twisted.ensureDeferred
async def test_two_sets_that_are_made_to_follow_each_other_at_once_do_not_lock_each_other(
    api: Api,
) -> None:
    sets = [await messageset(api, name, content_type="text") for name in ("a", "b")]
    changes = [
        Deferred.fromCoroutine(
            api.call(
                "PATCH",
                f"/api/v1/messageset/{sets[number % 2]}/",
                {"next_set": sets[1 - number % 2], "short_name": f"r{number}"},
            )
        )
        for number in range(20)
    ]
    assert {answer.status for answer in await gatherResults(changes)} == {200}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("next", 201),
        ("wait", 201),
        ("fallback:eng", 201),
        ("fallback:eng_ZA", 201),
        ("fallback:", 400),
        ("fallback:english", 400),
        ("skip", 400),
        ("", 400),
        (None, 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_policy_for_missing_translations_is_one_of_three(
    api: Api, given: str | None, status: int
) -> None:
    schedule = await api.made("schedule")
    body = {"short_name": "a", "default_schedule": schedule["id"], "on_missing_translation": given}
    answer = await api.post("/api/v1/messageset/", body)
    assert (answer.status, "on_missing_translation" in answer.json) == (status, True)
    if status == 201:
        path = f"/api/v1/messageset/{answer.json['id']}/"
        put = await api.call("PUT", path, {"short_name": "b", "default_schedule": schedule["id"]})
        assert put.json["on_missing_translation"] == given


@pytest_twisted.ensureDeferred
async def test_the_policy_of_a_set_without_one_is_the_contracts(api: Api) -> None:
    schedule = await api.made("schedule")
    made = await api.made("messageset", short_name="a", default_schedule=schedule["id"])
    assert made["on_missing_translation"] == "next"
    assert list(made)[-1] == "on_missing_translation"

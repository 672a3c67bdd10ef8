"""What can be sent, asked at every door of the API."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.model.content_limits import ContentLimits
from sbm.store import binary_contents
from tests.arrange import arranged
from tests.web.conftest import IDENTITY, Api, served

reactor: Any = _reactor

LAYOUT = "Text for WhatsApp must not include newline, tabs, or 4 consecutive spaces."
EMPTY = "Messages must have text or file attached"
LONG = "Ensure this field has no more than 1000 characters."
NO_AUDIO = "A message of an audio message set must have a sound attached."
NO_TEXT = "prepend_next_delivery must be a text."
NO_URL = (
    "prepend_next_delivery must be the absolute http or https URL of a sound: the message set is an"
    " audio message set."
)
BLANK = "prepend_next_delivery may not be blank."
NEWLINE = (
    "prepend_next_delivery cannot be sent with a text for WhatsApp, which must not include the"
    " newline between them."
)


async def a_set(api: Api, name: str = "set", **fields: Any) -> int:
    schedule = (await api.made("schedule"))["id"]
    made = await api.made("messageset", short_name=name, default_schedule=schedule, **fields)
    return int(made["id"])


async def a_message(api: Api, messageset: int, number: int = 1, **fields: Any) -> Any:
    given = {"messageset": messageset, "sequence_number": number, "lang": "eng"}
    return await api.post("/api/v1/message/", given | fields)


async def a_file(api: Api, name: str) -> int:
    return (await api.database.transact(binary_contents.create, content=name)).id


async def patch(api: Api, path: str, **fields: Any) -> tuple[int, Any]:
    answer = await api.call("PATCH", f"/api/v1/{path}/", fields)
    return answer.status, answer.json


@pytest.mark.parametrize(
    ("messageset", "message", "refusal"),
    [
        ({}, {"text_content": "x" * 1001}, {"text_content": [LONG]}),
        ({}, {"text_content": "☃" * 1000}, None),
        ({}, {"text_content": "\u200b"}, [EMPTY]),
        ({}, {"text_content": "\u200b\ufeff \u2060"}, [EMPTY]),
        ({}, {"binary_content": "1.mp3"}, None),
        ({}, {"binary_content": "1.png"}, None),
        ({}, {"binary_content": "1.mp3", "text_content": "x"}, None),
        ({"content_type": "audio"}, {"text_content": "x"}, {"binary_content": [NO_AUDIO]}),
        ({"content_type": "audio"}, {"binary_content": "1.png"}, {"binary_content": [NO_AUDIO]}),
        ({"content_type": "audio"}, {"binary_content": "1.mp3", "text_content": "x"}, None),
        ({"channel": "WHATSAPP"}, {"text_content": "a\nb"}, [LAYOUT]),
        (
            {"channel": "WHATSAPP"},
            {"text_content": "a’\nb" + "x" * 1000},
            {
                "text_content": [
                    LONG,
                    f'Text "a’\nb{"x" * 146}…" has special characters which can be replaced: ’',
                ]
            },
        ),
    ],
)  # fmt: skip
@ensureDeferred
async def test_a_message_that_cannot_be_sent_is_not_made_nor_changed_into(
    api: Api, messageset: Any, message: Any, refusal: Any
) -> None:
    number = await a_set(api, **messageset)
    if "binary_content" in message:
        message = {**message, "binary_content": await a_file(api, message["binary_content"])}
    answer = await a_message(api, number, **message)
    if refusal is None:
        assert answer.status == 201
        return
    assert (answer.status, answer.json) == (400, refusal)
    is_audio = messageset.get("content_type") == "audio"
    fine: Any = (
        {"binary_content": await a_file(api, "fine.mp3")} if is_audio else {"text_content": "x"}
    )
    made = await a_message(api, number, **fine)
    assert made.status == 201
    nothing = {"text_content": None, "binary_content": None}
    for method, body in (
        ("PATCH", nothing | message),
        ("PUT", {**made.json, **nothing, **message}),
    ):
        answer = await api.call(method, f"/api/v1/message/{made.json['id']}/", body)
        assert (answer.status, answer.json) == (400, refusal)


@pytest.mark.parametrize(
    ("stored", "text", "file_name"),
    [
        ({}, "it’s", None),
        ({}, " it’s \n", None),
        ({}, "x" * 1001, None),
        ({}, None, None),
        ({}, "\u200b", None),
        ({}, None, "1.mp3"),
        ({"channel": "whatsapp"}, "a\nb", None),
        ({"content_type": "audio"}, "text alone", None),
    ],
)
@ensureDeferred
async def test_an_imported_message_can_be_written_as_it_is(
    api: Api, database_uri: str, stored: Any, text: str | None, file_name: str | None
) -> None:
    with arranged(database_uri) as direct:
        number = direct.messageset("old", direct.schedule(), messages=0, **stored)
        message = direct.message(number, 1, "eng_ZA", text, file_name=file_name)
        direct.rows("UPDATE messages SET lang = 'x'")
        path = f"message/{message}"
        assert (await patch(api, path, metadata={"k": 1}))[0] == 200
        assert (await patch(api, path, sequence_number=2, lang="x"))[0] == 200
        assert (await patch(api, path, text_content=text))[0] == 200
        shown = (await api.get(f"/api/v1/{path}/")).json
        answer = await api.call("PUT", f"/api/v1/{path}/", shown)
        assert (answer.status, answer.json["sequence_number"]) == (200, 2)
        kept = direct.value("SELECT text_content FROM messages")
        assert (kept or "").strip() == (text or "").strip()
        assert (await patch(api, path, lang="y"))[0] == 400
        refused, _ = await patch(api, path, text_content="that’s")
        assert refused == 400


@ensureDeferred
async def test_a_message_is_judged_by_the_set_that_it_is_moved_to(api: Api) -> None:
    texts, chat = await a_set(api), await a_set(api, "chat", channel="whatsapp")
    sounds = await a_set(api, "sounds", content_type="audio")
    message = (await a_message(api, texts, text_content="a\nb")).json["id"]
    assert await patch(api, f"message/{message}", messageset=chat) == (400, [LAYOUT])
    assert await patch(api, f"message/{message}", messageset=sounds) == (
        400,
        {"binary_content": [NO_AUDIO]},
    )
    status, _ = await patch(api, f"message/{message}", messageset=chat, text_content="a b")
    assert status == 200


@ensureDeferred
async def test_a_set_does_not_become_one_that_its_texts_do_not_suit(api: Api) -> None:
    number = await a_set(api)
    for place, text in enumerate(("fine", "a\nb", "a\tb", "a    b", "x\ny"), 1):
        await a_message(api, number, place, text_content=text)
    await a_message(api, number, 9, lang="afr", text_content="a\nb")
    path = f"/api/v1/messageset/{number}/"
    whole = (await api.get(path)).json
    for method, body in (
        ("PATCH", {"channel": "WHATSAPP"}),
        ("PUT", whole | {"channel": "my whatsapp"}),
    ):
        answer = await api.call(method, path, body)
        clause = "has a newline, a tab or 4 consecutive spaces, which WhatsApp does not accept"
        assert (answer.status, answer.json) == (
            400,
            {
                "channel": [
                    f"Message 9 in afr (id 6) {clause}.",
                    f"Message 2 in eng (id 2) {clause}.",
                    f"Message 3 in eng (id 3) {clause}.",
                ]
            },
        )
    assert (await patch(api, f"messageset/{number}", channel="sms"))[0] == 200
    for message in (2, 3, 4, 5, 6):
        await api.call("DELETE", f"/api/v1/message/{message}/")
    assert (await patch(api, f"messageset/{number}", channel="WHATSAPP"))[0] == 200


@ensureDeferred
async def test_the_content_type_is_not_switched_under_messages(api: Api) -> None:
    texts, sounds = await a_set(api), await a_set(api, "sounds", content_type="audio")
    await a_message(api, texts, text_content="one")
    await a_message(api, sounds, binary_content=await a_file(api, "1.mp3"))
    assert await patch(api, f"messageset/{texts}", content_type="audio") == (
        400,
        {"content_type": ["Message 1 in eng (id 1) has no audio."]},
    )
    assert await patch(api, f"messageset/{sounds}", content_type="text") == (
        400,
        {
            "content_type": [
                "Message 1 in eng (id 2) has audio and no text, and its message set is a text"
                " message set."
            ]
        },
    )
    assert (await patch(api, f"message/{1}", binary_content=await a_file(api, "2.mp3")))[0] == 200
    assert (await patch(api, f"messageset/{texts}", content_type="audio"))[0] == 200
    for path in (f"messageset/{texts}", f"messageset/{sounds}"):
        for fields in ({"label": "x"}, {"content_type": "audio"}, {"channel": "whatsapp"}):
            assert (await patch(api, path, **fields))[0] == 200


@ensureDeferred
async def test_of_a_large_set_every_message_is_looked_at(api: Api, database_uri: str) -> None:
    number = await a_set(api)
    with arranged(database_uri) as direct:
        direct.rows(
            "INSERT INTO messages (messageset_id, sequence_number, lang, text_content)"
            " SELECT %s, n, lang, CASE WHEN n = 1400 AND lang = 'zul' THEN E'a\\nb' ELSE 'x' END"
            " FROM generate_series(1, 1400) n, unnest(ARRAY['eng', 'zul']) lang",
            number,
        )
    status, told = await patch(api, f"messageset/{number}", channel="whatsapp")
    assert status == 400
    (sentence,) = told["channel"]
    assert sentence.startswith("Message 1400 in zul (id ")


@ensureDeferred
async def test_a_set_with_imported_messages_can_be_written_as_it_is(
    api: Api, database_uri: str
) -> None:
    with arranged(database_uri) as direct:
        chat = direct.messageset("old", direct.schedule(), messages=0, channel="whatsapp")
        direct.message(chat, 1, "eng_ZA", "a\nb’")
        shown = (await api.get(f"/api/v1/messageset/{chat}/")).json
        assert (await api.call("PUT", f"/api/v1/messageset/{chat}/", shown)).status == 200
        assert (await patch(api, f"messageset/{chat}", channel="other whatsapp"))[0] == 200
        assert (await patch(api, f"messageset/{chat}", channel=None))[0] == 200
        assert (await patch(api, f"messageset/{chat}", channel="whatsapp"))[0] == 400


@ensureDeferred
async def test_a_file_is_not_replaced_by_one_that_its_messages_cannot_carry(
    api: Api, database_uri: str
) -> None:
    sounds = await a_set(api, content_type="audio")
    file = await a_file(api, "1.mp3")
    await a_message(api, sounds, binary_content=file)

    async def replace(name: str) -> Any:
        body = (
            f'--B\r\nContent-Disposition: form-data; name="content"; filename="{name}"\r\n'
            "\r\nID3\r\n--B--\r\n"
        )
        headers = {"Content_Type": "multipart/form-data; boundary=B"}
        return await api.call("PUT", f"/api/v1/binarycontent/{file}/", body, **headers)

    answer = await replace("a.png")
    assert (answer.status, answer.json) == (
        400,
        {"content": ["Message 1 in eng (id 1) has no audio."]},
    )
    assert list(api.media_root.iterdir()) == []
    with arranged(database_uri) as direct:
        assert direct.value("SELECT content FROM binary_contents") == "1.mp3"
    assert (await replace("b.ogg")).status == 200


PREPENDS: list[Any] = [
    ({}, "Hi", None),
    ({}, "", None),
    ({}, None, None),
    ({}, "http://x/", None),
    ({}, False, NO_TEXT),
    ({}, {}, NO_TEXT),
    ({}, 5, NO_TEXT),
    ({}, ["Hi"], NO_TEXT),
    ({}, "  ", BLANK),
    ({}, "\u200b", BLANK),
    ({}, "“Hi”", "prepend_next_delivery has special characters which can be replaced: “ ”"),
    ({}, "x" * 1001, "Ensure prepend_next_delivery has no more than 1000 characters."),
    (
        {},
        "x" * 997,
        "Ensure prepend_next_delivery has no more than 996 characters: with the next message, at"
        " most 1000 can be sent.",
    ),
    ({}, "x" * 996, None),
    ({"channel": "WhatsApp"}, "Hi", NEWLINE),
    ({"channel": "WhatsApp"}, "", None),
    ({"content_type": "audio"}, "Hi", NO_URL),
    ({"content_type": "audio"}, "/a.mp3", NO_URL),
    ({"content_type": "audio"}, False, NO_URL),
    ({"content_type": "audio"}, "https://x/a.mp3", None),
    ({"content_type": "audio", "channel": "whatsapp"}, "https://x/a.mp3", None),
]


@pytest.mark.parametrize(("messageset", "prepend", "refusal"), PREPENDS)
@ensureDeferred
async def test_a_prepend_that_cannot_go_out_is_refused_wherever_it_is_written(
    api: Api, messageset: Any, prepend: Any, refusal: str | None
) -> None:
    number = await a_set(api, **messageset)
    is_audio = messageset.get("content_type") == "audio"
    carried: Any = (
        {"binary_content": await a_file(api, "1.mp3")} if is_audio else {"text_content": "one"}
    )
    assert (await a_message(api, number, 3, **carried)).status == 201
    fields = {"identity": IDENTITY, "messageset": number, "lang": "eng", "schedule": 1}
    metadata = {"metadata": {"prepend_next_delivery": prepend, "k": 1}}
    expected = (400, {"metadata": [refusal]})
    answer = await api.post("/api/v1/subscriptions/", fields | metadata)
    hook = await api.post("/api/v1/subscriptions/request", {"data": fields | metadata})
    if refusal is None:
        assert (answer.status, hook.status) == (201, 201)
        return
    assert (answer.status, answer.json) == expected
    assert (hook.status, hook.json) == expected
    assert (await api.get("/api/v1/subscriptions/")).json["count"] == 0
    made = (await api.post("/api/v1/subscriptions/", fields)).json
    path = f"/api/v1/subscriptions/{made['id']}/"
    for method, body in (("PATCH", metadata), ("PUT", made | metadata)):
        answer = await api.call(method, path, body)
        assert (answer.status, answer.json) == expected


@ensureDeferred
async def test_a_prepend_that_waits_is_judged_where_its_subscription_is_moved(api: Api) -> None:
    texts, chat = await a_set(api), await a_set(api, "chat", channel="whatsapp")
    sounds = await a_set(api, "sounds", content_type="audio")
    await a_message(api, texts, 1, text_content="one")
    await a_message(api, texts, 2, text_content="x" * 998)
    metadata = {"prepend_next_delivery": "Hi"}
    made = await api.subscription(messageset=texts, schedule=1, metadata=metadata)
    path = f"subscriptions/{made['id']}"
    assert await patch(api, path, messageset=chat) == (400, {"metadata": [NEWLINE]})
    assert await patch(api, path, messageset=sounds) == (400, {"metadata": [NO_URL]})
    status, told = await patch(api, path, next_sequence_number=2)
    assert status == 400
    assert "no more than 1 characters" in told["metadata"][0]
    assert (await patch(api, path, messageset=chat, metadata=None))[0] == 200


@pytest.mark.parametrize(
    ("messageset", "prepend"),
    [
        ({}, False),
        ({}, {}),
        ({}, "“Hi”"),
        ({"channel": "whatsapp"}, "Hi"),
        ({"content_type": "audio"}, "Hi"),
    ],
)
@ensureDeferred
async def test_an_imported_prepend_can_be_written_as_it_is(
    api: Api, database_uri: str, messageset: Any, prepend: Any
) -> None:
    metadata = {"prepend_next_delivery": prepend}
    with arranged(database_uri) as direct:
        schedule = direct.schedule()
        number = direct.messageset("old", schedule, messages=0, **messageset)
        direct.message(number, 1, "eng_ZA", "one", file_name="1.mp3")
        (one,) = direct.subscriptions(1, number, schedule, metadata=metadata)
        path = f"/api/v1/subscriptions/{one}/"
        shown = (await api.get(path)).json
        assert (await api.call("PUT", path, shown)).status == 200
        assert (await api.call("PATCH", path, {"active": False})).status == 200
        assert (await api.call("PATCH", path, {"metadata": metadata | {"k": 1}})).status == 200
        assert direct.subscription(one)["metadata"] == metadata | {"k": 1}
        changed = {"prepend_next_delivery": [prepend]}
        assert (await api.call("PATCH", path, {"metadata": changed})).status == 400
        assert (await api.call("PATCH", path, {"metadata": {}})).status == 200


@ensureDeferred
async def test_an_imported_prepend_has_to_be_no_worse_where_its_subscription_is_moved(
    api: Api, database_uri: str
) -> None:
    with arranged(database_uri) as direct:
        schedule = direct.schedule()
        old, new = (direct.messageset(name, schedule) for name in ("old", "new"))
        chat = direct.messageset("chat", schedule, channel="whatsapp")
        metadata = {"prepend_next_delivery": "“Hi”"}
        (one,) = direct.subscriptions(1, old, schedule, metadata=metadata)
    assert (await patch(api, f"subscriptions/{one}", messageset=new))[0] == 200
    refused = await patch(api, f"subscriptions/{one}", messageset=chat)
    assert refused == (400, {"metadata": [NEWLINE]})


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("identity", "27820001001", "identity"),
        ("lang", "eng-ZA", "lang"),
        ("metadata", '["x"]', "metadata"),
        ("metadata", '"x"', "metadata"),
    ],
)
@ensureDeferred
async def test_other_imported_values_of_a_subscription_can_be_written_as_they_are(
    api: Api, database_uri: str, column: str, value: str, field: str
) -> None:
    with arranged(database_uri) as direct:
        schedule = direct.schedule()
        (one,) = direct.subscriptions(1, direct.messageset("old", schedule), schedule)
        direct.rows(f"UPDATE subscriptions SET {column} = %s", value)  # noqa: S608
        before = direct.subscription(one)[column]
        path = f"/api/v1/subscriptions/{one}/"
        shown = (await api.get(path)).json
        assert (await api.call("PUT", path, shown)).status == 200
        assert (await api.call("PATCH", path, {field: shown[field]})).status == 200
        assert direct.subscription(one)[column] == before
        assert (await api.call("PATCH", path, {field: [shown[field]]})).status == 400


@ensureDeferred
async def test_how_long_a_text_may_be_is_a_setting(database_uri: str, tmp_path: Any) -> None:
    five = ContentLimits(text_length=5)
    async with served(database_uri, tmp_path, content_limits=five) as api:
        number = await a_set(api)
        answer = await a_message(api, number, text_content="x" * 6)
        told = "Ensure this field has no more than 5 characters."
        assert (answer.status, answer.json) == (400, {"text_content": [told]})
        assert (await a_message(api, number, text_content="x" * 5)).status == 201


@ensureDeferred
async def test_a_text_that_is_written_while_its_set_changes_is_judged_by_what_the_set_becomes(
    api: Api, database_uri: str
) -> None:
    number = await a_set(api)
    await a_message(api, number, text_content="one")
    with arranged(database_uri) as direct, arranged(database_uri) as other:
        other.rows("BEGIN")
        other.rows("SELECT FROM messagesets WHERE id = %s FOR UPDATE", number)
        other.rows("UPDATE messagesets SET channel = 'whatsapp'")
        changing = Deferred.fromCoroutine(patch(api, "message/1", text_content="a\nb"))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not changing.called and not direct.value(waiting):
            await deferLater(reactor, 0.01)
        other.rows("COMMIT")
        assert await changing == (400, [LAYOUT])

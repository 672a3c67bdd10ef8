"""The request to the Message Sender, for every kind of message."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.json_text import JsonText
from sbm.model.outbound import SEND_KEY, OwnOutbound, compose, own_outbound
from sbm.model.send import Send
from tests.model.sends import SEND_ID, a_send

MEDIA = "https://sbm.example.org/media"
SUBSCRIPTION_ID = UUID("0b0b0b0b-0000-4000-8000-000000000002")
INSTALLATION_ID = UUID("0b0b0b0b-0000-4000-8000-000000000003")
KEY = {
    SEND_KEY: str(SEND_ID),
    "sbm_installation_id": str(INSTALLATION_ID),
    "sbm_subscription_id": str(SUBSCRIPTION_ID),
    "sbm_messageset_id": 1,
    "sbm_sequence_number": 1,
    "sbm_lang": "eng_ZA",
}
OWN = {"subscription_id": SUBSCRIPTION_ID, "installation_id": str(INSTALLATION_ID)}
AUDIO: Any = {"content_type": "audio", "message": {"text_content": None, "file_name": "2.mp3"}}


def composed(**difference: Any) -> dict[str, Any]:
    difference["send"] = OWN | difference.get("send", {})
    outbound: dict[str, Any] = json.loads(compose(a_send(**difference), "+27820001001", MEDIA))
    return outbound


def test_a_text_is_the_whole_outbound_with_its_keys_in_the_order_of_the_wire() -> None:
    assert list(composed().items()) == [
        ("to_addr", "+27820001001"),
        ("to_identity", "bbe7936a"),
        ("delivered", "false"),
        ("resend", "false"),
        ("metadata", KEY),
        ("content", "one"),
    ]


def test_the_channel_stands_before_the_content_and_only_where_there_is_one() -> None:
    assert list(composed(channel="sms"))[4:] == ["metadata", "channel", "content"]
    assert composed(channel="sms")["channel"] == "sms"
    assert "channel" not in composed(channel="")


@pytest.mark.parametrize(
    ("text", "prepend", "content"),
    [
        ("one", None, "one"),
        ("one", "", "one"),
        ("one", "Dear mother", "Dear mother\none"),
        ("one ☃\ntwo", "Dear\n", "Dear\n\none ☃\ntwo"),
        (None, "Dear mother", "Dear mother"),
        (None, None, ""),
        (" \n", None, ""),
        (" \n", "Dear mother", "Dear mother"),
    ],
)
def test_a_prepend_stands_on_a_line_of_its_own(
    text: str | None, prepend: str | None, content: str
) -> None:
    outbound = composed(message={"text_content": text}, send={"prepend": prepend})
    assert outbound["content"] == content


def test_an_image_goes_beside_its_text() -> None:
    outbound = composed(message={"file_name": "1.png", "metadata": {"k": "v"}})
    assert outbound["content"] == "one"
    assert list(outbound["metadata"].items()) == [
        ("k", "v"),
        ("image_url", f"{MEDIA}/1.png"),
        *KEY.items(),
    ]


def test_an_image_needs_no_text() -> None:
    outbound = composed(message={"file_name": "1.png", "text_content": None})
    assert (outbound["content"], outbound["metadata"]["image_url"]) == ("", f"{MEDIA}/1.png")


def test_audio_has_no_content_even_where_there_is_a_text() -> None:
    outbound = composed(**AUDIO | {"message": {"file_name": "2.mp3"}})
    assert "content" not in outbound
    assert outbound["metadata"] == {"voice_speech_url": [f"{MEDIA}/2.mp3"]} | KEY


def test_a_prepend_of_audio_is_heard_first() -> None:
    urls = composed(**AUDIO, send={"prepend": "http://x/pre.mp3"})["metadata"]["voice_speech_url"]
    assert urls == ["http://x/pre.mp3", f"{MEDIA}/2.mp3"]


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("2019/a b.mp3", "2019/a%20b.mp3"), ("é?#%.mp3", "%C3%A9%3F%23%25.mp3")],
)
def test_the_address_of_a_file_is_quoted(name: str, quoted: str) -> None:
    metadata = composed(message={"file_name": name})["metadata"]
    assert metadata["image_url"] == f"{MEDIA}/{quoted}"


def test_a_resend_says_so() -> None:
    assert composed(send={"kind": "resend"})["resend"] == "true"


def test_nothing_overrides_the_key_or_the_address_of_the_file() -> None:
    own = {SEND_KEY: "mine", "image_url": "http://elsewhere", "k": 1}
    metadata = composed(message={"metadata": own, "file_name": "1.png"})["metadata"]
    assert metadata == {"k": 1, "image_url": f"{MEDIA}/1.png"} | KEY
    assert own[SEND_KEY] == "mine", "the message itself was changed"


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 2000 + "]" * 2000, "1.10", '"\\u0001 ☃"'])
def test_metadata_go_out_as_they_are_stored(value: str) -> None:
    metadata = JsonText(f'{{"a": {value}}}')
    body = compose(a_send(message={"metadata": metadata}, send=OWN), "+27", MEDIA).decode()
    assert f'"metadata":{{"a": {value},"sbm_send_id":"' in body


def test_what_a_message_says_is_written_once_for_all_of_its_sends() -> None:
    metadata = JsonText('{"a": 1, "image_url": "x"}')
    sends = [a_send(message={"metadata": metadata}, send=OWN) for _ in range(2)]
    (first, second) = (evolve(one, recipient=sends[0].recipient) for one in sends)
    assert first.recipient is not None
    message = first.recipient.message
    assert message is not None
    assert json.loads(compose(first, "+27", MEDIA))["metadata"]["image_url"] == "x"
    text, members = message.text_as_json, message.members_but(frozenset({SEND_KEY}))
    assert message.text_as_json is text
    assert message.members_but(frozenset({SEND_KEY})) is members
    assert compose(second, "+27", MEDIA)


@given(metadata=st.none() | st.text() | st.integers() | st.lists(st.integers()) | st.booleans())
def test_metadata_that_is_no_object_is_left_out(metadata: Any) -> None:
    assert composed(message={"metadata": metadata})["metadata"] == KEY


@given(
    metadata=st.dictionaries(st.text() | st.just(SEND_KEY), st.text()),
    kind=st.sampled_from(["next", "resend"]),
    content_type=st.sampled_from(["text", "audio"]),
    file_name=st.none() | st.just("f"),
)
def test_every_outbound_carries_the_key(
    metadata: Any, kind: str, content_type: str, file_name: str | None
) -> None:
    outbound = composed(
        message={"metadata": metadata, "file_name": file_name},
        send={"kind": kind},
        content_type=content_type,
    )
    assert outbound["metadata"][SEND_KEY] == str(SEND_ID)


@pytest.mark.parametrize("nothing", [a_send(send={"recipient": None}), a_send(carries=False)])
def test_there_is_nothing_to_compose_of_nothing(nothing: Send) -> None:
    with pytest.raises(ValueError, match="has no message"):
        compose(nothing, "+27", MEDIA)


def listed(**difference: Any) -> dict[str, Any]:
    """A row of the Message Sender's list."""
    return {
        **composed(),
        "id": "outbound-1",
        "created_at": "2026-11-28T05:00:00.250000Z",
        "resend": False,
        **difference,
    }


def test_the_list_tells_again_what_was_posted() -> None:
    assert own_outbound(listed()) == OwnOutbound(
        id="outbound-1",
        created_at=datetime(2026, 11, 28, 5, 0, 0, 250000, timezone.utc),
        identity="bbe7936a",
        kind="next",
        send_id=SEND_ID,
        installation_id=INSTALLATION_ID,
        subscription_id=SUBSCRIPTION_ID,
        messageset_id=1,
        sequence_number=1,
        lang="eng_ZA",
    )


@pytest.mark.parametrize(
    "difference",
    [
        {"metadata": {SEND_KEY: str(SEND_ID)}},
        {"metadata": None},
        {"metadata": []},
        {"metadata": KEY | {SEND_KEY: "mine"}},
        {"metadata": KEY | {"sbm_installation_id": 7}},
        {"created_at": None},
        {"created_at": "yesterday"},
        {"created_at": "0001-01-01T00:00:00Z"},
        {"id": "a" * 101},
        {"id": "a\x1b"},
        {"to_identity": "i" * 37},
    ],
)
def test_rows_of_other_clients_and_of_earlier_releases_are_passed_over(
    difference: dict[str, Any],
) -> None:
    assert own_outbound(listed(**difference)) is None


@pytest.mark.parametrize(
    "difference",
    [
        {"sbm_messageset_id": 2**31},
        {"sbm_sequence_number": 10**40},
        {"sbm_sequence_number": -1},
        {"sbm_lang": "a" * 7},
    ],
)
def test_what_cannot_be_stored_counts_as_not_said(difference: dict[str, Any]) -> None:
    row = listed()
    told = own_outbound({**row, "metadata": row["metadata"] | difference})
    assert told is not None
    assert None in (told.messageset_id, told.sequence_number, told.lang)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("absent\r\n\x1b[2J", "absent \\u001b[2J"),
        ("x" * 500, "x" * 200),
        ({"code": 7}, '{"code": 7}'),
        (7, "7"),
        ("", None),
        (None, None),
    ],
)
def test_a_reason_of_a_network_is_one_short_line(reason: Any, told: str | None) -> None:
    row = listed()
    found = own_outbound({**row, "metadata": row["metadata"] | {"nack_reason": reason}})
    assert found is not None
    assert found.nack_reason == told

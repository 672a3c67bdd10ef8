"""The reasons not to begin a delivery."""

from __future__ import annotations

from typing import Any

import pytest

from sbm.model.send import objection
from tests.model.sends import a_send


@pytest.mark.parametrize(
    "fine",
    [
        {},
        {"message": {"file_name": "1.png"}},
        {"message": {"text_content": None, "file_name": "1.png"}},
        {"content_type": "audio", "message": {"file_name": "1.mp3"}},
        {"process_status": 1},
    ],
)
def test_nothing_speaks_against_what_can_be_sent(fine: Any) -> None:
    assert objection(a_send(**fine)) is None


@pytest.mark.parametrize(
    ("against", "reason"),
    [
        ({"send": {"recipient": None}}, "deleted"),
        ({"completed": True, "active": False, "process_status": 2}, "completed"),
        ({"active": False}, "not active"),
        ({"process_status": -1}, "in error"),
        ({"process_status": -2}, "in error"),
    ],
)
def test_where_the_world_moved_on_the_send_is_skipped(against: Any, reason: str) -> None:
    found = objection(a_send(**against))
    assert found is not None
    assert (found.outcome, found.stage) == ("skipped", "trigger")
    assert reason in found.reason


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"carries": False}, "pregnancy has no further message in eng_ZA"),
        ({"content_type": "audio"}, "message 1 of pregnancy has no audio"),
    ],
)
def test_missing_content_is_a_failure(lacking: Any, reason: str) -> None:
    found = objection(a_send(**lacking))
    assert found is not None
    assert (found.outcome, found.stage, found.reason) == ("failed", "content", reason)


def test_why_it_is_skipped_comes_before_what_it_lacks() -> None:
    found = objection(a_send(carries=False, active=False))
    assert found is not None
    assert found.outcome == "skipped"


@pytest.mark.parametrize("state", [{"completed": True}, {"active": False}, {"process_status": -1}])
def test_a_resend_is_sent_whatever_became_of_the_subscription(state: Any) -> None:
    assert objection(a_send(**state, send={"kind": "resend"})) is None


def test_a_resend_needs_a_subscription_and_a_message_too() -> None:
    gone = objection(a_send(send={"kind": "resend", "recipient": None}))
    empty = objection(a_send(send={"kind": "resend"}, carries=False))
    assert gone is not None
    assert empty is not None
    assert (gone.outcome, empty.outcome) == ("skipped", "failed")


@pytest.mark.parametrize(
    ("lack", "reason"),
    [
        ("content", "pregnancy has no message in eng_ZA"),
        (None, "pregnancy has no further message in eng_ZA"),
    ],
)
def test_a_set_without_messages_in_a_language_is_a_failure(lack: Any, reason: str) -> None:
    found = objection(a_send(carries=False, lack=lack))
    assert found is not None
    assert (found.outcome, found.stage, found.reason) == ("failed", "content", reason)
    assert not found.is_at_end


@pytest.mark.parametrize(("lack", "ends"), [("rest", False), ("end", True)])
def test_whoever_stands_beyond_the_end_is_skipped(lack: Any, ends: bool) -> None:
    found = objection(a_send(carries=False, lack=lack))
    assert found is not None
    assert (found.outcome, found.stage, found.is_at_end) == ("skipped", "content", ends)
    assert not found.is_delivered


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (
            {"message": {"text_content": "a\nb"}, "channel": "WhatsApp"},
            "1 of pregnancy has a newline",
        ),
        (
            {"message": {"text_content": "x" * 1001}},
            "1 of pregnancy has 1001 characters, more than",
        ),
        ({"message": {"text_content": "\u200b"}}, "1 of pregnancy has neither a text nor a file"),
        (
            {"content_type": "audio", "message": {"file_name": "1.png"}},
            "1 of pregnancy has no audio",
        ),
        (
            {"send": {"prepend": "Hi"}, "channel": "WhatsApp"},
            "newline, which WhatsApp does not accept",
        ),
        (
            {"send": {"prepend": "Hi"}, "message": {"text_content": "x" * 998}},
            "have 1001 characters",
        ),
        ({"send": {"prepend": "“Hi”"}}, "of the subscription has special characters"),
        ({"send": {"prepend": " "}}, "of the subscription is blank"),
        ({"send": {"odd_prepend": "boolean"}}, "is of the JSON type boolean"),
        (
            {"content_type": "audio", "message": {"file_name": "1.mp3"}, "send": {"prepend": "Hi"}},
            "of the subscription is not the URL of a sound",
        ),
    ],
)
def test_what_the_rules_refuse_is_not_sent(unfit: Any, reason: str) -> None:
    found = objection(a_send(**unfit))
    assert found is not None
    assert (found.outcome, found.stage) == ("failed", "content")
    assert reason in found.reason


def test_an_imported_text_with_typographic_characters_is_sent() -> None:
    assert objection(a_send(message={"text_content": "it’s"})) is None


def test_the_most_that_can_be_sent_is_a_setting() -> None:
    assert objection(a_send(), max_text_length=3) is None
    assert objection(a_send(), max_text_length=2) is not None
    assert objection(a_send(message={"text_content": "x" * 1500}), max_text_length=1500) is None


def test_a_resend_says_which_message_is_gone() -> None:
    gone: Any = {"kind": "resend", "sequence_number": 7}
    found = objection(a_send(send=gone, carries=False))
    assert found is not None
    assert found.reason == "message 7 of pregnancy, which was sent last, no longer exists"
    found = objection(a_send(send=gone, carries=False, messageset=None))
    assert found is not None
    assert found.reason.startswith("message 7 of message set 1, ")

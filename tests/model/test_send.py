"""What speaks against a delivery before it is begun."""

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

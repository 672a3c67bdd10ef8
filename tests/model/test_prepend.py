from __future__ import annotations

from datetime import datetime, timezone

import pytest

from sbm.model.content import MessageSet
from sbm.model.prepend import MAX_PREPEND, misfit, prepend_from

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def a_messageset(content_type: str, channel: str | None = None) -> MessageSet:
    return MessageSet(
        id=1,
        short_name="one",
        label="",
        content_type=content_type,
        channel=channel,
        notes=None,
        next_set_id=None,
        default_schedule_id=1,
        created_at=NOW,
        updated_at=NOW,
    )


def test_blanks_around_a_prepend_are_dropped() -> None:
    assert prepend_from(" Hello  you\n") == "Hello  you"


@pytest.mark.parametrize("text", ["", " ", "x" * (MAX_PREPEND + 1), "a\0", "\udcff", "it’s", "a–b"])
def test_what_no_message_could_carry_is_no_prepend(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|special"):
        prepend_from(text)


@pytest.mark.parametrize(
    ("prepend", "content_type", "channel", "fits"),
    [
        ("Hello", "text", None, True),
        ("See http://example.org/a", "text", None, True),
        ("http://example.org/a.mp3", "text", None, False),
        ("Hello", "text", "Seed-WhatsApp", False),
        ("http://example.org/a.mp3", "audio", "whatsapp", True),
        ("https://example.org:8000/<LANG>.mp3?v=1", "audio", None, True),
        ("Hello", "audio", None, False),
        ("http://", "audio", None, False),
        ("http://example.org:x/a.mp3", "audio", None, False),
        ("http://example.org/a b.mp3", "audio", None, False),
        ("ftp://example.org/a.mp3", "audio", None, False),
    ],
)
def test_a_url_goes_before_sounds_and_a_text_before_texts(
    prepend: str, content_type: str, channel: str | None, fits: bool
) -> None:
    assert (misfit(prepend, a_messageset(content_type, channel)) is None) == fits

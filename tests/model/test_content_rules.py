"""The rules of what can be sent, and their messages."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.content_rules import (
    Content,
    Medium,
    content_problems,
    is_blank,
    joined,
    new_problems,
    prepend_of,
    prepend_problems,
    typographic_characters,
)

TEXTS = Medium(content_type="text", channel=None)
WHATSAPP = Medium(content_type="text", channel="my-WhatsApp")
OTHER_WHATSAPP = evolve(WHATSAPP, channel="whatsapp")
SOUNDS = Medium(content_type="audio", channel=None)


def content(text: str | None, file_name: str | None = None, medium: Medium = TEXTS) -> Content:
    return Content(text=text, file_name=file_name, medium=medium)


ODD: list[Any] = [False, True, 0, 5, 1.5, {}, [], ["Hi"]]
NO_URLS: list[Any] = [
    *("Hi", " ", "//example.org/a.mp3", "/a.mp3", "ftp://example.org/a", "http://", "http://x:y"),
    *("http://x/a b.mp3", "http://x\n", False, 5, {}, ["http://x/a.mp3"]),
]


def codes(problems: Any) -> list[str]:
    return [one.code for one in problems]


@pytest.mark.parametrize(
    "blank",
    [
        "",
        " \n\t\u00a0",
        "\u200b",
        "\u200b \ufeff\u200d",
        "\u2060\u00ad",
        "\u3164",
        "\u2800\ufe0f",
        "\u2065\ufff0\ufff8",
        "\U000e0000\U000e0080\U000e0fff",
        "\U0001d159",
        None,
    ],
)
def test_what_shows_nothing_is_blank(blank: str | None) -> None:
    assert is_blank(blank)


@pytest.mark.parametrize("text", ["a", "☃", ".", "\u200ba", "❤️", "\u0301", "0"])
def test_what_shows_something_is_not_blank(text: str) -> None:
    assert not is_blank(text)


def test_no_more_characters_are_told_than_are_shown() -> None:
    (problem,) = content_problems(content("“’" * 400))
    assert problem.clause.endswith(": " + "“ ’ " * 12 + "“ …")
    assert len(typographic_characters("“" * 100_000)) <= 50


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (content("Hello ☃\nthere"), []),
        (content("x" * 1000), []),
        (content("☃" * 1000), []),
        (content("x" * 1001), ["length"]),
        (content("it’s"), ["typographic"]),
        (content("a\nb", None, WHATSAPP), ["whatsapp"]),
        (content("a\tb", None, WHATSAPP), ["whatsapp"]),
        (content("a    b", None, WHATSAPP), ["whatsapp"]),
        (content("a   b", None, WHATSAPP), []),
        (content(None, "1.png", WHATSAPP), []),
        (content(None), ["empty"]),
        (content("\u200b"), ["empty"]),
        (content(None, "1.png"), []),
        (content(None, "unknown"), []),
        (content(None, ".mp3"), []),
        (content(None, "1.MP3"), []),
        (content("\u200b", "1.ogg"), []),
        (content("with a text", "1.mp3"), []),
        (content(None, "1.mp3", SOUNDS), []),
        (content(None, "unknown", SOUNDS), []),
        (content("it’s\n" + "x" * 1001, "1.mp3", SOUNDS), []),
        (content("text", None, SOUNDS), ["no audio"]),
        (content(None, "1.png", SOUNDS), ["no audio"]),
        (content(None, "1.JPEG", SOUNDS), ["no audio"]),
        (content("“" + "x" * 1000 + "\n", None, WHATSAPP), ["length", "typographic", "whatsapp"]),
    ],
)
def test_what_keeps_a_message_from_being_sent(one: Content, found: list[str]) -> None:
    assert codes(content_problems(one)) == found


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (None, content("it’s"), ["typographic"]),
        (None, content("it’s", "1.mp3", SOUNDS), ["typographic"]),
        (content("it’s"), content("it’s"), []),
        (content(" it’s\n"), content("it’s"), []),
        (content("it’s"), content("that’s"), ["typographic"]),
        (content("it’s"), content("it’s", None, WHATSAPP), []),
        (content("a\nb"), content("a\nb", None, WHATSAPP), ["whatsapp"]),
        (content("a\nb", None, WHATSAPP), content("a\nb", None, OTHER_WHATSAPP), []),
        (content("a\nb", None, WHATSAPP), content("a\nb"), []),
        (content("text"), content("text", None, SOUNDS), ["no audio"]),
        (content("text", None, SOUNDS), content("text", None, SOUNDS), []),
        (content("text", None, SOUNDS), content("other", None, SOUNDS), []),
        (content(None, "1.png", SOUNDS), content(None, "2.png", SOUNDS), ["no audio"]),
        (content("it’s " + "x" * 1000, "1.mp3", SOUNDS), content("it’s " + "x" * 1000, "1.mp3"),
         ["length", "typographic"]),
        (content(None), content(None), []),
        (content("text"), content(None), ["empty"]),
        (content("text"), content("\u200b"), ["empty"]),
        (content("text", "1.mp3"), content("", "1.mp3"), []),
        (content(None, "1.mp3", SOUNDS), content(None, "1.mp3"), ["only audio"]),
        (content(None, "1.png"), content(None, "1.mp3"), []),
    ],
)  # fmt: skip
def test_what_stays_as_it_is_has_to_be_no_worse_and_what_is_written_has_to_be_right(
    before: Content | None, after: Content, found: list[str]
) -> None:
    assert codes(new_problems(before, after)) == found


@pytest.mark.parametrize(
    ("metadata", "prepend"),
    [
        (None, None),
        ([], None),
        ("x", None),
        ({}, None),
        ({"prepend_next_delivery": None}, None),
        ({"prepend_next_delivery": ""}, None),
        ({"prepend_next_delivery": " "}, " "),
        ({"prepend_next_delivery": False}, False),
        ({"prepend_next_delivery": 0}, 0),
        ({"prepend_next_delivery": {}}, {}),
        ({"prepend_next_delivery": "Hi"}, "Hi"),
    ],
)
def test_null_and_an_empty_text_are_no_prepend(metadata: Any, prepend: Any) -> None:
    assert prepend_of(metadata) == prepend


@pytest.mark.parametrize(
    ("prepend", "medium", "text", "found"),
    [
        ("Hi", TEXTS, "there", []),
        ("https://example.org/a", TEXTS, "there", []),
        ("x" * 994, TEXTS, "there", []),
        ("x" * 995, TEXTS, "there", ["length"]),
        ("x" * 1000, TEXTS, "", []),
        ("x" * 1000, TEXTS, None, []),
        ("x" * 1001, TEXTS, None, ["length"]),
        ("Hi", TEXTS, "x" * 998, ["length"]),
        ("“Hi”", TEXTS, "there", ["typographic"]),
        *((odd, TEXTS, "there", ["no text"]) for odd in ODD),
        *((blank, TEXTS, "there", ["blank"]) for blank in (" ", "\n", "\u200b", "\ufeff \u2060")),
        ("Hi", WHATSAPP, "ok", ["whatsapp"]),
        ("Hi", WHATSAPP, None, ["whatsapp"]),
        ("Hi", WHATSAPP, "", []),
        ("Hi\nthere", WHATSAPP, "", ["whatsapp"]),
        ("https://example.org/a.mp3", SOUNDS, "", []),
        ("http://example.org:8000/" + "a" * 2000, SOUNDS, None, []),
        *((odd, SOUNDS, "", ["no url"]) for odd in NO_URLS),
    ],
)  # fmt: skip
def test_what_keeps_a_prepend_from_going_out(
    prepend: Any, medium: Medium, text: str | None, found: list[str]
) -> None:
    assert codes(prepend_problems(prepend, medium, text=text)) == found


def test_the_limit_is_what_it_is_set_to() -> None:
    assert codes(content_problems(content("x" * 11), limit=10)) == ["length"]
    assert content_problems(content("x" * 1001), limit=2000) == []
    assert codes(prepend_problems("x" * 5, TEXTS, text="x" * 5, limit=10)) == ["length"]
    assert prepend_problems("x" * 4, TEXTS, text="x" * 5, limit=10) == []


def test_an_error_repeats_only_the_beginning_of_a_text() -> None:
    (problem,) = content_problems(content("x" * 900 + "’"))
    assert len(problem.sentence) < 300
    (problem,) = content_problems(content("’" * 900))
    assert len(problem.sentence) < 700


@given(text=st.text(), file_name=st.sampled_from([None, "1.mp3", "1.png", "x"]))
def test_what_is_written_as_it_is_is_accepted(text: str, file_name: str | None) -> None:
    for medium in (TEXTS, WHATSAPP, SOUNDS):
        one = content(text, file_name, medium)
        assert new_problems(one, one) == []


@given(prepend=st.text(), text=st.text(), channel=st.sampled_from([None, "whatsapp"]))
def test_what_the_rules_let_pass_can_be_sent(prepend: str, text: str, channel: str | None) -> None:
    """The outbound that is made of it keeps the rules as a whole."""
    medium = Medium(content_type="text", channel=channel)
    if content_problems(content(text, None, medium), limit=20):
        return
    if prepend_problems(prepend, medium, text=text, limit=20):
        return
    whole = joined(prepend, text)
    assert not is_blank(whole)
    assert content_problems(content(whole, None, medium), limit=20) == []

"""Text that others wrote, as it is shown."""

from __future__ import annotations

import json
import sys

import pytest

from sbm.model.text import escaped, one_line

HOSTILE = "\x1b]0;title\x07\r\x9b2Jred\u202edlrow\u2066\x00\x7f\ud800\u2028"


def test_nothing_in_a_shown_text_is_executed_or_turns_it_around() -> None:
    shown = escaped(HOSTILE)
    assert shown == (
        "\\u001b]0;title\\u0007\\u000d\\u009b2Jred\\u202edlrow\\u2066\\u0000\\u007f\\ud800\\u2028"
    )
    assert shown.isprintable()
    # Inside JSON, the escapes mean the same.
    assert json.loads(f'"{shown}"') == HOSTILE


def test_words_in_any_language_stay_as_they_are() -> None:
    words = (
        "Sawubona, Nosipho! ☃ \u0915\u094d\u200d\u0937 \U0001f469\u200d\U0001f37c a\tb\nc\u00a0d"
    )
    assert escaped(words) == words


def test_no_control_character_is_left_out() -> None:
    for code in (*range(32), *range(127, 160)):
        assert escaped(chr(code)) == (chr(code) if chr(code) in "\t\n" else f"\\u{code:04x}")
    assert one_line("".join(map(chr, range(sys.maxunicode // 16)))).count("\n") == 0


@pytest.mark.parametrize("end", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\t"])
def test_a_line_has_no_end_inside(end: str) -> None:
    assert one_line(f" a{end}{end} b ") == "a b"


def test_a_line_is_cut_off() -> None:
    assert one_line("\x1b" * 10_000, most=9) == "\\u001b\\u0"
    assert len(one_line("word " * 10_000, most=300)) == 300

"""How a text goes out by SMS."""

from __future__ import annotations

import pytest
import smsutil
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.short_messages import counted


@pytest.mark.parametrize(
    ("text", "encoding", "parts", "left"),
    [
        ("", "GSM-7", 0, 160),
        ("x" * 160, "GSM-7", 1, 0),
        ("x" * 161, "GSM-7", 2, 145),
        ("€" * 80, "GSM-7", 1, 0),
        ("€" * 81, "GSM-7", 2, 143),
        ("x" * 69 + "“", "UCS-2", 1, 0),
        ("x" * 70 + "“", "UCS-2", 2, 63),
        ("😀" * 35, "UCS-2", 1, 0),
    ],
)
def test_the_size_of_a_text(text: str, encoding: str, parts: int, left: int) -> None:
    found = counted(text)

    assert (found.encoding, found.parts, found.left) == (encoding, parts, left)
    assert found.characters == len(text)


def test_the_characters_that_force_the_larger_encoding_are_told_once() -> None:
    assert counted("a“b”c“").forcing == ("“", "”")


@given(st.text(min_size=1, max_size=400))
def test_one_more_plain_character_fits_exactly_as_long_as_some_are_left(text: str) -> None:
    found = counted(text)

    assert found.parts == len(smsutil.split(text).parts)
    more = counted(text + "x" * found.left)
    assert (more.parts, more.left) == (found.parts, 0)
    assert counted(text + "x" * (found.left + 1)).parts == found.parts + 1

"""JSON that is handed on as text, and parsed only where that is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.json_text import JsonText

# Python reads neither of them.
UNREADABLE = ["9" * 5000, "[" * 2000 + "]" * 2000]

LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.just("name")
VALUES = st.recursive(
    LEAVES, lambda one: st.lists(one) | st.dictionaries(st.just("name") | st.text(), one)
)


@given(VALUES)
def test_a_member_is_that_of_the_value(value: Any) -> None:
    expected = value.get("name") if isinstance(value, dict) else None
    assert JsonText.of(value).member("name") == expected


@given(VALUES, VALUES)
def test_it_says_its_own_value_and_no_other(value: Any, other: Any) -> None:
    assert JsonText.of(value).says(value)
    is_other = json.dumps(value, sort_keys=True) != json.dumps(other, sort_keys=True)
    assert JsonText.of(value).says(other) != is_other


@pytest.mark.parametrize(
    ("text", "value", "says"),
    [
        ("1.0", 1, True),
        ("1.10", 1.1, True),
        ("1", True, False),
        ('{"a": [0]}', {"a": [False]}, False),
    ],
)
def test_numbers_are_the_same_however_they_are_written(text: str, value: Any, says: bool) -> None:
    assert JsonText(text).says(value) is says


@pytest.mark.parametrize("value", UNREADABLE)
def test_what_python_cannot_read_is_not_read_without_need(value: str) -> None:
    text = JsonText(f'{{"a": {value}}}')
    assert text.member("name") is None
    assert not text.says({"a": 1})

"""The dialect of the wire, field by field."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbm.operations.refusals import SEVERAL, WrongValues
from sbm.web.http.bodies import Body
from sbm.web.http.http_errors import Invalid
from sbm.web.schema import fields
from sbm.web.schema.fields import (
    Boolean,
    Choice,
    CronField,
    Field,
    FieldError,
    Identity,
    Integer,
    JsonObject,
    JsonValue,
    Language,
    ReadOnly,
    Reference,
    Text,
)
from sbm.web.schema.schema import Schema


async def _hold(transaction: Any, *, row_id: int) -> bool:
    return True


INTEGER = Integer(name="n")
TEXT = Text(name="t", max_length=5)
BOOLEAN = Boolean(name="b")
REFERENCE = Reference(name="r", hold=_hold)
IDENTITY = Identity(name="i")
LANGUAGE = Language(name="l")
JSON = JsonValue(name="j")
CRON = CronField(name="minute", max_length=64)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (INTEGER, 6.0, 6),
        (INTEGER, "4", 4),
        (INTEGER, " 7 ", 7),
        (INTEGER, "5.0", 5),
        (INTEGER, -(2**31), -(2**31)),
        (TEXT, "  a ", "a"),
        (TEXT, 5, "5"),
        (TEXT, 6.5, "6.5"),
        (BOOLEAN, "on", True),
        (BOOLEAN, 1.0, True),
        (BOOLEAN, "Off", False),
        (BOOLEAN, 0, False),
        (REFERENCE, "3", 3),
        (REFERENCE, 3.0, 3),
        (IDENTITY, "6FB30D6B-BA06-4964-825E-20F93388B9FE", "6fb30d6b-ba06-4964-825e-20f93388b9fe"),
        (LANGUAGE, "eng", "eng"),
        (LANGUAGE, "eng_ZA", "eng_ZA"),
        (JSON, {"a": [1, None, "☃"]}, {"a": [1, None, "☃"]}),
        (JSON, deep(fields.MAX_DEPTH), deep(fields.MAX_DEPTH)),
        (CRON, "1 , 2", "1 , 2"),
        (CRON, "*/5", "*/5"),
    ],
)
def test_a_value_is_read_as_what_it_means(field: Field, value: Any, expected: Any) -> None:
    read = field.read(value)
    assert (read, type(read)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("field", "value", "messages"),
    [
        (INTEGER, None, ["This field may not be null."]),
        (INTEGER, True, ["A valid integer is required."]),
        (INTEGER, 1.5, ["A valid integer is required."]),
        (INTEGER, "x", ["A valid integer is required."]),
        (INTEGER, float("inf"), ["A valid integer is required."]),
        (INTEGER, [], ["A valid integer is required."]),
        (INTEGER, "1" * 1001, ["String value too large."]),
        (INTEGER, 2**31, ["Ensure this value is less than or equal to 2147483647."]),
        (INTEGER, -(2**31) - 1, ["Ensure this value is greater than or equal to -2147483648."]),
        (TEXT, True, ["Not a valid string."]),
        (TEXT, [], ["Not a valid string."]),
        (TEXT, " ", ["This field may not be blank."]),
        (TEXT, "\u200b", ["This field may not be blank."]),
        (TEXT, "a\0", ["Null characters are not allowed."]),
        (TEXT, "\ud800", ["Surrogate characters are not allowed."]),
        (TEXT, "123456", ["Ensure this field has no more than 5 characters."]),
        (BOOLEAN, "2", ["Must be a valid boolean."]),
        (BOOLEAN, [], ["Must be a valid boolean."]),
        (REFERENCE, "", ["This field may not be null."]),
        (REFERENCE, "abc", ["Incorrect type. Expected pk value, received str."]),
        (REFERENCE, {}, ["Incorrect type. Expected pk value, received dict."]),
        (REFERENCE, True, ["Incorrect type. Expected pk value, received bool."]),
        (REFERENCE, 2**31, ['Invalid pk "2147483648" - object does not exist.']),
        (IDENTITY, "x", ["Must be a valid UUID."]),
        (IDENTITY, [], ["Not a valid string."]),
        (LANGUAGE, "english", [fields.WRONG_LANGUAGE]),
        (LANGUAGE, "eng_za", [fields.WRONG_LANGUAGE]),
        (JSON, {"a\0": 1}, ["Null characters are not allowed."]),
        (JSON, ["\udfff"], ["Surrogate characters are not allowed."]),
        (JSON, [float("inf")], ["Value must be valid JSON."]),
        (JSON, deep(101), ["Ensure this value is nested no more than 100 levels deep."]),
        (JsonObject(name="o"), [], ['Expected a dictionary of items but got type "list".']),
        (Choice(name="c", choices=["a"]), 1, ['"1" is not a valid choice.']),
        (Integer(name="s", choices=[1]), 2, ['"2" is not a valid choice.']),
    ],
)
def test_a_wrong_value_is_refused_in_the_words_of_the_wire(
    field: Field, value: Any, messages: list[str]
) -> None:
    with pytest.raises(FieldError) as caught:
        field.read(value)
    assert caught.value.messages == messages


def test_a_cron_field_is_checked_by_the_range_of_its_own() -> None:
    with pytest.raises(FieldError, match="0 to 59"):
        CRON.read("60")


SCHEMA = Schema(
    [
        ReadOnly(name="id"),
        Text(name="name"),
        Text(name="label", blank=True, default=""),
        Boolean(name="active", default=True),
        Reference(name="next", attribute="next_id", hold=_hold, null=True, default=None),
        JsonValue(name="metadata", default={}),
    ]
)


def test_what_is_not_given_takes_its_default_and_what_is_unknown_is_ignored() -> None:
    parsed = SCHEMA.read(Body(value={"id": 7, "name": "x", "other": 1}))
    parsed.check()
    assert parsed.attributes() == {
        "name": "x",
        "label": "",
        "active": True,
        "next_id": None,
        "metadata": {},
    }
    assert parsed.draft().written == {"name": "x"}


def test_all_errors_are_told_in_the_order_of_the_fields() -> None:
    parsed = SCHEMA.read(Body(value={"next": "x", "active": 7, "label": []}))
    with pytest.raises(Invalid) as caught:
        parsed.check()
    assert list(caught.value.body) == ["name", "label", "active", "next"]


def test_a_put_requires_but_leaves_what_has_defaults() -> None:
    assert SCHEMA.read(Body(value={"name": "x"}), method="PUT").attributes() == {"name": "x"}
    assert "name" in SCHEMA.read(Body(value={}), method="PUT").errors


def test_a_patch_requires_nothing() -> None:
    parsed = SCHEMA.read(Body(value={}), method="PATCH")
    assert (parsed.errors, parsed.values) == ({}, {})


def test_a_value_that_is_written_as_it_is_stored_is_accepted() -> None:
    parsed = SCHEMA.read(Body(value={"label": "\0", "next": " x "}), method="PATCH")
    assert parsed.draft().problems.keys() == {"label", "next_id"}

    draft = parsed.draft({"label": "\0", "next_id": "x"})
    assert draft.values == {"label": "\0", "next_id": "x"}
    assert draft.problems == {}


def test_what_an_operation_refuses_is_told_by_field_in_their_order() -> None:
    refusal = WrongValues({SEVERAL: ["both"], "next_id": ["gone"], "label": ["taken"]})
    told = SCHEMA.told(refusal)
    assert list(told.body.items()) == [
        ("label", ["taken"]),
        ("next", ["gone"]),
        ("non_field_errors", ["both"]),
    ]


def test_a_form_says_false_by_leaving_a_boolean_out_and_null_by_an_empty_reference() -> None:
    form = Body(value={"name": "x", "next": "", "metadata": '{"a": 1}'}, is_form=True)
    assert SCHEMA.read(form).attributes() == {
        "name": "x",
        "label": "",
        "active": False,
        "next_id": None,
        "metadata": {"a": 1},
    }


def test_a_form_that_changes_a_row_leaves_the_booleans_alone() -> None:
    assert SCHEMA.read(Body(value={}, is_form=True), method="PATCH").values == {}


@pytest.mark.parametrize("text", ["", "zzz", "NaN"])
def test_metadata_in_a_form_has_to_be_json(text: str) -> None:
    form = Body(value={"name": "x", "metadata": text}, is_form=True)
    assert SCHEMA.read(form).errors == {"metadata": ["Value must be valid JSON."]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "No data provided"),
        ([], "Invalid data. Expected a dictionary, but got list."),
        ("x", "Invalid data. Expected a dictionary, but got str."),
    ],
)
def test_a_body_has_to_be_an_object(value: Any, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        SCHEMA.read(Body(value=value))
    assert caught.value.body == {"non_field_errors": [message]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(value=json_values)
def test_every_value_is_read_or_refused(value: Any) -> None:
    for field in (INTEGER, TEXT, BOOLEAN, REFERENCE, IDENTITY, LANGUAGE, JSON, CRON):
        with suppress(FieldError):  # anything else would be a defect
            field.read(value)

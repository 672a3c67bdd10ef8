"""How large metadata may be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sbm.model.metadata import MAX_METADATA_BYTES, MAX_METADATA_VALUES, metadata_problem
from tests.arrange import Arranged

BYTES = f"Ensure this value has no more than {MAX_METADATA_BYTES} bytes as JSON."
VALUES = "Ensure this value has no more than 1000 values in it."


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        (None, None),
        ({}, None),
        ("x", None),
        ({"a": "x" * (MAX_METADATA_BYTES - 9)}, None),
        ({"a": "x" * (MAX_METADATA_BYTES - 8)}, BYTES),
        ("é" * (MAX_METADATA_BYTES // 2), BYTES),
        ({str(number): 0 for number in range(MAX_METADATA_VALUES)}, None),
        ({str(number): 0 for number in range(MAX_METADATA_VALUES + 1)}, VALUES),
        ([[]] * MAX_METADATA_VALUES, None),
        ({"a": [[]] * MAX_METADATA_VALUES}, VALUES),
        ([[[{}] * 300] * 3] * 2, VALUES),
        ({"a": [1e300] * 50}, None),
        ({"a": [1e300] * 60}, BYTES),
        ({"a": [-1e-300] * 60}, BYTES),
        (1e300, None),
    ],
)
def test_metadata_have_a_limit_of_bytes_and_of_values(metadata: Any, problem: str | None) -> None:
    assert metadata_problem(metadata) == problem


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number != 0)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda values: st.lists(values) | st.dictionaries(st.text('ab"\\é☃\n'), values),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=_JSON)
def test_the_bytes_are_those_of_the_database(direct: Arranged, metadata: Any) -> None:
    size = direct.value("SELECT octet_length((%s::jsonb)::text)", json.dumps(metadata))
    assert metadata_problem(metadata, max_bytes=size) is None
    if metadata:
        assert metadata_problem(metadata, max_bytes=size - 1) is not None

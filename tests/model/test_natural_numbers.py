"""Natural numbers in texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.ids import LARGEST_ID
from sbm.model.natural_numbers import natural_number


@given(st.integers(min_value=0, max_value=LARGEST_ID))
def test_it_reads_what_is_written(number: int) -> None:
    assert natural_number(str(number)) == number


@given(st.integers(), st.integers(), st.integers())
def test_a_number_is_in_the_range_that_is_asked_for(number: int, least: int, most: int) -> None:
    found = natural_number(str(number), least=least, most=most)
    assert found is None or (found == number and least <= found <= most)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.0", "1e3", "1_000", " 1", "1 ", "1\n", "²", "١", "x", "0" * 20]
)
def test_other_texts_are_none(text: str) -> None:
    assert natural_number(text) is None


def test_it_ends_with_the_largest_id_or_where_it_is_told_to() -> None:
    assert natural_number(str(LARGEST_ID + 1)) is None
    assert natural_number(str(2**63 - 1), most=2**63 - 1) == 2**63 - 1
    assert natural_number(str(2**63), most=2**63 - 1) is None
    assert natural_number("0007", least=1) == 7

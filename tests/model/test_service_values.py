"""Values of other services: what is believed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sbm.model.service_values import service_id, service_moment, service_number, service_text


@pytest.mark.parametrize("told", ["a", "a-b_c", 7, "☃", "a" * 100, 10**99])
def test_an_id_is_a_number_or_a_word(told: Any) -> None:
    assert service_id(told) == str(told)


@pytest.mark.parametrize(
    "told", [None, "", 0, True, 1.5, [], {}, "a b", "a\n", "\x1b", "\ud800", "a" * 101, 10**100]
)
def test_what_is_no_id(told: Any) -> None:
    with pytest.raises(ValueError, match="id"):
        service_id(told)


def test_a_text_has_a_longest_length() -> None:
    assert service_text("a" * 500) == "a" * 500
    for told in ("a" * 501, None, 7, ["a"]):
        with pytest.raises(ValueError, match="500"):
            service_text(told)


@pytest.mark.parametrize(
    ("told", "number"), [(7, 7), (0, 0), (-1, None), (2**31, None), (True, None), ("7", None)]
)
def test_a_number_can_be_stored(told: Any, number: int | None) -> None:
    assert service_number(told) == number


def test_a_time_has_a_time_zone() -> None:
    moment = datetime(2026, 11, 28, 5, 0, 0, 250000, timezone.utc)
    for told in ("2026-11-28T05:00:00.25Z", "2026-11-28T07:00:00.250000000+02:00"):
        assert service_moment(told) == moment
    with pytest.raises(ValueError, match="time zone"):
        service_moment("2026-11-28T05:00:00")
    east = timezone(timedelta(hours=2))
    assert service_moment("2026-11-28T07:00:00.25", zone=east) == moment


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "yesterday",
        "0001-01-01T00:00:00+23:59",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "2026-11-28T05:00:00.1" + "0" * 5000 + "Z",
    ],
)
def test_what_is_no_time_or_cannot_be_stored(told: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        service_moment(told)

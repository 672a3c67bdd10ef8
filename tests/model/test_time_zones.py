"""Which time zone a schedule has."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from sbm.model.time_zones import TimeZones, find_time_zone

BERLIN, JOBURG, TOKYO = map(ZoneInfo, ("Europe/Berlin", "Africa/Johannesburg", "Asia/Tokyo"))


def test_its_own_counts_and_otherwise_the_default() -> None:
    zones = TimeZones(default=BERLIN)
    assert [zones.of(name) for name in (None, "Asia/Tokyo", "Mars/Base")] == [BERLIN, TOKYO, None]
    assert not any(map(zones.disregards, (None, "Asia/Tokyo", "Mars/Base")))


def test_the_schedulers_counts_instead_of_any_other_but_not_of_none() -> None:
    zones = TimeZones(default=BERLIN, scheduler=JOBURG)
    names = (None, "Africa/Johannesburg", "Asia/Tokyo", "Mars/Base")
    assert [zones.of(name) for name in names] == [BERLIN, JOBURG, JOBURG, JOBURG]
    assert [zones.disregards(name) for name in names] == [False, False, True, True]


@pytest.mark.parametrize(
    "name", ["", "Europe", "../UTC", "/etc/localtime", "localtime", "x" * 9999, "a\0b", "right/UTC"]
)
def test_what_is_no_zone_is_not_found(name: str) -> None:
    assert find_time_zone(name) is None

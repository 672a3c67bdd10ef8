"""Which due moment a call of the Scheduler belongs to, and which call it repeats."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.scheduler_callback import (
    AHEAD,
    Crons,
    RecordedCall,
    find_repeated,
    nearest_moment,
)

UTC = ZoneInfo("UTC")
PARIS = ZoneInfo("Europe/Paris")
JOHANNESBURG = ZoneInfo("Africa/Johannesburg")
KOLKATA = ZoneInfo("Asia/Kolkata")
HALF_AN_HOUR = timedelta(minutes=30)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def at(text: str, day: str = "2026-03-03") -> datetime:
    return datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=timezone.utc)


def moment(
    definition: str | None, now: str, *, zone: ZoneInfo = UTC, day: str = "2026-03-03"
) -> str | None:
    """The time of day of the moment that a call belongs to, in UTC."""
    found = nearest_moment(definition, zone=zone, now=at(now, day), back=HALF_AN_HOUR)
    return None if found is None else f"{found:%H:%M:%S}"


# The moment


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ("07:57:59.999999", None),
        ("07:58:00", "08:00:00"),
        ("07:59:59", "08:00:00"),
        ("08:00:00", "08:00:00"),
        ("08:00:05", "08:00:00"),
        ("08:23:00", "08:00:00"),
        ("08:30:00", "08:00:00"),
        ("08:30:00.000001", None),
        ("20:00:00", None),
    ],
)
def test_a_moment_lies_two_minutes_ahead_or_half_an_hour_back_at_most(
    now: str, found: str | None
) -> None:
    assert moment("0 8 * * *", now) == found


@pytest.mark.parametrize(
    ("definition", "now", "found"),
    [
        ("* * * * *", "08:00:30", "08:00:00"),
        ("* * * * *", "08:00:30.000001", "08:01:00"),
        ("*/5 * * * *", "08:02:30", "08:00:00"),
        ("*/5 * * * *", "08:02:31", None),  # 08:05 is nearer, and too far ahead
        ("*/5 * * * *", "08:03:00", "08:05:00"),
        ("*/30 * * * *", "08:15:00", "08:00:00"),
        ("*/30 * * * *", "08:16:00", None),
        ("0 * * * *", "08:30:00", "08:00:00"),
        ("0,1 8 * * *", "08:00:31", "08:01:00"),
    ],
)
def test_a_moment_never_lies_beyond_half_the_distance_to_the_next(
    definition: str, now: str, found: str | None
) -> None:
    assert moment(definition, now) == found


def test_a_short_limit_binds_backwards_only() -> None:
    def short(now: str) -> datetime | None:
        return nearest_moment("0 8 * * *", zone=UTC, now=at(now), back=10 * SECOND)

    assert short("07:58:30") == short("08:00:10") == at("08:00:00")
    assert short("08:00:11") is None


def test_the_cron_is_read_in_the_time_zone_of_the_scheduler() -> None:
    assert moment("0 8 * * *", "06:00:05", zone=JOHANNESBURG) == "06:00:00"
    assert moment("0 8 * * *", "08:00:05", zone=JOHANNESBURG) is None
    assert moment("15 8 * * 2", "02:45:05", zone=KOLKATA) == "02:45:00"  # a Tuesday


def test_the_clock_being_moved_for_summer_moves_the_moment() -> None:
    before, missing, after = "2026-03-28", "2026-03-29", "2026-03-30"
    assert moment("30 2 * * *", "01:30:05", zone=PARIS, day=before) == "01:30:00"
    # There is no half past two: it is due when the clock jumps over it.
    assert moment("30 2 * * *", "01:00:05", zone=PARIS, day=missing) == "01:00:00"
    assert moment("30 2 * * *", "00:30:05", zone=PARIS, day=after) == "00:30:00"
    # At the end of summer there are two, and the first one counts.
    assert moment("30 2 * * *", "00:30:05", zone=PARIS, day="2026-10-25") == "00:30:00"
    assert moment("30 2 * * *", "01:30:05", zone=PARIS, day="2026-10-25") is None
    assert moment("30 * * * *", "01:30:05", zone=PARIS, day="2026-10-25") == "01:30:00"


@pytest.mark.parametrize(
    "definition", [None, "", "* * * *", "* * * * * *", "@daily", "0 8 31 4 *", "60 8 * * *"]
)
def test_a_cron_that_is_unknown_or_cannot_be_read_or_never_comes_has_no_moment(
    definition: str | None,
) -> None:
    assert moment(definition, "08:00:00") is None


def numbers(most: int) -> st.SearchStrategy[set[int]]:
    return st.sets(st.integers(0, most), min_size=1, max_size=5)


@given(
    minutes=st.one_of(numbers(59), st.just(set(range(60)))),
    hours=st.one_of(numbers(23), st.just(set(range(24)))),
    offset=st.integers(-12, 14),
    seconds=st.floats(0, 86400, exclude_max=True),
    back=st.floats(0.1, 5400),
)
def test_the_moment_agrees_with_looking_at_every_minute(
    minutes: set[int], hours: set[int], offset: int, seconds: float, back: float
) -> None:
    definition = f"{_listed(minutes)} {_listed(hours)} * * *"
    zone = ZoneInfo(f"Etc/GMT{-offset:+d}" if offset else "UTC")
    now = at("00:00:00") + timedelta(seconds=seconds)
    limit = timedelta(seconds=back)
    start = now.replace(second=0, microsecond=0) - timedelta(hours=25)
    every = [start + n * MINUTE for n in range(50 * 60)]
    due = [
        one
        for one in every
        if one.minute in minutes and (one + timedelta(hours=offset)).hour in hours
    ]
    assert nearest_moment(definition, zone=zone, now=now, back=limit) == _by_the_rule(
        due, now, limit
    )


def _listed(values: Iterable[int]) -> str:
    return ",".join(str(value) for value in sorted(values))


def _by_the_rule(due: list[datetime], now: datetime, back: timedelta) -> datetime | None:
    """The rule, word by word, on moments without a gap; the earlier of two that are as near."""
    for number, one in enumerate(due):
        earlier = one - due[number - 1] if number else timedelta.max
        later = due[number + 1] - one if number + 1 < len(due) else timedelta.max
        if one <= now and now - one <= back and now - one <= later / 2:
            return one
        if one > now and one - now <= AHEAD and one - now <= earlier / 2:
            return one
    return None


# The call that is repeated


def call(came_at: str, moment: str | None = None) -> RecordedCall:
    return RecordedCall(moment=at(moment or came_at), came_at=at(came_at), status=202, body=b"{}")


def repeated(calls: list[RecordedCall], now: str, own: str | None = None) -> RecordedCall | None:
    return find_repeated(calls, moment=(own and at(own)) or None, now=at(now), within=HALF_AN_HOUR)


def test_the_call_of_a_moment_is_repeated_by_those_of_the_same_moment() -> None:
    first = call("08:00:01", "08:00:00")
    assert repeated([first], "08:00:06", "08:00:00") is first
    assert repeated([first], "08:29:59", "08:00:00") is first
    assert repeated([first], "08:59:59", "09:00:00") is None


def test_one_of_a_moment_is_repeated_until_its_moment_is_too_old_whenever_it_came() -> None:
    early = call("07:58:01", "08:00:00")
    assert repeated([early], "08:29:59", "08:00:00") is early


def test_one_that_fits_no_moment_repeats_the_last_one_for_half_an_hour_from_when_it_was_done() -> (
    None
):
    first, last = call("08:00:00"), call("08:10:00", "08:00:30")
    assert repeated([last, first], "08:39:59.999999") is last
    assert repeated([last, first], "08:40:00") is None


def test_one_that_came_later_than_it_is_now_was_a_moment_ahead_of_us() -> None:
    other = call("08:00:05.000001")
    assert repeated([other], "08:00:05") is other


def test_after_a_change_of_the_cron_a_call_of_the_old_one_is_still_repeated() -> None:
    """The cron was 0 8, the call was at eight, and now it is something else."""
    first = call("08:00:00", "08:00:00")
    assert repeated([first], "08:00:05") is first  # 0 20
    assert repeated([first], "08:00:05", "07:50:00") is first  # 50 7
    assert repeated([first], "08:00:05", "08:01:00") is first  # 1 8
    assert repeated([first], "08:01:00", "08:01:00") is None
    assert repeated([first], "08:10:01", "08:10:00") is None


def test_after_a_change_of_the_cron_both_moments_are_triggered_once() -> None:
    old, new = call("08:00:00", "08:00:00"), call("08:01:00", "08:01:00")
    assert repeated([old, new], "08:00:05", "08:01:00") is old
    assert repeated([old, new], "08:23:00", "08:01:00") is new


def test_a_call_that_fitted_no_moment_is_repeated_across_the_border() -> None:
    early = call("07:57:55")
    assert repeated([early], "07:58:00", "08:00:00") is early
    assert repeated([early], "08:00:00", "08:00:00") is None


def test_an_old_moment_that_is_nearer_by_chance_is_not_believed() -> None:
    # Recorded by a clock that was wrong, say.
    assert repeated([call("07:20:00", "08:00:00")], "08:00:05", "07:55:00") is None


def test_the_cron_that_was_told_counts_before_the_one_that_is_wanted() -> None:
    told, wanted = "0 8 * * *", "0 9 * * *"
    crons = Crons(told=told, wanted=wanted, now=at("08:00:00"))
    assert crons.definition == told
    assert Crons(told=None, wanted=wanted, now=at("08:00:00")).definition == wanted
    assert Crons(told=None, wanted=None, now=at("08:00:00")).definition is None


@given(
    st.lists(st.integers(0, 1500), min_size=1, max_size=6),
    st.integers(0, 59),
    st.sampled_from(["0 8 * * *", "* * * * *", "*/5 * * * *", "*/30 * * * *", "0 20 * * *"]),
)
def test_retries_of_one_call_are_one_trigger_for_each_moment_at_most(
    delays: list[int], second: int, definition: str
) -> None:
    """However they are delayed: a retry that fits another moment is that moment's trigger."""
    done: list[RecordedCall] = []
    start = at("08:00:00") + timedelta(seconds=second)
    for delay in sorted({0, *delays}):
        now = start + timedelta(seconds=delay)
        own = nearest_moment(definition, zone=UTC, now=now, back=HALF_AN_HOUR)
        if find_repeated(done, moment=own, now=now, within=HALF_AN_HOUR) is None:
            done.append(RecordedCall(moment=own or now, came_at=now, status=202, body=b"{}"))
    moments = [one.moment for one in done]
    assert len(set(moments)) == len(moments)
    unmatched = [one for one in moments if one.second or one.microsecond]
    assert len(unmatched) <= (definition == "0 20 * * *")

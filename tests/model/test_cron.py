"""When a schedule is due."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise, product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sbm.model.cron import Cron, CronError

UTC = ZoneInfo("UTC")
PARIS = ZoneInfo("Europe/Paris")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
ZONES = [UTC, PARIS, NEW_YORK, LORD_HOWE, ZoneInfo("Africa/Cairo"), ZoneInfo("Asia/Kolkata")]
RANGES = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_week": (0, 7),
    "day_of_month": (1, 31),
    "month_of_year": (1, 12),
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def due(cron: Cron, zone: ZoneInfo, after: str, until: str) -> list[str]:
    """Wall-clock readings of all due moments in (after, until], which are local times."""
    moment: datetime | None = datetime.fromisoformat(after).replace(tzinfo=zone)
    end = datetime.fromisoformat(until).replace(tzinfo=zone)
    readings = []
    while moment is not None and (moment := cron.next_after(moment, zone)) and moment <= end:
        readings.append(moment.astimezone(zone).strftime("%H:%M %Z"))
    return readings


def dates(cron: Cron, count: int, after: str = "2026-01-01") -> list[str]:
    moment = at(after)
    found: list[str] = []
    while len(found) < count and (later := cron.next_after(moment, UTC)):
        moment = later
        found.append(f"{moment:%a %d %b %Y}")
    return found


# The fields


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("minute", "0,30"),
        ("minute", "*/7"),
        ("minute", "5-55/10"),
        ("minute", "3/20"),
        ("minute", "07"),
        ("minute", "1 , 2"),
        ("hour", "23"),
        ("hour", ""),
        ("day_of_week", "0"),
        ("day_of_week", "5-7"),
        ("day_of_week", "1,7"),
        ("day_of_month", "31"),
        ("month_of_year", "*,1"),
    ],
)
def test_a_valid_field_has_no_problem(name: str, text: str) -> None:
    assert Cron.problems({name: text}) == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("minute", "60"),
        ("minute", "-1"),
        ("minute", "*/0"),
        ("minute", "1/0"),
        ("minute", "5-1"),
        ("minute", "1-2-3"),
        ("minute", "1,,2"),
        ("minute", ","),
        ("minute", "/5"),
        ("minute", "*5"),
        ("minute", "1.5"),
        ("minute", "٣"),
        ("minute", "@daily"),
        ("minute", "9" * 5000),
        ("minute", "0\x00"),
        ("hour", "24"),
        ("hour", "?"),
        ("day_of_week", "8"),
        ("day_of_week", "MON"),
        ("day_of_week", "1#2"),
        ("day_of_week", "5L"),
        ("day_of_week", "6-1"),
        ("day_of_month", "0"),
        ("day_of_month", "32"),
        ("day_of_month", "L"),
        ("day_of_month", "15W"),
        ("month_of_year", "13"),
        ("month_of_year", "JAN"),
        ("month_of_year", "0"),
    ],
)
def test_an_invalid_field_is_refused(name: str, text: str) -> None:
    assert set(Cron.problems({name: text})) == {name}
    with pytest.raises(CronError) as caught:
        Cron(**{name: text})
    assert set(caught.value.problems) == {name}


def test_a_definition_has_the_fields_in_the_order_of_the_scheduler() -> None:
    assert Cron.from_definition(" 0  8 1-7 */2 1\n") == Cron(
        minute="0", hour="8", day_of_month="1-7", month_of_year="*/2", day_of_week="1"
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "cron_definition"),
        ("* * * *", "cron_definition"),
        ("* * * * * *", "cron_definition"),
        ("@daily", "cron_definition"),
        ("0 8 * * MON", "day_of_week"),
        ("0 8 0 * *", "day_of_month"),
    ],
)
def test_a_definition_that_cannot_be_read_is_refused(text: str, field: str) -> None:
    with pytest.raises(CronError) as caught:
        Cron.from_definition(text)
    assert set(caught.value.problems) == {field}


def test_each_wrong_field_is_told_with_its_range() -> None:
    problems = Cron.problems({"minute": "61", "hour": "1", "day_of_week": "x", "label": "?"})
    assert problems == {
        "minute": 'Enter a valid cron field: "*", numbers from 0 to 59, ranges and steps,'
        " separated by commas.",
        "day_of_week": 'Enter a valid cron field: "*", numbers from 1 (Monday) to 7 (Sunday,'
        " also written 0), ranges and steps, separated by commas.",
    }


def test_blanks_are_removed_and_an_empty_field_is_a_star() -> None:
    cron = Cron(minute=" 1 , 2", hour="", day_of_month=" ")
    assert (cron.minute, cron.hour, cron.day_of_month) == ("1,2", "*", "*")


def test_a_cron_without_fields_is_due_every_minute() -> None:
    assert Cron().next_after(at("2026-05-05 10:00:30"), UTC) == at("2026-05-05 10:01")


# The days


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("1", ["Mon"]),
        ("7", ["Sun"]),
        ("0", ["Sun"]),
        ("5-7", ["Fri", "Sat", "Sun"]),
        ("0-1", ["Sun", "Mon"]),
        ("5/2", ["Fri", "Sun"]),
        ("5-5/2", ["Fri"]),
    ],
)
def test_days_of_the_week_begin_with_monday(text: str, days: list[str]) -> None:
    week = dates(Cron(minute="0", hour="9", day_of_week=text), len(days), after="2026-01-02")
    assert sorted(day[:3] for day in week) == sorted(days)


def test_either_day_is_enough_when_both_are_restricted() -> None:
    cron = Cron(minute="0", hour="0", day_of_month="13", day_of_week="5")
    assert dates(cron, 3, after="2026-01-05") == [
        "Fri 09 Jan 2026",
        "Tue 13 Jan 2026",
        "Fri 16 Jan 2026",
    ]


def test_both_days_must_match_when_one_starts_with_a_star() -> None:
    cron = Cron(minute="0", hour="0", day_of_month="*/2", day_of_week="1")
    assert dates(cron, 2) == ["Mon 05 Jan 2026", "Mon 19 Jan 2026"]


def test_a_day_that_does_not_exist_is_never_due() -> None:
    cron = Cron(minute="0", hour="0", day_of_month="30", month_of_year="2")
    assert cron.next_after(at("2026-01-01"), UTC) is None
    assert cron.latest_between(at("2000-01-01"), at("2026-01-01"), UTC) is None


def test_a_day_that_does_not_exist_leaves_the_day_of_the_week() -> None:
    cron = Cron(minute="0", hour="0", day_of_month="30", month_of_year="2", day_of_week="1")
    assert dates(cron, 1) == ["Mon 02 Feb 2026"]


def test_a_leap_day_is_waited_for() -> None:
    cron = Cron(minute="0", hour="0", day_of_month="29", month_of_year="2")
    assert dates(cron, 2) == ["Tue 29 Feb 2028", "Sun 29 Feb 2032"]


def test_fields_are_read_in_the_time_zone() -> None:
    nine = Cron(minute="0", hour="9")
    assert nine.next_after(at("2026-07-01 00:00"), PARIS) == at("2026-07-01 07:00")
    assert nine.next_after(at("2026-12-01 00:00"), PARIS) == at("2026-12-01 08:00")


def test_the_due_moment_is_in_utc() -> None:
    moment = Cron().next_after(datetime(2026, 7, 1, tzinfo=PARIS), PARIS)
    assert moment is not None
    assert moment.tzinfo is timezone.utc


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Cron().next_after(datetime(2026, 7, 1), UTC)  # noqa: DTZ001


# The latest


def test_the_latest_is_sought_over_years_and_both_ends_are_as_told() -> None:
    cron = Cron(minute="0", hour="9", day_of_month="1")
    latest = at("2026-05-01 09:00")
    assert cron.latest_between(at("1990-01-01"), at("2026-05-20"), UTC) == latest
    assert cron.latest_between(at("1990-01-01"), latest, UTC) == latest
    assert cron.latest_between(latest, at("2026-05-20"), UTC) is None
    until = latest + timedelta(microseconds=1)
    assert cron.latest_between(latest - timedelta(microseconds=1), until, UTC) == latest


# Daylight saving. Spring: Paris 29 March 02:00 -> 03:00, New York 8 March 02:00 -> 03:00,
# Lord Howe 4 October 02:00 -> 02:30. Autumn: Paris 25 October 03:00 -> 02:00, New York
# 1 November 02:00 -> 01:00, Lord Howe 5 April 02:00 -> 01:30.


@pytest.mark.parametrize(
    ("zone", "day", "fields", "expected"),
    [
        (PARIS, "2026-03-29", ("30", "2"), ["03:00 CEST"]),
        (PARIS, "2026-03-29", ("0,30", "2,3"), ["03:00 CEST", "03:30 CEST"]),
        (PARIS, "2026-03-29", ("*/15", "2"), ["03:00 CEST"]),
        (PARIS, "2026-03-29", ("0", "*/2"), ["03:00 CEST", "04:00 CEST"]),
        (NEW_YORK, "2026-03-08", ("15", "2"), ["03:00 EDT"]),
        (LORD_HOWE, "2026-10-04", ("15", "2"), ["02:30 +11"]),
        (LORD_HOWE, "2026-10-04", ("15,45", "2"), ["02:30 +11", "02:45 +11"]),
    ],
)
def test_a_skipped_time_is_due_once_when_the_clock_has_jumped(
    zone: ZoneInfo, day: str, fields: tuple[str, str], expected: list[str]
) -> None:
    cron = Cron(minute=fields[0], hour=fields[1])
    assert due(cron, zone, f"{day} 00:00", f"{day} 04:30") == expected


@pytest.mark.parametrize(
    ("zone", "day", "fields", "expected"),
    [
        (PARIS, "2026-10-25", ("30", "2"), ["02:30 CEST"]),
        (PARIS, "2026-10-25", ("*/30", "2"), ["02:00 CEST", "02:30 CEST"]),
        (PARIS, "2026-10-25", ("0", "*/2"), ["02:00 CEST", "04:00 CET"]),
        (NEW_YORK, "2026-11-01", ("30", "1"), ["01:30 EDT"]),
        (LORD_HOWE, "2026-04-05", ("45", "1"), ["01:45 +11"]),
        (LORD_HOWE, "2026-04-05", ("15", "1,2"), ["01:15 +11", "02:15 +1030"]),
    ],
)
def test_a_repeated_time_is_due_once(
    zone: ZoneInfo, day: str, fields: tuple[str, str], expected: list[str]
) -> None:
    cron = Cron(minute=fields[0], hour=fields[1])
    assert due(cron, zone, f"{day} 00:00", f"{day} 04:30") == expected


@pytest.mark.parametrize(
    ("zone", "after", "until", "expected"),
    [
        (PARIS, "2026-03-29 00:45", "2026-03-29 03:45", ["01:30 CET", "03:30 CEST"]),
        (PARIS, "2026-10-25 01:45", "2026-10-25 03:45", ["02:30 CEST", "02:30 CET", "03:30 CET"]),
        (NEW_YORK, "2026-11-01 00:45", "2026-11-01 02:45", ["01:30 EDT", "01:30 EST", "02:30 EST"]),
    ],
)
def test_a_schedule_of_every_hour_keeps_its_hour(
    zone: ZoneInfo, after: str, until: str, expected: list[str]
) -> None:
    assert due(Cron(minute="30"), zone, after, until) == expected


@pytest.mark.parametrize(
    ("cron", "until", "latest"),
    [
        (Cron(minute="30", hour="2"), "00:59", "00:30"),
        (Cron(minute="30", hour="2"), "01:10", "00:30"),
        (Cron(minute="30", hour="2"), "01:45", "00:30"),
        (Cron(minute="0,30"), "00:45", "00:30"),
        (Cron(minute="0,30"), "01:10", "01:00"),
        (Cron(minute="0,30"), "01:59", "01:30"),
    ],
)
def test_the_latest_is_found_within_a_repeated_hour(cron: Cron, until: str, latest: str) -> None:
    """Paris reads 02:00 to 03:00 twice, from 00:00 to 01:00 and from 01:00 to 02:00 UTC."""
    day = "2026-10-25"
    found = cron.latest_between(at(f"{day} 00:00"), at(f"{day} {until}"), PARIS)
    assert found == at(f"{day} {latest}")


@pytest.mark.parametrize("day", ["2026-04-05", "2026-10-04"])
def test_every_quarter_is_due_through_a_shift_of_half_an_hour(day: str) -> None:
    moments = [datetime.fromisoformat(f"{day} 00:00").replace(tzinfo=LORD_HOWE)]
    for _ in range(20):
        later = Cron(minute="*/15").next_after(moments[-1], LORD_HOWE)
        assert later is not None
        moments.append(later)
    gaps = {b.astimezone(UTC) - a.astimezone(UTC) for a, b in pairwise(moments)}
    assert gaps == {timedelta(minutes=15)}


# Laws


def fields_of(name: str) -> st.SearchStrategy[str]:
    low, high = RANGES[name]
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: "{}-{}".format(*sorted(pair)))
    steps = st.builds("{}/{}".format, st.one_of(st.just("*"), number, span), st.integers(1, 70))
    term = st.one_of(number.map(str), span, steps)
    return st.one_of(st.just("*"), st.lists(term, min_size=1, max_size=3).map(",".join))


crons = st.builds(Cron, **{name: fields_of(name) for name in RANGES})
moments = st.integers(631_152_000, 2_840_140_800).map(
    lambda seconds: datetime.fromtimestamp(seconds, timezone.utc)
)
# Moments near a change of the clock are where the laws could break.
shifts = st.builds(
    lambda day, seconds: at(day) + timedelta(seconds=seconds),
    st.sampled_from(
        ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-04", "2026-10-03"]
    ),
    st.integers(0, 86400),
)
odd_crons = st.builds(
    Cron, minute=fields_of("minute"), hour=st.sampled_from(["*", "*/2", "0-3", "1,2", "2", "1-23"])
)
cases = st.one_of(
    st.tuples(crons, moments, st.sampled_from(ZONES)),
    st.tuples(odd_crons, shifts, st.sampled_from(ZONES)),
)


def numbers(name: str, text: str) -> set[int]:
    """The field's numbers, worked out in the plainest way there is."""
    low, high = RANGES[name]
    found = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        end = int(last) if last else high if step else int(first)
        found |= {n for n in range(int(first), end + 1) if (n - int(first)) % int(step or 1) == 0}
    return found


def matches(cron: Cron, local: datetime) -> bool:
    """Whether the reading of a clock matches all fields."""
    by_month_day = local.day in numbers("day_of_month", cron.day_of_month)
    week_days = numbers("day_of_week", cron.day_of_week)
    by_week_day = local.isoweekday() in week_days or local.isoweekday() % 7 in week_days
    if cron.day_of_month.startswith("*") or cron.day_of_week.startswith("*"):
        day = by_month_day and by_week_day
    else:
        day = by_month_day or by_week_day
    return (
        day
        and local.second == local.microsecond == 0
        and local.minute in numbers("minute", cron.minute)
        and local.hour in numbers("hour", cron.hour)
        and local.month in numbers("month_of_year", cron.month_of_year)
    )


@given(cases)
def test_the_next_moment_is_later(case: tuple[Cron, datetime, ZoneInfo]) -> None:
    cron, moment, zone = case
    later = cron.next_after(moment, zone)
    assert later is None or later > moment


@given(cases, st.integers(0, 10**7))
def test_the_next_moment_is_monotone(case: tuple[Cron, datetime, ZoneInfo], seconds: int) -> None:
    cron, moment, zone = case
    first = cron.next_after(moment, zone)
    second = cron.next_after(moment + timedelta(seconds=seconds), zone)
    assert first is None or second is None or first <= second


@given(crons, moments)
def test_the_next_moment_matches_the_fields_and_nothing_before_does(
    cron: Cron, moment: datetime
) -> None:
    later = cron.next_after(moment, UTC)
    minute = moment.replace(second=0, microsecond=0)
    skipped = [minute + timedelta(minutes=n) for n in range(1, 300)]
    assert later is None or matches(cron, later)
    assert not any(matches(cron, each) for each in skipped if later is None or each < later)


@given(cases, st.one_of(st.integers(0, 10_000), st.integers(0, 400_000)))
def test_the_latest_agrees_with_going_through_all(
    case: tuple[Cron, datetime, ZoneInfo], seconds: int
) -> None:
    cron, after, zone = case
    until = after + timedelta(seconds=seconds)
    latest, moment, steps = None, after, 0
    while (later := cron.next_after(moment, zone)) and later <= until:
        latest = moment = later
        steps += 1
        assume(steps < 200)
    assert cron.latest_between(after, until, zone) == latest


@given(odd_crons, shifts, st.sampled_from(ZONES))
def test_every_local_time_is_due_once_however_the_clock_is_moved(
    cron: Cron, start: datetime, zone: ZoneInfo
) -> None:
    """Checked against the readings of a clock that is looked at every minute."""
    assume(cron.hour != "*")
    expected = []
    before = (start - timedelta(hours=4)).replace(second=0)
    previous = before.astimezone(zone).replace(tzinfo=None)
    for n in range(1, 12 * 60):
        moment = before + timedelta(minutes=n)
        reading = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        passed = (reading - previous) // timedelta(minutes=1)
        fresh = [previous + timedelta(minutes=m) for m in range(1, passed + 1)]
        if any(matches(cron, each) for each in fresh) and moment > start:
            expected.append(moment)
        previous = max(previous, reading)
    found, moment = [], start
    while (later := cron.next_after(moment, zone)) and later < before + timedelta(hours=12):
        found.append(later)
        moment = later
    assert found == expected


@pytest.mark.parametrize(("zone", "day"), [*product(ZONES, ["2026-04-04", "2026-10-25"])])
def test_a_schedule_of_every_minute_never_rests_longer(zone: ZoneInfo, day: str) -> None:
    for n in range(0, 24 * 60, 7):
        moment = at(day) + timedelta(minutes=n)
        assert Cron().next_after(moment, zone) == moment + timedelta(minutes=1)

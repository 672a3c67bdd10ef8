"""When a schedule is due."""

from __future__ import annotations

from calendar import isleap
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise, product
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
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


@pytest.mark.parametrize(
    ("day_of_month", "day_of_week", "expected"),
    [
        ("1-7", "1", ["Mon 05 Jan 2026", "Mon 02 Feb 2026", "Mon 02 Mar 2026"]),
        ("13", "5", ["Fri 13 Feb 2026", "Fri 13 Mar 2026", "Fri 13 Nov 2026"]),
        ("1-31", "1", ["Mon 05 Jan 2026", "Mon 12 Jan 2026", "Mon 19 Jan 2026"]),
        ("1", "1-7", ["Sun 01 Feb 2026", "Sun 01 Mar 2026", "Wed 01 Apr 2026"]),
        ("*/2", "1", ["Mon 05 Jan 2026", "Mon 19 Jan 2026", "Mon 09 Feb 2026"]),
    ],
)
def test_both_days_must_match(day_of_month: str, day_of_week: str, expected: list[str]) -> None:
    cron = Cron(minute="0", hour="0", day_of_month=day_of_month, day_of_week=day_of_week)
    assert dates(cron, 3) == expected


@pytest.mark.parametrize("day_of_week", ["*", "1", "1-7"])
def test_a_day_that_does_not_exist_is_never_due(day_of_week: str) -> None:
    cron = Cron(minute="0", hour="0", day_of_month="30", month_of_year="2", day_of_week=day_of_week)
    assert cron.next_after(at("2026-01-01"), UTC) is None
    assert cron.latest_between(at("2000-01-01"), at("2026-01-01"), UTC) is None


@pytest.mark.parametrize(
    ("day_of_month", "month_of_year"),
    [
        ("31", "4"),
        ("31", "2,4,6,9,11"),
        ("30", "2"),
        ("30,31", "2"),
        ("31/5", "11"),
        ("30-31", "2"),
    ],
)
def test_a_date_that_does_not_exist_is_told_of_both_fields(
    day_of_month: str, month_of_year: str
) -> None:
    problems = Cron(day_of_month=day_of_month, month_of_year=month_of_year).impossible_date
    message = (
        f"There is no such date: day_of_month {day_of_month} does not occur in"
        f" month_of_year {month_of_year}."
    )
    assert problems == {"day_of_month": message, "month_of_year": message}


@pytest.mark.parametrize(
    ("day_of_month", "month_of_year"),
    [("29", "2"), ("31", "4,5"), ("30,1", "2"), ("30", "4"), ("31", "*"), ("*", "2")],
)
def test_a_date_that_exists_sometimes_is_possible(day_of_month: str, month_of_year: str) -> None:
    assert Cron(day_of_month=day_of_month, month_of_year=month_of_year).impossible_date == {}


@pytest.mark.parametrize(
    ("day_of_month", "day_of_week", "restricts", "took_either"),
    [
        ("1", "1", True, True),
        ("1-31", "1", True, True),
        ("*/2", "1", True, False),
        ("1", "*/2", True, False),
        ("*", "1", False, False),
        ("1", "*,2", False, False),
        ("*/1", "1", False, False),
        ("*", "*", False, False),
    ],
)
def test_it_is_known_which_crons_restrict_both_days(
    day_of_month: str, day_of_week: str, restricts: bool, took_either: bool
) -> None:
    cron = Cron(day_of_month=day_of_month, day_of_week=day_of_week)
    assert (cron.restricts_both_days, cron.took_either_day) == (restricts, took_either)


def test_the_next_few_moments_are_as_many_as_there_are() -> None:
    cron = Cron(minute="0", hour="9", day_of_month="1-7", day_of_week="1")
    assert cron.upcoming(at("2026-01-01"), UTC, count=2) == [
        at("2026-01-05 09:00"),
        at("2026-02-02 09:00"),
    ]
    assert Cron(day_of_month="31", month_of_year="6").upcoming(at("2026-01-01"), UTC, count=3) == []


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
# Crons in which both day fields are restricted, to many days or to few.
both_days = st.builds(
    Cron,
    day_of_month=fields_of("day_of_month").filter(lambda text: not text.startswith("*")),
    day_of_week=fields_of("day_of_week").filter(lambda text: not text.startswith("*")),
    month_of_year=fields_of("month_of_year"),
    hour=st.sampled_from(["*", "9", "22-23"]),
)
few_days = st.builds(
    Cron,
    day_of_month=st.sampled_from(["29", "30", "31", "30-31", "29,31"]),
    month_of_year=st.lists(
        st.sampled_from(["2", "4", "6", "9", "11", "2-4/2", "5"]), min_size=1
    ).map(",".join),
    day_of_week=st.sampled_from(["*", "0", "1", "3-7/2"]),
)
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
    return (
        by_month_day
        and by_week_day
        and local.second == local.microsecond == 0
        and local.minute in numbers("minute", cron.minute)
        and local.hour in numbers("hour", cron.hour)
        and local.month in numbers("month_of_year", cron.month_of_year)
    )


def day_by_day(cron: Cron, start: datetime, step: int) -> datetime | None:
    """The next match after a UTC moment, or the last before it: each day is looked at in turn."""
    hours, minutes = (
        sorted(numbers(name, text), reverse=step < 0)
        for name, text in (("hour", cron.hour), ("minute", cron.minute))
    )
    noon = evolve(cron, hour="12", minute="0")
    day = start.replace(hour=12, minute=0, second=0, microsecond=0)
    while abs(day.year - start.year) <= 50:
        for hour, minute in product(hours, minutes) if matches(noon, day) else ():
            found = day.replace(hour=hour, minute=minute)
            if (found - start) * step > timedelta(0):
                return found
        day += timedelta(days=step)
    return None


def existing(day: int, month: int) -> bool:
    """Whether a leap year has this date."""
    try:
        date(2028, month, day)
    except ValueError:
        return False
    return True


@given(st.one_of(crons, both_days), moments)
def test_the_next_and_the_latest_are_those_of_a_search_day_by_day(
    cron: Cron, moment: datetime
) -> None:
    assert cron.next_after(moment, UTC) == day_by_day(cron, moment, 1)
    just_before = moment - timedelta(microseconds=1)
    latest = cron.latest_between(at("1900-01-01"), just_before, UTC)
    assert latest == day_by_day(cron, moment, -1)


@given(st.one_of(crons, both_days, few_days), moments)
def test_a_cron_is_never_due_where_no_month_of_it_has_a_day_of_it_and_nowhere_else(
    cron: Cron, moment: datetime
) -> None:
    pairs = product(
        numbers("day_of_month", cron.day_of_month), numbers("month_of_year", cron.month_of_year)
    )
    is_possible = any(existing(day, month) for day, month in pairs)
    assert (cron.impossible_date == {}) == is_possible
    assert (cron.next_after(moment, UTC) is not None) == is_possible


def test_every_date_falls_on_every_day_of_the_week_within_forty_years() -> None:
    """The calendar begins again after 400 years. So a search for 50 years misses nothing."""
    last: dict[tuple[int, int, int], date] = {}
    day, longest = date(2000, 1, 1), 0
    while day < date(2500, 1, 1):
        name = (day.month, day.day, day.isoweekday())
        longest = max(longest, day.year - last.get(name, day).year)
        last[name] = day
        day += timedelta(days=1)
    assert len(last) == 366 * 7
    assert longest == 40


@pytest.mark.parametrize("weekday", range(1, 8))
def test_the_rarest_day_is_found_across_centuries_without_a_leap_year(weekday: int) -> None:
    cron = Cron(
        minute="0", hour="0", day_of_month="29", month_of_year="2", day_of_week=str(weekday)
    )
    leap_days = [at(f"{year}-02-29") for year in range(1904, 2500, 4) if isleap(year)]
    found = [day for day in leap_days if day.isoweekday() == weekday]
    for earlier, later in pairwise(found):
        assert cron.next_after(earlier, UTC) == later
        assert cron.latest_between(at("1900-01-01"), later - timedelta(hours=1), UTC) == earlier


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

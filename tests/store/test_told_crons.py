"""What the Scheduler is told of a schedule is what it understands, and means the same to it."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extras import Json

from sbm.model.cron import Cron
from tests.arrange import Arranged, arranged
from tests.db.databases import Databases
from tests.model.test_cron import RANGES, at, both_days, crons, few_days, moments

UTC = ZoneInfo("UTC")
LONGEST = 64

# By hand, as nothing shorter is found by the tests at random. The numbers of the first two have no
# text of 64 characters: by exact search, that of the first takes 67, and that of the second 65.
UNTELLABLE = [
    "1/15,7/27,5/16,14/14,12/13,10/11,13/11,17/15,8/9,23/28,4/11",
    "23/12,16/27,20/18,1/13,4/11,24/9,3/23,8/23,42/5,11/29,3/15,5/16",
]
LONG = [
    "1/7,2/7,3/7,4/7,5/7,1/9,2/9,3/9,4/9,5/9,6/9,7/9,8/9,0/8,1/8,2/8",
    "0/5,1/5,2/5,3/5,4/5,0/7,1/7,2/7,3/7,4/7,5/7,6/7,0/9,1/9,2/9,3/9",
    "3/10,9/10,24/7,21/28,1/28,12/28,3/7,7/13,19/13,26/11,9/20,36/6",
]


class NeverFires(Exception):
    """Celery takes no such cron."""


# The Scheduler, by what is known of celery 3.1: the five fields, in its order, with its ranges.
CELERY = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_month": (1, 31),
    "month_of_year": (1, 12),
    "day_of_week": (0, 6),
}


def celery_numbers(name: str, text: str) -> set[int]:
    """The numbers of a field: a list of ``*``, ``*/n``, ``a``, ``a-b`` and ``a-b/n``."""
    low, high = CELERY[name]
    if len(text) > LONGEST:
        raise NeverFires
    found: set[int] = set()
    for term in text.split(","):
        match = re.fullmatch(r"(?:\*|(\d+)-(\d+))(?:/(\d+))?|(\d+)", term, re.ASCII)
        if match is None:
            raise NeverFires
        first, last, step, alone = match.groups()
        if alone:
            found.add(int(alone))
        else:
            found.update(range(int(first or low), int(last or high) + 1)[:: int(step or 1)])
    if min(found) < low or max(found) > high:
        raise NeverFires
    return found


@define
class Celery:
    """A cron as celery 3.1 goes by it: a moment is due if all five fields match."""

    definition: str

    def next_after(self, moment: datetime) -> datetime | None:
        names = zip(CELERY, self.definition.split(" "), strict=True)
        fields = {name: celery_numbers(name, text) for name, text in names}
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        while day.year <= moment.year + 50:
            is_due = (
                day.day in fields["day_of_month"]
                and day.month in fields["month_of_year"]
                and day.isoweekday() % 7 in fields["day_of_week"]
            )
            for hour in sorted(fields["hour"]) if is_due else ():
                for minute in sorted(fields["minute"]):
                    found = day.replace(hour=hour, minute=minute)
                    if found > moment:
                        return found
            day += timedelta(days=1)
        return None


@pytest.fixture(scope="module")
def direct(databases: Databases, template_database: str) -> Iterator[Arranged]:
    """One database for all of them: nothing is changed in it."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    with arranged(databases.create(name, template=template_database)) as direct:
        yield direct
    databases.drop(name)


def told(direct: Arranged, fields: dict[str, str]) -> str | None:
    """What the Scheduler is told of a schedule with these fields."""
    row = Json({"id": 0, **{name: fields.get(name, "*") for name in RANGES}})
    found: str | None = direct.value(
        "SELECT cron_definition(jsonb_populate_record(NULL::schedules, %s))", row
    )
    return found


def told_field(direct: Arranged, name: str, text: str) -> str | None:
    found: str | None = direct.value("SELECT told_cron_field(%s, %s)", name, text)
    return found


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("minute", "*", "*"),
        ("minute", "", "*"),
        ("minute", " 1 , 2 ", "1,2"),
        ("minute", "*/7,3", "*/7,3"),
        ("minute", "1-5", "1-5"),
        ("minute", "1-5/2,07", "1-5/2,07"),
        ("minute", "5/10", "5-59/10"),
        ("minute", "0/15,1-5/2,3/20", "0-59/15,1-5/2,3-59/20"),
        ("hour", "2/3", "2-23/3"),
        ("day_of_month", "10/7", "10-31/7"),
        ("month_of_year", "2/3", "2-12/3"),
        ("day_of_week", "0-6", "0-6"),
        ("day_of_week", "1-5/2", "1-5/2"),
        ("day_of_week", "*/2", "*/2"),
        ("day_of_week", "7", "0"),
        ("day_of_week", "07", "0"),
        ("day_of_week", "1,7", "0,1"),
        ("day_of_week", "5-7", "0,5,6"),
        ("day_of_week", "5-7/2", "0,5"),
        ("day_of_week", "1-7/5", "1,6"),
        ("day_of_week", "5/2", "0,5"),
        ("day_of_week", "5/3", "5"),
        ("day_of_week", "1-7", "*"),
        ("day_of_week", "0-7", "*"),
        ("day_of_week", "7/1", "0"),
    ],
)
def test_a_field_is_told_as_it_is_where_that_is_understood(
    direct: Arranged, name: str, text: str, expected: str
) -> None:
    assert told_field(direct, name, text) == expected


def test_the_fields_stand_in_the_order_of_a_cron_line(direct: Arranged) -> None:
    fields = {"minute": "1", "hour": "2", "day_of_month": "3", "month_of_year": "4"}
    assert told(direct, fields | {"day_of_week": "5"}) == "1 2 3 4 5"


@pytest.mark.parametrize("text", LONG)
def test_a_field_that_would_be_too_long_is_told_in_other_words(direct: Arranged, text: str) -> None:
    found = told_field(direct, "minute", text)
    assert found is not None
    assert len(text.replace("/", "-59/")) > LONGEST >= len(found)
    assert celery_numbers("minute", found) == meant("minute", text)


@pytest.mark.parametrize("text", UNTELLABLE)
def test_a_field_that_has_no_short_words_is_not_told(direct: Arranged, text: str) -> None:
    assert len(text) <= LONGEST
    assert told_field(direct, "minute", text) is None
    assert told(direct, {"minute": text}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"day_of_month": "31", "month_of_year": "4"},
        {"day_of_month": "30,31", "month_of_year": "2"},
        {"minute": "61"},
        {"day_of_week": "mon"},
        {"hour": "1,,2"},
        {"minute": "1/0"},
    ],
)
def test_what_is_never_due_or_cannot_be_read_is_not_told(
    direct: Arranged, fields: dict[str, str]
) -> None:
    assert told(direct, fields) is None


def test_all_blanks_that_python_knows_are_left_out(direct: Arranged) -> None:
    blanks = "".join(filter(str.isspace, map(chr, range(1, 0x3100))))
    assert blanks.split() == []
    assert told_field(direct, "minute", f"1{blanks},2") == "1,2"


def meant(name: str, text: str) -> set[int]:
    """The numbers that a field means to us, worked out in the plainest way there is."""
    low, high = RANGES[name]
    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        end = int(last or (high if step else first))
        found.update(range(int(first), end + 1, int(step or 1)))
    return {number % 7 for number in found} if name == "day_of_week" else found


def long_fields(name: str) -> st.SearchStrategy[str]:
    """As many steps without a range as a field has room for."""
    low, high = RANGES[name]
    term = st.builds("{}/{}".format, st.integers(low, high), st.integers(1, 30))
    return st.lists(term, min_size=8, max_size=16).map(
        lambda terms: ",".join(terms)[:LONGEST].rpartition(",")[0]
    )


wide = st.builds(Cron, **{name: st.one_of(long_fields(name)) for name in RANGES})


@given(st.one_of(crons, both_days, few_days, wide), moments)
def test_the_scheduler_calls_at_the_very_moments_that_we_mean(
    direct: Arranged, cron: Cron, moment: datetime
) -> None:
    fields = {name: getattr(cron, name) for name in RANGES}
    definition = told(direct, fields)
    if definition is None:
        untold = [name for name, text in fields.items() if told_field(direct, name, text) is None]
        assert untold or cron.impossible_date
        assert all(
            len(re.sub(r"(?<![-\d])(\d+)/", r"\1-NN/", fields[name])) > 64 for name in untold
        )
        return
    for name, text in zip(CELERY, definition.split(" "), strict=True):
        assert celery_numbers(name, text) == meant(name, fields[name])
    assert Celery(definition).next_after(moment) == cron.next_after(moment, UTC)


@given(
    st.fixed_dictionaries(
        {
            name: st.one_of(
                st.text(alphabet="0123456789*/-, ", max_size=8),
                st.text(string.printable, max_size=4),
            )
            for name in RANGES
        }
    )
)
def test_the_database_reads_the_fields_that_we_read(
    direct: Arranged, fields: dict[str, str]
) -> None:
    for name, text in fields.items():
        is_read = told_field(direct, name, text) is not None
        assert is_read == (Cron.problems({name: text}) == {}), (name, text)


@given(few_days)
def test_the_database_knows_the_same_dates(direct: Arranged, cron: Cron) -> None:
    definition = told(direct, {name: getattr(cron, name) for name in RANGES})
    assert (definition is None) == (cron.impossible_date != {})


def test_what_celery_is_known_not_to_understand_never_fires() -> None:
    for definition in ("* * * * 7", "5/10 * * * *", "* * * * 5-7", f"{'1,' * 40}1 * * * *"):
        with pytest.raises(NeverFires):
            Celery(definition).next_after(at("2026-01-01"))
    first_monday = Celery("0 9 1-7 * 1").next_after(at("2026-01-01"))
    assert first_monday == at("2026-01-05 09:00")

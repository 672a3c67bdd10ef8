"""Filters of the lists: the queries of the recording, and what they found there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted

from sbm.web.schema import filters
from sbm.web.schema.fields import FieldError
from tests.arrange import Arranged, arranged
from tests.web.conftest import Api

FIRST = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
SECOND = "34b026d2-150e-4c73-a466-e4435eefdc67"
ALL = "54321"

NO_CHOICE = "Select a valid choice. That choice is not one of the available choices."
NO_TIME = "Enter a valid date/time."
NO_NUL = "Null characters are not allowed."

# A query, and who is found, newest first.
FOUND = [
    (f"identity={FIRST}", "431"),
    (f"identity={FIRST.upper()}", "431"),
    (f"identity=%20{FIRST}%20", "431"),
    ("identity=", ALL),
    ("identity=%20", ALL),
    ("active=1", "5421"),
    ("active=false", "3"),
    ("active=on", ALL),
    ("active=null", ALL),
    ("active=3", ALL),
    ("messageset=1", "5421"),
    ("schedule=2", "4"),
    ("process_status=2", "3"),
    ("process_status=0.0", "521"),
    ("process_status=-1", "4"),
    ("process_status=1", ""),
    ("process_status=5", ""),
    ("version=3", "3"),
    ("version=3.7", "3"),
    ("version=" + "9" * 40, ""),
    ("next_sequence_number=5", "3"),
    ("initial_sequence_number=3", "5"),
    ("created_after=2026-01-03T10:00:00.123456Z", "543"),
    ("created_after=2026-01-03T12:00:00.123456%2B02:00", "543"),
    ("created_after=2026-01-03T10:00:00", "543"),
    ("created_after=2026-01-03T10:00", "543"),
    ("created_after=", ALL),
    ("created_before=2026-01-02T10:00:00.123456Z", "21"),
    ("created_before=2026-01-02T10:00:00Z", "1"),
    ("created_after=2026-01-02T10:00:00Z&created_before=2026-01-04T00:00:00Z", "32"),
    ("created_at=2026-01-03T10:00:00.123456Z", "3"),
    ("created_at=2026-01-03%2010:00:00", ""),
    ("updated_at=2026-01-03%2011:00:00", "3"),
    ("updated_by=2", "2"),
    ("metadata_has_key=color", "21"),
    ("metadata_has_key=n", "1"),
    ("metadata_has_key=zzz", ""),
    ("metadata_has_key=", ALL),
    ("metadata_has_key=color&metadata_not_has_key=n", "2"),
    ("metadata_not_has_key=color", "543"),
    ("metadata=blue", ""),
    ("metadata=%22blue%22", ""),
    ("metadata=null", ""),
    ("messageset_contains=set", ALL),
    ("messageset_contains=", ALL),
    ("messageset_contains=SET", ""),
    ("messageset_contains=two", "3"),
    ("messageset_contains=two&messageset=1", ""),
    ("messageset_contains=_", ""),
    ("messageset_contains=%25", ""),
    ("url=x", ALL),
    ("messageset_label=x", ALL),
    ("user=1", ALL),
    ("search=x", ALL),
    ("lang=zul_ZA", "2"),
    (f"identity={FIRST}&active=true&completed=false&process_status=0", "1"),
    (f"format=json&identity={SECOND}", "52"),
    (f"identity={SECOND}&identity={FIRST}", "431"),
]

# A query, and what is wrong with it.
REFUSED: list[tuple[str, dict[str, list[str]]]] = [
    ("identity=%00", {"identity": [NO_NUL]}),
    ("metadata_has_key=%00", {"metadata_has_key": [NO_NUL]}),
    ("messageset=9999", {"messageset": [NO_CHOICE]}),
    ("schedule=abc", {"schedule": [NO_CHOICE]}),
    ("messageset=" + "9" * 30, {"messageset": [NO_CHOICE]}),
    ("created_by=99", {"created_by": [NO_CHOICE]}),
    ("created_by=abc", {"created_by": [NO_CHOICE]}),
    ("created_after=2026-01-03T12:00:00+02:00", {"created_after": [NO_TIME]}),
    ("created_after=01/03/2026", {"created_after": [NO_TIME]}),
    ("created_after=yesterday", {"created_after": [NO_TIME]}),
    ("created_after=2026-02-30T00:00:00Z", {"created_after": [NO_TIME]}),
    ("created_after=20260103T100000Z", {"created_after": [NO_TIME]}),
    ("created_before=x", {"created_before": [NO_TIME]}),
    ("created_before=2026-01-03", {"created_before": [NO_TIME]}),
    ("created_at=x", {"created_at": [NO_TIME]}),
    ("id=x", {"id": ["Enter a valid UUID."]}),
    ("version=NaN", {"version": ["Enter a number."]}),
    (
        f"identity={FIRST}&messageset=9999&active=foo&process_status=x",
        {"messageset": [NO_CHOICE], "process_status": ["Enter a number."]},
    ),
]


async def five(api: Api, direct: Arranged) -> dict[str, str]:
    """The subscriptions of the recording: their ids, and what they are called here."""
    for _ in range(2):
        await api.made("schedule")
    for name in ("set.one", "set.two"):
        await api.made("messageset", short_name=name, default_schedule=1)
    usual: dict[str, Any] = {"identity": FIRST, "messageset": 1, "lang": "eng_ZA", "schedule": 1}
    other: dict[str, Any] = {"identity": SECOND}
    numbers: dict[str, Any] = {"initial_sequence_number": 3, "next_sequence_number": 3}
    completed: dict[str, Any] = {
        "messageset": 2,
        "completed": True,
        "next_sequence_number": 5,
        "version": 3,
    }
    names = {}
    for number, fields in enumerate(
        [
            {"metadata": {"color": "red", "n": 1}},
            other | {"lang": "zul_ZA", "metadata": {"color": "blue"}},
            completed,
            {"schedule": 2, "process_status": -1, "metadata": None},
            other | numbers,
        ],
        start=1,
    ):
        made = await api.made("subscriptions", **usual | fields)
        names[made["id"]] = str(number)
        direct.rows(
            "UPDATE subscriptions SET created_at = %s, updated_at = %s, updated_by = %s"
            " WHERE id = %s",
            f"2026-01-0{number}T10:00:00.123456Z",
            f"2026-01-0{number}T11:00:00Z",
            *(2 if number == 2 else None, made["id"]),
        )
    return names


@pytest_twisted.ensureDeferred
async def test_queries_find_what_they_found_there(api: Api, database_uri: str) -> None:
    with arranged(database_uri) as direct:
        names = await five(api, direct)
    names_to_ids = {name: row_id for row_id, name in names.items()}
    one = names_to_ids["1"]
    found: list[tuple[str, Any]] = []
    expected: list[tuple[str, Any]] = []
    for query, numbers in [*FOUND, (f"id={one.replace('-', '')}", "1"), (f"id={FIRST}", "")]:
        answer = await api.get(f"/api/v1/subscriptions/?{query}")
        body = answer.json
        rows = "".join(names[row["id"]] for row in body.get("results", []))
        found.append((query, (answer.status, rows, body.get("count"))))
        expected.append((query, (200, numbers, len(numbers))))
    for query, errors in REFUSED:
        answer = await api.get(f"/api/v1/subscriptions/?{query}")
        found.append((query, (answer.status, answer.json)))
        expected.append((query, (400, errors)))
    assert found == expected


@pytest_twisted.ensureDeferred
async def test_metadata_that_is_one_text_is_found_by_it(api: Api, database_uri: str) -> None:
    made = await api.subscription()
    await api.subscription(metadata={"abc": "abc"})
    with arranged(database_uri) as direct:
        direct.rows("UPDATE subscriptions SET metadata = '\"abc\"' WHERE id = %s", made["id"])
    answer = await api.get("/api/v1/subscriptions/?metadata=abc")
    assert [row["id"] for row in answer.json["results"]] == [made["id"]]


@pytest_twisted.ensureDeferred
async def test_a_filter_takes_no_lock(api: Api, database_uri: str) -> None:
    made = await api.subscription()
    with arranged(database_uri) as direct:
        direct.rows("BEGIN")
        direct.rows("SELECT FROM messagesets FOR UPDATE")
        answer = await api.get(f"/api/v1/subscriptions/?messageset={made['messageset']}")
        direct.rows("COMMIT")
    assert answer.json["count"] == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-1-3T1:02", "2026-01-03T01:02:00+00:00"),
        ("2026-01-03 10:00:00.5", "2026-01-03T10:00:00.500000+00:00"),
        ("2026-01-03T10:00:00.123456789Z", "2026-01-03T10:00:00.123456+00:00"),
        ("2026-01-03T10:00:00-0330", "2026-01-03T13:30:00+00:00"),
        ("2026-01-03T10:00:00+02", "2026-01-03T08:00:00+00:00"),
        (" 2026-01-03T10:00Z ", "2026-01-03T10:00:00+00:00"),
        (" ", None),
    ],
)
def test_a_moment_is_read_in_iso_8601(given: str, expected: str | None) -> None:
    moment = filters.moment(given)
    assert (moment and moment.isoformat()) == expected


@pytest.mark.parametrize(
    "given",
    [
        "0000-01-01T00:00Z",
        "2026-01-03",
        "2026-01-03T24:00",
        "2026-01-03T10:00:00+25:00",
        "2026-01-03T10:00:00.Z",
        "٢٠٢٦-01-03T10:00Z",
        "2026-01-03T10:00Z\n2",
    ],
)
def test_what_is_no_moment_is_refused(given: str) -> None:
    with pytest.raises(FieldError):
        filters.moment(given)


@pytest.mark.parametrize("offset", ["+16:00", "-23:00", "+23:59", "-15:59"])
def test_a_moment_may_have_any_offset_of_a_day(offset: str) -> None:
    """The database's driver knows none of 16 hours or more."""
    told = filters.moment(f"2024-01-02T00:00:00{offset}")
    assert told is not None
    assert told.utcoffset() == timedelta(0)


def test_a_moment_before_the_first_is_refused() -> None:
    with pytest.raises(FieldError):
        filters.moment("0001-01-01T00:00:00+23:00")

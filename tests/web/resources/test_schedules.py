"""Which schedules are taken: their fields are judged together, as they will be stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from attrs import evolve

from sbm.model.cron import UNTOLD
from sbm.model.scheduler_call import Scheduling as Mode
from sbm.operations.schedules import AMBIGUOUS_ZONE, UNKNOWN_ZONE, ZONE_OF_SCHEDULER
from tests.arrange import Arranged
from tests.web.conftest import Api, a_scheduling, served

PATH = "/api/v1/schedule/"
NEVER = {"day_of_month": "31", "month_of_year": "4"}
UNTELLABLE = "1/15,7/27,5/16,14/14,12/13,10/11,13/11,17/15,8/9,23/28,4/11"
NO_SUCH_DATE = "There is no such date: day_of_month 31 does not occur in month_of_year 4."
REFUSED = {"day_of_month": [NO_SUCH_DATE], "month_of_year": [NO_SUCH_DATE]}


@pytest_twisted.async_yield_fixture(params=["subscription", "schedule", "builtin"])
async def any_api(
    request: pytest.FixtureRequest, database_uri: str, tmp_path: Path
) -> AsyncIterator[Api]:
    """The API, whoever makes the ticks."""
    mode: Mode = request.param
    async with served(database_uri, tmp_path, scheduling=a_scheduling(mode)) as api:
        yield api


def stored(direct: Arranged) -> list[dict[str, Any]]:
    return direct.rows("SELECT day_of_month, month_of_year FROM schedules ORDER BY id")


@pytest_twisted.ensureDeferred
async def test_a_date_that_does_not_exist_is_refused_by_every_door(
    any_api: Api, direct: Arranged
) -> None:
    answer = await any_api.post(PATH, NEVER)
    assert (answer.status, answer.json) == (400, REFUSED)
    made = await any_api.made("schedule", day_of_month="31", month_of_year="5")
    for method, body in (
        ("PUT", NEVER),
        ("PUT", {"month_of_year": "4"}),
        ("PATCH", {"month_of_year": "4"}),
        ("PATCH", NEVER | {"hour": "1"}),
    ):
        answer = await any_api.call(method, f"{PATH}{made['id']}/", body)
        assert (answer.status, answer.json) == (400, REFUSED), (method, body)
    assert stored(direct) == [{"day_of_month": "31", "month_of_year": "5"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"day_of_month": "29", "month_of_year": "2"},
        {"day_of_month": "29", "month_of_year": "2", "day_of_week": "1"},
        {"day_of_month": "31", "month_of_year": "4,5"},
        {"day_of_month": "1-31", "month_of_year": "2"},
        {"day_of_month": "31", "month_of_year": "*"},
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_date_that_exists_is_taken(api: Api, fields: dict[str, str]) -> None:
    made = await api.made("schedule", **fields)
    assert {name: made[name] for name in fields} == fields


@pytest_twisted.ensureDeferred
async def test_one_field_is_judged_beside_those_that_stay(api: Api) -> None:
    made = await api.made("schedule", day_of_month="31")
    path = f"{PATH}{made['id']}/"
    refused = await api.call("PATCH", path, {"month_of_year": "2,4"})
    assert (refused.status, set(refused.json)) == (400, {"day_of_month", "month_of_year"})
    assert (await api.call("PATCH", path, {"month_of_year": "2,5"})).status == 200
    assert (await api.call("PATCH", path, {"day_of_month": "30"})).status == 200
    assert (await api.call("PATCH", path, {"month_of_year": "2"})).status == 400


@pytest_twisted.ensureDeferred
async def test_an_imported_one_stays_and_can_be_written_as_it_is(
    api: Api, direct: Arranged
) -> None:
    number = direct.schedule(**NEVER, hour=" 1 , 2")
    path = f"{PATH}{number}/"
    shown = (await api.get(path)).json
    for method, body in (("PUT", shown), ("PATCH", NEVER), ("PATCH", {}), ("PUT", {"hour": "1,2"})):
        assert (await api.call(method, path, body)).status == 200, (method, body)
    answer = await api.call("PATCH", path, {"hour": "3"})
    assert (answer.status, answer.json) == (200, {**shown, "hour": "3"})
    answer = await api.call("PATCH", path, {"month_of_year": "2"})
    assert (answer.status, set(answer.json)) == (400, set(NEVER))
    answer = await api.call("PATCH", path, {"day_of_month": "30"})
    assert (answer.status, answer.json["day_of_month"]) == (200, "30")


@pytest_twisted.ensureDeferred
async def test_a_field_that_cannot_be_told_to_the_scheduler_is_refused(any_api: Api) -> None:
    answer = await any_api.post(PATH, {"minute": UNTELLABLE})
    assert (answer.status, answer.json) == (400, {"minute": [UNTOLD]})
    made = await any_api.made("schedule", minute="1/15")
    answer = await any_api.call("PATCH", f"{PATH}{made['id']}/", {"minute": UNTELLABLE})
    assert (answer.status, answer.json) == (400, {"minute": [UNTOLD]})


@pytest_twisted.ensureDeferred
async def test_imported_fields_that_are_wrong_are_mended_one_after_the_other(
    any_api: Api, direct: Arranged
) -> None:
    number = direct.schedule(minute="61", hour="24", day_of_week=UNTELLABLE)
    path = f"{PATH}{number}/"
    shown = (await any_api.get(path)).json
    assert (await any_api.call("PUT", path, {**shown, "month_of_year": "5"})).status == 200
    assert (await any_api.call("PATCH", path, {"minute": "5"})).status == 200
    answer = await any_api.call("PATCH", path, {"hour": "25"})
    assert (answer.status, list(answer.json)) == (400, ["hour"])
    assert (await any_api.call("PATCH", path, {"hour": "6"})).status == 200
    assert (await any_api.call("PATCH", path, {"day_of_week": "1"})).status == 200


@pytest_twisted.ensureDeferred
async def test_an_imported_field_that_is_wrong_hides_nothing_about_those_that_change(
    api: Api, direct: Arranged
) -> None:
    path = f"{PATH}{direct.schedule(minute='61', day_of_month='31')}/"
    answer = await api.call("PATCH", path, {"month_of_year": "4"})
    assert (answer.status, answer.json) == (400, REFUSED)
    answer = await api.call("PATCH", path, {"hour": "24"})
    assert (answer.status, list(answer.json)) == (400, ["hour"])


@pytest_twisted.async_yield_fixture
async def own_zones(database_uri: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API, with the built-in clock."""
    async with served(database_uri, tmp_path, scheduling=a_scheduling("builtin")) as api:
        yield api


@pytest_twisted.async_yield_fixture(params=["subscription", "schedule"])
async def zone_of_scheduler(
    request: pytest.FixtureRequest, database_uri: str, tmp_path: Path
) -> AsyncIterator[Api]:
    """The API, with a Scheduler in Johannesburg."""
    scheduling = evolve(a_scheduling(request.param), timezone=ZoneInfo("Africa/Johannesburg"))
    async with served(database_uri, tmp_path, scheduling=scheduling) as api:
        yield api


@pytest_twisted.ensureDeferred
async def test_a_schedule_has_a_time_zone_after_its_cron(own_zones: Api) -> None:
    made = await own_zones.made("schedule", hour="8")
    assert list(made)[6] == "time_zone"
    assert made["time_zone"] is None
    path = f"{PATH}{made['id']}/"
    for given, kept in (
        ("Europe/Berlin", "Europe/Berlin"),
        (" UTC ", "UTC"),
        (None, None),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("EST", "EST"),
        ("America/Vancouver", "America/Vancouver"),
        ("Etc/GMT+5", "Etc/GMT+5"),
    ):
        answer = await own_zones.call("PATCH", path, {"time_zone": given})
        assert (answer.status, answer.json["time_zone"]) == (200, kept), given
    answer = await own_zones.call("PUT", path, {"hour": "9"})
    assert answer.json["time_zone"] == "Etc/GMT+5"
    made = await own_zones.made("schedule", time_zone="Asia/Tokyo")
    assert (await own_zones.get(f"{PATH}{made['id']}/")).json["time_zone"] == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        *(
            (name, UNKNOWN_ZONE)
            for name in ("Mars/Base", "Europe", "localtime", "right/UTC", "+02")
        ),
        ("/etc/localtime", UNKNOWN_ZONE),
        # The database takes these for abbreviations, without daylight saving.
        *((name, AMBIGUOUS_ZONE) for name in ("CET", "MET", "EET", "WET")),
        ("", "This field may not be blank."),
        ("x" * 65, "Ensure this field has no more than 64 characters."),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_time_zone_is_a_name_that_all_read_in_the_same_way(
    own_zones: Api, name: str, sentence: str
) -> None:
    made = await own_zones.made("schedule")
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}{made['id']}/")):
        answer = await own_zones.call(method, path, {"time_zone": name})
        assert (answer.status, answer.json) == (400, {"time_zone": [sentence]})


@pytest_twisted.ensureDeferred
async def test_a_wrong_zone_is_told_beside_a_wrong_date(own_zones: Api) -> None:
    answer = await own_zones.post(PATH, NEVER | {"time_zone": "Mars/Base"})
    assert (answer.status, answer.json) == (400, REFUSED | {"time_zone": [UNKNOWN_ZONE]})


@pytest_twisted.ensureDeferred
async def test_where_a_scheduler_ticks_only_its_zone_is_taken(zone_of_scheduler: Api) -> None:
    api, sentence = zone_of_scheduler, ZONE_OF_SCHEDULER.format(zone="Africa/Johannesburg")
    made = await api.made("schedule", time_zone="Africa/Johannesburg")
    path = f"{PATH}{made['id']}/"
    for zone in ("Europe/Berlin", "UTC", "Africa/Maputo"):
        for method, at in (("POST", PATH), ("PUT", path), ("PATCH", path)):
            answer = await api.call(method, at, {"time_zone": zone})
            assert (answer.status, answer.json) == (400, {"time_zone": [sentence]}), (method, zone)
    assert (await api.get(path)).json["time_zone"] == "Africa/Johannesburg"
    assert (await api.call("PATCH", path, {"time_zone": None})).status == 200


@pytest_twisted.ensureDeferred
async def test_another_zone_that_is_stored_already_stays(
    zone_of_scheduler: Api, direct: Arranged
) -> None:
    api = zone_of_scheduler
    for zone in ("Europe/Berlin", "Mars/Base"):
        path = f"{PATH}{direct.schedule(time_zone=zone)}/"
        answer = await api.call("PATCH", path, {"hour": "9"})
        assert (answer.status, answer.json["time_zone"]) == (200, zone)
        assert (await api.call("PUT", path, answer.json | {"minute": "5"})).status == 200
        assert (await api.call("PATCH", path, {"time_zone": "UTC"})).status == 400
        assert (await api.call("PATCH", path, {"time_zone": "Africa/Johannesburg"})).status == 200

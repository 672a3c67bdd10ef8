from __future__ import annotations

from twisted.web.http_headers import Headers

from tests.web.conftest import Answer
from tests.web.openapi.conformance import objections

SCHEDULE = (
    '{"id":1,"minute":"*","hour":"*","day_of_week":"*","day_of_month":"*","month_of_year":"*",'
    '"time_zone":null,"send_hours":null,"max_age":null,"max_rate":null,"canary":null,'
    '"brake_percent":null,"brake_after":null}'
)


def answered(status: int, text: str, **headers: str) -> Answer:
    return Answer(
        status=status, headers=Headers({name: [one] for name, one in headers.items()}), text=text
    )


def test_an_answer_as_described_is_not_objected_to() -> None:
    answer = answered(200, SCHEDULE, Allow="GET")
    assert objections("GET", "/api/v1/schedule/1?x=y", answer) == []


def test_a_status_that_is_not_described_is_objected_to() -> None:
    assert objections("GET", "/api/v1/schedule/1/", answered(418, SCHEDULE, Allow="GET"))


def test_a_member_too_many_or_too_few_is_objected_to() -> None:
    more = SCHEDULE.replace("}", ',"x":1}')
    assert objections("GET", "/api/v1/schedule/1/", answered(200, more, Allow="GET"))
    less = SCHEDULE.replace('"id":1,', "")
    assert objections("GET", "/api/v1/schedule/1/", answered(200, less, Allow="GET"))


def test_a_header_that_lacks_is_objected_to() -> None:
    assert objections("GET", "/api/v1/schedule/1/", answered(200, SCHEDULE))


def test_a_body_where_none_should_be_is_objected_to() -> None:
    assert objections("DELETE", "/api/v1/schedule/1/", answered(204, "{}", Allow="GET"))

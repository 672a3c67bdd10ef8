from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.arrange import arranged
from tests.web.conftest import IDENTITY, SCHEDULER_TOKEN, Api

OTHER = "16b0f41f-d7b6-44c8-a481-87a8c4a8c08d"


def path_of(subscription: Any, action: str = "") -> str:
    return f"/api/v1/subscriptions/{subscription['id']}/{action}"


async def found(api: Api, query: str) -> list[Any]:
    answer = await api.get(f"/api/v1/subscriptions/?{query}")
    assert answer.status == 200, answer.text
    return [row["id"] for row in answer.json["results"]]


@pytest_twisted.ensureDeferred
async def test_an_identity_is_kept_in_lower_case_and_found_in_any(api: Api) -> None:
    made = await api.subscription(identity=IDENTITY.upper())
    assert made["identity"] == IDENTITY
    assert await found(api, f"identity={IDENTITY.upper()}") == [made["id"]]
    assert await found(api, "identity=nobody") == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("identity", "nobody", "Must be a valid UUID."),
        ("process_status", 77, '"77" is not a valid choice.'),
        ("metadata", [1], 'Expected a dictionary of items but got type "list".'),
        ("messageset", 9999, 'Invalid pk "9999" - object does not exist.'),
        ("schedule", "9999", 'Invalid pk "9999" - object does not exist.'),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_is_refused(api: Api, field: str, value: Any, message: str) -> None:
    made = await api.subscription()
    given = {"identity": IDENTITY, "lang": "eng"} | {
        name: made[name] for name in ("messageset", "schedule")
    }
    answer = await api.post("/api/v1/subscriptions/", given | {field: value})
    assert (answer.status, answer.json) == (400, {field: [message]})


@pytest_twisted.ensureDeferred
async def test_subscriptions_are_listed_newest_first_and_filtered(api: Api) -> None:
    first = await api.subscription()
    second = await api.subscription(identity=OTHER, lang="zul_ZA", active=False)
    third = await api.subscription(completed=True)
    assert await found(api, "") == [third["id"], second["id"], first["id"]]
    assert await found(api, "limit=1&offset=1") == [second["id"]]
    assert await found(api, "active=False") == [third["id"], second["id"]]
    assert await found(api, "active=maybe") == [third["id"], second["id"], first["id"]]
    assert await found(api, "completed=1") == [third["id"]]
    assert await found(api, "lang=zul_ZA") == [second["id"]]
    assert await found(api, f"messageset={first['messageset']}") == [first["id"]]
    assert await found(api, f"schedule={second['schedule']}") == [second["id"]]
    assert await found(api, "process_status=2.0") == [third["id"]]
    assert await found(api, "process_status=" + "9" * 50) == []


@pytest_twisted.ensureDeferred
async def test_filters_that_cannot_be_read_are_refused_together(api: Api) -> None:
    answer = await api.get("/api/v1/subscriptions/?messageset=9999&process_status=x&lang=%00")
    assert (answer.status, answer.json) == (
        400,
        {
            "messageset": [
                "Select a valid choice. That choice is not one of the available choices."
            ],
            "lang": ["Null characters are not allowed."],
            "process_status": ["Enter a number."],
        },
    )


@pytest_twisted.ensureDeferred
async def test_a_live_send_makes_ready_read_as_in_process(api: Api) -> None:
    made = await api.subscription()
    waiting = await api.subscription()
    await api.post(path_of(made, "send"))
    assert (await api.get(path_of(made))).json["process_status"] == 1
    assert await found(api, "process_status=1") == [made["id"]]
    assert await found(api, "process_status=0") == [waiting["id"]]


@pytest_twisted.ensureDeferred
async def test_a_trigger_is_accepted_once_and_wakes_the_pipeline(api: Api) -> None:
    made = await api.subscription()
    first = await api.post(path_of(made, "send"), token=SCHEDULER_TOKEN)
    assert (first.status, first.json, api.wakes) == (201, {"accepted": True}, ["sends"])
    second = await api.post(path_of(made, "send/"), "{nope", Content_Type="text/plain")
    assert (second.status, second.json["accepted"]) == (200, False)
    assert second.json["reason"]
    assert api.wakes == ["sends"]


@pytest.mark.parametrize("key", [OTHER, "abc", "a/b/c"])
@pytest_twisted.ensureDeferred
async def test_a_trigger_for_nobody_is_refused(api: Api, key: str) -> None:
    answer = await api.post(f"/api/v1/subscriptions/{key}/send")
    reason = f"Cannot find subscription with ID {key}"
    assert (answer.status, answer.json) == (400, {"accepted": False, "reason": reason})


@pytest.mark.parametrize("state", [{"active": False}, {"completed": True}, {"process_status": -1}])
@pytest_twisted.ensureDeferred
async def test_a_trigger_for_one_who_is_owed_nothing_is_no_failure(
    api: Api, state: dict[str, Any]
) -> None:
    made = await api.subscription(**state)
    answer = await api.post(path_of(made, "send"))
    assert (answer.status, answer.json["accepted"]) == (200, False)


@pytest_twisted.ensureDeferred
async def test_the_webhook_subscribes_with_defaults_of_its_own(api: Api) -> None:
    made = await api.subscription()
    data = {name: made[name] for name in ("identity", "lang", "messageset", "schedule")}
    answer = await api.post("/api/v1/subscriptions/request", {"hook": {}, "data": data})
    assert (answer.status, answer.json) == (201, {"accepted": True})
    location = answer.header("Location")
    assert location is not None
    created = (await api.get(location.removeprefix(api.base))).json
    names = ("metadata", "next_sequence_number", "initial_sequence_number")
    assert [created[name] for name in names] == [{}, 1, 1]


@pytest_twisted.ensureDeferred
async def test_the_webhook_takes_the_first_number_from_the_next(api: Api) -> None:
    made = await api.subscription()
    data = {name: made[name] for name in ("identity", "lang", "messageset", "schedule")}
    data |= {"next_sequence_number": 4, "id": OTHER, "created_at": "x"}
    answer = await api.post("/api/v1/subscriptions/request", {"data": data})
    created = (await api.get((answer.header("Location") or "").removeprefix(api.base))).json
    assert (created["initial_sequence_number"], created["id"] != OTHER) == (4, True)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ('"data"', {"data": ["This field is required."]}),
        ("5", {"data": ["This field is required."]}),
        ("null", {"data": ["This field is required."]}),
        (
            '{"data": []}',
            {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]},
        ),
        ('{"data": null}', {"non_field_errors": ["No data provided"]}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_webhook_refuses_what_is_no_subscription(
    api: Api, body: str, errors: dict[str, Any]
) -> None:
    answer = await api.post("/api/v1/subscriptions/request", body)
    assert (answer.status, answer.json) == (400, errors)


@pytest_twisted.ensureDeferred
async def test_completing_ends_the_activity(api: Api) -> None:
    made = await api.subscription()
    answer = await api.call("PATCH", path_of(made), {"completed": True})
    changed = answer.json
    assert [changed[name] for name in ("completed", "active", "process_status")] == [True, False, 2]


@pytest_twisted.ensureDeferred
async def test_a_status_that_was_read_while_in_process_can_be_written_back(
    api: Api, database_uri: str
) -> None:
    made = await api.subscription()
    await api.post(path_of(made, "send"))
    read = (await api.get(path_of(made))).json
    assert (await api.call("PUT", path_of(made), read)).json["process_status"] == 1
    with arranged(database_uri) as direct:
        assert direct.value("SELECT process_status FROM subscriptions") == 0


@pytest_twisted.ensureDeferred
async def test_an_error_stays_until_it_is_cleared(api: Api) -> None:
    made = await api.subscription(process_status=-1)
    changed = await api.call("PATCH", path_of(made), {"lang": "zul_ZA"})
    assert changed.json["process_status"] == -1
    cleared = await api.call("PATCH", path_of(made), {"process_status": 0})
    assert cleared.json["process_status"] == 0


@pytest_twisted.ensureDeferred
async def test_a_row_comes_before_its_body_and_its_body_before_its_fields(api: Api) -> None:
    missing = await api.call("PATCH", f"/api/v1/subscriptions/{OTHER}/", "{nope")
    assert missing.status == 404
    made = await api.subscription()
    assert (await api.call("PATCH", path_of(made), "{nope")).json["detail"].startswith("JSON parse")


@pytest_twisted.ensureDeferred
async def test_a_subscription_is_deleted_once(api: Api) -> None:
    made = await api.subscription()
    assert (await api.call("DELETE", path_of(made))).status == 204
    assert (await api.call("DELETE", path_of(made))).status == 404


# Places in a message set

TOO_LOW = ["Ensure this value is greater than or equal to 1."]
NUMBERS = ("next_sequence_number", "initial_sequence_number")


def described(made: Any, **fields: Any) -> dict[str, Any]:
    names = ("identity", "lang", "messageset", "schedule")
    return {name: made[name] for name in names} | fields


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("number", [0, -1, "0", -(2**31)])
@pytest_twisted.ensureDeferred
async def test_a_number_below_1_is_refused_at_every_door(
    api: Api, field: str, number: object
) -> None:
    made = await api.subscription()
    given = described(made, **{field: number})
    answers = [
        await api.post("/api/v1/subscriptions/", given),
        await api.post("/api/v1/subscriptions/request", {"data": given}),
        await api.call("PUT", path_of(made), given),
        await api.call("PATCH", path_of(made), {field: number}),
    ]
    assert [(one.status, one.json) for one in answers] == [(400, {field: TOO_LOW})] * 4
    assert (await api.get(path_of(made))).json[field] == 1
    assert (await api.get("/api/v1/subscriptions/")).json["count"] == 1


@pytest.mark.parametrize("given", [None, 0, -1, 2**31, "9" * 1001])
@pytest_twisted.ensureDeferred
async def test_of_a_wrong_next_number_the_webhook_names_that_field_alone(
    api: Api, given: object
) -> None:
    data = described(await api.subscription(), next_sequence_number=given)
    answer = await api.post("/api/v1/subscriptions/request", {"data": data})
    assert (answer.status, list(answer.json)) == (400, ["next_sequence_number"])


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({}, (1, 1)),
        ({"next_sequence_number": "7"}, (7, 7)),
        ({"next_sequence_number": 7, "initial_sequence_number": 3}, (7, 3)),
        ({"initial_sequence_number": 3}, (1, 3)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_the_webhook_makes_begins_with_its_next_message(
    api: Api, given: dict[str, Any], numbers: tuple[int, int]
) -> None:
    data = described(await api.subscription(), **given)
    answer = await api.post("/api/v1/subscriptions/request", {"data": data})
    assert answer.status == 201
    made = (await api.get((answer.header("Location") or "").removeprefix(api.base))).json
    assert tuple(made[name] for name in NUMBERS) == numbers
    assert made["metadata"] == {}


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("next_sequence_number", "-3", -3),
        ("initial_sequence_number", "0", 0),
        ("identity", "'no uuid'", "no uuid"),
        ("lang", "'e'", "e"),
        ("metadata", "'[1]'", [1]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_imported_value_can_be_written_back_as_it_is(
    api: Api, database_uri: str, column: str, value: str, shown: object
) -> None:
    made = await api.subscription()
    with arranged(database_uri) as direct:
        direct.rows(f"UPDATE subscriptions SET {column} = {value}")  # noqa: S608
    read = (await api.get(path_of(made))).json
    assert read[column] == shown
    for method, body in (("PUT", read | {"active": False}), ("PATCH", {column: shown})):
        answer = await api.call(method, path_of(made), body)
        assert (answer.status, answer.json[column]) == (200, shown), answer.text
    other = {"metadata": [2]}.get(column, "other" if isinstance(shown, str) else -7)
    assert (await api.call("PATCH", path_of(made), {column: other})).status == 400


@pytest_twisted.ensureDeferred
async def test_an_imported_value_can_be_written_back_by_a_form(api: Api, database_uri: str) -> None:
    made = await api.subscription()
    with arranged(database_uri) as direct:
        direct.rows("UPDATE subscriptions SET next_sequence_number = -3")
    form = "application/x-www-form-urlencoded"
    for number, status in ("-3", 200), ("-4", 400):
        body = f"next_sequence_number={number}"
        answer = await api.call("PATCH", path_of(made), body, Content_Type=form)
        assert answer.status == status

"""``/api/v1/simulations/``: what goes out; and the tick that goes out as it was simulated."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred

from tests.arrange import Arranged
from tests.web.conftest import Api

SIMULATIONS = "/api/v1/simulations/"


@define
class Enrolled:
    """Twelve people in three positions of a set, one of which has no message in the language."""

    direct: Arranged
    schedule: int = field(init=False)
    following: int = field(init=False)
    messageset: int = field(init=False)
    first: list[UUID] = field(init=False)
    foreign: list[UUID] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule(minute="0", hour="8")
        self.following = self.direct.messageset("baby", self.schedule)
        self.messageset = self.direct.messageset(
            "pregnancy", self.schedule, next_set=self.following
        )
        self.direct.rows("DELETE FROM content_changes")
        self.first = self.direct.subscriptions(6, self.messageset, self.schedule)
        self.direct.subscriptions(4, self.messageset, self.schedule, next_sequence_number=3)
        self.foreign = self.direct.subscriptions(2, self.messageset, self.schedule, lang="xho_ZA")

    def deactivate(self, count: int) -> None:
        self.direct.rows(
            "UPDATE subscriptions SET active = false WHERE id = ANY(%s)", self.first[:count]
        )


async def simulated(api: Api, **asked: Any) -> Any:
    answer = await api.post(SIMULATIONS, asked)
    assert answer.status == 200, answer.text
    return answer.json


@ensureDeferred
async def test_a_tick_now_is_told_and_nothing_is_done(api: Api, direct: Arranged) -> None:
    enrolled = Enrolled(direct)
    told = await simulated(api, schedule=enrolled.schedule)
    place = {"messageset": enrolled.messageset, "lang": "eng_ZA"}
    assert (told["members"], told["send"]) == (
        12,
        {
            "count": 10,
            "sms": 10,
            "by": [
                {**place, "sequence_number": 1, "count": 6, "sms": 6},
                {**place, "sequence_number": 3, "count": 4, "sms": 4},
            ],
        },
    )
    (unsent,) = told["not"]
    examples = {one["subscription"] for one in unsent.pop("examples")}
    assert examples == set(map(str, enrolled.foreign))
    assert unsent == {
        "outcome": "failed",
        "stage": "content",
        "reason": "pregnancy has no message in xho_ZA",
        "count": 2,
        "by": [
            {
                "messageset": enrolled.messageset,
                "lang": "xho_ZA",
                "sequence_number": None,
                "count": 2,
            }
        ],
    }
    assert told["completes"] == 4
    assert told["continues"] == [{**place, "next_set": enrolled.following, "count": 4}]
    assert (told["follows"], told["holds"], told["last_tick"]) == (None, [], None)
    assert direct.rows("SELECT FROM ticks") == direct.rows("SELECT FROM sends") == []


@ensureDeferred
async def test_members_of_a_tick_under_way_are_skipped_and_the_tick_is_named(
    api: Api, direct: Arranged
) -> None:
    enrolled = Enrolled(direct)
    assert (await api.post(f"/api/v1/schedule/{enrolled.schedule}/send/")).status == 202
    told = await simulated(api, schedule=enrolled.schedule)
    assert told["follows"] == direct.value("SELECT id FROM ticks")
    (unsent,) = told["not"]
    assert (unsent["reason"], unsent["count"], told["send"]["count"]) == (
        *("the tick before it was still being sent", 12),
        0,
    )
    assert len(unsent["examples"]) == 5


@ensureDeferred
async def test_what_would_hold_a_tick_back_is_told(api: Api, direct: Arranged) -> None:
    enrolled = Enrolled(direct)
    direct.rows("UPDATE schedules SET canary = 100")
    direct.rows(
        "INSERT INTO pauses (kind, reason, on_ticks, paused_by, paused_at)"
        " VALUES ('operator', 'wrong texts', 'later', 'ann', now())"
    )
    told = await simulated(api, schedule=enrolled.schedule)
    assert told["holds"] == [
        "nothing leaves yet: it is paused",
        "after its first 100 messages it waits for a person",
    ]


@ensureDeferred
async def test_the_last_tick_and_the_rate_say_what_is_not_known_before(
    api: Api, direct: Arranged
) -> None:
    enrolled = Enrolled(direct)
    (tick,) = direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, due_at, triggers, created_at)"
        " VALUES ('post-back', 'expanded', %s, now() - interval '2 hours', 30,"
        " now() - interval '2 hours') RETURNING id",
        enrolled.schedule,
    )
    direct.rows(
        "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id,"
        " identity, messageset_id, lang, settled_at)"
        " SELECT gen_random_uuid(), %s, 'next',"
        " CASE WHEN n > 27 THEN 'failed' WHEN n > 25 THEN 'refused' ELSE 'sent' END,"
        " CASE WHEN n > 27 THEN 'address' ELSE 'post' END, '', gen_random_uuid(), 'x', %s,"
        " 'eng_ZA', now() - interval '1 hour' + n * interval '0.5 seconds'"
        " FROM generate_series(1, 30) n",
        *(tick["id"], enrolled.messageset),
    )
    told = await simulated(api, schedule=enrolled.schedule)
    assert told["last_tick"] | {"due_at": None} == {
        "id": tick["id"],
        "due_at": None,
        "members": 30,
        "without_address": 3,
        "refused": 2,
    }
    assert told["per_second"] == pytest.approx(27 / 13, abs=0.1)
    assert told["done_about"] > told["as_of"]


@pytest.mark.parametrize("changes", [0, 1])
@ensureDeferred
async def test_a_tick_with_the_token_goes_out_if_the_world_is_nearly_the_same(
    api: Api, direct: Arranged, changes: int
) -> None:
    enrolled = Enrolled(direct)
    told = await simulated(api, schedule=enrolled.schedule, allowed_change=9)
    enrolled.deactivate(changes)
    answer = await api.post(
        f"/api/v1/schedule/{enrolled.schedule}/send/", simulation_token=told["token"]
    )
    assert (answer.status, answer.json, api.wakes) == (202, {}, ["ticks"])
    assert direct.value("SELECT count(*) FROM ticks") == 1


@ensureDeferred
async def test_a_tick_with_the_token_is_refused_with_the_new_numbers_if_the_world_has_changed(
    api: Api, direct: Arranged
) -> None:
    enrolled = Enrolled(direct)
    told = await simulated(api, schedule=enrolled.schedule, allowed_change=9)
    enrolled.deactivate(2)
    path = f"/api/v1/schedule/{enrolled.schedule}/send/"
    answer = await api.post(path, simulation_token=told["token"])
    assert answer.status == 409
    assert answer.json["detail"] == (
        "The tick was not opened: since the simulation, the results of 2 people have changed, and"
        " at most 1 may have."
    )
    assert answer.json["simulated"]["send"]["count"] == 10
    assert answer.json["now"]["send"]["count"] == 8
    assert answer.json["now"]["not"] == [
        {
            "outcome": "failed",
            "stage": "content",
            "reason": "pregnancy has no message in xho_ZA",
            "count": 2,
        }
    ]
    assert direct.rows("SELECT FROM ticks") == []
    assert (await api.post(path)).status == 202


@ensureDeferred
async def test_a_second_tick_with_the_same_token_is_refused_as_all_would_be_skipped(
    api: Api, direct: Arranged
) -> None:
    enrolled = Enrolled(direct)
    token = (await simulated(api, schedule=enrolled.schedule))["token"]
    path = f"/api/v1/schedule/{enrolled.schedule}/send/"
    assert (await api.post(path, simulation_token=token)).status == 202
    again = await api.post(path, simulation_token=token)
    assert (again.status, again.json["now"]["send"]["count"]) == (409, 0)
    assert direct.value("SELECT count(*) FROM ticks") == 1


@ensureDeferred
async def test_another_token_opens_nothing(api: Api, direct: Arranged) -> None:
    enrolled = Enrolled(direct)
    told = await simulated(api, schedule=enrolled.schedule)
    other = direct.schedule(minute="1")
    path = f"/api/v1/schedule/{enrolled.schedule}/send/"
    for place, token in (
        (path, str(uuid4())),
        (path, "now"),
        (f"/api/v1/schedule/{other}/send/", told["token"]),
    ):
        answer = await api.post(place, simulation_token=token)
        assert answer.status == 400
        assert "Simulation-Token" in answer.json["detail"]
    assert (
        await api.post("/api/v1/schedule/99/send/", simulation_token=told["token"])
    ).status == 404
    direct.rows("UPDATE simulations SET made_at = made_at - interval '24 hours'")
    assert (await api.post(path, simulation_token=told["token"])).status == 400
    assert direct.rows("SELECT FROM ticks") == []


@ensureDeferred
async def test_a_moment_to_come_and_several_days_are_simulated(api: Api, direct: Arranged) -> None:
    enrolled = Enrolled(direct)
    days = await simulated(api, days=2)
    assert [tick["sent"] for tick in days["ticks"]] == [10, 10]
    assert [tick["not_sent"] for tick in days["ticks"]] == [2, 2]
    assert (days["members"], days["send"]["count"], "token" in days) == (24, 20, False)
    second = days["ticks"][1]["at"]
    told = await simulated(api, schedule=enrolled.schedule, at=second)
    assert [(tick["at"], tick["sent"]) for tick in told["ticks"]] == [(second, 10)]
    numbers = {(one["messageset"], one["sequence_number"]) for one in told["send"]["by"]}
    assert numbers == {(enrolled.messageset, 2), (enrolled.following, 1)}


@ensureDeferred
async def test_changed_messages_are_told_and_not_made(api: Api, direct: Arranged) -> None:
    enrolled = Enrolled(direct)
    messages = direct.rows("SELECT * FROM messages ORDER BY id")
    told = await simulated(
        api,
        messageset=enrolled.messageset,
        changes=[
            {"sequence_number": 3, "lang": "eng_ZA", "delete": True},
            {"sequence_number": 1, "lang": "xho_ZA", "text_content": "ŵ" * 71},
            {"sequence_number": 1, "lang": "eng_ZA", "text_content": "x" * 161},
        ],
    )
    assert told["before"]["send"] | {"by": None} == {"count": 10, "sms": 10, "by": None}
    assert told["send"] | {"by": None} == {"count": 8, "sms": 16, "by": None}
    assert (told["changed"], told["completes"], told["before"]["completes"]) == (6, 4 + 2, 4)
    assert {one["reason"] for one in told["not"]} == {
        "pregnancy has no further message in eng_ZA: the subscription is completed"
        "; no message of the set was sent to it from here, so that no next set begins"
    }
    assert direct.rows("SELECT * FROM messages ORDER BY id") == messages
    assert direct.rows("SELECT FROM content_changes") == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"sequence_number": 9, "lang": "eng_ZA", "delete": True},
            "message 9 in eng_ZA: delete: There is no such message.",
        ),
        (
            {"sequence_number": 1, "lang": "eng_ZA", "text_content": "x" * 1001},
            "message 1 in eng_ZA: text_content: ",
        ),
        (
            {"sequence_number": 1, "lang": "English", "text_content": "x"},
            "Change 1 has to have lang",
        ),
        ({"sequence_number": 1, "lang": "eng_ZA"}, "Change 1 has to have text_content, or delete"),
        ("x", "Change 1 is not an object."),
    ],
)
@ensureDeferred
async def test_changes_that_would_be_refused_are(
    api: Api, direct: Arranged, change: Any, told: str
) -> None:
    enrolled = Enrolled(direct)
    asked = {"messageset": enrolled.messageset, "changes": [change]}
    answer = await api.post(SIMULATIONS, asked)
    assert answer.status == 400
    (sentence,) = answer.json["changes"]
    assert sentence.startswith(told)


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({}, ["non_field_errors"]),
        ({"schedule": 1, "days": 3}, ["non_field_errors"]),
        ({"schedule": 99}, ["schedule"]),
        ({"schedule": 99, "at": "2026-01-01T08:00:00Z"}, ["at"]),
        ({"schedule": "x"}, ["schedule"]),
        ({"days": 0}, ["days"]),
        ({"days": 32}, ["days"]),
        ({"days": 3, "at": "2026-01-01T08:00:00Z"}, ["at"]),
        ({"days": 3, "changes": []}, ["changes"]),
        ({"messageset": 1}, ["changes"]),
        (
            {"messageset": 99, "changes": [{"sequence_number": 1, "lang": "eng", "delete": True}]},
            ["messageset"],
        ),
        ({"schedule": 1, "allowed_change": 101}, ["allowed_change"]),
    ],
)
@ensureDeferred
async def test_what_cannot_be_simulated_is_refused_by_field(
    api: Api, asked: dict[str, Any], fields: list[str]
) -> None:
    answer = await api.post(SIMULATIONS, asked)
    assert (answer.status, list(answer.json)) == (400, fields)

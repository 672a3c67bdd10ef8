"""``/api/v1/identities/<id>/timeline/``: a person's whole story, and what is planned."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_twisted

from sbm.model.send import Send, Settled
from sbm.store import resends, sends, ticks
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.web.conftest import IDENTITY, Api, a_scheduling, served

PATH = f"/api/v1/identities/{IDENTITY}/timeline/"
SENT = Settled(outcome="sent", stage="post", outbound_id="ob-1")


async def told(api: Api, path: str = PATH) -> Any:
    answer = await api.get(path)
    assert answer.status == 200, answer.text
    return answer.json


async def all_events(api: Api, path: str = f"{PATH}?limit=2") -> list[Any]:
    events: list[Any] = []
    while path:
        page = await told(api, path)
        assert (page["planned"] is None) == ("cursor" in path)
        events += page["results"]
        path = (page["next"] or "").replace(api.base, "")
    return events


async def tick(database: Database, schedule: int, result: Settled = SENT) -> list[Send]:
    """A tick, whose sends all have this result."""
    await database.transact(ticks.open_tick, schedule_id=schedule)
    while await database.transact(ticks.expand, limit=100) is not None:
        pass
    claimed = await database.transact(
        sends.claim, owner=uuid4(), limit=100, lease=timedelta(seconds=60)
    )
    await database.transact(sends.settle, results=[(send, result) for send in claimed])
    return claimed


async def ticks_in_a_row(database: Database, schedule: int, count: int) -> list[int]:
    """So many ticks, while nothing is sent."""
    opened = []
    for _ in range(count):
        opened.append(await database.transact(ticks.open_tick, schedule_id=schedule))
        while await database.transact(ticks.expand, limit=100) is not None:
            pass
    return [one for one in opened if one is not None]


def two_sets(direct: Arranged) -> tuple[int, int, int]:
    """A schedule, a set of two messages, and the set that follows it."""
    schedule = direct.schedule(minute="0", hour="8")
    baby = direct.messageset("baby", schedule, langs=("eng",))
    pregnancy = direct.messageset(
        "pregnancy", schedule, messages=2, next_set=baby, langs=("eng", "zul")
    )
    return schedule, pregnancy, baby


@pytest_twisted.ensureDeferred
async def test_the_whole_story_is_told_newest_first(api: Api, direct: Arranged) -> None:
    schedule, pregnancy, baby = two_sets(direct)
    made = await api.made(
        "subscriptions", identity=IDENTITY, messageset=pregnancy, schedule=schedule, lang="eng"
    )
    one = f"/api/v1/subscriptions/{made['id']}/"
    await tick(api.database, schedule)
    direct.rows("UPDATE messages SET text_content = 'corrected' WHERE sequence_number = 1")
    reason = {"X_Change_Reason": "she moved"}
    assert (await api.call("PATCH", one, {"lang": "zul"}, **reason)).status == 200
    await api.database.transact(resends.owe, subscription_id=UUID(made["id"]))
    await tick(api.database, schedule)
    refused = Settled(outcome="refused", stage="post", reason="the Message Sender answered 400")
    await tick(api.database, schedule, refused)

    events = await all_events(api)

    assert events == (await told(api))["results"]
    moments = [datetime.fromisoformat(event["at"]) for event in events]
    assert moments == sorted(moments, reverse=True)
    assert [event["event"] for event in events] == [
        "refused",
        "chained",
        "completed",
        *("sent", "sent"),
        "resend-requested",
        "changed",
        "sent",
        "registered",
    ]
    registered, first, changed = events[-1], events[-2], events[-3]
    assert (registered["by"], registered["subscription"]) == ("admin@example.org", made["id"])
    assert registered["details"]["action"] == "POST /api/v1/subscriptions/"
    assert first["text"] == "pregnancy 1 eng"
    assert first["details"]["outbound"] == "ob-1"
    assert first["details"]["delivered"] is None
    assert (changed["reason"], changed["details"]["after"]["lang"]) == ("she moved", "zul")
    assert {event["details"]["kind"] for event in events[3:5]} == {"next", "resend"}
    assert events[1]["details"]["chained_from"] == made["id"]
    assert events[2]["details"]["next_set"] == baby
    assert events[0]["reason"] == "the Message Sender answered 400"
    assert events[0]["details"]["reason_kind"] == "refused"


@pytest_twisted.ensureDeferred
async def test_ticks_that_skipped_the_person_again_are_told_with_the_first(
    api: Api, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    await api.made(
        "subscriptions", identity=IDENTITY, messageset=pregnancy, schedule=schedule, lang="eng"
    )
    _, second, third, fourth, last = await ticks_in_a_row(api.database, schedule, 5)
    skipped, _ = await all_events(api)
    assert (skipped["event"], skipped["details"]["tick"]) == ("skipped", second)
    again = skipped["details"]["skipped_again"]
    moments = [direct.value("SELECT due_at FROM ticks WHERE id = %s", one) for one in (third, last)]
    assert [
        datetime.fromisoformat(again[f"{name}_due_at"]) for name in ("first", "last")
    ] == moments
    assert again["ticks"] == 3
    found = (await api.get(f"/api/v1/ticks/{fourth}/")).json
    assert (found["triggers"], found["skipped_again"]) == (1, 1)
    assert found["progress"]["outcomes"]["skipped"] == 1
    (listed, *_) = (await api.get("/api/v1/ticks/")).json["results"]
    assert (listed["id"], listed["skipped_again"]) == (last, 1)


@pytest_twisted.ensureDeferred
async def test_deliveries_and_prepends_are_told(api: Api, direct: Arranged) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    await api.made(
        "subscriptions",
        identity=IDENTITY,
        messageset=pregnancy,
        schedule=schedule,
        lang="eng",
        metadata={"prepend_next_delivery": "Dear mother"},
    )
    await tick(api.database, schedule)
    direct.rows(
        "INSERT INTO deliveries (settled_at, ledger_id, messageset_id, lang, delivered, attempts,"
        " nack_reason, is_final) SELECT settled_at, id, 1, 'eng', false, 3, 'absent', true"
        " FROM ledger"
    )
    (sent, _) = (await told(api))["results"]
    assert sent["text"] == "Dear mother\npregnancy 1 eng"
    assert sent["details"]["delivered"] is False
    assert (sent["details"]["nack_reason"], sent["details"]["delivery_attempts"]) == ("absent", 3)


@pytest_twisted.ensureDeferred
async def test_the_story_goes_on_when_the_subscription_is_deleted(
    api: Api, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    made = await api.made(
        "subscriptions", identity=IDENTITY, messageset=pregnancy, schedule=schedule, lang="eng"
    )
    await tick(api.database, schedule)
    assert (await api.call("DELETE", f"/api/v1/subscriptions/{made['id']}/")).status == 204
    direct.rows("DELETE FROM messages")

    page = await told(api)

    assert page["planned"] == []
    assert [event["event"] for event in page["results"]] == ["deleted", "sent", "registered"]
    assert page["results"][1]["text"] == "pregnancy 1 eng"


@pytest_twisted.ensureDeferred
async def test_requests_are_told_with_their_caller_their_id_and_their_key(
    database_uri: str, tmp_path: Any, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    data = {"identity": IDENTITY, "messageset": pregnancy, "schedule": schedule, "lang": "eng"}
    path = "/api/v1/subscriptions/request"
    async with served(database_uri, tmp_path, duplicate_window=timedelta(minutes=10)) as api:
        first = {"X_Request_ID": "hub-1", "Idempotency_Key": "k1"}
        answer = await api.post(path, {"data": data}, token=api.user_token, **first)
        await api.post(path, {"data": data}, token=api.user_token, **first)
        for number in (2, 3):
            await api.post(path, {"data": data}, X_Request_ID=f"hub-{number}")
        refused = data | {"identity": IDENTITY.upper(), "messageset": 99, "lang": "x"}
        await api.post(path, {"data": refused}, X_Request_ID="hub-4", Idempotency_Key="k4")
        made, other = direct.rows("SELECT id FROM subscriptions ORDER BY created_at")
        events = (await told(api))["results"]
        assert [
            (
                event["event"],
                event["by"],
                event["details"]["request_id"],
                event["details"]["idempotency_key"],
                event["subscription"],
            )
            for event in events
        ] == [
            ("request-refused", "admin@example.org", "hub-4", "k4", None),
            ("request-twin", "admin@example.org", "hub-3", None, str(other["id"])),
            ("registered", "admin@example.org", "hub-2", None, str(other["id"])),
            ("request-replayed", "user@example.org", "hub-1", "k1", str(made["id"])),
            ("registered", "user@example.org", "hub-1", "k1", str(made["id"])),
        ]
        assert answer.status == 201
        assert events[0]["reason"] == "invalid: messageset, lang"
        assert events[0]["details"]["payload"]["data"]["messageset"] == 99
        # The audit is kept for another time than the account.
        for statement in ("DELETE FROM audit", "DELETE FROM subscriptions"):
            direct.rows(statement)
            last = (await told(api))["results"][-1]
            assert (last["event"], last["by"]) == ("registered", "user@example.org")
            assert last["details"]["idempotency_key"] == "k1"


@pytest_twisted.ensureDeferred
async def test_someone_whose_requests_were_all_refused_has_a_story(api: Api) -> None:
    data = {"identity": IDENTITY, "messageset": 9, "schedule": 9, "lang": "eng"}
    assert (await api.post("/api/v1/subscriptions/", data)).status == 400
    page = await told(api)
    assert [event["event"] for event in page["results"]] == ["request-refused"]
    assert page["planned"] == []


@pytest_twisted.ensureDeferred
async def test_a_subscription_that_was_another_persons_is_in_both_stories(
    api: Api, direct: Arranged
) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    former = str(uuid4())
    made = await api.made(
        "subscriptions", identity=former, messageset=pregnancy, schedule=schedule, lang="eng"
    )
    one = f"/api/v1/subscriptions/{made['id']}/"
    assert (await api.call("PATCH", one, {"identity": IDENTITY})).status == 200
    assert [event["event"] for event in (await told(api))["results"]] == ["changed"]
    before = await told(api, f"/api/v1/identities/{former}/timeline/")
    assert [event["event"] for event in before["results"]] == ["changed", "registered"]


@pytest_twisted.ensureDeferred
async def test_who_is_not_known_has_no_story(api: Api) -> None:
    assert (await api.get(f"/api/v1/identities/{uuid4()}/timeline/")).status == 404
    assert (await api.get("/api/v1/identities/%00/timeline/")).status == 404
    assert (await api.get("/api/v1/identities/")).status == 404


@pytest_twisted.ensureDeferred
async def test_people_read_is_needed(api: Api, direct: Arranged) -> None:
    direct.rows("UPDATE users SET is_limited = true WHERE NOT is_admin")
    assert (await api.get(PATH, token=api.user_token)).status == 403


class TestPlans:
    """What is planned, with the built-in clock, at eight in the morning of Johannesburg."""

    @pytest_twisted.async_yield_fixture
    async def api(self, database_uri: str, tmp_path: Any) -> Any:
        async with served(database_uri, tmp_path, scheduling=a_scheduling("builtin")) as api:
            yield api

    async def plan(self, api: Api) -> Any:
        (plan,) = (await told(api))["planned"]
        return plan

    async def subscribed(self, api: Api, direct: Arranged, **fields: Any) -> Any:
        schedule, pregnancy, _ = two_sets(direct)
        direct.rows("UPDATE schedules SET time_zone = 'Africa/Johannesburg'")
        return await api.made(
            "subscriptions",
            identity=IDENTITY,
            messageset=pregnancy,
            schedule=schedule,
            **{"lang": "eng", **fields},
        )

    @pytest_twisted.ensureDeferred
    async def test_the_next_messages_have_the_dates_of_their_ticks(
        self, api: Api, direct: Arranged
    ) -> None:
        await self.subscribed(api, direct)
        for number in range(3, 9):
            direct.message(direct.value("SELECT max(id) FROM messagesets"), number, "eng", "x")
        plan = await self.plan(api)
        assert plan["obstacles"] == []
        assert [one["sequence_number"] for one in plan["messages"]] == [1, 2, 3, 4, 5]
        moments = [datetime.fromisoformat(one["at"]) for one in plan["messages"]]
        assert {moment.strftime("%H:%M") for moment in moments} == {"06:00"}
        gaps = {later - earlier for earlier, later in pairwise(moments)}
        assert gaps == {timedelta(days=1)}
        assert not plan["completes"]

    @pytest_twisted.ensureDeferred
    async def test_the_end_of_the_set_is_told(self, api: Api, direct: Arranged) -> None:
        await self.subscribed(api, direct)
        plan = await self.plan(api)
        assert (len(plan["messages"]), plan["completes"]) == (2, True)
        assert plan["next_set"] == direct.value("SELECT next_set_id FROM messagesets WHERE id > 1")

    @pytest_twisted.ensureDeferred
    async def test_a_live_send_comes_first(self, api: Api, direct: Arranged) -> None:
        made = await self.subscribed(api, direct)
        await api.database.transact(sends.owe, subscription_id=UUID(made["id"]))
        first, second = (await self.plan(api))["messages"]
        assert (first["state"], second["state"]) == ("owed", None)
        assert first["at"] < second["at"]

    @pytest_twisted.ensureDeferred
    async def test_a_live_send_beyond_the_end_has_no_message(
        self, api: Api, direct: Arranged
    ) -> None:
        made = await self.subscribed(api, direct)
        await api.database.transact(sends.owe, subscription_id=UUID(made["id"]))
        direct.rows("UPDATE subscriptions SET next_sequence_number = 9")
        plan = await self.plan(api)
        assert plan["messages"] == []
        assert plan["obstacles"] == ["pregnancy has no message in eng from number 9 on"]

    @pytest_twisted.ensureDeferred
    async def test_the_languages_of_a_fallback_are_told(self, api: Api, direct: Arranged) -> None:
        await self.subscribed(api, direct, lang="zul")
        direct.rows("DELETE FROM messages WHERE lang = 'zul' AND sequence_number = 1")
        direct.rows("UPDATE messagesets SET on_missing_translation = 'fallback:eng'")
        plan = await self.plan(api)
        assert plan["obstacles"] == []
        told = [(one["sequence_number"], one["lang"]) for one in plan["messages"]]
        assert told == [(1, "eng"), (2, "zul")]
        assert None not in [one["at"] for one in plan["messages"]]

    @pytest_twisted.ensureDeferred
    async def test_what_a_subscription_waits_for_is_told(self, api: Api, direct: Arranged) -> None:
        await self.subscribed(api, direct, lang="zul")
        direct.rows("DELETE FROM messages WHERE lang = 'zul' AND sequence_number = 2")
        direct.rows("UPDATE messagesets SET on_missing_translation = 'wait'")
        plan = await self.plan(api)
        assert plan["obstacles"] == [
            "message 2 of pregnancy is missing in zul: the subscription waits for it"
        ]
        first, second = plan["messages"]
        assert (first["lang"], first["at"] is None) == ("zul", False)
        assert (second["lang"], second["at"]) == (None, None)
        assert plan["completes"]

    @pytest.mark.parametrize(
        ("arranged", "sentence"),
        [
            ("UPDATE subscriptions SET active = false", "the subscription is not active"),
            (
                "UPDATE subscriptions SET process_status = -1",
                "the subscription is in error (-1)",
            ),
            ("DELETE FROM messages WHERE lang = 'eng'", "pregnancy has no message in eng"),
            (
                "UPDATE subscriptions SET next_sequence_number = 9",
                "pregnancy has no message in eng from number 9 on",
            ),
            (
                "INSERT INTO pauses (kind, on_ticks, reason, schedule_id)"
                " SELECT 'operator', 'later', 'a flood', id FROM schedules",
                "it is paused: a flood",
            ),
            (
                "UPDATE schedules SET day_of_month = '31', month_of_year = '2'",
                "its schedule is never due",
            ),
            (
                "UPDATE schedules SET time_zone = 'Africa/Nowhere'",
                "this machine does not know the time zone Africa/Nowhere",
            ),
            (
                "UPDATE schedules SET minute = 'x'",
                "the fields of its schedule cannot be read",
            ),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_what_stands_in_the_way_is_told(
        self, api: Api, direct: Arranged, arranged: str, sentence: str
    ) -> None:
        await self.subscribed(api, direct)
        direct.rows(arranged)
        assert (await self.plan(api))["obstacles"] == [sentence]

    @pytest_twisted.ensureDeferred
    async def test_a_pause_of_others_is_no_obstacle(self, api: Api, direct: Arranged) -> None:
        await self.subscribed(api, direct)
        direct.rows(
            "INSERT INTO pauses (kind, on_ticks, reason, messageset_id)"
            " SELECT 'operator', 'later', 'x', id FROM messagesets WHERE short_name = 'baby'"
        )
        assert (await self.plan(api))["obstacles"] == []


@pytest_twisted.ensureDeferred
async def test_the_scheduler_ticks_by_the_cron_that_it_was_told(api: Api, direct: Arranged) -> None:
    schedule, pregnancy, _ = two_sets(direct)
    made = await api.made(
        "subscriptions", identity=IDENTITY, messageset=pregnancy, schedule=schedule, lang="eng"
    )
    (plan,) = (await told(api))["planned"]
    assert plan["obstacles"] == ["the Scheduler has no schedule that calls for it"]
    assert [one["at"] for one in plan["messages"]] == [None, None]

    direct.rows(
        "INSERT INTO scheduler_schedules (kind, target, remote_id, enabled, made_with)"
        " VALUES ('subscription', %s, '1', true, '30 9 * * *')",
        made["id"],
    )
    (plan,) = (await told(api))["planned"]
    assert plan["obstacles"] == []
    assert all("T09:30:00" in one["at"] for one in plan["messages"])

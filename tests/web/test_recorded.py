"""What the service in use answered, asked again: every exchange of the recording, in its order.

``recorded.json`` is the recording; ``differences`` says where sbm goes another way, and why. Ids,
tokens, names of files and the host are mapped, times are masked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest_twisted
from attrs import define

from sbm.model.password import hash_password
from sbm.model.user import FIND_BEHIND_SUBSCRIPTIONS, VIEW_BEHIND_SUBSCRIPTIONS
from sbm.operations import users
from tests.arrange import Arranged, arranged
from tests.web.conftest import Api
from tests.web.differences import DIFFERENCES
from tests.web.openapi.conformance import objections
from tests.web.replay import HOST, RecordedNames, RecordedRequest, ask, differences, other_form

RECORDED: list[RecordedRequest] = json.loads(
    Path(__file__).with_name("recorded.json").read_text(encoding="utf-8")
)
# Recorded from a service of its own.
APART = "extra: "


@define
class Stage:
    """What is done behind the service's back between two exchanges."""

    api: Api
    names: RecordedNames
    direct: Arranged

    async def people(self) -> None:
        """Those whom the recording knows: an administrator, an ordinary and an inactive user."""
        transact = self.api.database.transact
        for name in ("normal", "inactive"):
            password = hash_password(f"{name}pw")
            user_id = await transact(users.create, username=name, password=password)
            _, token = await transact(users.issue_token, user_id=user_id)
            self.names.texts["b" * 40 if name == "normal" else "c" * 40] = token
            if name == "normal":
                self.names.learn("updated_by", 2, user_id)
        await transact(users.set_active, username="inactive", is_active=False)

    async def before(self, name: str) -> None:
        scene = SCENES.get(name)
        if scene is not None:
            scene(self)

    def grant(self, *permissions: str) -> None:
        self.direct.rows(
            "INSERT INTO user_permissions (user_id, permission)"
            " SELECT id, unnest(%s) FROM users WHERE username = 'normal' ON CONFLICT DO NOTHING",
            list(permissions),
        )

    def five_subscriptions(self) -> None:
        """Only the last five, a day apart; an ordinary user has changed the second."""
        self.direct.rows(
            "DELETE FROM subscriptions WHERE id NOT IN"
            " (SELECT id FROM subscriptions ORDER BY created_at DESC LIMIT 5)"
        )
        self.direct.rows(
            "UPDATE subscriptions SET updated_by = users.id, created_at = moment,"
            " updated_at = moment + interval '1 hour' - interval '123456 microseconds'"
            " FROM (SELECT id, timestamptz '2025-12-31 10:00:00.123456Z' + interval '1 day' *"
            "  row_number() OVER (ORDER BY created_at) AS moment FROM subscriptions) AS days"
            " LEFT JOIN users ON username = 'normal' AND moment::date = '2026-01-02'"
            " WHERE days.id = subscriptions.id"
        )

    def nothing_owed(self) -> None:
        self.direct.rows("DELETE FROM sends")

    def a_failure(self) -> None:
        self.direct.rows(
            "INSERT INTO failed_tasks (id, send_id, kind, stage, reason, subscription_id, identity,"
            " initiated_at, attempt) SELECT 1, '33333333-3333-4333-8333-333333333333', 'next',"
            " 'post', 'Unexpected response: url: x, code: 500, details: {}', id, identity,"
            " '2026-01-01 00:00:00.5Z', 1 FROM subscriptions WHERE version = 3"
        )

    def three_behind(self) -> None:
        """As they were found, the last first."""
        wanted = next(one for one in RECORDED if one["name"].endswith("with view permission"))
        for row in reversed(json.loads(wanted["response"]["body"])["results"]):
            self.direct.rows(
                "INSERT INTO behind_subscriptions (id, subscription_id, messages_behind,"
                " current_messageset_id, current_sequence_number, expected_messageset_id,"
                " expected_sequence_number) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                row["id"],
                self.names.text(row["subscription_id"]),
                row["messages_behind"],
                self.names.number("messageset", row["current_messageset_id"]),
                row["current_sequence_number"],
                self.names.number("messageset", row["expected_messageset_id"]),
                row["expected_sequence_number"],
            )

    def whatsapp(self) -> None:
        self.direct.rows("UPDATE messagesets SET channel = 'WHATSAPP' WHERE short_name = 'wa'")


SCENES: dict[str, Callable[[Stage], None]] = {
    "message: whatsapp text ok": Stage.whatsapp,
    "subscriptions filters: ?identity=6fb30d6b-ba06-4964-825e-20f93388b9fe": (
        Stage.five_subscriptions
    ),
    "subscription actions: send no body": Stage.nothing_owed,
    "subscription actions: send malformed body": Stage.nothing_owed,
    "failed-tasks: retrieve": Stage.a_failure,
    "behind-subscriptions: retrieve": Stage.three_behind,
    "behind-subscriptions: list normal user with view permission": lambda stage: stage.grant(
        VIEW_BEHIND_SUBSCRIPTIONS
    ),
    "behind-subscriptions: find, normal user with both": lambda stage: stage.grant(
        VIEW_BEHIND_SUBSCRIPTIONS, FIND_BEHIND_SUBSCRIPTIONS
    ),
}


async def replayed(stage: Stage, exchanges: list[RecordedRequest]) -> list[str]:
    """In what the answers of here are other ones than they should be."""
    found = []
    for one in exchanges:
        await stage.before(one["name"])
        different = DIFFERENCES.get(one["name"])
        exchange = one if different is None else different.applied(one)
        if different is not None and different.same_as_other_form:
            exchange = await other_form(stage.api, stage.names, exchange)
        answer = await ask(stage.api, stage.names, exchange)
        found += differences(answer, exchange, stage.names)
        request = exchange["request"]
        if "raw" not in request:
            found += objections(request["method"], request["path"], answer)
    return found


@pytest_twisted.ensureDeferred
async def test_recorded_exchanges_are_answered_as_they_were(api: Api, database_uri: str) -> None:
    with arranged(database_uri) as direct:
        stage = Stage(api, RecordedNames({"a" * 40: api.token, HOST: api.base}), direct)
        await stage.people()
        exchanges = [one for one in RECORDED if not one["name"].startswith(APART)]
        found = await replayed(stage, exchanges)
    assert not found, "\n".join(found)


@pytest_twisted.ensureDeferred
async def test_so_are_those_that_were_recorded_apart(api: Api, database_uri: str) -> None:
    schedule = await api.made("schedule", minute="0")
    messageset = await api.made("messageset", short_name="x", default_schedule=schedule["id"])
    for number in (1, 2, 3):
        await api.made(
            "message",
            messageset=messageset["id"],
            sequence_number=number,
            lang="eng_ZA",
            text_content="x",
        )
    with arranged(database_uri) as direct:
        stage = Stage(api, RecordedNames({"a" * 40: api.token, HOST: api.base}), direct)
        found = await replayed(stage, [one for one in RECORDED if one["name"].startswith(APART)])
    assert not found, "\n".join(found)


def test_every_difference_is_one_of_the_recording() -> None:
    assert DIFFERENCES.keys() <= {one["name"] for one in RECORDED}

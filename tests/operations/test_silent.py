"""Active people whom no tick reaches: each is found, with the very cause, and nobody else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred

from sbm.model.silence import CAUSES, SilenceCause, SilentPerson
from sbm.model.time_zones import TimeZones
from sbm.operations import silent
from sbm.store import silent_subscriptions
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

UTC = ZoneInfo("UTC")
ZONES = TimeZones(default=UTC)


async def nothing() -> None:
    """No lease is kept."""


@define
class World:
    """A schedule, and a set in two languages with a gap in one."""

    direct: Arranged
    schedule: int = field(init=False)
    messageset: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule(minute="0", hour="8")
        self.messageset = self.direct.messageset("pregnancy", self.schedule, messages=4)
        for number in (1, 4):
            self.direct.message(self.messageset, number, "zul_ZA", "zul")
        self.mode("builtin")

    def mode(self, mode: str) -> None:
        self.direct.rows("DELETE FROM scheduling")
        self.direct.rows("INSERT INTO scheduling (mode) VALUES (%s)", mode)

    def people(self, count: int = 1, **fields: Any) -> list[UUID]:
        return self.direct.subscriptions(
            count,
            fields.pop("messageset", self.messageset),
            fields.pop("schedule", self.schedule),
            **fields,
        )

    def set(self, columns: str, *people: UUID) -> None:
        statement = f"UPDATE subscriptions SET {columns} WHERE id = ANY(%s)"  # noqa: S608
        self.direct.rows(statement, list(people))

    def told(self, kind: str, target: Any, **fields: Any) -> None:
        columns = {"kind": kind, "target": str(target), "remote_id": str(uuid4())} | fields
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        statement = f"INSERT INTO scheduler_schedules ({names}) VALUES ({marks})"  # noqa: S608
        self.direct.rows(statement, *columns.values())


async def causes(database: Database, *, zones: TimeZones = ZONES) -> dict[UUID, SilenceCause]:
    """Who is silent, and why: looked for and recorded, with the same result."""
    found: list[SilentPerson] = []
    active, counts = await silent.look(database, zones=zones, tell=found.append)
    await silent.search(database, zones=zones, keep=nothing)
    kept = await database.transact(silent_subscriptions.find_counts)
    assert kept is not None
    assert (kept.active, Counter(dict(kept.counts))) == (active, counts)
    assert sum(counts.values()) == len(found)
    return {one.subscription_id: one.cause for one in found}


def recorded(direct: Arranged) -> dict[UUID, str]:
    rows = direct.rows("SELECT subscription_id, cause FROM silent_subscriptions")
    return {row["subscription_id"]: row["cause"] for row in rows}


@ensureDeferred
async def test_people_who_get_messages_or_are_completed_at_the_next_tick_are_not_silent(
    database: Database, direct: Arranged
) -> None:
    world = World(direct)
    world.people(3)
    world.people(next_sequence_number=2, lang="zul_ZA")  # the next message is number 4
    world.people(next_sequence_number=9)  # beyond the end: the next tick completes it
    completed, inactive = world.people(2, lang="xho_ZA")
    world.set("active = false, completed = true, process_status = 2", completed)
    world.set("active = false", inactive)
    assert await causes(database) == recorded(direct) == {}


def in_error(world: World, person: UUID) -> None:
    world.set("process_status = -1", person)


def without_content(world: World, person: UUID) -> None:
    empty = world.direct.messageset("empty", world.schedule, messages=0)
    world.set(f"messageset_id = {empty}", person)


def without_a_message_in_the_language(world: World, person: UUID) -> None:
    world.set("lang = 'xho_ZA'", person)


def waiting_for_a_translation(world: World, person: UUID) -> None:
    world.set("lang = 'zul_ZA', next_sequence_number = 2", person)
    world.direct.rows("UPDATE messagesets SET on_missing_translation = 'wait'")


def on_a_date_that_does_not_exist(world: World, person: UUID) -> None:
    schedule = world.direct.schedule(day_of_month="31", month_of_year="4")
    world.set(f"schedule_id = {schedule}", person)


def in_an_unknown_time_zone(world: World, person: UUID) -> None:
    schedule = world.direct.schedule(time_zone="Mars/Olympus")
    world.set(f"schedule_id = {schedule}", person)


def paused_set(world: World, _person: UUID) -> None:
    world.direct.rows(
        "INSERT INTO pauses (kind, reason, messageset_id, on_ticks, paused_by)"
        " VALUES ('operator', 'holiday', %s, 'later', 'ann')",
        world.messageset,
    )


def restored(world: World, _person: UUID) -> None:
    world.direct.rows("INSERT INTO pauses (kind, reason) VALUES ('restored', 'it went back')")


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (in_error, "error"),
        (without_content, "empty-set"),
        (without_a_message_in_the_language, "language"),
        (waiting_for_a_translation, "translation"),
        (on_a_date_that_does_not_exist, "schedule"),
        (in_an_unknown_time_zone, "schedule"),
        (paused_set, "paused"),
        (restored, "paused"),
    ],
)
@ensureDeferred
async def test_each_fault_is_told_as_the_cause(
    database: Database, direct: Arranged, fault: Callable[[World, UUID], None], cause: str
) -> None:
    world = World(direct)
    (person,) = world.people()
    assert await causes(database) == {}
    fault(world, person)
    assert await causes(database) == recorded(direct) == {person: cause}


@pytest.mark.parametrize(
    ("fields", "is_silent"),
    [
        (None, True),
        ({}, False),
        ({"enabled": True}, False),
        ({"enabled": False}, True),
        ({"is_addressed": False}, True),
    ],
)
@pytest.mark.parametrize("mode", ["subscription", "schedule"])
@ensureDeferred
async def test_where_the_scheduler_calls_it_has_to_know(
    database: Database, direct: Arranged, mode: str, fields: Any, *, is_silent: bool
) -> None:
    world = World(direct)
    (person,) = world.people()
    direct.rows("DELETE FROM scheduler_calls")
    world.mode(mode)
    if fields is not None:
        world.told(mode, person if mode == "subscription" else world.schedule, **fields)
    zones = TimeZones(default=UTC, scheduler=UTC)
    assert await causes(database, zones=zones) == ({person: "scheduler"} if is_silent else {})


@pytest.mark.parametrize("mode", ["subscription", "schedule"])
@ensureDeferred
async def test_a_call_that_is_owed_to_the_scheduler_will_reach_them_and_a_refused_one_will_not(
    database: Database, direct: Arranged, mode: str
) -> None:
    world = World(direct)
    (person,) = world.people()
    world.mode(mode)
    direct.rows("DELETE FROM scheduler_calls")
    direct.rows(
        "INSERT INTO scheduler_calls (kind, target) VALUES (%s, %s)",
        *(mode, str(person if mode == "subscription" else world.schedule)),
    )
    assert await causes(database) == {}
    direct.rows("UPDATE scheduler_calls SET state = 'refused'")
    assert await causes(database) == {person: "scheduler"}


@ensureDeferred
async def test_a_search_forgets_those_who_are_reached_again_and_keeps_the_time_of_the_others(
    database: Database, direct: Arranged
) -> None:
    world = World(direct)
    first, second = world.people(2, lang="xho_ZA")
    await causes(database)
    direct.rows("UPDATE silent_subscriptions SET found_at = '2026-01-01T00:00:00Z'")
    world.set("lang = 'eng_ZA'", first)
    await causes(database)
    assert recorded(direct) == {second: "language"}
    assert direct.value("SELECT found_at < now() - interval '1 day' FROM silent_subscriptions")
    world.set("process_status = -2", second)
    await causes(database)
    assert recorded(direct) == {second: "error"}
    assert direct.value("SELECT found_at > now() - interval '1 day' FROM silent_subscriptions")
    direct.rows("DELETE FROM subscriptions")
    assert recorded(direct) == {}


@ensureDeferred
async def test_a_search_goes_through_all_batches(
    database: Database, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(direct)
    everybody = [*world.people(7, lang="xho_ZA"), *world.people(4)]
    monkeypatch.setattr(silent, "BATCH", 3)
    assert len(everybody) == 11
    assert len(await causes(database)) == len(recorded(direct)) == 7


def test_the_causes_are_those_that_the_database_knows(direct: Arranged) -> None:
    check = direct.value(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conname = 'silent_subscriptions_cause_check'"
    )
    assert all(f"'{cause}'" in check for cause in CAUSES)

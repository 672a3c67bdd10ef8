from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.model.behind import BehindSubscription
from sbm.model.ids import BEFORE_ALL
from sbm.model.paging import PageRequest
from sbm.store import behind_subscriptions as store
from sbm.store import schedule_runs
from sbm.store.postgres.database import Database
from tests.arrange import Arranged, arranged

BEGAN = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


@pytest.fixture
def search_id(direct: Arranged) -> int:
    return int(direct.value("INSERT INTO searches (as_of) VALUES (now()) RETURNING id"))


async def search(database: Database, search_id: int, limit: int = 100) -> list[BehindSubscription]:
    after: UUID | None = BEFORE_ALL
    while after is not None:
        after = await database.transact(store.search, search_id=search_id, after=after, limit=limit)
    part = await database.transact(store.list_page, page=PageRequest(limit=100))
    return part.rows


async def ran(database: Database, search_id: int, schedule: int, days: range) -> None:
    """The schedule ran on these days after the subscriptions began, an hour later than they."""
    runs = [BEGAN + timedelta(days=day, hours=1) for day in days]
    await database.transact(
        schedule_runs.add_runs, search_id=search_id, schedule_id=schedule, first=1, runs=runs
    )


def subscribed(direct: Arranged, messageset: int, schedule: int, **fields: Any) -> UUID:
    (one,) = direct.subscriptions(1, messageset, schedule)
    values = {"created_at": BEGAN} | fields
    for name, value in values.items():
        direct.rows(f"UPDATE subscriptions SET {name} = %s WHERE id = %s", value, one)  # noqa: S608
    return one


@pytest.mark.parametrize(
    ("runs", "initial", "stands_at", "messages_behind", "expected"),
    [
        (3, 1, 1, 3, 4),
        (3, 1, 2, 2, 4),
        (3, 2, 2, 3, 5),
        (5, 1, 4, 2, 5),
        (9, 1, 3, 3, 5),
        (9, 3, 3, 3, 5),
    ],
)
@ensureDeferred
async def test_every_run_since_she_began_should_have_sent_a_message(
    database: Database,
    direct: Arranged,
    search_id: int,
    runs: int,
    initial: int,
    stands_at: int,
    messages_behind: int,
    expected: int,
) -> None:
    schedule = direct.schedule()
    pregnancy = direct.messageset("pregnancy", schedule, messages=5, langs=("eng_ZA", "zul_ZA"))
    mother = subscribed(
        direct,
        pregnancy,
        schedule,
        initial_sequence_number=initial,
        next_sequence_number=stands_at,
    )
    await ran(database, search_id, schedule, range(-4, runs))
    (found,) = await search(database, search_id)
    assert (found.subscription_id, found.messages_behind) == (mother, messages_behind)
    assert (found.current_messageset_id, found.expected_messageset_id) == (pregnancy, pregnancy)
    assert (found.current_sequence_number, found.expected_sequence_number) == (stands_at, expected)
    assert await database.transact(store.find, behind_id=found.id) == found


@ensureDeferred
async def test_gaps_in_the_numbers_are_no_messages(
    database: Database, direct: Arranged, search_id: int
) -> None:
    schedule = direct.schedule()
    pregnancy = direct.messageset("pregnancy", schedule, messages=[2, 5, 9, 12])
    subscribed(direct, pregnancy, schedule, next_sequence_number=3)
    await ran(database, search_id, schedule, range(3))
    (found,) = await search(database, search_id)
    assert (found.messages_behind, found.expected_sequence_number) == (2, 10)


@ensureDeferred
async def test_the_way_goes_on_through_the_next_set_on_its_own_schedule(
    database: Database, direct: Arranged, search_id: int
) -> None:
    daily, weekly = direct.schedule(), direct.schedule(day_of_week="1")
    baby = direct.messageset("baby", weekly, messages=4)
    pregnancy = direct.messageset("pregnancy", daily, messages=3, next_set=baby)
    subscribed(direct, pregnancy, daily, next_sequence_number=2)
    await ran(database, search_id, daily, range(30))
    # The first two come before the third daily run, which sends the last message of the first set.
    await ran(database, search_id, weekly, range(0, 28, 1)[::7])
    (found,) = await search(database, search_id)
    assert (found.current_messageset_name, found.expected_messageset_name) == ("pregnancy", "baby")
    assert found.expected_sequence_number == 4
    assert found.messages_behind == 2 + 3


@pytest.mark.parametrize(
    "fields",
    [
        {"next_sequence_number": 4},
        {"next_sequence_number": 5},
        {"active": False},
        {"completed": True, "process_status": 2},
        {"lang": "zul_ZA"},
        {"created_at": BEGAN + timedelta(days=10)},
    ],
)
@ensureDeferred
async def test_who_is_in_time_or_not_under_way_is_not_behind(
    database: Database, direct: Arranged, search_id: int, fields: dict[str, Any]
) -> None:
    schedule = direct.schedule()
    pregnancy = direct.messageset("pregnancy", schedule, messages=9)
    subscribed(direct, pregnancy, schedule, **fields)
    await ran(database, search_id, schedule, range(3))
    assert await search(database, search_id) == []


@ensureDeferred
async def test_a_new_search_replaces_what_the_last_one_found(
    database: Database, direct: Arranged, search_id: int
) -> None:
    schedule = direct.schedule()
    pregnancy = direct.messageset("pregnancy", schedule, messages=9)
    late, later = (subscribed(direct, pregnancy, schedule) for _ in range(2))
    await ran(database, search_id, schedule, range(3))
    assert len(await search(database, search_id, limit=1)) == 2
    direct.rows("UPDATE subscriptions SET next_sequence_number = 4 WHERE id = %s", late)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 2 WHERE id = %s", later)
    (found,) = await search(database, search_id, limit=1)
    assert (found.subscription_id, found.messages_behind) == (later, 2)


@ensureDeferred
async def test_sets_that_follow_each_other_in_a_circle_come_to_an_end(
    database: Database, direct: Arranged, search_id: int
) -> None:
    schedule = direct.schedule()
    endless = direct.messageset("endless", schedule, messages=1)
    direct.rows("UPDATE messagesets SET next_set_id = id")
    subscribed(direct, endless, schedule)
    await ran(database, search_id, schedule, range(300))
    (found,) = await search(database, search_id)
    assert found.messages_behind == 100


@ensureDeferred
async def test_one_who_is_deleted_meanwhile_does_not_disturb_the_search(
    database: Database, direct: Arranged, search_id: int, database_uri: str
) -> None:
    schedule = direct.schedule()
    pregnancy = direct.messageset("pregnancy", schedule, messages=9)
    stays, goes = (subscribed(direct, pregnancy, schedule) for _ in range(2))
    await ran(database, search_id, schedule, range(3))
    with arranged(database_uri) as other:
        other.rows("BEGIN")
        other.rows("DELETE FROM subscriptions WHERE id = %s", goes)
        searching = Deferred.fromCoroutine(search(database, search_id))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not searching.called and not direct.value(waiting):
            await deferLater(reactor, 0.01)
        other.rows("COMMIT")
        (found,) = await searching
    assert found.subscription_id == stays


@ensureDeferred
async def test_the_list_is_filtered_by_set_and_by_how_far_behind(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    near, far = (direct.messageset(name, schedule) for name in ("near", "far"))
    for messageset, behind in ((near, 1), (far, 5)):
        (mother,) = direct.subscriptions(1, messageset, schedule)
        direct.rows(
            "INSERT INTO behind_subscriptions (subscription_id, messages_behind,"
            " current_messageset_id, current_sequence_number, expected_messageset_id,"
            " expected_sequence_number) VALUES (%s, %s, %s, 1, %s, 2)",
            *(mother, behind, messageset, messageset),
        )

    async def listed(**filters: int) -> list[str]:
        page = await database.read(store.list_page, page=PageRequest(limit=9), **filters)
        return [one.current_messageset_name for one in page.rows]

    assert await listed() == ["far", "near"]
    assert await listed(messageset_id=near) == ["near"]
    assert await listed(at_least=2) == ["far"]
    assert await listed(messageset_id=near, at_least=2) == []

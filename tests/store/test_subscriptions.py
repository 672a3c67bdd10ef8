from __future__ import annotations

import pytest_twisted

from sbm.model.paging import PageRequest
from sbm.store import messages, messagesets, schedules, subscriptions
from sbm.store.postgres.database import Database
from tests.arrange import Arranged


@pytest_twisted.ensureDeferred
async def test_only_a_live_next_send_reads_as_in_process(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("set", schedule)
    (one, two, three) = direct.subscriptions(3, messageset, schedule)
    for subscription, kind in ((one, "next"), (two, "resend")):
        direct.rows(
            "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
            " VALUES (%s, 'single', %s, 'x', 1)",
            *(kind, subscription),
        )
    found = await database.transact(subscriptions.list_page, page=PageRequest(limit=10))
    assert found.count == 3
    assert {row.id: row.process_status for row in found.rows} == {one: 1, two: 0, three: 0}


@pytest_twisted.ensureDeferred
async def test_rows_of_one_moment_are_paged_without_a_gap(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("set", schedule)
    made = set(direct.subscriptions(5, messageset, schedule))
    direct.rows("UPDATE subscriptions SET created_at = now()")
    seen = []
    for offset in range(0, 5, 2):
        page = await database.transact(
            subscriptions.list_page, page=PageRequest(limit=2, offset=offset)
        )
        seen += [row.id for row in page.rows]
    assert (len(seen), set(seen)) == (5, made)


@pytest_twisted.ensureDeferred
async def test_what_is_taken_is_not_taken_again(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    one = direct.messageset("one", schedule, messages=2)
    two = direct.messageset("two", schedule, messages=0)
    second = await database.transact(messagesets.find, messageset_id=two)
    assert second is not None
    assert (
        await database.transact(
            messagesets.create,
            short_name="one",
            label="",
            content_type="text",
            channel=None,
            notes=None,
            next_set_id=None,
            default_schedule_id=schedule,
        )
        is None
    )
    made = await database.transact(
        messages.create,
        messageset_id=one,
        sequence_number=1,
        lang="eng_ZA",
        metadata={},
        text_content="x",
        binary_content_id=None,
    )
    assert made is None


@pytest_twisted.ensureDeferred
async def test_what_is_not_there_cannot_be_held(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    assert await database.transact(schedules.hold, row_id=schedule)
    assert not await database.transact(schedules.hold, row_id=schedule + 1)

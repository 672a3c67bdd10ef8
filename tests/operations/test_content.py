from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.operations import content
from sbm.operations.drafts import Draft
from sbm.operations.refusals import SEVERAL, CannotBeSent, InUse, NoSuchRow, WrongValues
from sbm.operations.schedules import change_schedule, create_schedule, delete_schedule
from sbm.operations.triggers import open_tick, resend_last, send_next
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

NOWHERE: Any = "6fb30d6b-ba06-4964-825e-20f93388b9fe"


def a_message(messageset_id: int, text: str | None, **values: Any) -> Draft:
    fields = {"sequence_number": 1, "lang": "eng", "metadata": {}, "binary_content_id": None}
    return Draft(
        values={"messageset_id": messageset_id, "text_content": text, **fields, **values},
        max_text_length=5,
    )


@ensureDeferred
async def test_a_message_that_could_not_be_sent_is_refused_by_attribute_or_as_a_whole(
    database: Database, direct: Arranged
) -> None:
    messageset = direct.messageset("texts", direct.schedule())
    with pytest.raises(WrongValues) as caught:
        await database.transact(content.create_message, a_message(messageset, "123456"))
    assert list(caught.value.problems) == ["text_content"]
    with pytest.raises(CannotBeSent):
        await database.transact(content.create_message, a_message(messageset, None))


@ensureDeferred
async def test_a_place_has_one_message(database: Database, direct: Arranged) -> None:
    messageset = direct.messageset("texts", direct.schedule())
    await database.transact(content.create_message, a_message(messageset, "one"))
    with pytest.raises(WrongValues) as caught:
        await database.transact(content.create_message, a_message(messageset, "two"))
    assert caught.value.problems == {SEVERAL: [content.PLACE_TAKEN]}


@ensureDeferred
async def test_what_is_used_is_not_deleted(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("texts", schedule)
    direct.subscriptions(1, messageset, schedule)
    with pytest.raises(InUse, match=f"message set {messageset}: it is used by subscriptions"):
        await database.transact(content.delete_messageset, messageset_id=messageset)
    with pytest.raises(InUse, match="used by messagesets and subscriptions"):
        await database.transact(delete_schedule, schedule_id=schedule)


@ensureDeferred
async def test_a_date_that_does_not_exist_is_refused_of_both_fields(
    database: Database, direct: Arranged
) -> None:
    fields = {"minute": "0", "hour": "*", "day_of_week": "*"}
    impossible = Draft(values={**fields, "day_of_month": "31", "month_of_year": "4"})
    with pytest.raises(WrongValues) as caught:
        await database.transact(create_schedule, impossible)
    assert caught.value.problems.keys() == {"day_of_month", "month_of_year"}

    schedule = direct.schedule(day_of_month="31")
    april = Draft(values={"month_of_year": "4"})
    with pytest.raises(WrongValues):
        await database.transact(change_schedule, lambda _stored: april, schedule_id=schedule)


@ensureDeferred
async def test_what_does_not_exist_is_told_by_every_operation(database: Database) -> None:
    def unasked(_stored: Any) -> Draft:
        raise AssertionError("what is written does not matter")

    changes: list[tuple[Any, str]] = [
        (content.change_message, "message_id"),
        (content.change_messageset, "messageset_id"),
        (change_schedule, "schedule_id"),
    ]
    for change, key in changes:
        with pytest.raises(NoSuchRow):
            await database.transact(change, unasked, **{key: 7})
    others: list[tuple[Any, dict[str, Any]]] = [
        (content.delete_message, {"message_id": 7}),
        (content.delete_messageset, {"messageset_id": 7}),
        (content.delete_file, {"file_id": 7}),
        (delete_schedule, {"schedule_id": 7}),
        (open_tick, {"schedule_id": 7, "opened_by": "me"}),
        (send_next, {"subscription_id": NOWHERE}),
        (resend_last, {"subscription_id": NOWHERE}),
    ]
    for operation, named in others:
        with pytest.raises(NoSuchRow):
            await database.transact(operation, **named)

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.operations.drafts import Draft
from sbm.operations.refusals import NoSuchRow, WrongValues
from sbm.operations.subscribing import (
    begin_with_next,
    change_subscription,
    create_subscription,
    delete_subscription,
    register,
)
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

IDENTITY = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
DEFAULTS = {
    "version": 1,
    "next_sequence_number": 1,
    "initial_sequence_number": 1,
    "active": True,
    "completed": False,
    "process_status": 0,
    "metadata": None,
}


def draft(direct: Arranged, **written: Any) -> Draft:
    """A draft of a subscription to the only set, as a client may have written it."""
    if not direct.value("SELECT count(*) FROM messagesets"):
        direct.messageset("only", direct.schedule())
    written = {
        "identity": IDENTITY,
        "messageset_id": direct.value("SELECT min(id) FROM messagesets"),
        "schedule_id": direct.value("SELECT min(id) FROM schedules"),
        "lang": "eng",
        **written,
    }
    return Draft(values={**DEFAULTS, **written}, defaults=frozenset(DEFAULTS) - written.keys())


@ensureDeferred
async def test_who_completes_a_subscription_ends_its_activity(
    database: Database, direct: Arranged
) -> None:
    made = await database.transact(create_subscription, draft(direct, process_status=2))
    assert (made.completed, made.active, made.process_status) == (True, False, 2)


@ensureDeferred
async def test_what_contradicts_itself_is_refused(database: Database, direct: Arranged) -> None:
    with pytest.raises(WrongValues) as caught:
        await database.transact(
            create_subscription, draft(direct, process_status=2, completed=False)
        )
    assert list(caught.value.problems) == ["process_status"]


@ensureDeferred
async def test_the_duplicate_of_a_registration_has_its_subscription(
    database: Database, direct: Arranged
) -> None:
    window = timedelta(minutes=5)
    first = await database.transact(register, draft(direct), window=window)
    duplicate = await database.transact(register, draft(direct), window=window)
    other = await database.transact(register, draft(direct, lang="zul"), window=window)
    unasked = await database.transact(register, draft(direct), window=timedelta(0))

    assert (
        first.is_duplicate,
        duplicate.is_duplicate,
        other.is_duplicate,
        unasked.is_duplicate,
    ) == (0, 1, 0, 0)
    assert duplicate.subscription_id == first.subscription_id
    assert len({one.subscription_id for one in (first, other, unasked)}) == 3


def test_a_registration_begins_with_its_next_message_unless_it_says_otherwise(
    direct: Arranged,
) -> None:
    later = begin_with_next(draft(direct, next_sequence_number=7))
    assert later.values["initial_sequence_number"] == 7
    said = begin_with_next(draft(direct, next_sequence_number=7, initial_sequence_number=3))
    assert said.values["initial_sequence_number"] == 3


@ensureDeferred
async def test_a_prepend_that_cannot_go_out_is_refused_of_the_metadata(
    database: Database, direct: Arranged
) -> None:
    for prepend in (7, " ", "“"):
        wrong = draft(direct, metadata={"prepend_next_delivery": prepend})
        with pytest.raises(WrongValues) as caught:
            await database.transact(create_subscription, wrong)
        assert list(caught.value.problems) == ["metadata"]


@ensureDeferred
async def test_a_subscription_that_does_not_exist_is_neither_changed_nor_deleted(
    database: Database, direct: Arranged
) -> None:
    made = await database.transact(create_subscription, draft(direct))
    await database.transact(delete_subscription, subscription_id=made.id)

    def unasked(_stored: Any) -> Draft:
        raise AssertionError("what is written does not matter")

    with pytest.raises(NoSuchRow):
        await database.transact(delete_subscription, subscription_id=made.id)
    with pytest.raises(NoSuchRow):
        await database.transact(change_subscription, unasked, subscription_id=made.id)

"""The filters with which operators select subscriptions."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.ids import LARGEST_ID
from sbm.model.selection import EVERYBODY, Selection
from sbm.operations.selection import (
    Filters,
    NoMessageSet,
    NoSchedule,
    find_messageset,
    select,
)
from sbm.store.postgres.database import Database
from tests.arrange import Arranged


@ensureDeferred
async def test_without_filters_everybody_is_meant(database: Database) -> None:
    assert await database.transact(select, filters=Filters()) == EVERYBODY


@ensureDeferred
async def test_a_set_is_meant_by_its_name_or_else_by_its_id(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    first = direct.messageset("pregnancy", schedule)
    second = direct.messageset(str(first), schedule)  # a name that is the id of another one
    for given, expected in (("pregnancy", first), (str(first), second), (str(second), second)):
        filters = Filters(messageset=given, lang="eng_ZA", schedule_id=schedule)
        assert await database.transact(select, filters=filters) == Selection(
            messageset_id=expected, lang="eng_ZA", schedule_id=schedule
        )


@pytest.mark.parametrize("given", ["nope", "4711", str(LARGEST_ID + 1), "²"])
@ensureDeferred
async def test_a_set_that_is_none_is_refused(database: Database, given: str) -> None:
    with pytest.raises(NoMessageSet, match=f"there is no message set '{given}'"):
        await database.transact(find_messageset, given=given)


@ensureDeferred
async def test_a_schedule_that_is_none_is_refused(database: Database) -> None:
    with pytest.raises(NoSchedule, match="there is no schedule 4711"):
        await database.transact(select, filters=Filters(schedule_id=4711))

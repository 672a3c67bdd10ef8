"""Subscriptions in error are made ready again."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.signature import Signature
from sbm.operations.selection import CHUNK, Filters, NoMessageSet, Repair
from sbm.operations.stuck import ResetCount, find_stuck, reset_stuck
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.operations.told import ToldProgress

SIGNED = Signature(actor="ann", reason="mended")
STUCK = CHUNK + 5


def arrange(direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(STUCK, direct.messageset("pregnancy", schedule), schedule)
    direct.subscriptions(1, direct.messageset("baby", schedule), schedule)
    direct.rows("UPDATE subscriptions SET process_status = -1")


@ensureDeferred
async def test_a_chunk_at_a_time_is_reset_and_told_until_the_limit(
    database: Database, direct: Arranged
) -> None:
    arrange(direct)
    repair = Repair(signature=SIGNED, filters=Filters(messageset="pregnancy"), limit=CHUNK + 2)
    stuck = await database.transact(find_stuck, repair=repair)
    assert [(one.short_name, one.count) for one in stuck.counts] == [("pregnancy", STUCK)]
    assert stuck.meant == CHUNK + 2
    told = ToldProgress()
    done = await reset_stuck(database, repair=repair, stuck=stuck, progress=told)
    assert done == ResetCount(reset=CHUNK + 2)
    assert (told.what, told.count, told.done) == ("subscriptions", CHUNK + 2, [CHUNK, 2])
    assert told.is_over
    assert direct.value("SELECT count(*) FROM subscriptions WHERE process_status = 0") == CHUNK + 2
    counts = [
        row["details"]["count"]
        for row in direct.rows("SELECT details FROM audit WHERE operation IS NULL")
    ]
    assert sorted(counts) == [2, CHUNK]


@ensureDeferred
async def test_a_filter_that_names_nothing_is_refused(database: Database) -> None:
    repair = Repair(signature=SIGNED, filters=Filters(messageset="nope"))
    with pytest.raises(NoMessageSet):
        await database.transact(find_stuck, repair=repair)

"""If a person has a subscription twice, one of them stays."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.duplicate import Duplicate, DuplicateRule
from sbm.model.signature import Signature
from sbm.operations.duplicates import Removal, RemovalCount, remove_duplicates
from sbm.operations.selection import Repair
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.operations.told import ToldProgress

SIGNED = Signature(actor="ann", reason="the Hub retried")


def arrange(direct: Arranged) -> None:
    """Three people with two subscriptions each; a message of a second one is under way."""
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    first, *_ = direct.subscriptions(3, messageset, schedule)
    direct.rows(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)"
        " SELECT identity, messageset_id, schedule_id, lang FROM subscriptions"
    )
    direct.rows(
        "INSERT INTO sends (kind, lane, state, subscription_id, identity, tick_id, owner,"
        " lease_until) SELECT 'next', 'tick', 'claimed', id, identity, 1, gen_random_uuid(),"
        " now() + interval '1 hour' FROM subscriptions WHERE id <> %s AND identity ="
        " (SELECT identity FROM subscriptions WHERE id = %s)",
        first,
        first,
    )


@pytest.mark.parametrize("is_dry", [True, False])
@ensureDeferred
async def test_what_goes_is_told_and_who_is_busy_is_left(
    database: Database, direct: Arranged, is_dry: bool
) -> None:
    arrange(direct)
    found: list[Duplicate] = []
    told = ToldProgress()

    def tell(duplicates: Sequence[Duplicate]) -> None:
        found.extend(duplicates)

    removal = Removal(
        repair=Repair(signature=SIGNED, is_dry=is_dry), rule=DuplicateRule(keep="oldest")
    )
    done = await remove_duplicates(database, removal=removal, tell=tell, progress=told)
    assert done == RemovalCount(removed=2, busy=1)
    assert (told.count, sum(told.done), told.is_over) == (6, 6, True)
    left = {row["id"] for row in direct.rows("SELECT id FROM subscriptions")}
    assert len(found) == 2
    assert {one.id for one in found} <= left if is_dry else not {one.id for one in found} & left
    assert {one.kept_id for one in found} <= left
    assert direct.value("SELECT count(*) FROM audit WHERE operation IS NULL") == (
        0 if is_dry else 1
    )


@ensureDeferred
async def test_no_more_than_the_limit_go(database: Database, direct: Arranged) -> None:
    arrange(direct)
    removal = Removal(repair=Repair(signature=SIGNED, limit=1), deactivate=True)
    done = await remove_duplicates(database, removal=removal, tell=lambda _found: None)
    assert done.removed == 1
    assert direct.value("SELECT count(*) FROM subscriptions") == 6
    assert direct.value("SELECT count(*) FROM subscriptions WHERE NOT active") == 1

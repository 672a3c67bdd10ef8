"""Which subscriptions are duplicates, and what happens to their sends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.duplicate import Duplicate, DuplicateRule
from sbm.model.selection import EVERYBODY
from sbm.store import duplicates, sends
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged

MINUTE = timedelta(seconds=60)


class Person:
    """The subscriptions of one person, by their places in the list that they were made from."""

    def __init__(self, direct: Arranged, *rows: dict[str, Any]) -> None:
        direct.schedule()
        direct.schedule()
        self.direct = direct
        self.messageset = direct.messageset("pregnancy", 1, messages=20)
        self.ids: list[UUID] = []
        identity = str(uuid4())
        for row in rows:
            values = {"identity": identity, "number": 1, "after": 0, "lang": "eng_ZA"} | row
            made = direct.value(
                "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, active,"
                " completed, process_status, next_sequence_number, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s,"
                " '2026-01-01T00:00:00Z'::timestamptz + make_interval(secs => %s)) RETURNING id",
                *(values["identity"], self.messageset, values.get("schedule", 1), values["lang"]),
                *(values.get("active", True), values.get("completed", False)),
                *(values.get("status", 0), values["number"], values["after"]),
            )
            self.ids.append(made)

    def owe(self, place: int, *, state: str = "owed", kind: str = "next") -> UUID:
        tick = self.direct.value(
            "INSERT INTO ticks (source, state, schedule_id, triggers)"
            " VALUES ('post-back', 'expanded', 1, 1) RETURNING id"
        )
        send: UUID = self.direct.value(
            "INSERT INTO sends (kind, lane, state, subscription_id, identity, tick_id, owner,"
            " lease_until, unknown_since) SELECT %s, 'tick', state, s.id, s.identity, %s,"
            " CASE WHEN state = 'claimed' THEN gen_random_uuid() END,"
            " CASE WHEN state = 'claimed' THEN now() + interval '1 hour' END,"
            " CASE WHEN state = 'unknown' THEN now() END"
            " FROM subscriptions s, (SELECT %s AS state) AS one WHERE s.id = %s RETURNING id",
            *(kind, tick, state, self.ids[place]),
        )
        return send

    def pairs(self, found: list[Duplicate]) -> set[tuple[int, int]]:
        """Which goes, and which stays."""
        return {(self.ids.index(one.id), self.ids.index(one.kept_id)) for one in found}


async def decided(transaction: Transaction, rule: DuplicateRule) -> list[Duplicate]:
    reach, _ = await duplicates.reach(transaction, after=duplicates.FIRST, limit=100)
    assert reach is not None
    ids = await duplicates.list_candidates(
        transaction, after=duplicates.FIRST, reach=reach, selection=EVERYBODY, rule=rule
    )
    return await duplicates.decide(transaction, ids=ids, selection=EVERYBODY, rule=rule, held=None)


async def removed(transaction: Transaction, mother: Person, rule: DuplicateRule) -> int:
    held = await duplicates.hold(transaction, ids=mother.ids)
    found = await duplicates.decide(
        transaction, ids=mother.ids, selection=EVERYBODY, rule=rule, held=held
    )
    return await duplicates.remove(
        transaction,
        duplicates=[one for one in found if not one.is_busy],
        held=held,
        deactivate=False,
        actor="ann",
        action="test",
        reason="",
        details={},
    )


@pytest.mark.parametrize(
    ("rows", "rule", "pairs"),
    [
        ([{}, {"after": 1}], DuplicateRule(), {(1, 0)}),
        ([{}, {"identity": "another"}], DuplicateRule(), set()),
        ([{}, {"number": 2}], DuplicateRule(), {(0, 1)}),
        (
            [{}, {"number": 2, "after": 1}, {"after": 2}],
            DuplicateRule(keep="oldest"),
            {(1, 0), (2, 0)},
        ),
        ([{"number": 2}, {"after": 1}], DuplicateRule(keep="newest"), {(0, 1)}),
        # Each is near the one before it, and all of them are one.
        ([{}, {"after": 60}, {"after": 120}, {"after": 181}], DuplicateRule(), {(1, 0), (2, 0)}),
        ([{}, {"after": 181}], DuplicateRule(within=None), {(1, 0)}),
        ([{}, {"lang": "zul_ZA"}], DuplicateRule(), set()),
        ([{}, {"lang": "zul_ZA", "after": 1}], DuplicateRule(by_lang=False), {(1, 0)}),
        ([{}, {"schedule": 2}], DuplicateRule(), set()),
        ([{}, {"schedule": 2, "after": 1}], DuplicateRule(by_schedule=False), {(1, 0)}),
        ([{}, {"active": False}, {"completed": True}], DuplicateRule(), set()),
        # Nobody would be sent to by the one that came furthest.
        ([{"number": 2, "status": -1}, {}], DuplicateRule(), {(0, 1)}),
    ],
)
@ensureDeferred
async def test_the_same_again_soon_after_is_a_duplicate(
    database: Database,
    direct: Arranged,
    rows: list[dict[str, Any]],
    rule: DuplicateRule,
    pairs: set[tuple[int, int]],
) -> None:
    mother = Person(direct, *rows)
    assert mother.pairs(await database.transact(decided, rule)) == pairs


@ensureDeferred
async def test_of_two_that_came_as_far_the_one_that_is_owed_a_message_stays(
    database: Database, direct: Arranged
) -> None:
    mother = Person(direct, {}, {"after": 1})
    mother.owe(1)
    assert mother.pairs(await database.transact(decided, DuplicateRule())) == {(0, 1)}
    assert mother.pairs(await database.transact(decided, DuplicateRule(keep="oldest"))) == {(1, 0)}


@pytest.mark.parametrize(
    ("state", "kind", "count"),
    [
        ("owed", "next", 1),
        ("claimed", "next", 0),
        ("unknown", "next", 0),
        ("owed", "resend", 0),
    ],
)
@ensureDeferred
async def test_what_may_be_on_its_way_is_waited_for_and_what_is_owed_is_skipped(
    database: Database, direct: Arranged, state: str, kind: str, count: int
) -> None:
    mother = Person(direct, {"number": 2}, {})
    send = mother.owe(1, state=state, kind=kind)
    assert await database.transact(removed, mother, DuplicateRule()) == count
    assert direct.value("SELECT count(*) FROM subscriptions") == 2 - count
    assert [(row["send_id"], row["outcome"], row["actor"]) for row in direct.ledger()] == [
        (send, "skipped", "ann")
    ] * count
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_send_that_is_being_claimed_is_stepped_over(
    database: Database, direct: Arranged
) -> None:
    mother = Person(direct, {"number": 2}, {})
    mother.owe(1)

    async def while_another_claims(transaction: Transaction) -> int:
        await sends.claim(transaction, owner=uuid4(), limit=1, lease=MINUTE)
        return await database.transact(removed, mother, DuplicateRule())

    assert await database.transact(while_another_claims) == 0


@ensureDeferred
async def test_nobody_begins_what_is_held(database: Database, direct: Arranged) -> None:
    mother = Person(direct, {"number": 2}, {})
    mother.owe(1)

    async def while_it_is_held(transaction: Transaction) -> list[Any]:
        await duplicates.hold(transaction, ids=mother.ids)
        claim = database.transact(sends.claim, owner=uuid4(), limit=1, lease=MINUTE)
        return list(await claim)

    assert await database.transact(while_it_is_held) == []


@ensureDeferred
async def test_the_one_that_stays_goes_on_from_where_the_furthest_stood(
    database: Database, direct: Arranged
) -> None:
    mother = Person(direct, {"number": 3}, {"number": 7, "after": 1}, {"number": 5, "after": 2})
    assert await database.transact(removed, mother, DuplicateRule(keep="oldest")) == 2
    (left,) = direct.rows("SELECT id, next_sequence_number FROM subscriptions")
    assert left == {"id": mother.ids[0], "next_sequence_number": 7}
    (row,) = direct.ledger()
    assert (row["kind"], row["outcome"], row["sequence_number"]) == ("move", "moved", 3)
    assert row["reason"] == "from 3 to 7, the number of a duplicate"
    assert (row["subscription_id"], row["actor"]) == (mother.ids[0], "ann")

"""A restored database is repaired from the outbounds that the Message Sender has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from sbm.model.outbound import OwnOutbound
from sbm.model.signature import Signature
from sbm.operations.restored import (
    NothingToGoBackTo,
    NotRepaired,
    Restoration,
    RestoredCount,
    repair,
    resume,
)
from sbm.store import pauses, sends
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

NOW = datetime.now(timezone.utc)
WANTED = Restoration(
    since=NOW - timedelta(hours=1),
    lease=timedelta(seconds=60),
    time_zone=ZoneInfo("UTC"),
    is_new_installation=False,
    is_dry=False,
    signature=Signature(actor="ann", reason="the disk was lost"),
)


class Bench:
    """A person with a subscription to a set of two messages, which another set follows."""

    def __init__(self, database: Database, direct: Arranged) -> None:
        self.database = database
        self.direct = direct
        self.schedule = direct.schedule()
        self.baby = direct.messageset("baby", self.schedule, messages=2)
        self.pregnancy = direct.messageset(
            "pregnancy", self.schedule, messages=2, next_set=self.baby
        )
        (self.subscription,) = direct.subscriptions(1, self.pregnancy, self.schedule)
        self.identity: str = direct.value("SELECT identity FROM subscriptions")
        self.listed: list[OwnOutbound] = []

    def sent(self, number: int, *, send_id: UUID | None = None, **difference: Any) -> None:
        """The Message Sender has this message, the latest of all."""
        outbound = OwnOutbound(
            id=f"outbound-{len(self.listed)}",
            created_at=NOW + timedelta(seconds=len(self.listed)),
            identity=self.identity,
            kind="next",
            send_id=send_id or uuid4(),
            installation_id=self.direct.value("SELECT id FROM installation"),
            subscription_id=self.subscription,
            messageset_id=self.pregnancy,
            sequence_number=number,
            lang="eng_ZA",
        )
        self.listed.append(evolve(outbound, **difference))

    async def pages(
        self, *, after: datetime, most: int | None = None
    ) -> AsyncGenerator[list[OwnOutbound], None]:
        yield [one for one in reversed(self.listed) if one.created_at > after][:most]

    async def repair(self, **difference: Any) -> RestoredCount:
        sender: Any = self
        return await repair(self.database, sender, wanted=evolve(WANTED, **difference))

    def places(self) -> list[tuple[int, int, bool]]:
        return [
            (row["messageset_id"], row["next_sequence_number"], row["completed"])
            for row in self.direct.rows("SELECT * FROM subscriptions ORDER BY created_at")
        ]

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(one["outcome"], one["outbound_id"]) for one in self.direct.ledger()]


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_a_subscription_goes_on_as_far_as_it_was_sent_to(bench: Bench) -> None:
    bench.sent(1)
    assert (await bench.repair()).adopted == 1
    assert bench.places() == [(bench.pregnancy, 2, False)]
    assert bench.outcomes() == [("adopted", "outbound-0")]
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_it_goes_on_through_the_next_set_though_that_subscription_was_lost(
    bench: Bench,
) -> None:
    bench.sent(1)
    bench.sent(2)
    bench.sent(1, messageset_id=bench.baby, subscription_id=uuid4())
    count = await bench.repair()
    assert (count.adopted, count.left) == (3, 0)
    assert bench.places() == [(bench.pregnancy, 2, True), (bench.baby, 2, False)]
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_it_can_be_done_again(bench: Bench) -> None:
    bench.sent(1)
    bench.sent(1, messageset_id=bench.baby, subscription_id=uuid4())
    await bench.repair()
    places, outcomes = bench.places(), bench.outcomes()
    assert (await bench.repair()).adopted == 0
    assert (bench.places(), bench.outcomes()) == (places, outcomes)


@ensureDeferred
async def test_a_dry_run_changes_nothing(bench: Bench) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(1)
    count = await bench.repair(is_dry=True)
    assert (count.doubted, count.outbounds, count.adopted) == (1, 1, 1)
    assert bench.outcomes() == []
    assert bench.direct.value("SELECT state FROM sends") == "owed"
    assert bench.direct.value("SELECT count(*) FROM pauses") == 0


@ensureDeferred
async def test_what_is_owed_is_asked_about_with_the_place_of_its_subscription(
    bench: Bench,
) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    assert (await bench.repair()).doubted == 1
    (send,) = bench.direct.rows("SELECT * FROM sends")
    assert (send["state"], send["messageset_id"], send["sequence_number"]) == (
        "unknown",
        bench.pregnancy,
        1,
    )
    assert bench.direct.value("SELECT unknown_since > now() + interval '50 s' FROM sends")
    assert bench.direct.value("SELECT kind FROM pauses WHERE ended_at IS NULL") == "restored"
    assert bench.direct.value("SELECT command FROM audit") == "restored"


@ensureDeferred
async def test_a_send_of_the_dump_is_settled_with_its_own_outbound(bench: Bench) -> None:
    owed = await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    assert owed.accepted
    bench.sent(1, send_id=bench.direct.value("SELECT id FROM sends"))
    bench.sent(2)
    assert (await bench.repair()).adopted == 2
    assert bench.places()[0] == (bench.pregnancy, 2, True)
    assert bench.direct.value("SELECT count(*) FROM sends") == 0
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_send_of_the_dump_is_skipped_if_a_later_one_was_sent(bench: Bench) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(1)
    count = await bench.repair()
    assert (count.adopted, count.superseded, count.left) == (1, 1, 0)
    assert sorted(outcome for outcome, _ in bench.outcomes()) == ["adopted", "skipped"]
    assert bench.places() == [(bench.pregnancy, 2, False)]
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_outbounds_of_another_installation_are_passed_over(bench: Bench) -> None:
    bench.sent(1, installation_id=uuid4())
    assert (await bench.repair()).outbounds == 0
    assert bench.places() == [(bench.pregnancy, 1, False)]


@ensureDeferred
async def test_without_a_time_nothing_can_be_compared(bench: Bench) -> None:
    with pytest.raises(NothingToGoBackTo):
        await bench.repair(since=None)


@ensureDeferred
async def test_a_resume_needs_a_repair_that_came_to_its_end(bench: Bench) -> None:
    signature = Signature(actor="ann", reason="")
    await bench.database.transact(pauses.pause_restored, reason="it went back")
    with pytest.raises(NotRepaired):
        await bench.database.transact(resume, signature=signature)
    await bench.repair()
    await bench.database.transact(pauses.pause_restored, reason="it went back again")
    with pytest.raises(NotRepaired):
        await bench.database.transact(resume, signature=signature)
    await bench.repair()
    assert len(await bench.database.transact(resume, signature=signature)) == 1
    await bench.database.transact(pauses.pause_restored, reason="it went back")
    ended = await bench.database.transact(resume, signature=signature, without_repair=True)
    assert len(ended) == 1

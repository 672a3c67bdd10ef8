"""People who are forgotten while messages are being sent to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from sbm.model.author import Author
from sbm.model.person import Person
from sbm.model.personal_data import MARK_PREFIX
from sbm.operations import privacy
from sbm.store.postgres.database import Database
from tests.e2e.end_to_end import World
from tests.e2e.gates import Gate, gated
from tests.operations.test_privacy import dump

METADATA = {"prepend_next_delivery": "Hello Mary Poppins"}


@define(eq=False)
class BeingSentTo:
    """A person to whom a message is being sent; it is held until ``gate`` is opened."""

    seed: World
    subscription: Any
    identity: str
    gate: Gate

    async def forget(self) -> tuple[int, Any]:
        return await self.seed.call(
            "POST",
            f"/api/v1/identities/{self.identity}/forget/",
            token=await self.seed.token(),
        )

    async def left_nothing(self, *outcomes: str) -> None:
        """When all is settled, only the ledger tells of it, and not of whom."""
        await told_all(self.seed)
        left = dump(self.seed.direct)
        secrets = [self.identity, str(self.subscription), "mary poppins", "+2782000"]
        for outbound in self.seed.sender.outbounds():
            if outbound.said.to_identity == self.identity:
                secrets += [str(outbound.id)] if len(str(outbound.id)) > 8 else []
                secrets.append(outbound.said.metadata["sbm_send_id"])
        assert not [one for one in secrets if one in left]
        rows = self.seed.direct.ledger()
        assert [row["outcome"] for row in rows] == list(outcomes)
        assert all(row["identity"].startswith(MARK_PREFIX) for row in rows)
        assert self.seed.direct.unbalanced_ticks() == []


async def told_all(seed: World) -> None:
    """Return when no send is live, and the Scheduler knows who is gone."""
    await seed.settled()
    await seed.until(lambda: not seed.direct.value("SELECT count(*) FROM scheduler_calls"))


async def being_sent_to(seed: World, stage: str, **settings: str) -> BeingSentTo:
    schedule = seed.direct.schedule()
    baby = seed.direct.messageset("baby", schedule)
    messageset = seed.direct.messageset("pregnancy", schedule, messages=1, next_set=baby)
    (mother,) = seed.subscribe(1, messageset, schedule, metadata=METADATA)
    identity = seed.direct.subscription(mother)["identity"]
    gate = (await gated(seed)).only(stage)
    seed.start(**settings)
    assert (await seed.call("POST", f"/api/v1/subscriptions/{mother}/send"))[0] == 201
    await seed.until(lambda: gate.waiting)
    return BeingSentTo(seed, mother, identity, gate)


@pytest.mark.parametrize("stage", ["address", "storing", "answer"])
@ensureDeferred
async def test_whoever_is_forgotten_while_being_sent_to_leaves_only_a_mark(
    seed: World, stage: str
) -> None:
    held = await being_sent_to(seed, stage)
    status, told = await held.forget()
    assert (status, told["remaining"]) == (202, {"sends": 1})
    assert told["tables"]["subscriptions"] == 1
    held.gate.open()
    # No next set begins, and the person has the message once.
    await held.left_nothing("sent")
    assert len(seed.sender.outbounds()) == 1
    assert seed.direct.rows("SELECT * FROM subscriptions") == []
    status, told = await held.forget()
    assert (status, told["remaining"], told["tables"]) == (200, {}, {})


@pytest.mark.parametrize("stage", ["storing", "answer"])
@ensureDeferred
async def test_a_command_waits_until_it_is_known_whether_the_message_was_sent(
    seed: World, stage: str
) -> None:
    held = await being_sent_to(seed, stage)
    database = Database(reactor=reactor, address=seed.config().database, size=1)
    told: list[dict[str, int]] = []
    forgetting = Deferred.fromCoroutine(
        privacy.forget(
            database,
            person=Person(identity=held.identity),
            author=Author(actor="ann", action="sbm forget"),
            wait=timedelta(minutes=10),
            remains=told.append,
        )
    )
    await seed.until(lambda: told[-1:] == [{"sends": 1}])
    held.gate.open()
    assert (await forgetting).remaining == {}
    database.stopService()
    await held.left_nothing("sent")


@ensureDeferred
async def test_an_unknown_outcome_is_asked_about_after_the_person_was_forgotten(
    seed: World,
) -> None:
    """The Message Sender stores the message, but its answer is lost."""
    held = await being_sent_to(seed, "answer", DEFAULT_REQUEST_TIMEOUT="3", SBM_SETTLE_SECONDS="6")
    await seed.message_sender.close()
    status, _ = await held.forget()
    assert status == 202
    await seed.until(lambda: seed.direct.rows("SELECT 1 FROM sends WHERE state = 'unknown'"))
    (row,) = seed.direct.rows("SELECT identity, asked_identity FROM sends")
    assert row["identity"].startswith(MARK_PREFIX)
    assert row["asked_identity"] == held.identity
    held.gate.open()
    seed.message_sender.open()
    await held.left_nothing("adopted")
    assert len(seed.sender.outbounds()) == 1


@ensureDeferred
async def test_people_who_are_forgotten_during_a_tick_leave_the_balance_as_it_is(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    mothers = seed.subscribe(300, messageset, schedule)
    people = {one: seed.direct.subscription(one)["identity"] for one in mothers}
    seed.start()
    await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    database = Database(reactor=reactor, address=seed.config().database, size=1)
    gone = mothers[::10]
    for one in gone:
        await privacy.forget(
            database,
            person=Person(identity=people[one]),
            author=Author(actor="ann", action="sbm forget"),
            wait=timedelta(0),
        )
    database.stopService()
    await told_all(seed)
    left = dump(seed.direct)
    assert not [one for one in gone if str(one) in left or people[one] in left]
    assert seed.direct.unbalanced_ticks() == []
    rows = seed.direct.ledger()
    marked = [row for row in rows if row["identity"].startswith(MARK_PREFIX)]
    # Whoever was forgotten before the tick came to them was not asked for at all.
    assert len(rows) - len(marked) == len(mothers) - len(gone)
    sent = [row for row in rows if row["outcome"] in ("sent", "adopted")]
    assert len(sent) == len(seed.sender.outbounds())
    assert all(len(messages) == 1 for messages in seed.received().values())

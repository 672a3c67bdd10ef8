"""Whether the database went back: by the marks of a daemon, and by what the Message Sender has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import Clock

from sbm.clients.links import PageLimits
from sbm.clients.outcomes import CannotBeAsked, Faulty, Unanswered, Unavailable
from sbm.clients.service_client import TooLong
from sbm.model.installation import Mark
from sbm.model.outbound import OwnOutbound
from sbm.model.signature import Signature
from sbm.operations.restored import resume
from sbm.pipeline import continuity
from sbm.pipeline.continuity import ASKED_BACK, Continuity
from sbm.pipeline.mark_file import MarkFile
from sbm.runtime.work_gate import WorkGate
from sbm.store import installation, pauses, sends
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.pipeline.fakes import nothing_in_flight

NOW = datetime.now(timezone.utc)


class Listed:
    """A Message Sender with these pages of outbounds, or with these faults before them."""

    def __init__(self, *pages: Sequence[OwnOutbound], faults: Sequence[Exception] = ()) -> None:
        self.listed = pages
        self.faults = list(faults)
        self.asked: list[datetime] = []

    async def pages(
        self, *, after: datetime, limits: PageLimits, most: int | None = None
    ) -> AsyncGenerator[list[OwnOutbound], None]:
        self.asked.append(after)
        if self.faults:
            raise self.faults.pop(0)
        for page in self.listed[:most]:
            yield list(page)


class Bench:
    """A database that is to be judged, and a folder beside the daemon."""

    def __init__(self, database: Database, direct: Arranged, folder: Path) -> None:
        self.database = database
        self.direct = direct
        self.mark_file = MarkFile(reactor=reactor, folder=folder, database="here")
        self.id: UUID = direct.value("SELECT id FROM installation")
        self.in_flight = nothing_in_flight(Clock(), capacity=3)
        self.gate = WorkGate()

    async def judge(self, message_sender: Listed | None = None) -> tuple[bool, list[str]]:
        """Whether it may be worked with, and the pauses."""
        self.gate = WorkGate(pauses=())
        await self.continuity(message_sender).judge()
        return self.gate.is_open, self.pauses()

    def continuity(self, message_sender: Listed | None = None) -> Continuity:
        sender: Any = message_sender or Listed()
        return Continuity(
            database=self.database,
            message_sender=sender,
            held=lambda: [one.send for one in self.in_flight.held.values()],
            gate=self.gate,
            mark_file=self.mark_file,
            lease=timedelta(seconds=60),
        )

    def pauses(self) -> list[str]:
        rows = self.direct.rows("SELECT reason FROM pauses WHERE ended_at IS NULL")
        return [row["reason"] for row in rows]

    async def lose_a_claim(self) -> None:
        """The daemon holds a claim that the database has lost, in a failover."""
        schedule = self.direct.schedule()
        messageset = self.direct.messageset("pregnancy", schedule)
        (subscription,) = self.direct.subscriptions(1, messageset, schedule)
        await self.database.transact(sends.owe, subscription_id=subscription)
        (claimed,) = await self.database.transact(
            sends.claim, owner=self.in_flight.owner, limit=1, lease=timedelta(seconds=60)
        )
        self.in_flight.take(claimed, asked_at=0)
        self.direct.rows(
            "UPDATE sends SET state = 'owed', owner = NULL, lease_until = NULL, attempt = 0,"
            " first_attempt_at = NULL RETURNING 1"
        )
        self.direct.rows("UPDATE installation SET timeline = 0 RETURNING 1")

    async def beat(self) -> Mark:
        mark = await self.database.transact(installation.advance)
        assert mark is not None
        return mark

    async def resume(self) -> None:
        signature = Signature(actor="ann", reason="")
        await self.database.transact(resume, signature=signature, without_repair=True)

    def outbound(self, **difference: Any) -> OwnOutbound:
        values: dict[str, Any] = {
            "id": str(uuid4()),
            "created_at": NOW,
            "identity": "bbe7936a",
            "kind": "next",
            "send_id": uuid4(),
            "installation_id": self.id,
            "subscription_id": uuid4(),
            "messageset_id": 1,
            "sequence_number": 1,
            "lang": "eng_ZA",
        }
        return OwnOutbound(**values | difference)


@pytest.fixture
def bench(
    database: Database, direct: Arranged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.setattr(continuity, "FAILOVER_SECONDS", 0.0)
    monkeypatch.setattr(continuity, "RETRY_SECONDS", 0.0)
    return Bench(database, direct, tmp_path)


@ensureDeferred
async def test_a_database_with_the_beat_of_the_mark_did_not_go_back(bench: Bench) -> None:
    mark = await bench.beat()
    await bench.mark_file.keep(mark)
    assert await bench.judge() == (True, [])


@ensureDeferred
async def test_a_smaller_beat_pauses_all_daemons_until_somebody_resumes(bench: Bench) -> None:
    mark = await bench.beat()
    await bench.mark_file.keep(
        Mark(installation_id=bench.id, beat=mark.beat + 1, seen_at=mark.seen_at)
    )
    is_open, (reason,) = await bench.judge()
    assert not is_open
    assert "run `sbm restored`" in reason
    await bench.resume()
    assert await bench.judge() == (True, [])


@ensureDeferred
async def test_marks_of_another_address_count_if_they_are_of_this_database(
    bench: Bench, tmp_path: Path
) -> None:
    mark = await bench.beat()
    moved = MarkFile(reactor=reactor, folder=tmp_path, database="there")
    await moved.keep(evolve(mark, installation_id=uuid4(), beat=mark.beat + 1))
    assert await bench.judge() == (True, [])
    await moved.keep(evolve(mark, beat=mark.beat + 9))
    is_open, (reason,) = await bench.judge()
    assert not is_open
    assert "this daemon worked with it" in reason


@ensureDeferred
async def test_another_database_in_its_place_pauses_until_somebody_resumes(bench: Bench) -> None:
    """As when a dump of before the release with these ids is restored, and migrated."""
    await bench.mark_file.keep(Mark(installation_id=uuid4(), beat=0, seen_at=NOW))
    is_open, (reason,) = await bench.judge()
    assert not is_open
    assert "another one" in reason
    await bench.resume()
    assert await bench.judge() == (True, [])


@ensureDeferred
async def test_an_outbound_of_ours_that_is_not_known_pauses_until_somebody_resumes(
    bench: Bench,
) -> None:
    sender = Listed([], [bench.outbound()])
    is_open, (reason,) = await bench.judge(sender)
    assert not is_open
    assert NOW.isoformat() in reason
    assert await bench.judge(sender) == (False, [reason])
    await bench.resume()
    assert await bench.judge(sender) == (True, [])
    later = bench.outbound(created_at=NOW + timedelta(seconds=1))
    is_open, _ = await bench.judge(Listed([later], [bench.outbound()]))
    assert not is_open


@ensureDeferred
async def test_outbounds_of_another_installation_prove_nothing(bench: Bench) -> None:
    assert await bench.judge(Listed([bench.outbound(installation_id=uuid4())])) == (True, [])


@pytest.mark.parametrize(
    ("state", "seconds", "is_evidence"),
    [
        ("owed", 0, True),
        ("claimed", 0, False),
        ("given back", -1, False),
        ("given back", 1, True),
        ("settled", 0, False),
    ],
)
@ensureDeferred
async def test_only_a_send_that_was_not_begun_since_the_last_beat_is_evidence(
    bench: Bench, state: str, seconds: int, is_evidence: bool
) -> None:
    mark = await bench.beat()
    schedule = bench.direct.schedule()
    messageset = bench.direct.messageset("pregnancy", schedule)
    (subscription,) = bench.direct.subscriptions(1, messageset, schedule)
    await bench.database.transact(sends.owe, subscription_id=subscription)
    if state != "owed":
        await bench.database.transact(
            sends.claim, owner=uuid4(), limit=1, lease=timedelta(seconds=60)
        )
    (send,) = bench.direct.rows("SELECT id, identity FROM sends")
    if state == "given back":
        bench.direct.rows(
            "UPDATE sends SET state = 'owed', owner = NULL, lease_until = NULL RETURNING 1"
        )
    if state == "settled":
        bench.direct.rows(
            "WITH gone AS (DELETE FROM sends RETURNING *) INSERT INTO ledger"
            " (send_id, tick_id, kind, outcome, stage, subscription_id, identity) SELECT"
            " id, tick_id, kind, 'sent', 'post', subscription_id, identity FROM gone RETURNING 1"
        )
    outbound = bench.outbound(
        send_id=send["id"],
        identity=send["identity"],
        created_at=mark.seen_at + timedelta(seconds=seconds),
    )
    is_open, _ = await bench.judge(Listed([outbound]))
    assert is_open == (not is_evidence)


@pytest.mark.parametrize("is_known", [True, False])
@ensureDeferred
async def test_a_claim_that_the_daemon_holds_must_be_known(bench: Bench, is_known: bool) -> None:
    schedule = bench.direct.schedule()
    messageset = bench.direct.messageset("pregnancy", schedule)
    (subscription,) = bench.direct.subscriptions(1, messageset, schedule)
    await bench.database.transact(sends.owe, subscription_id=subscription)
    (claimed,) = await bench.database.transact(
        sends.claim, owner=bench.in_flight.owner, limit=1, lease=timedelta(seconds=60)
    )
    bench.in_flight.take(claimed, asked_at=0)
    assert (await bench.judge())[0]
    bench.direct.rows("UPDATE installation SET timeline = timeline - 1 RETURNING 1")
    if not is_known:
        bench.direct.rows(
            "UPDATE sends SET state = 'owed', owner = NULL, lease_until = NULL, attempt = 0"
            " RETURNING 1"
        )
    assert await bench.judge() == (True, [])
    state = bench.direct.value("SELECT state FROM sends")
    assert state == ("claimed" if is_known else "unknown")


@pytest.mark.parametrize(
    ("seconds", "timelines", "is_failover"),
    [(2, 1, True), (600, 1, False), (2, 0, False)],
)
@ensureDeferred
async def test_only_a_short_loss_with_a_new_timeline_is_a_failover(
    bench: Bench, seconds: int, timelines: int, is_failover: bool
) -> None:
    assert (await bench.judge())[0]
    bench.direct.rows("UPDATE installation SET timeline = timeline - %s RETURNING 1", timelines)
    seen_at = bench.direct.value("SELECT seen_at FROM installation")
    lost = bench.outbound(created_at=seen_at + timedelta(seconds=seconds))
    is_open, pauses = await bench.judge(Listed([lost]))
    assert (is_open, bool(pauses)) == (is_failover, not is_failover)
    if is_failover:
        (entry,) = bench.direct.ledger()
        assert (entry["outcome"], entry["outbound_id"]) == ("adopted", lost.id)


@ensureDeferred
async def test_a_message_sender_without_a_list_is_believed_to_have_nothing(bench: Bench) -> None:
    assert await bench.judge(Listed(faults=[CannotBeAsked("404")])) == (True, [])


@ensureDeferred
async def test_if_a_page_is_too_large_a_shorter_time_is_asked_about(bench: Bench) -> None:
    sender = Listed([bench.outbound()], faults=[TooLong("large")])
    assert not (await bench.judge(sender))[0]
    first, second = sender.asked
    assert second > first


@pytest.mark.parametrize("fault", [Unanswered("no answer in time"), Faulty("500")])
@ensureDeferred
async def test_if_a_page_is_slow_or_of_no_use_a_shorter_time_is_asked_about(
    bench: Bench, fault: Exception
) -> None:
    assert not (await bench.judge(Listed([bench.outbound()], faults=[fault])))[0]


@pytest.mark.parametrize("fault", [Unavailable("refused"), Unanswered("lost"), Faulty("500")])
@ensureDeferred
async def test_while_the_message_sender_cannot_answer_there_are_ticks_and_nothing_else(
    bench: Bench, fault: Exception
) -> None:
    seen_at = (await bench.beat()).seen_at
    sender = Listed(faults=[fault] * len(ASKED_BACK))
    assert await bench.judge(sender) == (False, [])
    assert bench.gate.ticks.is_open
    assert str(fault) in bench.gate.reason
    assert bench.direct.value("SELECT seen_at FROM installation") == seen_at
    assert await bench.judge(Listed()) == (True, [])


@ensureDeferred
async def test_a_pause_that_begins_meanwhile_keeps_the_gate_closed(bench: Bench) -> None:
    seen_at = (await bench.beat()).seen_at

    class Slow(Listed):
        async def pages(
            self, *, after: datetime, limits: PageLimits, most: int | None = None
        ) -> AsyncGenerator[list[OwnOutbound], None]:
            await bench.database.transact(pauses.pause_restored, reason="another one found it")
            yield []

    assert await bench.judge(Slow()) == (False, ["another one found it"])
    assert bench.direct.value("SELECT seen_at FROM installation") == seen_at


@pytest.mark.parametrize("minutes", [1, 60])
@ensureDeferred
async def test_a_failover_after_a_long_outage_is_one_all_the_same(
    bench: Bench, minutes: int
) -> None:
    assert (await bench.judge())[0]
    await bench.lose_a_claim()
    bench.direct.rows(
        "UPDATE installation SET seen_at = now() - make_interval(mins => %s) RETURNING 1", minutes
    )
    assert await bench.judge() == (True, [])
    assert bench.direct.value("SELECT state FROM sends") == "unknown"


@ensureDeferred
async def test_a_failover_that_another_daemon_has_accepted_is_one_all_the_same(
    bench: Bench,
) -> None:
    second = bench.continuity()
    await second.judge()
    await bench.lose_a_claim()
    assert second._accepted is not None
    second._accepted = evolve(second._accepted, lineage=(0, 0))  # the server before the failover
    held, bench.in_flight.held = bench.in_flight.held, {}
    assert await bench.judge() == (True, [])
    bench.in_flight.held = held
    await second.judge()
    assert bench.pauses() == []
    assert bench.direct.value("SELECT state FROM sends") == "unknown"


@ensureDeferred
async def test_without_a_list_a_failover_that_lost_a_claim_pauses(bench: Bench) -> None:
    assert (await bench.judge())[0]
    await bench.lose_a_claim()
    is_open, (reason,) = await bench.judge(Listed(faults=[CannotBeAsked("404")]))
    assert not is_open
    assert "run `sbm restored`" in reason


@ensureDeferred
async def test_ticks_go_on_while_the_message_sender_is_away_after_a_failover(bench: Bench) -> None:
    assert (await bench.judge())[0]
    await bench.lose_a_claim()
    assert await bench.judge(Listed(faults=[Unavailable("503")])) == (False, [])
    assert bench.gate.may_tick

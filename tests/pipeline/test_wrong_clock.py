"""The database's clock is wrong for some time; then it is right again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from twisted.internet import task

from sbm.clients.message_sender import Found
from sbm.model.backoff import CAP
from sbm.model.durations import LeaseTime, SettleTime, TickGrace
from sbm.model.send import GivenBack, Settled, Unknown
from sbm.model.task import Task, TaskKind
from sbm.model.time_zones import TimeZones
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.database_clock import SETTLING_SECONDS, DatabaseClock
from sbm.pipeline.scheduling_mode import SchedulingMode
from sbm.pipeline.sends.blame import Blame
from sbm.pipeline.sends.claimer import Claimer
from sbm.pipeline.sends.delivery import Blames
from sbm.pipeline.sends.reconciler import Reconciler
from sbm.pipeline.sends.retries import Retries
from sbm.pipeline.tasks.runner import TaskRunner, TaskWork
from sbm.pipeline.ticks import REVIEW_SECONDS, Clock
from sbm.pipeline.upkeep.housekeeping import CallbackHousekeeping, Housekeeping
from sbm.pipeline.upkeep.ledger_balance import REST, LedgerBalance
from sbm.runtime.lease import uptime
from sbm.runtime.wakeups import Wakeup
from sbm.store import idempotency, ledger_balance, sends, tasks, ticks
from sbm.store.idempotency import KeyedRequest
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry
from tests.arrange import Arranged
from tests.pipeline.fakes import Begun, nothing_in_flight
from tests.wrong_clock import WrongClock

UTC = ZoneInfo("UTC")
LEASE = LeaseTime(timedelta(seconds=60))
SETTLE = SettleTime(timedelta(seconds=120))
HOLD = LEASE + SETTLE
DAY = 86_400.0

JUMPS = pytest.mark.parametrize("by", [30.0, -30.0, 7200.0, -7200.0, DAY, -DAY, 3 * DAY, -3 * DAY])


@define(eq=False, slots=False)
class Lister:
    """A Message Sender that has nothing, and remembers since when it was asked."""

    since: list[datetime] = field(factory=list)

    def questions(self, identities: Any, **_: Any) -> list[tuple[str, ...]]:
        return [tuple(identities)]

    async def find(self, _: Any, *, keys: Any, after: datetime) -> Found:
        self.since.append(after)
        return Found(outbounds={})


async def _is_well(*, but: str) -> bool:
    return True


NO_BLAMES = Blames(
    *(
        Blame(
            breaker=Breaker(service=name, seconds=lambda: 0.0, draw=lambda: 1.0),
            seconds=lambda: 0.0,
            is_well=_is_well,
        )
        for name in ("is", "ms")
    )
)


@define(eq=False, slots=False)
class Bench:
    """A daemon's passes, over a database whose clock is wrong when the test says so."""

    database: Database
    direct: Arranged
    skipped: float = 0.0
    wrong_by: float = 0.0
    wall_is_wrong_by: timedelta = timedelta(0)

    def __attrs_post_init__(self) -> None:
        self.wrong_clock = WrongClock(self.direct)
        self.telemetry = Telemetry()
        self.clock = DatabaseClock(
            hold=HOLD,
            telemetry=self.telemetry,
            uptime=lambda: uptime() + self.skipped,
            wall_clock=lambda: self.time + self.wall_is_wrong_by,
            machine="here",
        )
        self.lister = Lister()
        reactor: Any = self.database.reactor
        lister: Any = self.lister
        delivery: Any = Begun()
        in_flight = nothing_in_flight(reactor)
        self.claimer = Claimer(
            reactor=reactor,
            database=self.database,
            gated=self.database,
            in_flight=in_flight,
            delivery=delivery,
            blames=NO_BLAMES,
            wakeup=Wakeup(reactor=reactor),
            clock=self.clock,
        )
        self.reconciler = Reconciler(
            reactor=reactor,
            database=self.database,
            message_sender=lister,
            breaker=Breaker(service="ms", seconds=reactor.seconds, draw=lambda: 1.0),
            telemetry=Telemetry(),
            settle=SETTLE,
            lease=LEASE,
            uncertain="at-most-once",
            retries=Retries(max_faults=3, cap=CAP, draw=lambda: 1.0),
            owed=lambda: None,
            clock=self.clock,
        )
        self.ticking = Clock(
            database=self.database,
            mode=SchedulingMode(database=self.database, mode="builtin"),
            time_zones=TimeZones(default=UTC),
            grace=TickGrace(timedelta(hours=1)),
            ticked=lambda: None,
            clock=self.clock,
        )
        self.schedule = self.direct.schedule()
        messageset = self.direct.messageset("pregnancy", self.schedule, messages=9)
        self.members = self.direct.subscriptions(3, messageset, self.schedule)

    @property
    def time(self) -> datetime:
        """The real time."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.skipped)

    def sets(self, wrong_by: float) -> None:
        self.wrong_by = wrong_by
        self.wrong_clock.set(self.skipped + wrong_by)

    def second_of_minute(self) -> float:
        """By the database's clock."""
        return float(self.direct.value("SELECT EXTRACT(second FROM now())::float8"))

    def passes(self, seconds: float) -> None:
        """Time passes, for both clocks, in no time."""
        self.skipped += seconds
        self.sets(self.wrong_by)

    async def looks(self) -> None:
        await self.claimer.expire()

    async def settles(self) -> None:
        """The jump is some seconds ago."""
        await self.looks()
        self.passes(SETTLING_SECONDS)
        await self.looks()

    async def claims(self, count: int = 3) -> list[Any]:
        return await self.database.transact(sends.claim, owner=uuid4(), limit=count, lease=LEASE)

    async def owes(self) -> None:
        for member in self.members:
            await self.database.transact(sends.owe, subscription_id=member)

    def sends(self, what: str) -> set[Any]:
        rows = self.direct.rows(f"SELECT {what} AS told FROM sends")  # noqa: S608
        return {row["told"] for row in rows}

    def ticks(self) -> list[tuple[str, int]]:
        """The states of the clock's ticks, and how many minutes from now their moments lie."""
        rows = self.direct.rows(
            "SELECT state, round(EXTRACT(epoch FROM due_at - date_trunc('minute', now())) / 60)"
            " AS minutes FROM ticks WHERE source = 'clock' ORDER BY id"
        )
        return [(row["state"], int(row["minutes"])) for row in rows]


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    """Begin early in a minute, so that none ends between a pass and the look at its result."""
    bench = Bench(database, direct)
    bench.passes(65 - bench.second_of_minute())
    return bench


@JUMPS
@ensureDeferred
async def test_no_lease_ends_by_a_jump_and_none_is_believed(bench: Bench, by: float) -> None:
    """Claimed before, while the clock is wrong, and after: all end a lease and a settle time on."""
    await bench.looks()
    await bench.owes()
    await bench.claims(1)
    bench.sets(by)
    await bench.claims(2)
    await bench.looks()
    bench.passes(4)
    bench.sets(0)
    await bench.looks()
    assert bench.sends("state") - {"owed"} == {"claimed"}
    bench.passes(HOLD.total_seconds() - 1)
    await bench.looks()
    await bench.claims(2)
    assert bench.sends("state") == {"claimed"}, "an innocent claim was taken for ended"
    bench.passes(1)
    await bench.looks()
    bench.passes(LEASE.total_seconds() + 1)
    await bench.looks()
    assert bench.sends("state") == {"unknown"}, "a claim of a wrong clock is still believed"


@ensureDeferred
async def test_who_claims_knows_the_clock_before_it_jumps(bench: Bench) -> None:
    """The first thing that a daemon does may be a claim, and the next one is started afterwards."""
    await bench.owes()
    assert await bench.claimer.claim() == 3
    bench.sets(DAY)
    await bench.looks()
    clock = DatabaseClock(hold=HOLD, uptime=bench.clock.uptime, machine="here")
    delivery: Any = Begun()
    in_flight = nothing_in_flight(bench.database.reactor)
    await Claimer(
        reactor=bench.database.reactor,
        database=bench.database,
        gated=bench.database,
        in_flight=in_flight,
        delivery=delivery,
        blames=NO_BLAMES,
        wakeup=Wakeup(reactor=bench.database.reactor),
        clock=clock,
    ).expire()
    assert bench.sends("state") == {"claimed"}


@JUMPS
@ensureDeferred
async def test_what_was_owed_by_a_wrong_clock_is_due_when_it_would_have_been(
    bench: Bench, by: float
) -> None:
    await bench.looks()
    bench.sets(by)
    await bench.owes()
    (claimed,) = await bench.claims(1)
    later = GivenBack(reason="away", delay=timedelta(seconds=40))
    await bench.database.transact(sends.settle, results=[(claimed, later)])
    bench.sets(0)
    await bench.settles()
    assert len(await bench.claims()) >= 2
    bench.passes(41)
    await bench.claims()
    assert bench.sends("state") == {"claimed"}


@JUMPS
@ensureDeferred
async def test_absence_is_proven_only_when_the_settle_time_is_really_over(
    bench: Bench, by: float
) -> None:
    await bench.looks()
    await bench.owes()
    claimed = await bench.claims()
    bench.sets(by)
    unknown = [(send, Unknown(reason="cut")) for send in claimed]
    await bench.database.transact(sends.settle, results=unknown)
    await bench.reconciler.one_pass()
    bench.passes(4)
    bench.sets(0)
    for _ in range(19):
        await bench.looks()
        await bench.reconciler.one_pass()
        assert bench.sends("state") == {"unknown"}
        bench.passes(9)
    for _ in range(12):
        await bench.looks()
        await bench.reconciler.one_pass()
        bench.passes(9)
    assert bench.sends("state") == {"owed"}
    assert bench.lister.since
    truth = bench.direct.value("SELECT pg_catalog.now() - interval '23 hours'")
    assert all(since <= truth for since in bench.lister.since), "what it has may lie before"


@ensureDeferred
async def test_a_first_attempt_in_the_future_does_not_hide_what_was_posted(bench: Bench) -> None:
    await bench.looks()
    bench.sets(3 * DAY)
    await bench.owes()
    claimed = await bench.claims()
    bench.sets(0)
    unknown = [(send, Unknown(reason="cut")) for send in claimed]
    await bench.database.transact(sends.settle, results=unknown)
    await bench.settles()
    await bench.reconciler.one_pass()
    now = datetime.now(timezone.utc)
    assert bench.lister.since
    assert all(since <= now - timedelta(hours=23) for since in bench.lister.since)


@pytest.mark.parametrize("hours", [30, 100])
@ensureDeferred
async def test_nor_does_one_that_is_past_when_daemons_run_again(bench: Bench, hours: int) -> None:
    """It may lie ahead still, or not any more."""
    await bench.looks()
    posted_at = datetime.now(timezone.utc)
    bench.sets(3 * DAY)
    await bench.owes()
    unknown = [(send, Unknown(reason="cut")) for send in await bench.claims()]
    await bench.database.transact(sends.settle, results=unknown)
    await bench.looks()
    bench.sets(0)
    await bench.looks()
    bench.passes(hours * 3600)
    await bench.settles()
    await bench.reconciler.one_pass()
    assert bench.lister.since
    assert all(since <= posted_at - timedelta(hours=23) for since in bench.lister.since)


@ensureDeferred
async def test_nor_does_one_by_a_machine_whose_clocks_all_jump(bench: Bench) -> None:
    await bench.looks()
    posted_at = datetime.now(timezone.utc)
    bench.sets(3 * DAY)
    bench.wall_is_wrong_by = timedelta(seconds=3 * DAY)
    await bench.owes()
    unknown = [(send, Unknown(reason="cut")) for send in await bench.claims()]
    await bench.database.transact(sends.settle, results=unknown)
    for _ in range(2):  # the jump is seen, and then the clock is trusted again
        await bench.reconciler.one_pass()
        bench.passes(HOLD.total_seconds())
    assert bench.sends("state") == {"owed"}
    assert all(since <= posted_at - timedelta(hours=23) for since in bench.lister.since[1:])


@ensureDeferred
async def test_a_clock_that_stays_ahead_does_not_hide_what_was_posted(bench: Bench) -> None:
    bench.sets(5 * DAY)
    await bench.owes()
    unknown = [(send, Unknown(reason="cut")) for send in await bench.claims()]
    await bench.database.transact(sends.settle, results=unknown)
    await bench.reconciler.one_pass()
    now = datetime.now(timezone.utc)
    assert all(since <= now - timedelta(hours=23) for since in bench.lister.since)


@pytest.mark.parametrize("by", [7200.0, -7200.0, DAY, -DAY])
@ensureDeferred
async def test_moments_far_ahead_are_not_believed_whoever_wrote_them(
    bench: Bench, by: float
) -> None:
    await bench.owes()
    await bench.claims(1)
    bench.direct.rows(
        "UPDATE sends SET due_at = now() + %s, lease_until = lease_until + %s",
        *(timedelta(seconds=abs(by)),) * 2,
    )
    await bench.looks()
    assert len(await bench.claims()) == 2
    bench.passes(LEASE.total_seconds() + 1)
    await bench.looks()
    assert bench.sends("state") == {"unknown"}


@ensureDeferred
async def test_content_that_was_changed_in_the_future_is_at_rest_an_hour_from_now(
    bench: Bench,
) -> None:
    bench.direct.rows(
        "UPDATE content_changes SET changed_at = clock_timestamp() + interval '1 day'"
    )
    await bench.looks()
    bench.direct.rows("UPDATE content_changes SET changed_at = changed_at - interval '61 minutes'")
    bench.direct.rows("UPDATE subscriptions SET next_sequence_number = 99")
    await bench.owes()
    claimed = await bench.claims()
    assert claimed
    assert {send.recipient.lack for send in claimed if send.recipient} == {"end"}


@ensureDeferred
async def test_a_repair_without_a_jump_touches_nothing(bench: Bench) -> None:
    await bench.owes()
    (claimed,) = await bench.claims(1)
    later = GivenBack(reason="away", delay=timedelta(seconds=3599))
    await bench.database.transact(sends.settle, results=[(claimed, later)])
    await bench.claims(1)
    before = bench.direct.rows("SELECT * FROM sends ORDER BY id")
    changes = bench.direct.rows("SELECT * FROM content_changes")
    await bench.looks()
    assert bench.direct.rows("SELECT * FROM sends ORDER BY id") == before
    assert bench.direct.rows("SELECT * FROM content_changes") == changes


@JUMPS
@ensureDeferred
async def test_a_clock_that_is_wrong_for_seconds_makes_no_tick(bench: Bench, by: float) -> None:
    await bench.ticking.one_pass()
    bench.sets(by)
    for _ in range(4):
        await bench.ticking.one_pass()
        bench.passes(1)
    bench.sets(0)
    await bench.ticking.one_pass()
    assert bench.ticks() == []
    bench.passes(60)
    await bench.ticking.one_pass()
    assert [(state, minutes) for state, minutes in bench.ticks() if state != "missed"] == [
        ("expanding", 0)
    ]


@JUMPS
@ensureDeferred
async def test_after_a_clock_that_was_wrong_for_long_a_schedule_ticks_at_its_next_moment(
    bench: Bench, by: float
) -> None:
    """And the moments that the wrong clock has ticked for, or missed, come when they come."""
    await bench.ticking.one_pass()
    bench.passes(60)
    await bench.ticking.one_pass()
    assert bench.ticks() == [("expanding", 0)]
    bench.sets(by)
    await bench.ticking.one_pass()
    for _ in range(3):
        bench.passes(60)
        await bench.ticking.one_pass()
    made = bench.direct.value("SELECT count(*) FROM ticks WHERE state <> 'missed'")
    assert made > 2, "while it is wrong, it goes on by the clock that there is"
    bench.sets(0)
    await bench.ticking.one_pass()
    bench.passes(SETTLING_SECONDS)
    for number in range(1, 4):
        bench.passes(60)
        await bench.ticking.one_pass()
        assert bench.direct.value(
            "SELECT count(*) FROM ticks WHERE source = 'clock' AND state <> 'missed'"
            " AND due_at = date_trunc('minute', now())"
        ), (number, bench.ticks())


@ensureDeferred
async def test_a_moment_that_a_wrong_clock_ticked_for_comes_nevertheless(bench: Bench) -> None:
    await bench.ticking.one_pass()
    bench.sets(7200)
    await bench.ticking.one_pass()
    bench.passes(60)
    await bench.ticking.one_pass()
    ((moment, created_at),) = [
        (row["due_at"], row["created_at"])
        for row in bench.direct.rows("SELECT * FROM ticks WHERE state = 'expanding'")
    ]
    missed = bench.direct.value("SELECT max(due_at) FROM ticks WHERE state = 'missed'")
    bench.sets(0)
    await bench.ticking.one_pass()
    bench.passes(SETTLING_SECONDS)
    await bench.ticking.one_pass()
    for due_at in (missed, moment):
        left = bench.direct.value("SELECT EXTRACT(epoch FROM %s - now())::float8", due_at)
        bench.passes(left + 1)
        await bench.ticking.one_pass()
        (row,) = bench.direct.rows(
            "SELECT state, created_at FROM ticks WHERE source = 'clock' AND due_at = %s", due_at
        )
        assert (row["state"], row["created_at"] >= due_at) == ("expanding", True)
    (early,) = bench.direct.rows(
        "SELECT due_at FROM ticks WHERE created_at = %s AND state <> 'missed'", created_at
    )
    assert early["due_at"] < moment - timedelta(minutes=119), "it is told by when it was made"


@ensureDeferred
async def test_a_first_moment_that_comes_while_the_clock_settles_is_not_lost(bench: Bench) -> None:
    # The next moment is that of the next minute. It must not come earlier than is meant, however
    # slow this machine is: the test begins early in a minute, and looks well before the next.
    bench.passes(60 - bench.second_of_minute())
    await bench.ticking.one_pass()
    bench.sets(DAY)
    await bench.ticking.one_pass()
    bench.passes(SETTLING_SECONDS)
    await bench.ticking.one_pass()
    bench.direct.rows("DELETE FROM ticks")
    bench.sets(0)
    bench.passes(60 - 0.7 * SETTLING_SECONDS - bench.second_of_minute())
    await bench.ticking.one_pass()
    bench.passes(SETTLING_SECONDS + 1)
    await bench.ticking.one_pass()
    assert bench.ticks() == [("expanding", 0)]


@ensureDeferred
async def test_a_clock_that_goes_back_for_minutes_does_not_tick_twice_for_one_moment(
    bench: Bench,
) -> None:
    """A daily moment that has just come, a clock that goes back behind it, and comes back."""
    at = bench.direct.value("SELECT (now() - interval '2 minutes') AT TIME ZONE 'UTC'")
    bench.direct.rows("UPDATE schedules SET minute = %s, hour = %s", str(at.minute), str(at.hour))
    await bench.ticking.one_pass()
    bench.direct.rows("UPDATE schedules SET next_tick_at = next_tick_at - interval '1 day'")
    await bench.ticking.one_pass()
    assert [state for state, _ in bench.ticks()] == ["expanding"]
    for by in (-7200, 0, -DAY, 0):
        bench.sets(by)
        for _ in range(3):
            await bench.ticking.one_pass()
            bench.passes(SETTLING_SECONDS)
    assert [state for state, _ in bench.ticks() if state != "missed"] == ["expanding"]


@pytest.mark.parametrize("ahead", ["1 day", "2 hours", "30 minutes"])
@ensureDeferred
async def test_a_next_tick_beyond_the_next_moment_is_worked_out_anew(
    bench: Bench, ahead: str
) -> None:
    """Whoever wrote it: by a release before this one, it was not written down when that was."""
    await bench.ticking.one_pass()
    bench.direct.rows(
        "UPDATE schedules SET next_tick_at = next_tick_at + %s::interval, next_tick_set_at = NULL",
        ahead,
    )
    bench.passes(REVIEW_SECONDS)
    await bench.ticking.one_pass()
    assert bench.direct.value("SELECT next_tick_at <= now() + interval '1 minute' FROM schedules")


@JUMPS
@ensureDeferred
async def test_a_post_back_after_a_wrong_clock_skips_nobody(bench: Bench, by: float) -> None:
    await bench.looks()

    async def tick() -> None:
        tick_id = await bench.database.transact(ticks.open_tick, schedule_id=bench.schedule)
        assert tick_id is not None
        while await bench.database.transact(ticks.expand, limit=10):
            pass
        claimed = await bench.claims()
        sent = [
            (send, Settled(outcome="sent", stage="post", outbound_id=str(send.id)))
            for send in claimed
        ]
        await bench.database.transact(sends.settle, results=sent)

    await tick()
    bench.sets(by)
    await tick()
    bench.sets(0)
    await tick()
    await bench.looks()
    await tick()
    assert bench.direct.value("SELECT count(*) FROM ledger WHERE outcome = 'sent'") == 12
    assert bench.direct.value("SELECT count(*) FROM ledger WHERE outcome = 'skipped'") == 0
    checked = await bench.database.transact(ledger_balance.take, rest=REST, limit=100)
    found = await bench.database.transact(ledger_balance.count, ids=[tick.id for tick in checked])
    assert [one.missing for one in found] == [0] * 4, found


@JUMPS
@ensureDeferred
async def test_a_tick_that_was_sent_across_a_jump_is_balanced(bench: Bench, by: float) -> None:
    """Opened before and settled while the clock is wrong, or then and settled afterwards."""

    async def settle() -> None:
        sent = [
            (send, Settled(outcome="sent", stage="post", outbound_id=str(send.id)))
            for send in await bench.claims()
        ]
        await bench.database.transact(sends.settle, results=sent)

    await bench.looks()
    for wrong_by in (by, 0):
        await bench.database.transact(ticks.open_tick, schedule_id=bench.schedule)
        while await bench.database.transact(ticks.expand, limit=10):
            pass
        bench.sets(wrong_by)
        await bench.settles()
        await settle()
    checked = await bench.database.transact(ledger_balance.take, rest=REST, limit=100)
    found = await bench.database.transact(ledger_balance.count, ids=[tick.id for tick in checked])
    assert [(one.settled, one.live, one.missing) for one in found] == [(3, 0, 0)] * 2


@ensureDeferred
async def test_a_tick_that_was_checked_by_a_wrong_clock_is_checked_again(bench: Bench) -> None:
    await bench.database.transact(ticks.open_tick, schedule_id=bench.schedule)
    bench.sets(DAY)
    assert len(await bench.database.transact(ledger_balance.take, rest=REST, limit=9)) == 1
    bench.sets(0)
    assert len(await bench.database.transact(ledger_balance.take, rest=REST, limit=9)) == 1


@ensureDeferred
async def test_no_minute_is_over_by_a_jump(bench: Bench) -> None:
    await bench.looks()
    checking = LedgerBalance(database=bench.database, telemetry=Telemetry(), clock=bench.clock)
    await bench.database.transact(sends.owe, subscription_id=bench.members[0])
    (send,) = await bench.claims()
    sent = Settled(outcome="sent", stage="post", outbound_id="1")
    await bench.database.transact(sends.settle, results=[(send, sent)])
    bench.sets(DAY)
    await checking.one_pass()
    bench.sets(0)
    bench.passes(HOLD.total_seconds())
    await checking.one_pass()
    assert not bench.direct.value("SELECT is_checked_off FROM ticks")
    bench.passes(720)
    await checking.one_pass()
    assert bench.direct.value("SELECT is_checked_off FROM ticks")


@pytest.mark.parametrize("by", [100 * DAY, -100 * DAY])
@ensureDeferred
async def test_nothing_is_deleted_while_the_clock_may_be_wrong(bench: Bench, by: float) -> None:
    housekeeping = Housekeeping(
        database=bench.database, ledger_months=2, audit_months=2, intake_months=2, clock=bench.clock
    )
    await housekeeping.one_pass()
    names = "SELECT relname FROM pg_class WHERE relname ~ '^ledger_[0-9]{4}_[0-9]{2}$' ORDER BY 1"
    before = bench.direct.rows(names)
    await bench.database.transact(ticks.open_tick, schedule_id=bench.schedule)
    await bench.database.transact(ticks.expand, limit=10)
    bench.direct.rows("DELETE FROM sends")
    bench.direct.rows(
        "INSERT INTO idempotency_keys (request, path, key, fingerprint, status, headers, body)"
        " VALUES (sha256('a'), '/', 'k', sha256('b'), 201, '{}', '')"
    )
    bench.sets(by)
    await housekeeping.one_pass()
    bench.passes(HOLD.total_seconds() + 1)
    await housekeeping.one_pass()
    bench.sets(0)
    await housekeeping.one_pass()
    assert {row["relname"] for row in before} <= {
        row["relname"] for row in bench.direct.rows(names)
    }
    assert bench.direct.value("SELECT count(*) FROM ticks") == 1
    assert bench.direct.value("SELECT count(*) FROM idempotency_keys") == 1


@JUMPS
@ensureDeferred
async def test_a_request_that_is_repeated_across_a_jump_is_done_once(
    bench: Bench, by: float
) -> None:
    """It came before the jump and again while the clock is wrong, or then and again afterwards."""
    request = KeyedRequest(user_id=1, path="/x", key="k", digest=bytes(32), fingerprint=bytes(32))
    window = timedelta(minutes=10)

    async def answered(transaction: Transaction, number: int) -> tuple[bool, bool]:
        this = evolve(request, digest=bytes([number]) * 32)
        answer = await idempotency.find_answer(transaction, request=this)
        if answer is None:
            await idempotency.keep_answer(
                transaction, request=this, status=201, headers={}, body=b""
            )
        first = await idempotency.find_registration(
            transaction, fingerprint=this.digest, within=window
        )
        if first is None:
            await idempotency.keep_registration(
                transaction, fingerprint=this.digest, subscription_id=bench.members[0]
            )
        return answer is not None, first is not None

    await bench.looks()
    assert await bench.database.transact(answered, 1) == (False, False)
    bench.sets(by)
    await bench.looks()
    assert await bench.database.transact(answered, 1) == (True, True)
    assert await bench.database.transact(answered, 2) == (False, False)
    bench.sets(0)
    await bench.looks()
    for number in (1, 2):
        assert await bench.database.transact(answered, number) == (True, True)


@JUMPS
@ensureDeferred
async def test_a_task_is_taken_over_when_its_lease_has_really_ended(
    bench: Bench, by: float
) -> None:
    done: list[Task] = []

    class Runner(TaskRunner):
        loop_name = "estimates"

        @property
        def work(self) -> Mapping[TaskKind, TaskWork]:
            return {"estimate-sends": self._note}

        async def _note(self, task: Task) -> None:
            done.append(task)

    def runner() -> TaskRunner:
        return Runner(
            reactor=task.Clock(),
            database=bench.database,
            owner=uuid4(),
            wakeup=Wakeup(reactor=task.Clock()),
            clock=bench.clock,
        )

    await bench.looks()
    bench.sets(by)
    await bench.database.transact(tasks.request, kind="estimate-sends", requested_by=None)
    owner = uuid4()
    await bench.database.transact(
        tasks.begin, owner=owner, kinds=["estimate-sends"], lease=timedelta(minutes=5)
    )
    await bench.looks()
    bench.sets(0)
    await bench.settles()

    assert await runner().one_pass() == 0
    bench.passes(301)
    await bench.looks()
    assert await runner().one_pass() == 1
    assert len(done) == 1


@ensureDeferred
async def test_no_recorded_call_is_deleted_just_after_a_jump(bench: Bench) -> None:
    """The daemon's clock may have jumped with the database's, so they are old by both."""
    bench.direct.rows(
        "INSERT INTO scheduler_callbacks (kind, target, moment, created_at, received_at, status,"
        " body) SELECT 'schedule', '1', long_ago, long_ago, long_ago, 202, '{}'"
        " FROM (SELECT now() - interval '3 hours' AS long_ago) one"
    )
    housekeeping = CallbackHousekeeping(
        database=bench.database, kept=timedelta(hours=1), clock=bench.clock
    )
    await bench.looks()
    bench.sets(7200.0)
    assert await housekeeping.one_pass() == 0
    await bench.settles()
    assert await housekeeping.one_pass() == 1

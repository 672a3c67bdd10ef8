"""Repair a database that went back: find out from the Message Sender what was sent since."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from attrs import define, frozen
from twisted.internet.task import deferLater

from sbm.clients.links import PageLimits
from sbm.clients.message_sender import MessageSender
from sbm.model.outbound import OwnOutbound
from sbm.model.pause import Pause
from sbm.model.send import Settled
from sbm.model.signature import Signature
from sbm.model.time_zones import TimeZones
from sbm.operations.due_moments import latest_first
from sbm.operations.progress import Progress, no_progress
from sbm.operations.refusals import OperationRefused
from sbm.store import audit, installation, lost_sends, pauses, scheduler_calls, sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

CHUNK = 500

# How often outbounds are tried whose rows are locked, by a daemon that settles them for example.
TRIES = 20
LOCKED_SECONDS = 0.25
SCHEDULES_AT_A_TIME = 100

# The clocks of the Message Sender and of the database may differ, and daemons may have sent
# messages for some seconds before the last moment that the database knows.
CLOCK_SPARE = timedelta(minutes=5)

# What was sent since the dump: each outbound takes a kilobyte in memory.
SINCE_DUMP = PageLimits(pages=5000, rows=5_000_000, time=timedelta(hours=12))

PAUSED_TO_REPAIR = (
    "the database was restored from a dump: run `sbm restored` to the end, then `sbm resume`"
)
WENT_BACK = (
    "the database went back to an earlier state ({evidence}), and would send again what was sent"
    " already: run `sbm restored`, and after it `sbm resume`"
)

_FOUND = "the database went back: the Message Sender has it"
_SUPERSEDED = "the database went back: a later message of the subscription was sent since"


class NothingToGoBackTo(OperationRefused):
    """It is not known when the dump was made."""

    def __init__(self) -> None:
        super().__init__("the database does not show when the dump was made: give --since")


@define(eq=False, kw_only=True)
class RestoredCount:
    """What was done, or would be done.

    ``doubted`` sends were owed or claimed, and are asked about; ``missed`` ticks of the built-in
    clock are recorded. Of ``outbounds`` that the Message Sender has since the dump, ``adopted``
    were not known as sent; the ledger has them now, and their subscriptions went on. ``superseded``
    sends were skipped, because a later message of the subscription was sent. ``left`` outbounds
    could not be adopted: their subscriptions are locked, or another send is in the way.
    """

    doubted: int = 0
    missed: int = 0
    outbounds: int = 0
    adopted: int = 0
    superseded: int = 0
    left: int = 0


@frozen(kw_only=True)
class Restoration:
    """How to repair: ``since`` is the time of the dump, and ``lease`` that of a daemon's claims.

    ``without_list``: the Message Sender offers no list, so nothing is known of lost outbounds.
    """

    since: datetime | None
    lease: timedelta
    zones: TimeZones
    is_new_installation: bool
    is_dry: bool
    without_list: bool = False
    signature: Signature


async def time_of_dump(database: Database, *, since: datetime | None) -> datetime:
    """When the dump was made, as it was given, or as the database shows it.

    Raises NothingToGoBackTo if the database does not show it.
    """
    since = since or await database.transact(installation.find_time_of_dump)
    if since is None:
        raise NothingToGoBackTo
    return since


async def repair(
    database: Database,
    message_sender: MessageSender,
    *,
    wanted: Restoration,
    progress: Progress = no_progress,
) -> RestoredCount:
    """Do all that a restored database needs before the daemons may go on, or only count it.

    It can be repeated, and go on after an interruption. Raises Unavailable if the Message Sender
    cannot be asked.
    """
    since = await time_of_dump(database, since=wanted.since)
    before = await database.transact(installation.read)
    listed = []
    if not wanted.without_list:
        listed = await list_outbounds(message_sender, of=before.id, since=since, limits=SINCE_DUMP)
    count = RestoredCount(outbounds=len(listed))
    if wanted.is_dry:
        count.doubted = await database.transact(lost_sends.count_owed_or_claimed)
        count.missed = await _miss_ticks(database, wanted.zones, is_dry=True)
        for start in range(0, len(listed), CHUNK):
            part = listed[start : start + CHUNK]
            count.adopted += len(await database.transact(lost_sends.find_lost, outbounds=part))
        return count
    await database.transact(
        pauses.pause_restored,
        reason=PAUSED_TO_REPAIR,
        outbounds_until=max((one.created_at for one in listed), default=None),
    )
    count.doubted = await doubt_all(database, lease=wanted.lease)
    count.missed = await _miss_ticks(database, wanted.zones)
    await adopt_all(database, listed, count=count, progress=progress)
    await database.transact(_conclude, wanted=wanted, since=since, count=count)
    return count


async def _conclude(
    transaction: Transaction, *, wanted: Restoration, since: datetime, count: RestoredCount
) -> None:
    details = {
        "since": since.isoformat(),
        "doubted": count.doubted,
        "missed": count.missed,
        "outbounds": count.outbounds,
        "adopted": count.adopted,
        "superseded": count.superseded,
        "left": count.left,
    }
    if wanted.is_new_installation:
        former, present = await installation.change(transaction)
        await pauses.pause_restored(transaction, reason=PAUSED_TO_REPAIR, formerly=former)
        details |= {"former_installation": str(former), "installation": str(present)}
    if not count.left:
        await pauses.mark_repaired(transaction)
    await audit.record(
        transaction,
        actor=wanted.signature.actor,
        action="restored",
        reason=wanted.signature.reason,
        details=details,
    )


class NotRepaired(OperationRefused):
    """The database went back, and was not repaired."""

    def __init__(self) -> None:
        super().__init__(
            "the database went back to an earlier state, and `sbm restored` was not run to its end:"
            " run it first. (With --without-repair, the daemons go on all the same, and may send"
            " again what was sent already)"
        )


async def resume(
    transaction: Transaction, *, signature: Signature, without_repair: bool = False
) -> list[Pause]:
    """End all pauses; returns those that have ended.

    Outbounds and marks from before do not show any more that the database went back. Raises
    NotRepaired, unless ``without_repair``.
    """
    if not without_repair and await pauses.is_repair_missing(transaction):
        raise NotRepaired
    ended = await pauses.end_all(transaction)
    if any(pause.kind == "restored" for pause in ended):
        await installation.accept_past(transaction)
    if ended:
        await audit.record(
            transaction,
            actor=signature.actor,
            action="resume",
            reason=signature.reason,
            details={"ended": [pause.kind for pause in ended]},
        )
    return ended


async def list_outbounds(
    message_sender: MessageSender, *, of: UUID, since: datetime, limits: PageLimits
) -> list[OwnOutbound]:
    """The outbounds of an installation since a moment, or a little longer, oldest first.

    Raises Unavailable; TooManyPages if there are more than the limits allow.
    """
    listed = [
        outbound
        async for page in message_sender.pages(after=since - CLOCK_SPARE, limits=limits)
        for outbound in page
        if outbound.installation_id == of
    ]
    return sorted(listed, key=lambda one: (one.created_at, one.id))


async def doubt_all(database: Database, *, lease: timedelta) -> int:
    """Let the Message Sender be asked about all that is owed or claimed; returns how many.

    It is asked about the sends of ticks that are still being expanded as well.
    """
    await database.transact(installation.ask_first, lease=lease)
    doubted = 0
    # Sends may be owed meanwhile. A part that is not full is the last one, or this might never end.
    count = CHUNK
    while count == CHUNK:
        count = await database.transact(lost_sends.doubt, limit=CHUNK)
        doubted += count
    return doubted


async def adopt_all(
    database: Database,
    listed: Sequence[OwnOutbound],
    *,
    count: RestoredCount,
    progress: Progress = no_progress,
) -> None:
    """Settle the sends of these outbounds, oldest first, as if the answers had come just now."""
    ids = frozenset(one.send_id for one in listed)
    with progress("outbounds", len(listed)) as advance:
        async for chunk in _chunks(listed):
            for tries in reversed(range(TRIES)):
                done = await database.transact(_adopt, chunk=chunk, listed=ids)
                count.adopted += done.adopted
                count.superseded += done.superseded
                if not (done.left and tries):
                    break
                await deferLater(database.reactor, LOCKED_SECONDS)
            count.left += done.left
            advance(len(chunk))


async def _chunks(listed: Sequence[OwnOutbound]) -> AsyncIterator[list[OwnOutbound]]:
    """Parts in this order, each with one outbound of a person at most, so that each step counts."""
    chunk: list[OwnOutbound] = []
    people: set[str] = set()
    for outbound in listed:
        if len(chunk) == CHUNK or outbound.identity in people:
            yield chunk
            chunk, people = [], set()
        chunk.append(outbound)
        people.add(outbound.identity)
    if chunk:
        yield chunk


async def _adopt(
    transaction: Transaction, *, chunk: Sequence[OwnOutbound], listed: frozenset[UUID]
) -> RestoredCount:
    """Settle what is live and make what was lost; ``listed`` are the ids of all sends in question.

    Their subscriptions step, complete and go on to the next set as they do after a POST.
    """
    live = await lost_sends.find_live(transaction, ids=[one.send_id for one in chunk])
    known = {one.id for one in live}
    lost_ids = await lost_sends.find_lost(transaction, outbounds=chunk)
    lost = await lost_sends.with_holders(
        transaction, outbounds=[one for one in chunk if one.send_id in lost_ids - known]
    )
    await lost_sends.place(transaction, outbounds=chunk, ids=known)
    in_the_way = await lost_sends.find_in_the_way(transaction, outbounds=lost)
    await lost_sends.remove(
        transaction, ids=[one.id for one in in_the_way if one.id in listed - known]
    )
    skipped = Settled(outcome="skipped", stage="trigger", reason=_SUPERSEDED)
    superseded = await sends.settle(
        transaction, results=[(one, skipped) for one in in_the_way if one.id not in listed]
    )
    made = await lost_sends.restore(transaction, outbounds=lost) if lost else []
    outbound_ids = {one.send_id: one.id for one in chunk}
    results = [(one, _found(outbound_ids[one.id])) for one in [*live, *made]]
    settled = await sends.settle(transaction, results=results)
    return RestoredCount(
        adopted=len(settled.sends),
        superseded=len(superseded.sends),
        left=len(live) + len(lost) - len(settled.sends),
    )


def _found(outbound_id: str) -> Settled:
    return Settled(outcome="adopted", stage="post", reason=_FOUND, outbound_id=outbound_id)


async def _miss_ticks(database: Database, zones: TimeZones, *, is_dry: bool = False) -> int:
    """Record the ticks of the built-in clock that came due since the dump as missed."""
    if await database.transact(scheduler_calls.read_scheduling) != "builtin":
        return 0
    missed, after, seen = 0, 0, SCHEDULES_AT_A_TIME
    while seen == SCHEDULES_AT_A_TIME:
        seen, after, found = await database.transact(
            _miss_next, zones=zones, after=after, is_dry=is_dry
        )
        missed += found
    return missed


async def _miss_next(
    transaction: Transaction, *, zones: TimeZones, after: int, is_dry: bool
) -> tuple[int, int, int]:
    stale = await ticks.find_stale(
        transaction, default_time_zone=zones.default, limit=SCHEDULES_AT_A_TIME, after=after
    )
    missed = 0
    for schedule in stale:
        time_zone = zones.of(schedule.time_zone)
        if schedule.cron is None or time_zone is None:
            continue  # the clock tells an operator
        if schedule.due_since is None or schedule.is_ahead:
            continue  # the clock decides what to do
        moments = await latest_first(
            transaction,
            schedule.cron,
            after=schedule.due_since - timedelta(seconds=1),
            until=schedule.now,
            time_zone=time_zone,
        )
        missed += len(moments)
        if is_dry:
            continue
        await ticks.record_missed(transaction, schedule_id=schedule.schedule_id, moments=moments)
        await ticks.set_next_tick(
            transaction,
            schedule_id=schedule.schedule_id,
            default_time_zone=zones.default,
            next_tick_at=schedule.cron.next_after(schedule.now, time_zone),
        )
    return len(stale), stale[-1].schedule_id if stale else after, missed

"""Finds out whether the database went back to an earlier state, before any work is done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from uuid import UUID

from attrs import define, field, frozen
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sbm.clients.links import PageLimits
from sbm.clients.message_sender import MessageSender
from sbm.clients.outcomes import CannotBeAsked, Faulty, Unanswered, Unavailable
from sbm.clients.service_client import TooLong
from sbm.model.installation import Installation, Mark
from sbm.model.send import Send
from sbm.operations import restored
from sbm.pipeline.mark_file import MarkFile
from sbm.runtime.work_gate import WorkGate
from sbm.store import installation, lost_sends, pauses
from sbm.store.pauses import AcceptedEvidence
from sbm.store.postgres.connection import Server
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

# How far back the Message Sender is asked. If its pages are too large, too slow or of no use, a
# shorter time is tried.
ASKED_BACK = (
    timedelta(hours=1),
    timedelta(minutes=15),
    timedelta(minutes=4),
    timedelta(minutes=1),
)
MOST_PAGES = 20
RECENT = PageLimits(pages=MOST_PAGES + 1, rows=100_000, time=timedelta(minutes=2))

# What was sent since a failover that lost the commits of some seconds.
SINCE_FAILOVER = PageLimits(pages=200, rows=200_000, time=timedelta(minutes=5))

# An asynchronous standby lags behind by seconds. A longer gap is that of a backup.
LONGEST_LAG = timedelta(minutes=5)


# After a failover: until each daemon has seen the new primary and stopped to post for claims that
# are lost, and the Message Sender has what was being posted.
FAILOVER_SECONDS = 4.0

# A transaction may have locked a subscription for a moment.
TRIES = 5
RETRY_SECONDS = 1.0


@frozen(kw_only=True)
class State:
    """What the database says of itself, on a connection to this server."""

    installation: Installation
    accepted: AcceptedEvidence
    server: Server | None


@frozen(kw_only=True)
class Evidence:
    """That the database went back: the latest moment that it has lost, and a clause for people.

    ``formerly`` is the installation id that the daemon knew, if it was another one.
    ``outbounds_until`` is the newest outbound that was looked at.
    """

    until: datetime
    clause: str
    formerly: UUID | None = None
    outbounds_until: datetime | None = None


@define(eq=False, slots=False, kw_only=True)
class Continuity:
    """Judges the database, at the start and each time its server changes.

    It went back if it has a smaller beat than the daemon has seen, if it does not know a claim that
    the daemon holds, or if the Message Sender has an outbound of this installation whose send the
    database does not know. After a failover that lost the commits of some seconds, what may have
    been sent is asked about, and the daemon goes on. In all other cases, all daemons are paused.
    While the Message Sender cannot answer, ticks are opened and expanded, and nothing else is done.
    ``held`` are the claims of this daemon, and ``lease`` is that of a claim.
    """

    _database: Database
    _message_sender: MessageSender
    _held: Callable[[], Sequence[Send]]
    _gate: WorkGate
    _mark_file: MarkFile
    _lease: timedelta
    _telemetry: Telemetry = field(factory=Telemetry)
    _wall_clock: Callable[[], datetime] = field(default=lambda: datetime.now(timezone.utc))
    _log: Logger = field(factory=Logger)
    # The latest mark of this process.
    mark: Mark | None = field(default=None, init=False)
    _accepted: Server | None = field(default=None, init=False)
    _told: object = field(default=None, init=False)

    async def judge(self) -> None:
        """Open the gate for this server, pause all daemons, or wait for the Message Sender."""
        # The marks are read first: meanwhile, another daemon may let the beat grow.
        marks = [one for one in (self.mark, await self._mark_file.read()) if one is not None]
        others = await self._mark_file.read_others()
        first = state = await self._database.transact(_read_state)
        if self._is_on_higher_timeline(first):
            await deferLater(self._database.reactor, FAILOVER_SECONDS)
            # Another daemon may have judged it meanwhile; it is a failover all the same.
            state = await self._database.transact(_read_state)
        # The address of the database may be another one than before: its marks are known by its id.
        marks += [one for one in others if one.installation_id == state.installation.id]
        evidence = _of_marks(marks, state) or await self._of_claims(state)
        try:
            if evidence is None:
                evidence = await self._of_outbounds(state)
            if evidence is not None:
                self._tell(evidence, state)
                if not self._is_failover(evidence, first):
                    self._gate.doubt()
                    await self._pause(evidence)
                    return
                try:
                    await self._repair(first)
                except CannotBeAsked:
                    self._gate.doubt()
                    await self._pause(evidence)
                    return
        except Unavailable as error:
            # Sends that are owed by mistake do no harm while nothing is claimed.
            self._gate.let_tick(state.server and state.server.state)
            self._wait(error)
            return
        mark = await self._database.transact(_accept, server=state.server)
        if mark is None:
            return  # meanwhile, all daemons were paused
        self.mark, self._accepted = mark, state.server
        self._gate.judge(state.server and state.server.state)

    def _tell(self, evidence: Evidence, state: State) -> None:
        """Once for each state, however long the Message Sender cannot be asked."""
        found = (state.server, state.installation.beat)
        if found != self._told:
            self._told = found
            self._telemetry.count("database.went_back")
            self._log.error("the database went back: {clause}", clause=evidence.clause)

    async def _of_claims(self, state: State) -> Evidence | None:
        """Whether the database does not know a claim that this daemon holds."""
        held = self._held()
        if not held:
            return None
        lost = await self._database.transact(lost_sends.find_lost_claims, claims=held)
        if not lost:
            return None
        until = state.installation.seen_at if self.mark is None else self.mark.seen_at
        return Evidence(
            until=until or state.installation.now,
            clause="this daemon holds claims that the database does not know",
        )

    async def _of_outbounds(self, state: State) -> Evidence | None:
        """Ask the Message Sender; raises Unavailable."""
        useless: Unavailable | None = None
        for back in ASKED_BACK:
            try:
                return await self._of_recent_outbounds(state, back)
            except TooLong:
                useless = None
            except (Unanswered, Faulty) as error:
                useless = error
            except CannotBeAsked as error:
                self._log.warn(
                    "the Message Sender cannot be asked whether the database went back: {error}",
                    error=error,
                )
                return None
        if useless is not None:
            raise useless
        self._log.warn(
            "the Message Sender cannot be asked whether the database went back: its pages are too"
            " large"
        )
        return None

    async def _of_recent_outbounds(self, state: State, back: timedelta) -> Evidence | None:
        accepted = state.accepted.outbounds_until
        after = min(state.installation.now, self._wall_clock()) - back
        newest: datetime | None = None
        async for page in self._message_sender.pages(after=after, limits=RECENT, most=MOST_PAGES):
            ours = [
                one
                for one in page
                if one.installation_id == state.installation.id
                and (accepted is None or one.created_at > accepted)
            ]
            if newest is None and ours:
                newest = max(one.created_at for one in ours)
            lost = await self._database.transact(
                lost_sends.find_lost, outbounds=ours, since=state.installation.seen_at
            )
            if lost:
                until = max(one.created_at for one in ours if one.send_id in lost)
                return Evidence(
                    until=until,
                    clause=f"the Message Sender has a message of {until.isoformat()} that the"
                    " database does not know",
                    outbounds_until=newest,
                )
        return None

    def _is_on_higher_timeline(self, state: State) -> bool:
        """Whether a standby of the server that was accepted last has become the primary.

        Another daemon may have accepted the new one already, and this one the former.
        """
        before, server = self._accepted or state.installation, state.server
        return (
            server is not None
            and before.timeline is not None
            and before.cluster == server.cluster
            and before.timeline < server.timeline
        )

    def _is_failover(self, evidence: Evidence, state: State) -> bool:
        """Whether a standby of the same cluster has become the primary, and has lost little."""
        seen_at = state.installation.seen_at
        return (
            evidence.formerly is None
            and seen_at is not None
            and self._is_on_higher_timeline(state)
            and abs(evidence.until - seen_at) < LONGEST_LAG
        )

    async def _pause(self, evidence: Evidence) -> None:
        await self._database.transact(
            pauses.pause_restored,
            reason=restored.WENT_BACK.format(evidence=evidence.clause),
            outbounds_until=evidence.outbounds_until,
            formerly=evidence.formerly,
        )

    async def _repair(self, state: State) -> None:
        """After a failover that lost commits: find out what was sent, and go on."""
        seen_at = state.installation.seen_at
        assert seen_at is not None
        listed = await restored.list_outbounds(
            self._message_sender,
            of=state.installation.id,
            since=seen_at,
            limits=SINCE_FAILOVER,
        )
        doubted = await restored.doubt_all(self._database, lease=self._lease)
        adopted = left = 0
        for _ in range(TRIES):
            count = restored.RestoredCount()
            await restored.adopt_all(self._database, listed, count=count)
            adopted, left = adopted + count.adopted, count.left
            if not left:
                break
            await deferLater(self._database.reactor, RETRY_SECONDS)
        await self._database.transact(installation.accept_past)
        self._log.warn(
            "after a failover that lost commits: the Message Sender is asked about {doubted} sends"
            " that were owed or claimed, and {adopted} that were lost are recorded as sent; {left}"
            " could not be recorded, because rows are locked",
            doubted=doubted,
            adopted=adopted,
            left=left,
        )

    def _wait(self, error: Unavailable) -> None:
        waiting = (
            "the Message Sender has to be asked whether the database went back, before anything is"
            f" sent: {error}"
        )
        if waiting != self._gate.waiting:
            self._log.warn("{waiting}", waiting=waiting)
        self._gate.waiting = waiting


async def _read_state(transaction: Transaction) -> State:
    return State(
        installation=await installation.read(transaction),
        accepted=await pauses.read_accepted(transaction),
        server=transaction.server,
    )


async def _accept(transaction: Transaction, *, server: Server | None) -> Mark | None:
    """Record the server; the first beat is committed before anything is claimed.

    None: nothing was recorded, because all daemons are paused.
    """
    mark = await installation.advance(transaction)
    if mark is not None:
        await installation.accept_server(transaction, server=server)
    return mark


def _of_marks(marks: list[Mark], state: State) -> Evidence | None:
    for mark in marks:
        if mark.installation_id != state.installation.id:
            if mark.installation_id not in state.accepted.formerly:
                return Evidence(
                    until=mark.seen_at,
                    clause="it is another one than the one with which this daemon has worked",
                    formerly=mark.installation_id,
                )
        elif mark.beat > state.installation.beat:
            return Evidence(
                until=mark.seen_at,
                clause=f"this daemon worked with it at {mark.seen_at.isoformat()}, and it does not"
                " know of that",
            )
    return None

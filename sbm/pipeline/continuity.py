"""Finds out whether the database went back to an earlier state, before any work is done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from uuid import UUID

from attrs import define, field, frozen
from twisted.internet.task import deferLater
from twisted.logger import Logger

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
from sbm.store.postgres.database import Database, Transaction
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

# An asynchronous standby lags behind by seconds. A longer gap is that of a backup.
LONGEST_LAG = timedelta(minutes=5)


# After a failover: until each daemon has seen the new primary and stopped to post for claims that
# are lost, and the Message Sender has what was being posted.
FAILOVER_SECONDS = 4.0


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

    async def judge(self) -> None:
        """Open the gate for this server, pause all daemons, or wait for the Message Sender."""
        # The marks are read first: meanwhile, another daemon may let the beat grow.
        marks = [one for one in (self.mark, await self._mark_file.read()) if one is not None]
        others = await self._mark_file.read_others()
        first = state = await self._database.transact(_read_state)
        if _is_on_higher_timeline(first):
            await deferLater(self._database.reactor, FAILOVER_SECONDS)
            # Another daemon may have judged it meanwhile; it is a failover all the same.
            state = await self._database.transact(_read_state)
        # The address of the database may be another one than before: its marks are known by its id.
        marks += [one for one in others if one.installation_id == state.installation.id]
        evidence = _of_marks(marks, state) or await self._of_claims(state)
        try:
            if evidence is None:
                self._gate.let_tick(state.server and state.server.state)
                evidence = await self._of_outbounds(state)
            if evidence is not None:
                self._gate.doubt()
                self._telemetry.count("database.went_back")
                if not _is_failover(evidence, first):
                    await self._pause(evidence)
                    return
                await self._repair(evidence, first)
        except Unavailable as error:
            self._wait(error)
            return
        self.mark = await self._database.transact(_accept, server=state.server)
        self._gate.judge(state.server and state.server.state)

    async def _of_claims(self, state: State) -> Evidence | None:
        """Whether the database does not know a claim that this daemon holds."""
        held = self._held()
        if not held:
            return None
        lost = await self._database.transact(lost_sends.find_lost_claims, claims=held)
        if not lost:
            return None
        return Evidence(
            until=state.installation.now,
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
        async for page in self._message_sender.pages(after=after, most=MOST_PAGES):
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

    async def _pause(self, evidence: Evidence) -> None:
        await self._database.transact(
            pauses.pause_restored,
            reason=restored.WENT_BACK.format(evidence=evidence.clause),
            outbounds_until=evidence.outbounds_until,
            formerly=evidence.formerly,
        )

    async def _repair(self, evidence: Evidence, state: State) -> None:
        """After a failover that lost commits: find out what was sent, and go on."""
        seen_at = state.installation.seen_at
        assert seen_at is not None
        self._log.error(
            "a failover has lost commits ({clause}): the Message Sender is asked about all that is"
            " owed or claimed",
            clause=evidence.clause,
        )
        listed = await restored.list_outbounds(
            self._message_sender, of=state.installation.id, since=seen_at
        )
        count = restored.RestoredCount(outbounds=len(listed))
        count.doubted = await restored.doubt_all(self._database, lease=self._lease)
        await restored.adopt_all(self._database, listed, count=count)
        await self._database.transact(installation.accept_past)
        self._log.warn(
            "after the failover: {doubted} sends are asked about, and {adopted} that were lost are"
            " recorded as sent",
            doubted=count.doubted,
            adopted=count.adopted,
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


async def _accept(transaction: Transaction, *, server: Server | None) -> Mark:
    """Record the server; the first beat is committed before anything is claimed."""
    await installation.accept_server(transaction, server=server)
    return await installation.advance(transaction)


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


def _is_on_higher_timeline(state: State) -> bool:
    """Whether a standby of the server that was accepted last has become the primary."""
    before, server = state.installation, state.server
    return (
        server is not None
        and before.timeline is not None
        and before.cluster == server.cluster
        and before.timeline < server.timeline
    )


def _is_failover(evidence: Evidence, state: State) -> bool:
    """Whether a standby has become the primary of the same cluster, and has lost a short time."""
    before = state.installation
    return (
        evidence.formerly is None
        and before.seen_at is not None
        and _is_on_higher_timeline(state)
        and abs(evidence.until - before.seen_at) < LONGEST_LAG
    )

"""Resolves unknown outcomes: asks the Message Sender, and never guesses by sending again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from attrs import define, evolve, field
from twisted.logger import Logger

from sbm.clients.message_sender import MOST_IDENTITIES, Found, MessageSender
from sbm.clients.outcomes import CannotBeAsked, Faulty, Unanswered, Unavailable
from sbm.model.durations import LeaseTime, SettleTime
from sbm.model.send import Settled, UnknownSend, UnreadableSend
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.pipeline.dividing import divided, whole_or_divided
from sbm.pipeline.sends.committed_results import count_metrics, report_doubles
from sbm.pipeline.sends.retries import Retries
from sbm.settings.reading import Uncertain
from sbm.store import sends, unreadable
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import one_line
from sbm.store.postgres.transaction import Transaction
from sbm.store.sends import SettledBatch
from sbm.telemetry import Telemetry

# How many sends with doubtful answers are remembered, so that each is asked about alone.
MOST_DOUBTFUL = 10_000


@define(eq=False, slots=False, kw_only=True)
class Reconciler:
    """Takes unknown sends under a lease, asks about them, and settles them or owes them again.

    A send that is found is adopted at once. A send that is not found is owed again only if the
    answer was complete, and the question was asked after the settle time. ``uncertain`` says what
    happens to a send if the Message Sender cannot be asked. ``owed`` is called when a send is owed
    again.
    """

    _reactor: Any
    _database: Database
    _message_sender: MessageSender
    _breaker: Breaker
    _telemetry: Telemetry
    _settle: SettleTime
    _lease: LeaseTime
    _uncertain: Uncertain
    _retries: Retries
    _owed: Callable[[], None]
    _unlisted_since: float | None = None
    _doubtful: set[UUID] = field(factory=set)
    _log: Logger = field(factory=Logger)
    _clock: DatabaseClock = field(factory=DatabaseClock)
    _doubted_for: timedelta = field(default=timedelta(0), init=False)

    async def one_pass(self) -> int:
        """Ask about the sends that are to be asked about now; returns how many there were.

        What cannot be asked within the lease is asked in a later pass: answers can be slow.
        """
        if self._breaker.is_open:
            return 0
        until = self._reactor.seconds() + self._lease.total_seconds()
        taken, reading = await self._take()
        self._doubted_for = reading.doubted_for
        if not taken:
            return 0
        after = reading.earliest(min(asked.first_attempt_at for asked in taken))
        for group in self._groups(taken):
            for identities in self._message_sender.questions(
                (asked.identity for asked in group), after=after
            ):
                if self._reactor.seconds() >= until:
                    return len(taken)
                about = [asked for asked in group if asked.identity in identities]
                await self._ask(about, identities, after=after)
        return len(taken)

    async def _take(self) -> tuple[list[UnknownSend], ClockReading]:
        """Take the sends to ask about now; a batch that cannot be read is divided."""
        parts = await whole_or_divided(
            "sends of unknown outcome",
            partial(self._taken, limit=MOST_IDENTITIES),
            due=partial(
                self._database.transact, unreadable.list_unknown_sends, limit=MOST_IDENTITIES
            ),
            part=self._take_only,
            alone=self._give_up,
        )
        taken = [asked for part, _ in parts for asked in part]
        return taken, max((reading for _, reading in parts), key=lambda one: one.doubted_for)

    async def _take_only(
        self, due: Sequence[UnreadableSend]
    ) -> tuple[list[UnknownSend], ClockReading]:
        return await self._taken(limit=len(due), only=[send.id for send in due])

    async def _taken(
        self, *, limit: int, only: Sequence[UUID] | None = None
    ) -> tuple[list[UnknownSend], ClockReading]:
        """Take some; while the clock is in doubt, absence from the answer proves nothing."""

        async def take(
            transaction: Transaction, reading: ClockReading
        ) -> tuple[list[UnknownSend], ClockReading]:
            taken = await sends.take_unknown(
                transaction, limit=limit, settle=self._settle, lease=self._lease, only=only
            )
            if reading.is_doubted:
                taken = [evolve(asked, is_late=False) for asked in taken]
            return taken, reading

        return await self._clock.transact(self._database, take)

    async def _give_up(self, send: UnreadableSend, error: Exception) -> None:
        """End a send that cannot be read: it cannot be asked about, and may have been sent."""
        reason = f"it may have been sent; {unreadable.reason(error)}"
        failed = Settled(outcome="failed", stage="post", reason=reason, is_assumed=True)
        settled: list[SettledBatch] = []

        async def settle(part: Sequence[tuple[UnreadableSend, Settled]]) -> None:
            settled.append(await self._database.transact(unreadable.settle, results=part))

        await divided([(send, failed)], settle, self._leave)
        for committed in settled:
            count_metrics(committed, self._telemetry.pending_metrics)
            if send.id in committed.sends:
                self._log.error("send {id} has failed: {reason}", id=send.id, reason=reason)
                self._telemetry.count("sends.failed")

    async def _settle_all(self, results: Sequence[tuple[UnknownSend, Settled]]) -> set[UUID]:
        """Settle all that can be settled; returns their ids. The others stay for a later pass."""
        settled: set[UUID] = set()

        async def settle(part: Sequence[tuple[UnknownSend, Settled]]) -> None:
            committed = await self._database.transact(sends.settle, results=part)
            settled.update(committed.sends)
            report_doubles(committed, self._telemetry, self._log)
            count_metrics(committed, self._telemetry.pending_metrics)

        await divided(results, settle, self._leave)
        return settled

    async def _leave(
        self, one: tuple[UnknownSend | UnreadableSend, Settled], error: Exception
    ) -> None:
        self._log.error(
            "send {id}: {result} cannot be settled: {error}",
            id=one[0].id,
            result=one[1],
            error=one_line(error),
        )

    def _groups(self, taken: Sequence[UnknownSend]) -> list[list[UnknownSend]]:
        """Divide them: a send with a doubtful answer is asked about alone."""
        plain = [asked for asked in taken if asked.id not in self._doubtful]
        alone = [[asked] for asked in taken if asked.id in self._doubtful]
        return [plain, *alone] if plain else alone

    async def _ask(
        self, about: Sequence[UnknownSend], identities: Sequence[str], *, after: datetime
    ) -> None:
        if self._breaker.is_open:
            await self._ask_again_later(about)
            return
        try:
            found = await self._message_sender.find(
                identities, keys=[str(asked.id) for asked in about], after=after
            )
        except CannotBeAsked as error:
            if await self._message_sender.is_well() is None:
                await self._decide(about, error)
                return
            # The list exists, but the question about these sends is refused.
            self._doubt(about)
            await self._ask_again_later(about)
            return
        except (Faulty, Unanswered) as error:
            # One of these identities may be the cause, so from now on each is asked about alone.
            self._doubt(about)
            if not await self._message_sender.is_well():
                self._breaker.fail(error)
            await self._ask_again_later(about)
            return
        except Unavailable as error:
            self._breaker.fail(error)
            await self._ask_again_later(about)
            return
        self._unlisted_since = None
        await self._conclude(about, found)

    async def _conclude(self, about: Sequence[UnknownSend], found: Found) -> None:
        present = [asked for asked in about if str(asked.id) in found.outbounds]
        absent = [asked for asked in about if str(asked.id) not in found.outbounds]
        if present:
            await self._adopt(present, found)
        if found.doubt and absent:
            self._log.warn(
                "the answer of the Message Sender about {count} sends proves nothing: {doubt}",
                count=len(absent),
                doubt=found.doubt,
            )
            self._doubt(absent)
        else:
            self._doubtful.difference_update(asked.id for asked in about)
        proven = [asked for asked in absent if asked.is_late and not found.doubt]
        if proven:
            await self._owe_again(proven, "the Message Sender does not have it")
        await self._ask_again_later([asked for asked in absent if asked not in proven])

    async def _adopt(self, present: Sequence[UnknownSend], found: Found) -> None:
        results = []
        for asked in present:
            oldest, *others = found.outbounds[str(asked.id)]
            adopted = Settled(
                outcome="adopted", stage="post", outbound_id=oldest, doubles=tuple(others)
            )
            results.append((asked, adopted))
        settled = await self._settle_all(results)
        self._telemetry.count("sends.adopted", len(settled))

    async def _owe_again(self, absent: Sequence[UnknownSend], reason: str) -> None:
        count = await self._database.transact(
            sends.owe_again, absent=[(one, self._delay_of(one)) for one in absent], reason=reason
        )
        self._telemetry.count("sends.owed_again", count)
        if count:
            self._owed()

    def _delay_of(self, absent: UnknownSend) -> timedelta:
        """A delay if the last call was a fault; if not, the send is due at once."""
        return self._retries.after_fault(absent.faults + 1) if absent.is_fault else timedelta(0)

    async def _ask_again_later(self, about: Sequence[UnknownSend]) -> None:
        if not about:
            return
        longest = sends.ASKED_AGAIN
        if self._doubted_for:  # ask again as soon as the clock is trusted again
            longest = min(longest, max(self._doubted_for, timedelta(seconds=1)))
        await self._database.transact(
            sends.ask_again_later, asked=about, settle=self._settle, longest=longest
        )

    async def _decide(self, about: Sequence[UnknownSend], error: CannotBeAsked) -> None:
        """The list does not exist: do as the setting says, once that was so for the settle time.

        Until then, it may be a passing error, and the question may still be answered.
        """
        now = self._reactor.seconds()
        if self._unlisted_since is None:
            self._unlisted_since = now
            self._log.error(
                "the Message Sender cannot be asked what it has ({error}): unknown outcomes are"
                " decided by SBM_UNCERTAIN={uncertain}",
                error=error,
                uncertain=self._uncertain,
            )
        is_sure = now - self._unlisted_since >= self._settle.total_seconds()
        late = [asked for asked in about if asked.is_late and is_sure]
        if late and self._uncertain == "at-least-once":
            await self._owe_again(late, "the Message Sender cannot be asked; at least once")
        elif late:
            await self._assume(late)
        await self._ask_again_later([asked for asked in about if asked not in late])

    async def _assume(self, late: Sequence[UnknownSend]) -> None:
        """At most once: the sends may have been sent, so they are not sent again."""
        reason = "it may have been sent; the Message Sender cannot be asked, and at most once"
        failed = Settled(outcome="failed", stage="post", reason=reason, is_assumed=True)
        results = [(asked, failed) for asked in late]
        settled = await self._settle_all(results)
        self._telemetry.count("sends.failed", len(settled))

    def _doubt(self, about: Sequence[UnknownSend]) -> None:
        if len(about) > 1 and len(self._doubtful) < MOST_DOUBTFUL:
            self._doubtful.update(asked.id for asked in about)

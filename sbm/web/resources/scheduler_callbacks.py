"""Calls of the Seed Scheduler: a repeated call gets the first answer, and triggers nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from sbm.model.scheduler_callback import Crons, Target, find_repeated, kept, nearest_moment
from sbm.model.user import SCHEDULER, User
from sbm.settings.config import SchedulingSettings
from sbm.store import scheduler_callbacks
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry
from sbm.web.http.http_errors import Reason
from sbm.web.http.reply import Reply
from sbm.web.http.wire import compact_json

JOINED = "scheduler_callbacks.joined"
UNMATCHED = "scheduler_callbacks.unmatched"

# Calls that match no due moment are logged once in this time. With a wrong time zone, no call does.
LOG_SECONDS = 60.0

AnswerCall = Callable[[Transaction], Awaitable[Reply]]


@define(eq=False, kw_only=True)
class SchedulerCallbacks:
    """Finds repeated calls; counts and logs the results."""

    _reactor: Any
    _scheduling: SchedulingSettings
    _telemetry: Telemetry
    _log: Logger = field(factory=Logger)
    _logged_at: float | None = field(default=None, init=False)
    _not_logged: int = field(default=0, init=False)

    def of(self, user: User) -> Callback:
        """A call of a ``send`` endpoint by this user, before it is compared with others."""
        joins = user is SCHEDULER and bool(self._scheduling.join_window)
        return Callback(callbacks=self, joins=joins)

    async def answer(
        self, transaction: Transaction, target: Target, work: AnswerCall
    ) -> CallbackAnswer:
        """The answer to a call of the Scheduler: the earlier answer, or that of ``work``."""
        await scheduler_callbacks.lock_target(transaction, target=target)
        crons = await scheduler_callbacks.read_crons(transaction, target=target)
        within = self._scheduling.join_window
        calls = await scheduler_callbacks.list_recent(transaction, target=target, kept=kept(within))
        zone = self._scheduling.timezone
        calls = [call.dated(crons.definition, zone=zone, back=within) for call in calls]
        moment = nearest_moment(crons.definition, zone=zone, now=crons.now, back=within)
        first = find_repeated(calls, moment=moment, now=crons.now, within=within)
        if first is not None:
            return CallbackAnswer(
                reply=Reply(status=first.status, json=first.body, reason=Reason(kind="joined")),
                target=target,
                is_joined=True,
            )
        reply = await work(transaction)
        body = compact_json(reply.body) if reply.json is None else reply.json
        await scheduler_callbacks.record(
            transaction,
            target=target,
            moment=crons.now if moment is None else moment,
            status=reply.status,
            body=body,
        )
        return CallbackAnswer(
            reply=evolve(reply, body=None, json=body),
            target=target,
            unmatched=crons if moment is None else None,
        )

    def committed(self, answered: CallbackAnswer) -> None:
        """Count the result of a call, and log the call if it matches no due moment."""
        if answered.is_joined:
            self._telemetry.count(JOINED)
        if answered.unmatched is not None:
            self._telemetry.count(UNMATCHED)
            self._warn(answered.target, answered.unmatched)

    def _warn(self, target: Target, crons: Crons) -> None:
        now = self._reactor.seconds()
        if self._logged_at is not None and now < self._logged_at + LOG_SECONDS:
            self._not_logged += 1
            return
        others, self._not_logged, self._logged_at = self._not_logged, 0, now
        self._log.warn(
            "the Scheduler called for {kind} {id} at {at}, but its cron is not due then in {zone};"
            " the call was done. Told: {told}; wanted now: {wanted}. {others} other such calls were"
            " not logged.",
            kind=target.kind,
            id=target.id,
            at=crons.now.isoformat(),
            zone=self._scheduling.timezone.key,
            told=crons.told or "unknown",
            wanted=crons.wanted or "none",
            others=others,
        )


@frozen(kw_only=True)
class CallbackAnswer:
    """How a call of the Scheduler was answered.

    ``is_joined``: it got the answer of an earlier call. ``unmatched`` has the crons of a call that
    was done although it matches no due moment.
    """

    reply: Reply
    target: Target
    is_joined: bool = False
    unmatched: Crons | None = None


@define(eq=False, kw_only=True)
class Callback:
    """One call of a ``send`` endpoint; a call of a user is always done."""

    _callbacks: SchedulerCallbacks
    _joins: bool
    _answered: CallbackAnswer | None = field(default=None, init=False)

    async def answer(self, transaction: Transaction, target: Target, work: AnswerCall) -> Reply:
        """The answer; if the transaction runs again, the last answer counts."""
        self._answered = None
        if not self._joins:
            return await work(transaction)
        self._answered = await self._callbacks.answer(transaction, target, work)
        return self._answered.reply

    def committed(self) -> None:
        """Count and log the call, after the commit."""
        if self._answered is not None:
            self._callbacks.committed(self._answered)

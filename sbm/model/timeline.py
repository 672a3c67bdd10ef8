"""A person's story: what happened, and what is planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from uuid import UUID

from attrs import field, frozen

from sbm.model.content_rules import joined
from sbm.model.cron import Cron
from sbm.model.hold import HOLD_SENTENCES, HoldReason
from sbm.model.json_text import JsonText, json_text
from sbm.model.scheduler_call import Scheduling
from sbm.model.tick_times import cron_of
from sbm.model.time_zones import TimeZones

# How many messages are planned.
PLANNED = 5


@frozen(kw_only=True)
class SkippedAgain:
    """How many further ticks, due in this time, skipped a subscription for the same reason."""

    ticks: int
    first_due_at: datetime
    last_due_at: datetime


@frozen(kw_only=True)
class PersonEvent:
    """Something that happened to a person: a row of ``source``, with the name ``ref`` there.

    ``actor`` did it, if it was a user or an operator. ``details`` are JSON.
    """

    at: datetime
    source: str
    ref: str
    event: str
    subscription_id: UUID | None
    actor: str | None
    reason: str
    details: JsonText = field(converter=json_text)

    @property
    def key(self) -> tuple[datetime, str, str]:
        """Its place in the list, which begins with the newest."""
        return self.at, self.source, self.ref

    @property
    def text(self) -> str | None:
        """The text as it was sent, with the prepend; None: none is known, or it is a sound."""
        if self.source != "ledger":
            return None  # the details of a change may be long, and are not parsed
        details = self.details.value
        text = details.get("text")
        return None if text is None else joined(details.get("prepend"), text)

    @property
    def skipped_again(self) -> SkippedAgain | None:
        """The further ticks that had the same result, and have no row in the ledger."""
        told = self.details.value.get("skipped_again")
        if told is None:
            return None
        return SkippedAgain(
            ticks=told["ticks"],
            first_due_at=datetime.fromisoformat(told["first_due_at"]),
            last_due_at=datetime.fromisoformat(told["last_due_at"]),
        )


@frozen(kw_only=True)
class PlanClock:
    """What ticks: the built-in clock, or the Scheduler with crons of its own."""

    mode: Scheduling
    zones: TimeZones


@frozen(kw_only=True)
class PlannedMessage:
    """A message that is to be sent; ``at`` is when its tick comes, None if that is not known.

    ``lang`` is the language in which it is sent, None: the subscription waits for a translation.
    ``state`` is that of a send that is live: owed, claimed or unknown.
    """

    sequence_number: int
    lang: str | None
    at: datetime | None
    state: str | None = None


@frozen(kw_only=True)
class Plan:
    """What is planned for a subscription, and what stands in the way.

    ``completes``: the set ends within these messages; then ``next_set_id`` begins, if there is one.
    """

    subscription_id: UUID
    messageset_id: int
    short_name: str
    lang: str
    messages: Sequence[PlannedMessage]
    obstacles: Sequence[str]
    completes: bool
    next_set_id: int | None


@frozen(kw_only=True)
class PlannedSubscription:
    """A subscription that is not completed, as the database knows it.

    ``numbers`` are the next ones of its content, and ``langs`` their languages, None where it waits
    for a translation; ``told`` is the cron with which the Scheduler calls for it. The ``live`` ones
    are of its live send. ``now`` is the database's clock.
    """

    subscription_id: UUID
    messageset_id: int
    short_name: str
    next_set_id: int | None
    lang: str
    schedule_id: int
    next_sequence_number: int
    active: bool
    process_status: int
    minute: str
    hour: str
    day_of_week: str
    day_of_month: str
    month_of_year: str
    time_zone: str | None
    send_hours: str | None
    numbers: Sequence[int] = field(converter=tuple)
    langs: Sequence[str | None] = field(converter=tuple)
    has_content: bool
    live_state: str | None
    live_since: datetime | None
    live_reason: str | None
    live_hold: HoldReason | None
    paused_for: str | None
    told: str | None
    now: datetime

    def plan(self, clock: PlanClock) -> Plan:
        """The next messages, and what stands in their way."""
        numbers = self.numbers[:PLANNED]
        is_live = self.live_state is not None
        sendable = len(list(takewhile(bool, self.langs[:PLANNED])))
        moments = self._moments(clock, max(sendable - is_live, 0))
        dates: list[datetime | None] = [*moments]
        if is_live:
            dates.insert(0, self.live_since)
        dates = [*dates, *[None] * len(numbers)][: len(numbers)]
        return Plan(
            subscription_id=self.subscription_id,
            messageset_id=self.messageset_id,
            short_name=self.short_name,
            lang=self.lang,
            messages=[
                PlannedMessage(
                    sequence_number=number,
                    lang=lang,
                    at=at,
                    state=self.live_state if place == 0 else None,
                )
                for place, (number, lang, at) in enumerate(
                    zip(numbers, self.langs[:PLANNED], dates, strict=True)
                )
            ],
            obstacles=list(self._obstacles(clock)),
            completes=len(self.numbers) <= PLANNED,
            next_set_id=self.next_set_id,
        )

    def _moments(self, clock: PlanClock, count: int) -> list[datetime]:
        """When the next ticks come, as far as that is known."""
        cron, zone = self._cron(clock), clock.zones.of(self.time_zone)
        if cron is None or zone is None or not self._is_ticked:
            return []
        return cron.upcoming(self.now, zone, count=count)

    def _cron(self, clock: PlanClock) -> Cron | None:
        """The cron that ticks: that of the schedule, or the one that the Scheduler was told."""
        if clock.mode != "builtin":
            return None if self.told is None else cron_of(self.told)
        return Cron.read(
            minute=self.minute,
            hour=self.hour,
            day_of_week=self.day_of_week,
            day_of_month=self.day_of_month,
            month_of_year=self.month_of_year,
        )

    @property
    def _is_ticked(self) -> bool:
        return self.active and self.process_status >= 0

    def _obstacles(self, clock: PlanClock) -> Iterator[str]:
        """Sentences for people."""
        yield from self._own_obstacles()
        yield from self._obstacles_of_sends()
        yield from self._obstacles_of_ticks(clock)

    def _own_obstacles(self) -> Iterator[str]:
        if not self.active:
            yield "the subscription is not active"
        if self.process_status < 0:
            yield f"the subscription is in error ({self.process_status})"
        if not self.has_content:
            yield f"{self.short_name} has no message in {self.lang}"
        elif not self.numbers:
            yield (
                f"{self.short_name} has no message in {self.lang} from number"
                f" {self.next_sequence_number} on"
            )
        for number, lang in zip(self.numbers[:PLANNED], self.langs, strict=False):
            if lang is None:
                yield (
                    f"message {number} of {self.short_name} is missing in {self.lang}: the"
                    " subscription waits for it"
                )
                return

    def _obstacles_of_sends(self) -> Iterator[str]:
        if self.paused_for is not None:
            yield f"it is paused: {self.paused_for}"
        elif self.live_hold is not None:
            yield HOLD_SENTENCES[self.live_hold]
        if self.live_state == "unknown":
            yield "the outcome of its last send is not known yet"
        elif self.live_state == "owed" and self.live_reason:
            yield f"its send is tried again: {self.live_reason}"

    def _obstacles_of_ticks(self, clock: PlanClock) -> Iterator[str]:
        if clock.mode != "builtin" and self.told is None:
            yield "the Scheduler has no schedule that calls for it"
        elif self._cron(clock) is None:
            yield "the fields of its schedule cannot be read"
        elif clock.zones.of(self.time_zone) is None:
            yield f"this machine does not know the time zone {self.time_zone}"
        elif self._is_ticked and not self._moments(clock, 1):
            yield "its schedule is never due"

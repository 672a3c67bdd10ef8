"""What a tick would do: who is sent what, who is not and why, and who completes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

import smsutil
from attrs import evolve, field, frozen

from sbm.model.content_rules import MAX_TEXT_LENGTH, joined
from sbm.model.send import CONTENT_SETTLE, Outcome, Send, Settled, Stage, objection

# How long a tick can be opened with the token of a simulation.
KEPT = timedelta(hours=24)

# By how many percent the results may have changed then, unless it is said otherwise.
ALLOWED_CHANGE = 1

# How many days can be simulated.
MOST_DAYS = 31

# How many ticks with members are simulated one after the other.
MOST_TICKS = 3_000

# How many changes of the content are simulated together.
MOST_CHANGES = 1000

EXAMPLES = 5


class SetPosition(NamedTuple):
    """Where a subscription stands."""

    messageset_id: int
    lang: str
    next_sequence_number: int


class Result(NamedTuple):
    """What a tick does with a member, as the ledger tells it; "sent" if it is handed on.

    Whether there is an address, and whether the Message Sender accepts the message, is not known.
    """

    messageset_id: int
    lang: str
    sequence_number: int | None
    outcome: Outcome
    stage: Stage
    reason: str


class Completion(NamedTuple):
    """The end of a set for a subscription in a language, and the set that follows, if one does."""

    messageset_id: int
    lang: str
    next_set_id: int | None


@frozen(kw_only=True)
class MemberGroup:
    """Members in the same position. ``reason`` is why they would be skipped, if they would."""

    schedule_id: int
    messageset_id: int
    lang: str
    next_sequence_number: int
    is_prepended: bool
    count: int
    reason: str | None = None
    is_live: bool = False

    @property
    def position(self) -> SetPosition:
        """Where they stand."""
        return SetPosition(self.messageset_id, self.lang, self.next_sequence_number)


@frozen(kw_only=True)
class PrependedMember:
    """A member with a prepend."""

    id: UUID
    identity: str
    schedule_id: int
    messageset_id: int
    lang: str
    next_sequence_number: int
    prepend: str | None
    odd_prepend: str | None
    is_live: bool = False

    @property
    def position(self) -> SetPosition:
        """Where it stands."""
        return SetPosition(self.messageset_id, self.lang, self.next_sequence_number)


@frozen(kw_only=True)
class Verdict:
    """What happens in a position; ``parts`` is the number of short messages that a text takes.

    ``steps_to`` is the next position, if there is one; ``finishes``: the set ends.
    """

    result: Result
    parts: int = 0
    steps_to: SetPosition | None = None
    finishes: bool = False
    is_at_end: bool = False


@frozen(kw_only=True)
class PositionContent:
    """What would be sent in a position: a send without a subscriber."""

    position: SetPosition
    send: Send
    finishes: bool

    def verdict(
        self, rules: SimulationRules, *, prepend: str | None = None, odd_prepend: str | None = None
    ) -> Verdict:
        """What the pipeline decides before it looks for the address."""
        send = evolve(self.send, prepend=prepend, odd_prepend=odd_prepend)
        recipient = send.recipient
        assert recipient is not None
        settled = objection(send, max_text_length=rules.max_text_length)
        if settled is None:
            is_dry = recipient.messageset_id in rules.dry_runs
            settled = Settled(outcome="dry-run" if is_dry else "sent", stage="post")
        result = Result(
            messageset_id=recipient.messageset_id,
            lang=recipient.lang,
            sequence_number=send.sequence_number,
            outcome=settled.outcome,
            stage=settled.stage,
            reason=settled.reason,
        )
        if not settled.is_delivered:
            return Verdict(result=result, finishes=settled.is_at_end, is_at_end=settled.is_at_end)
        assert send.sequence_number is not None
        return Verdict(
            result=result,
            parts=self._parts(prepend),
            steps_to=None
            if self.finishes
            else self.position._replace(next_sequence_number=send.sequence_number + 1),
            finishes=self.finishes,
        )

    def _parts(self, prepend: str | None) -> int:
        """A WhatsApp message and a recording are no short messages."""
        recipient = self.send.recipient
        assert recipient is not None
        assert recipient.message is not None
        medium = recipient.medium
        if medium.is_audio or medium.is_whatsapp:
            return 0
        return sms_parts(joined(prepend, recipient.message.text_content))


@frozen(kw_only=True)
class SimulationRules:
    """The settings that decide what is sent."""

    max_text_length: int = MAX_TEXT_LENGTH
    dry_runs: frozenset[int] = frozenset()
    content_settle: timedelta = CONTENT_SETTLE


@frozen(kw_only=True)
class SimulationSettings:
    """The settings that decide what is sent, and how many messages leave in a second."""

    rules: SimulationRules = field(factory=SimulationRules)
    max_rate: int | None = None


@frozen(kw_only=True)
class Tally:
    """How many members have a result, and the short messages that they take together."""

    count: int = 0
    parts: int = 0

    def plus(self, count: int, parts: int) -> Tally:
        """With so many members more, each of whom takes so many short messages."""
        return Tally(count=self.count + count, parts=self.parts + count * parts)


@frozen(kw_only=True)
class TickTotals:
    """One simulated tick: ``at`` is when it comes."""

    schedule_id: int
    at: datetime
    sent: int
    parts: int
    not_sent: int


@frozen(kw_only=True)
class LastTick:
    """The last tick of the schedule, and what happened after the decisions that are simulated."""

    id: int
    due_at: datetime
    members: int
    without_address: int
    refused: int


@frozen(kw_only=True)
class SendingRate:
    """How many messages a second leave, by the last ones, and how many wait already."""

    per_second: float | None
    waiting: int
    now: datetime


@frozen(kw_only=True)
class Simulation:
    """What one or more ticks would do.

    ``follows`` is the tick that is still being sent, and whose members are skipped. ``holds`` are
    sentences that say what would hold it back. ``examples`` are subscriptions that are not sent to,
    and their identities. ``done_at`` is when the last message leaves at the present rate, if one is
    known.
    """

    as_of: datetime
    results: Mapping[Result, Tally]
    completions: Mapping[Completion, int]
    examples: Mapping[Result, Sequence[tuple[UUID, str]]] = field(factory=dict)
    ticks: Sequence[TickTotals] = ()
    follows: int | None = None
    holds: Sequence[str] = ()
    last_tick: LastTick | None = None
    per_second: float | None = None
    done_at: datetime | None = None

    @cached_property
    def sent(self) -> Tally:
        """The messages that are handed on."""
        return _sum(tally for result, tally in self.results.items() if result.outcome == "sent")

    @cached_property
    def members(self) -> int:
        """How many members all results are about."""
        return _sum(self.results.values()).count

    def counts(self) -> list[list[Any]]:
        """The results as JSON, to compare them later."""
        return [[*result, tally.count] for result, tally in self.results.items()]


@frozen(kw_only=True)
class ContentChange:
    """A message that is written at this place of a set, or deleted if ``text_content`` is None."""

    sequence_number: int
    lang: str
    text_content: str | None


@frozen(kw_only=True)
class SetSimulation:
    """What the next ticks of a set do as it is, and with changed messages."""

    before: Simulation
    after: Simulation

    @property
    def changed(self) -> int:
        """How many people, at least, have another result."""
        return changed(self.before.counts(), self.after.counts())


def changed(before: Iterable[Sequence[Any]], after: Iterable[Sequence[Any]]) -> int:
    """How many members, at least, have another result in the one than in the other."""
    difference: Counter[tuple[Any, ...]] = Counter()
    for sign, counts in ((-1, before), (1, after)):
        for *result, count in counts:
            difference[tuple(result)] += sign * count
    more = sum(count for count in difference.values() if count > 0)
    fewer = -sum(count for count in difference.values() if count < 0)
    return max(more, fewer)


def sms_parts(text: str) -> int:
    """How many short messages a text takes, in GSM 03.38 or else in UCS-2."""
    return len(smsutil.split(text).parts)


def _sum(tallies: Iterable[Tally]) -> Tally:
    count = parts = 0
    for tally in tallies:
        count, parts = count + tally.count, parts + tally.parts
    return Tally(count=count, parts=parts)

"""What the sandbox writes about sends on the terminal."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.logger import Logger

from sbm.model.send import GivenBack, Recipient, Send, SendResult, Settled
from sbm.sandbox.demo.api_caller import Caller
from sbm.sandbox.demo.terminal import Line, Span
from sbm.sandbox.stand_ins.identity_store import IdentityStore
from sbm.sandbox.stand_ins.message_sender import MessageSender
from sbm.sandbox.stand_ins.schedules import Scheduler
from sbm.telemetry import Telemetry


@define(eq=False, slots=False, kw_only=True)
class ActivityLog:
    """Writes a line for each committed result, and remembers which sends may have ended a set.

    ``lengths`` are the last sequence numbers by set and language, as far as they are known.
    ``at_the_end`` are the sends of such a last message that ActivityReporter has not read yet.
    """

    identity_store: IdentityStore
    lengths: dict[tuple[str, str], int] = field(factory=dict, init=False)
    at_the_end: list[Send] = field(factory=list, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def settled(self, send: Send, result: SendResult) -> None:
        """Write who got which message, or why not."""
        delivered = isinstance(result, Settled) and result.outcome in ("sent", "adopted")
        line = Line.of(("number", f"{self.name_of(send.identity):<12}"), "  ")
        if send.recipient is not None:
            line = line.and_then(*self._place(send.recipient))
        if isinstance(result, GivenBack):
            self._log.info("{who}: given back: {why}", who=line, why=result.reason)
        elif not delivered:
            what = result.outcome if isinstance(result, Settled) else "no answer"
            line = line.and_then(("error", f"{what}: {result.reason}"))
            self._log.info("{line}", line=line)
        else:
            self._log.info("{line}", line=line.and_then(_content(send)))
            self._look_for_the_end(send)

    def name_of(self, identity: str) -> str:
        """The telephone number of an identity; if it is not known, the identity."""
        try:
            return self.identity_store.msisdn(identity) or identity
        except KeyError:
            return identity

    def _place(self, recipient: Recipient) -> tuple[Span, ...]:
        place = ""
        if recipient.message is not None:
            number = recipient.message.sequence_number
            length = self.lengths.get((recipient.messageset, recipient.lang))
            place = f"{number}/{length}" if length is not None else str(number)
        return (
            ("set", f"{recipient.messageset:<16}"),
            ("title", f"{place:>4}  "),
            ("dim", f"{recipient.lang:<8}"),
        )

    def _look_for_the_end(self, send: Send) -> None:
        recipient = send.recipient
        if send.kind != "next" or recipient is None or recipient.message is None:
            return
        length = self.lengths.get((recipient.messageset, recipient.lang), 0)
        if recipient.message.sequence_number >= length:
            self.at_the_end.append(send)


def _content(send: Send) -> str:
    assert send.recipient is not None
    message = send.recipient.message
    if message is None:
        return ""
    if message.file_name is None:
        return message.text_content or ""
    return f"[{message.file_name}] {message.text_content or ''}".rstrip()


@define(eq=False, kw_only=True)
class ActivityReporter:
    """Reads from the API what results do not show: which sets ended and began, and the sums."""

    caller: Caller
    activity_log: ActivityLog
    telemetry: Telemetry
    message_sender: MessageSender
    scheduler: Scheduler
    _completed: int = field(default=0, init=False)
    _told: tuple[int, int] = field(default=(0, 0), init=False)
    _log: Logger = field(factory=Logger, init=False)

    async def learn_lengths(self) -> None:
        """Find out how many messages each set has in each language."""
        sets = await self.caller.get("messageset/")
        names = {one["id"]: one["short_name"] for one in sets["results"]}
        lengths: dict[tuple[str, str], int] = {}
        for one in (await self.caller.get("message/"))["results"]:
            place = (names.get(one["messageset"], ""), one["lang"])
            lengths[place] = max(lengths.get(place, 0), one["sequence_number"])
        self.activity_log.lengths = lengths

    async def follow_ends(self) -> None:
        """Write which sets were completed, and which set follows each of them."""
        sends, self.activity_log.at_the_end = self.activity_log.at_the_end, []
        for send in sends:
            subscription = await self.caller.get(f"subscriptions/{send.subscription_id}/")
            if subscription["completed"]:
                await self._tell_end(send, subscription)
            else:
                await self.learn_lengths()  # the user has added messages to the set

    async def sum_up(self) -> None:
        """Write the sums, if they have changed, and the calls of the Scheduler that failed."""
        while self.scheduler.failures:
            failed = self.scheduler.failures.popleft()
            self._log.warn("a call of the Scheduler failed: {reason}", reason=failed.reason)
        counts = self.telemetry.counts
        sums = (counts["sends.sent"] + counts["sends.adopted"], self._completed)
        if sums != self._told:
            self._told = sums
            found = await self.caller.get("subscriptions/", active="true", limit="1")
            active = found["count"]
            completed = f"{sums[1]} set{'s' * (sums[1] != 1)} completed"
            line = Line.of(
                ("good", f"{sums[0]} delivered in this run"),
                ("title", f", {completed}, {active} subscriptions active"),
                ("dim", f"; {len(self.message_sender)} in the Message Sender"),
            )
            self._log.info("{line}", line=line)

    async def _tell_end(self, send: Send, subscription: dict[str, Any]) -> None:
        self._completed += 1
        assert send.recipient is not None
        line = Line.of(
            ("number", f"{self.activity_log.name_of(send.identity):<12}"),
            ("end", f"  has completed {send.recipient.messageset}"),
        )
        following = await self._following(subscription)
        if following:
            line = line.and_then(("end", f", and begins {following}"))
        self._log.info("{line}", line=line)

    async def _following(self, subscription: dict[str, Any]) -> str | None:
        """The name of the set of the next subscription, if there is one."""
        completed = await self.caller.get(f"messageset/{subscription['messageset']}/")
        if completed["next_set"] is None:
            return None
        return str((await self.caller.get(f"messageset/{completed['next_set']}/"))["short_name"])

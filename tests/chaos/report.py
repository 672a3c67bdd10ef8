"""Compares the outbounds with the database and with what the callers of the API were told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from attrs import define, field, frozen

from tests.chaos.content import Content, MessageNumber
from tests.chaos.records import Notes, RecordedOutbound, Records

DELIVERED = ("sent", "adopted")

# How many cases of each kind are printed; all are counted.
_TOLD = 5


@frozen(kw_only=True)
class ChaosReport:
    """Everything that is wrong, by kind; ``figures`` are for information."""

    wrongs: dict[str, list[str]]
    figures: dict[str, Any]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.wrongs.values())

    def text(self) -> str:
        """The text of the report."""
        lines = [f"{name:16} {value}" for name, value in self.figures.items()]
        for kind, cases in self.wrongs.items():
            lines.append(f"{kind.upper():16} {len(cases)}")
            lines += [f"    {case}" for case in cases[:_TOLD]]
        return "\n".join(lines)


def close(
    records: Records, outbounds: list[RecordedOutbound], notes: Notes, content: Content
) -> ChaosReport:
    """The report about a run, when nothing is in progress any more."""
    reckoning = _ReportWriter(records, outbounds, notes, content)
    outcomes = Counter(row["outcome"] for row in records.ledger)
    return ChaosReport(
        wrongs={
            "lost": list(reckoning.lost()),
            "twice": list(reckoning.twice()),
            "disagreeing": list(reckoning.disagreeing()),
            "stuck": list(reckoning.stuck()),
            "unbalanced": [str(row) for row in records.unbalanced_ticks],
            "failed": list(reckoning.failed()),
            "wrong answers": list(notes.wrong),
        },
        figures={
            "outbounds": len(outbounds),
            "subscriptions": len(records.subscriptions),
            "outcomes": dict(outcomes),
            "answers": dict(notes.answers),
        },
    )


@define(eq=False)
class _ReportWriter:
    _records: Records
    _outbounds: list[RecordedOutbound]
    _notes: Notes
    _content: Content
    _subscribers: dict[tuple[str, int], dict[str, Any]] = field(init=False)
    _nexts: dict[tuple[str, MessageNumber], list[RecordedOutbound]] = field(init=False)
    _resends: list[RecordedOutbound] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._subscribers = {
            (row["identity"], self._content.generation(row["messageset_id"])): row
            for row in self._records.subscriptions
        }
        self._resends = [outbound for outbound in self._outbounds if outbound.is_resend]
        self._nexts = defaultdict(list)
        for outbound in self._outbounds:
            if outbound.message is not None and not outbound.is_resend:
                self._nexts[outbound.identity, outbound.message].append(outbound)

    def _passed(self) -> Iterator[tuple[str, MessageNumber]]:
        """Every message that a subscription has passed."""
        for (identity, generation), row in self._subscribers.items():
            end = row["next_sequence_number"] + (1 if row["completed"] else 0)
            for number in range(row["initial_sequence_number"], end):
                yield identity, MessageNumber(generation=generation, number=number)

    def lost(self) -> Iterator[str]:
        """Messages that should have been sent and were not."""
        for identity, message in self._passed():
            if (identity, message) not in self._nexts:
                yield f"{identity} never got {self._content.text(message)}"
        yield from self._lost_triggers()
        known = {row["identity"] for row in self._records.subscriptions}
        for identity in self._notes.created - known:
            yield f"the subscription of {identity} was accepted and is not there"
        for identity, value, times, is_waiting, is_sure in self._prepends():
            if is_sure and not times and not is_waiting:
                yield f"{identity} never got the prepend {value!r}"

    def _lost_triggers(self) -> Iterator[str]:
        opened = Counter(
            row["subscription_id"]
            for row in [*self._records.ledger, *self._records.live]
            if row["kind"] == "next" and row.get("source") in ("single", None)
        )
        for subscription, accepted in self._notes.singles.items():
            if accepted > opened[subscription]:
                yield f"{subscription}: {accepted} triggers accepted, {opened[subscription]} opened"
        requests = Counter(row["subscription_id"] for row in self._records.resend_requests)
        for subscription, accepted in self._notes.resends.items():
            if accepted > requests[subscription]:
                yield f"{subscription}: {accepted} resends accepted, {requests[subscription]} kept"
        for schedule, accepted in self._notes.ticks.items():
            if accepted > self._records.ticks[schedule]:
                there = self._records.ticks[schedule]
                yield f"schedule {schedule}: {accepted} ticks accepted, {there} there"

    def twice(self) -> Iterator[str]:
        """Messages that were sent more than once, each case once."""
        told: set[str] = set()
        for (identity, message), outbounds in self._nexts.items():
            if len(outbounds) > 1:
                told.update(outbound.send_id for outbound in outbounds)
                said = " and ".join(
                    f"{outbound.send_id} at {outbound.created_at}" for outbound in outbounds
                )
                yield f"{identity} got {self._content.text(message)} by {said}"
        counted = Counter(outbound.send_id for outbound in self._outbounds)
        for send_id, count in counted.items():
            if count > 1 and send_id not in told:
                yield f"send {send_id} is there {count} times"
        for identity, value, times, is_waiting, _ in self._prepends():
            if times + is_waiting > 1:
                yield f"{identity} got the prepend {value!r} {times} times, or will again"

    def _prepends(self) -> Iterator[tuple[str, str, int, bool, bool]]:
        """Identity, prepend, how often it was sent, whether it waits, whether that is sure."""
        carried = Counter(outbound.prepend for outbound in self._outbounds)
        by_id = {row["id"]: row for row in self._records.subscriptions}
        for subscription, (value, is_sure) in self._notes.prepends.items():
            row = by_id[subscription]
            waiting = (row["metadata"] or {}).get("prepend_next_delivery") == value
            yield row["identity"], value, carried[value], waiting, is_sure

    def disagreeing(self) -> Iterator[str]:
        """Differences between the database, the ledger and the Message Sender."""
        yield from self._beyond()
        yield from self._out_of_order()
        yield from self._chain()
        yield from self._ledger()
        yield from self._resent()
        for row in self._records.subscriptions:
            if row["process_status"] != (2 if row["completed"] else 0):
                yield f"{row['id']} has process_status {row['process_status']}"
            if row["completed"] and row["active"]:
                yield f"{row['id']} is completed and active"
            if row["metadata"] is not None and row["metadata"].get("kept") != "k":
                yield f"{row['id']} has lost the rest of its metadata"

    def _beyond(self) -> Iterator[str]:
        passed = set(self._passed())
        # A live send may have been posted, but is not settled yet: it is reported as stuck.
        live = {str(row["id"]) for row in self._records.live}
        for (identity, message), outbounds in self._nexts.items():
            settled = [outbound for outbound in outbounds if outbound.send_id not in live]
            if settled and (identity, message) not in passed:
                yield f"{identity} got {self._content.text(message)} and is not beyond it"
        for outbound in self._outbounds:
            if outbound.message is None:
                yield f"outbound {outbound.id} says what no message says"

    def _out_of_order(self) -> Iterator[str]:
        last: dict[str, MessageNumber] = {}
        for outbound in sorted(self._outbounds, key=lambda outbound: outbound.created_at):
            if outbound.message is None or outbound.is_resend:
                continue
            before = last.get(outbound.identity, outbound.message)
            if outbound.message < before:
                texts = self._content.text(before), self._content.text(outbound.message)
                yield f"{outbound.identity} got {texts[0]} before {texts[1]}"
            last[outbound.identity] = outbound.message

    def _chain(self) -> Iterator[str]:
        counted = Counter(
            (row["identity"], row["messageset_id"]) for row in self._records.subscriptions
        )
        for (identity, messageset), count in counted.items():
            if count > 1:
                yield f"{identity} is subscribed {count} times to message set {messageset}"
        followers = Counter(row["chained_from"] for row in self._records.subscriptions)
        for row in self._records.subscriptions:
            is_last = row["messageset_id"] == self._content.sets[-1]
            if row["completed"] and not is_last and followers[row["id"]] != 1:
                yield f"{row['id']} is completed and followed by {followers[row['id']]}"
            if not row["completed"] and followers[row["id"]]:
                yield f"{row['id']} is not completed, and is followed"

    def _ledger(self) -> Iterator[str]:
        by_id = {outbound.id: outbound for outbound in self._outbounds}
        delivered = Counter[str]()
        for row in self._records.ledger:
            if row["outcome"] not in DELIVERED:
                continue
            send_id = str(row["send_id"])
            delivered[send_id] += 1
            outbound = by_id.get(row["outbound_id"])
            if outbound is None or outbound.send_id != send_id:
                yield f"the ledger has {send_id} as outbound {row['outbound_id']}: no such one"
        for send_id, count in delivered.items():
            if count > 1:
                yield f"the ledger has {send_id} as delivered {count} times"
        live = {str(row["id"]) for row in self._records.live}
        for outbound in self._outbounds:
            if not delivered[outbound.send_id] and outbound.send_id not in live:
                yield f"outbound {outbound.id} is of {outbound.send_id}, which nobody delivered"

    def _resent(self) -> Iterator[str]:
        by_send = {outbound.send_id: outbound for outbound in self._resends}
        live = {row["id"] for row in self._records.live}
        for request in self._records.resend_requests:
            outbound = by_send.get(str(request["send_id"]))
            if request["message_id"] is None or request["send_id"] in live:
                continue
            if outbound is None or outbound.id != request["outbound_id"]:
                yield f"resend request {request['id']} has outbound {request['outbound_id']}"
        for outbound in self._resends:
            if outbound.prepend:
                yield f"resend {outbound.id} carries a prepend"

    def stuck(self) -> Iterator[str]:
        """Sends and ticks that did not end."""
        for row in self._records.live:
            yield f"send {row['id']} is {row['state']}: {row['reason']}"
        if self._records.expanding:
            yield f"{self._records.expanding} ticks are expanding"

    def failed(self) -> Iterator[str]:
        """Outcomes that no fault of the run explains."""
        for row in self._records.ledger:
            if row["outcome"] in ("refused", "failed"):
                yield f"send {row['send_id']} {row['outcome']} at {row['stage']}: {row['reason']}"

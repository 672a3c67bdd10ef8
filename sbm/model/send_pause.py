"""A pause of sends that a person began: what it concerns, and how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from attrs import frozen

from sbm.model.send import Lane, Send

# What becomes of ticks that come during a pause.
#   later: what they ask for is sent when the pause ends: one message at most
#   skip: it is skipped
OnTicks = Literal["later", "skip"]

# pausing: nothing of it is claimed any more, but daemons may still have some of it in hand
# paused: no POST of it can begin
PauseState = Literal["pausing", "paused", "ended"]


@frozen(kw_only=True)
class PauseScope:
    """What is held back: all that fits the fields that are not None; without any, all sends.

    A person pauses no single tick: such a tick waits for its release.
    """

    lane: Lane | None = None
    schedule_id: int | None = None
    messageset_id: int | None = None
    tick_id: int | None = None

    def covers(self, send: Send) -> bool:
        """Whether a claimed send is of it."""
        messageset_id = None if send.recipient is None else send.recipient.messageset_id
        return (
            self.lane in (None, send.lane)
            and self.schedule_id in (None, send.schedule_id)
            and self.messageset_id in (None, messageset_id)
            and (self.tick_id is None or (self.tick_id == send.tick_id and send.lane == "tick"))
        )

    def __str__(self) -> str:
        parts = []
        if self.messageset_id is not None:
            parts.append(f"message set {self.messageset_id}")
        if self.schedule_id is not None:
            parts.append(f"schedule {self.schedule_id}")
        if self.lane is not None:
            parts.append(f"the lane of {self.lane} sends")
        if self.tick_id is not None:
            parts.append(f"tick {self.tick_id}")
        return ", ".join(parts) or "the programme"


@frozen(kw_only=True)
class SendPause:
    """A pause of sends.

    ``until`` is when it ends by itself, if it does. ``paused_at`` is since when no POST of it can
    begin. ``in_hand`` is how many of its sends daemons have claimed and not settled yet.
    """

    id: int
    lane: Lane | None
    schedule_id: int | None
    messageset_id: int | None
    on_ticks: OnTicks
    reason: str
    paused_by: str | None
    since: datetime
    until: datetime | None
    paused_at: datetime | None
    ended_at: datetime | None
    ended_by: str | None
    in_hand: int

    @property
    def scope(self) -> PauseScope:
        """What it concerns."""
        return PauseScope(
            lane=self.lane, schedule_id=self.schedule_id, messageset_id=self.messageset_id
        )

    @property
    def state(self) -> PauseState:
        """How far it is."""
        if self.ended_at is not None:
            return "ended"
        return "pausing" if self.paused_at is None else "paused"

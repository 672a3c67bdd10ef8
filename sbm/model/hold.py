"""Why sends are held back: they are owed, and wait for a person or for their hours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, get_args

from attrs import frozen

# The answers of the function hold_of in the database.
#   paused: a person paused them
#   hours: it is outside the hours of their schedule or message set
#   braked: too many messages of their tick were refused or failed
#   canary: the first messages of their tick have gone out, and a person has to look
#   stopped: a person has stopped their tick for good, and they are being skipped
HoldReason = Literal["paused", "hours", "braked", "canary", "stopped"]

HOLDS: tuple[HoldReason, ...] = get_args(HoldReason)

HOLD_SENTENCES: Mapping[HoldReason, str] = {
    "paused": "it is paused",
    "hours": "it waits for its hours",
    "braked": "its tick was stopped by its brake, and waits for a person",
    "canary": "its tick waits for a person after its first messages",
    "stopped": "its tick was stopped for good, and it is being skipped",
}


@frozen(kw_only=True)
class TickLimits:
    """After how many messages a tick waits for a person, and what stops it.

    It stops if more than ``brake_percent`` of at least ``brake_after`` sends were refused or
    failed.
    """

    canary: int | None = None
    brake_percent: int | None = None
    brake_after: int | None = None


@frozen(kw_only=True)
class WatchedTick(TickLimits):
    """A tick with limits: how many of its sends were counted, and whether it is held back."""

    posted: int
    failed: int
    hold: HoldReason | None
    held_at: datetime | None
    released_at: datetime | None
    released_by: str | None


@frozen(kw_only=True)
class HeldTick:
    """A tick that waits for a person, and how many of its sends were settled before."""

    tick_id: int
    schedule_id: int
    hold: HoldReason
    posted: int
    failed: int
    held_at: datetime

    def __str__(self) -> str:
        if self.hold == "braked":
            return (
                f"tick {self.tick_id} of schedule {self.schedule_id} was stopped by its brake:"
                f" {self.failed} of {self.posted} messages were refused or failed"
            )
        return (
            f"tick {self.tick_id} of schedule {self.schedule_id} waits after its first"
            f" {self.posted} messages"
        )

"""Subscriptions that have had fewer messages than their schedules have asked for."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from attrs import frozen


@frozen(kw_only=True)
class BehindSubscription:
    """Where a subscription stood when it was looked at, and where it was expected to stand.

    The names are the short names of the message sets. ``created_at`` is when it was looked at.
    """

    id: int
    subscription_id: UUID
    messages_behind: int
    current_messageset_id: int
    current_messageset_name: str
    current_sequence_number: int
    expected_messageset_id: int
    expected_messageset_name: str
    expected_sequence_number: int
    created_at: datetime


@frozen(kw_only=True)
class PathStep:
    """One message set on the path of a subscriber, and where she should be in it.

    ``since`` is when her subscription to it began, or would have.
    """

    messageset_id: int
    messageset_name: str
    next_sequence_number: int
    completed: bool
    since: datetime


@frozen(kw_only=True)
class BehindRecord:
    """A subscription that is behind, and the path on which it should have gone.

    ``path`` begins with its own set. ``held_back`` says why it cannot be moved on now,
    ``unsendable`` why it cannot be sent to; None: it can.
    """

    id: UUID
    identity: str
    lang: str
    messageset_id: int
    messageset_name: str
    next_sequence_number: int
    messages_behind: int
    path: list[PathStep]
    held_back: str | None
    unsendable: str | None


@frozen(kw_only=True)
class BehindPage:
    """Who is behind of so many subscriptions, the last of which has this id."""

    last: UUID
    looked_at: int
    found: list[BehindRecord]


@frozen(kw_only=True)
class RepairCount:
    """To how many it was done, how many were left as they are, and how many followed others.

    Who is no longer behind counts in none of them.
    """

    done: int = 0
    skipped: int = 0
    begun: int = 0

"""Subscriptions that have had fewer messages than their schedules have asked for."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from attrs import frozen


@frozen(kw_only=True)
class BehindSubscription:
    """The place of a subscription when it was looked at, and its expected place.

    The names are the short names of the message sets. ``created_at`` is when it was looked at.
    """

    id: int
    subscription_id: UUID
    identity: str
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
    """One message set on the expected path of a subscription, and the expected place in it.

    ``since`` is when the subscription to this set began, or would have begun.
    """

    messageset_id: int
    messageset_name: str
    next_sequence_number: int
    completed: bool
    since: datetime


@frozen(kw_only=True)
class BehindRecord:
    """A subscription that is behind, and its expected path.

    ``path`` begins with its own set. ``held_back`` says why it cannot be moved on now, and
    ``unsendable`` why nothing can be sent to it. None means that there is no such reason.
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
    """One batch of subscriptions, and those of them that are behind.

    ``looked_at`` is the size of the batch, and ``last`` the id of its last subscription.
    """

    last: UUID
    looked_at: int
    found: list[BehindRecord]


@frozen(kw_only=True)
class RepairCount:
    """How many subscriptions were repaired, skipped, and begun as successors of repaired ones.

    A subscription that is no longer behind is not counted.
    """

    done: int = 0
    skipped: int = 0
    begun: int = 0

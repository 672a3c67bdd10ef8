"""A subscription that has had fewer messages than its schedule has asked for."""

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

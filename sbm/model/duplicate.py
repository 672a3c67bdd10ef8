"""Subscriptions of one person to the same message set."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from uuid import UUID

from attrs import frozen

# Which one of the duplicates is kept.
Keep = Literal["furthest", "oldest", "newest"]


@frozen(kw_only=True)
class DuplicateRule:
    """What makes a subscription the duplicate of another one of the same person and set.

    ``within`` is the longest time between their creation; None means any time.
    """

    by_lang: bool = True
    by_schedule: bool = True
    within: timedelta | None = timedelta(seconds=60)
    keep: Keep = "furthest"


@frozen(kw_only=True)
class Duplicate:
    """A subscription to remove, and the one that is kept instead.

    ``furthest`` is the highest sequence number among the duplicates; the kept one continues from
    there. If it ``is_busy``, a send of it is in progress, so its place may change.
    """

    id: UUID
    identity: str
    kept_id: UUID
    kept_number: int
    furthest: int
    is_busy: bool

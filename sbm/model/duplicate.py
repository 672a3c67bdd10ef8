"""Subscriptions that somebody has twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from uuid import UUID

from attrs import frozen

# Which one of them stays.
Keep = Literal["furthest", "oldest", "newest"]


@frozen(kw_only=True)
class DuplicateRule:
    """What makes a subscription the duplicate of another one of the same person and set.

    ``within`` is how long after one another they were made at most; None: no matter when.
    """

    by_lang: bool = True
    by_schedule: bool = True
    within: timedelta | None = timedelta(seconds=60)
    keep: Keep = "furthest"


@frozen(kw_only=True)
class Duplicate:
    """A subscription that is to go, and the one that stays in its place.

    ``furthest`` is the highest number of them all, from which the one that stays goes on. While it
    ``is_busy``, it is not known how far it has come.
    """

    id: UUID
    identity: str
    kept_id: UUID
    kept_number: int
    furthest: int
    is_busy: bool

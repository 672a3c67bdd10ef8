"""Silent subscriptions: people who are enrolled, and whom no tick reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from attrs import frozen

SilenceCause = Literal[
    "error", "empty-set", "language", "translation", "schedule", "scheduler", "paused"
]
CAUSES: tuple[SilenceCause, ...] = get_args(SilenceCause)

# What each cause means. The description of the API and the commands are made from this table.
MEANINGS: Mapping[SilenceCause, str] = {
    "error": "its process_status is below 0",
    "empty-set": "its message set has no message in any language",
    "language": "its message set has no message in its language",
    "translation": "it waits for the translation of a message",
    "schedule": "its schedule is never due",
    "scheduler": "the Scheduler does not call for it, and is not being told to",
    "paused": "it is paused",
}


@frozen(kw_only=True)
class SilentPerson:
    """A subscription that no tick reaches, why, and its place.

    ``messageset`` is the short name of its set.
    """

    subscription_id: UUID
    cause: SilenceCause
    identity: str
    messageset_id: int
    messageset: str
    lang: str
    schedule_id: int
    next_sequence_number: int


@frozen(kw_only=True)
class SilentRecord(SilentPerson):
    """One that the last search found; ``found_at`` is the first search that found this cause."""

    id: int
    found_at: datetime


@frozen(kw_only=True)
class SilentGroup:
    """Subscriptions of one set, language and schedule that are silent for the same cause."""

    cause: SilenceCause
    messageset_id: int
    lang: str
    schedule_id: int


@frozen(kw_only=True)
class SilentCounts:
    """The result of a search among ``active`` subscriptions."""

    searched_at: datetime
    active: int
    counts: Sequence[tuple[SilentGroup, int]]

    def by_cause(self) -> dict[SilenceCause, int]:
        """How many are silent for each cause."""
        found = dict.fromkeys(CAUSES, 0)
        for group, count in self.counts:
            found[group.cause] += count
        return found


@frozen(kw_only=True)
class SilentPage:
    """One batch of subscriptions that were looked at: how many are active, and who is silent.

    ``last`` is the id of its last subscription.
    """

    last: UUID
    active: int
    found: Sequence[SilentPerson]


@frozen(kw_only=True)
class SilentBatch:
    """One batch of subscriptions of which the silent ones were recorded, and counted."""

    last: UUID
    active: int
    counts: Mapping[SilentGroup, int]

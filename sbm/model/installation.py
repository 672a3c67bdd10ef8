"""An installation: the identity of a database, and how far its daemons have come with it."""

from __future__ import annotations

import json
from datetime import datetime
from uuid import UUID

from attrs import frozen

# What a text that is JSON, but not what was written, can raise.
UNREADABLE = (LookupError, TypeError, AttributeError, OverflowError, RecursionError)


@frozen(kw_only=True)
class Mark:
    """A beat of the database that a daemon has seen committed, as it is kept beside the daemon."""

    installation_id: UUID
    beat: int
    seen_at: datetime

    def to_json(self) -> str:
        """The text in which it is kept."""
        return json.dumps(
            {
                "installation_id": str(self.installation_id),
                "beat": self.beat,
                "seen_at": self.seen_at.isoformat(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Mark:
        """Read such a text; raises ValueError."""
        try:
            kept = json.loads(text)
            seen_at = datetime.fromisoformat(kept["seen_at"])
            if seen_at.tzinfo is None:
                raise ValueError("its time has no time zone")
            return cls(
                installation_id=UUID(kept["installation_id"]),
                beat=int(kept["beat"]),
                seen_at=seen_at,
            )
        except UNREADABLE as error:
            raise ValueError(f"it is not a mark: {error}") from error


@frozen(kw_only=True)
class Installation:
    """The row of the database: ``beat`` grew last at ``seen_at``, and ``now`` is its clock.

    ``cluster`` and ``timeline`` are those of the server that a daemon has accepted last.
    """

    id: UUID
    beat: int
    seen_at: datetime | None
    cluster: str | None
    timeline: int | None
    now: datetime

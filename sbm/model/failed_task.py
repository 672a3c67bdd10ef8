"""A send that was refused or failed, and can be owed again."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from attrs import frozen

from sbm.model.send import Kind, Stage


@frozen(kw_only=True)
class FailedTask:
    """What went wrong with a send; ``initiated_at`` is when it was first attempted."""

    id: int
    send_id: UUID
    kind: Kind
    stage: Stage
    reason: str
    subscription_id: UUID
    initiated_at: datetime

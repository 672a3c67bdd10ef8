"""A daemon, as the others and an operator see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import frozen

from sbm.model.role import Role


@frozen(kw_only=True)
class LivingDaemon:
    """A row of ``daemons``; ``pause`` is empty if it works by itself.

    ``services`` says of each service that it calls whether it ``is_away``, the ``reason``, and when
    the ``next_try`` is. ``is_silent``: it did not write its row for a minute.
    """

    id: UUID
    role: Role
    version: str
    commit: str
    host: str
    pid: int
    since: datetime
    seen_at: datetime
    pause: str
    services: Mapping[str, Any]
    is_silent: bool

    @property
    def is_sending(self) -> bool:
        """Whether it lives, and sends."""
        return self.role != "api" and not self.is_silent and not self.pause

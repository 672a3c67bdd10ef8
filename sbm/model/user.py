"""Who may speak to the API."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class User:
    """Somebody who is known by a token. The Scheduler is one too, without a row: its id is None."""

    id: int | None
    username: str
    is_admin: bool = False
    is_active: bool = True


SCHEDULER = User(id=None, username="scheduler")

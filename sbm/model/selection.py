"""Which subscriptions an operator means."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Selection:
    """Filters that must all hold; None is no filter."""

    messageset_id: int | None = None
    lang: str | None = None
    schedule_id: int | None = None


EVERYBODY = Selection()

"""Filters by which an operator selects subscriptions."""

from __future__ import annotations

from typing import Any

from attrs import asdict, frozen


@frozen(kw_only=True)
class Selection:
    """Filters that must all hold; None is no filter."""

    messageset_id: int | None = None
    lang: str | None = None
    schedule_id: int | None = None

    def told(self) -> dict[str, Any]:
        """The filters that were given, for the audit."""
        if self == EVERYBODY:
            return {"all": True}
        return {name: value for name, value in asdict(self).items() if value is not None}


EVERYBODY = Selection()

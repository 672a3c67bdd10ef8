"""Whoever may edit but not publish must not change what people who are under way get."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from sbm.model.user import CONTENT_PUBLISH, User
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Forbidden


class IsUnderWay(Protocol):
    """Whether people who are under way get what follows from a row, as it is now."""

    def __call__(self, transaction: Transaction, *, row_id: Any) -> Awaitable[bool]: ...


async def check_publishing(
    transaction: Transaction, *, user: User, is_under_way: IsUnderWay, row_id: Any
) -> None:
    """Raise Forbidden if people get what follows from this row, and the user may not publish.

    Call it before and after a change: both may reach people. Nothing is asked if the user may
    publish.
    """
    if user.may(CONTENT_PUBLISH):
        return
    if await is_under_way(transaction, row_id=row_id):
        raise Forbidden(
            CONTENT_PUBLISH, because="People who are under way get what this changes: it"
        )

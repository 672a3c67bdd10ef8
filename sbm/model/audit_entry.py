"""The audit: one change of a row, or one command as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from attrs import frozen

RowOperation = Literal["insert", "update", "delete"]
ROW_OPERATIONS: tuple[RowOperation, ...] = get_args(RowOperation)

# The tables with an audit of each changed row.
AUDITED_TABLES = (
    "binary_contents",
    "messages",
    "messagesets",
    "pauses",
    "schedules",
    "subscriptions",
    "tokens",
    "user_permissions",
    "users",
)

# The column of a table that is a secret. The audit shows that it was changed, and not its value.
SECRETS = {"tokens": "digest", "users": "password"}


@frozen(kw_only=True)
class AuditEntry:
    """An entry of the audit.

    ``table_name``, ``row_id`` and ``operation`` say which row was changed. They are None if the
    entry tells of a whole command; then ``details`` has its counts. ``before`` and ``after`` have
    the columns of the row, as JSON; of an update, only those that differ.
    ``transaction_id`` is the same for all changes of one transaction.
    """

    id: int
    done_at: datetime
    actor: str
    user_id: int | None
    action: str
    reason: str
    request_id: str | None
    table_name: str | None
    row_id: str | None
    operation: RowOperation | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    details: Mapping[str, Any]
    identity: str | None
    undoes: int | None
    transaction_id: int

    @property
    def is_of_command(self) -> bool:
        """Whether a command made the change, and not a request."""
        return self.action.startswith("sbm ")

"""The audit: one change of a row, or one command as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from attrs import field, frozen

from sbm.model.json_text import JsonText, json_text, json_text_or_none

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
    before: JsonText | None = field(converter=json_text_or_none)
    after: JsonText | None = field(converter=json_text_or_none)
    details: JsonText = field(converter=json_text)
    identity: str | None
    undoes: int | None
    transaction_id: int

    @property
    def old_values(self) -> Mapping[str, Any]:
        """``before``, parsed; empty if there was no row before."""
        return (self.before.value if self.before else None) or {}

    @property
    def new_values(self) -> Mapping[str, Any]:
        """``after``, parsed; empty if there is no row after it."""
        return (self.after.value if self.after else None) or {}

    @property
    def is_of_command(self) -> bool:
        """Whether a command made the change, and not a request."""
        return self.action.startswith("sbm ")

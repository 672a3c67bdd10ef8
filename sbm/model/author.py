"""The author of a change, as the audit has it."""

from __future__ import annotations

import json
import re
from uuid import uuid4

from attrs import asdict, frozen

# What a client may send as X-Request-ID: it is shown in logs and answers.
REQUEST_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:/+=@-]{0,127}")


def new_request_id() -> str:
    """An id for a request that came without one, or for the run of a command."""
    return uuid4().hex


@frozen(kw_only=True)
class Author:
    """Who makes the changes of a transaction, by which request or command, and why.

    ``user_id`` is None if it is not a user of the API. ``undoes`` is the entry of the audit whose
    change is undone. ``idempotency_key`` is that of the request, for the intake account.
    """

    actor: str
    action: str
    user_id: int | None = None
    reason: str = ""
    request_id: str | None = None
    undoes: int | None = None
    idempotency_key: str | None = None

    def json(self) -> str:
        """As the triggers of the database read it."""
        return json.dumps(asdict(self))

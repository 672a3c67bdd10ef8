"""Chores: what the Seed Scheduler has to be told of, and what came of telling it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from attrs import field, frozen

_ENDPOINT = re.compile(
    r"(?:subscriptions/(?P<subscription>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
    r"|schedule/(?P<schedule>[0-9]{1,9}))/send/?"
)

Scheduling = Literal["subscription", "schedule", "builtin"]
Kind = Literal["subscription", "schedule", "members", "leftover"]

# Whether a schedule may have been made that we do not know of. none: surely not; begun: perhaps,
# just now; kept: nobody knows better than before.
Doubt = Literal["none", "begun", "kept"]


@frozen(kw_only=True)
class CallBack:
    """A schedule at the Scheduler as it should be: when it calls, where, and as whom."""

    cron_definition: str
    endpoint: str
    auth_token: str = field(repr=False)

    def payload(self) -> dict[str, Any]:
        """What makes such a schedule, or makes one such."""
        return {
            "frequency": None,
            "cron_definition": self.cron_definition,
            "endpoint": self.endpoint,
            "auth_token": self.auth_token,
        }


@frozen(kw_only=True)
class Remote:
    """A schedule at the Scheduler as it was last told; what is None is not known."""

    id: str
    cron_definition: str | None = None
    enabled: bool | None = None


@frozen(kw_only=True)
class Chore:
    """A claimed chore, with how things stand.

    ``cron_definition`` is None where the Scheduler should not call. ``is_doubtful``: an earlier
    POST may have made a schedule that we do not know of; ``is_late``: nothing of it is under way
    any longer.
    """

    id: int
    kind: Kind
    target: str
    attempt: int
    revision: int
    faults: int
    owed_at: datetime
    cron_definition: str | None
    remote: Remote | None
    is_doubtful: bool
    is_late: bool


@frozen(kw_only=True)
class Told:
    """The Scheduler holds this now."""

    remote: Remote


@frozen(kw_only=True)
class Gone:
    """The Scheduler does not hold what we thought it did."""


@frozen(kw_only=True)
class Nothing:
    """There was nothing to tell."""


@frozen(kw_only=True)
class PutOff:
    """Not done yet."""

    reason: str
    delay: timedelta
    doubt: Doubt
    is_fault: bool = False


@frozen(kw_only=True)
class Refused:
    """The Scheduler does not take it, and will not."""

    reason: str


Result = Told | Gone | Nothing | PutOff | Refused


def endpoint(public_url: str, kind: Kind, target: str) -> str:
    """Where the Scheduler calls us back for a subscription or a schedule."""
    if kind == "subscription":
        return f"{public_url}/api/v1/subscriptions/{target}/send"
    return f"{public_url}/api/v1/schedule/{target}/send/"


@frozen(kw_only=True)
class Difference:
    """What the Scheduler was found to hold for a target, and what has to be done about it.

    Without an action, nothing: but it may not be what we remembered. ``about`` is for a person.
    """

    kind: Kind
    target: str
    remote_id: str | None
    cron_definition: str | None
    enabled: bool | None
    action: Literal["create", "update", "enable", "disable"] | None
    about: str


def target_of(url: str, public_url: str) -> tuple[Kind, str] | None:
    """Of whom an endpoint at the Scheduler is, if it is one of ours.

    Whether it is written with a slash at its end, and how a UUID is, makes no difference here.
    """
    prefix = f"{public_url}/api/v1/"
    found = _ENDPOINT.fullmatch(url[len(prefix) :]) if url.startswith(prefix) else None
    if found is None:
        return None
    if found["subscription"]:
        return "subscription", str(UUID(found["subscription"]))
    return "schedule", str(int(found["schedule"]))

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

# What a chore needs next: one call at most, and what it came to is written down before the next
# step. members: owe chores for who is on a schedule; look: a POST may have made a schedule that is
# not known; replace: disable it, as its time cannot be changed; change: tell it what can be; none:
# nothing should call, and nothing does.
Step = Literal["members", "look", "create", "replace", "change", "disable", "none"]

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
    """A schedule at the Scheduler, as far as it is known; what is None is not known.

    ``made_with`` is the cron that it was made with: the Scheduler goes by that one, whatever
    ``cron_definition`` shows. ``is_addressed``: its endpoint and its token are ours.
    """

    id: str
    cron_definition: str | None = None
    made_with: str | None = None
    enabled: bool | None = None
    is_addressed: bool = True


@frozen(kw_only=True)
class SchedulerCall:
    """A claimed chore, with its next step.

    ``wanted`` is the cron at which the Scheduler should call; None if it should not call.
    ``is_late``: no POST of an earlier step is under way any longer. ``fault`` is the last answer
    that counted as one of its ``faults``.
    """

    id: int
    kind: Kind
    target: str
    attempt: int
    revision: int
    faults: int
    fault: str
    owed_at: datetime
    claimed_at: datetime
    step: Step
    schedule_id: int | None
    wanted: str | None
    remote: Remote | None
    is_late: bool

    def __str__(self) -> str:
        """What it is about, for a person."""
        words = [f"{self.kind} {self.target}"]
        if self.kind == "subscription" and self.schedule_id is not None:
            words.append(f"on schedule {self.schedule_id}")
        cron = self.wanted or (self.remote.cron_definition if self.remote else None)
        if cron is not None:
            words.append(f"with cron {cron!r}")
        return " ".join(words)


@frozen(kw_only=True)
class Told:
    """The Scheduler holds this now, since ``at`` by its own clock, if it said when.

    ``goes_on``: there may be another step. ``replaces`` is the id of the disabled schedule that it
    was made in place of. ``is_silent``: nothing calls until the next step has made a schedule.
    ``surplus`` are the ids of others that were found, which must be disabled.
    """

    remote: Remote
    at: datetime | None = None
    replaces: str | None = None
    goes_on: bool = False
    is_silent: bool = False
    surplus: tuple[str, ...] = ()


@frozen(kw_only=True)
class Silence:
    """The time in which the Scheduler called nobody because a schedule was being replaced.

    From after ``since`` up to and including ``until``, by the Scheduler's clock. ``now`` is the
    time by the database's.
    """

    since: datetime
    until: datetime
    now: datetime


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


@frozen(kw_only=True)
class Troubled:
    """A chore that was refused, or has had ``faults``: what it is about, and why."""

    kind: Kind
    target: str
    state: str
    schedule_id: int | None
    cron_definition: str | None
    faults: int
    reason: str


def endpoint(public_url: str, kind: Kind, target: str) -> str:
    """Where the Scheduler calls us back for a subscription or a schedule."""
    if kind == "subscription":
        return f"{public_url}/api/v1/subscriptions/{target}/send"
    return f"{public_url}/api/v1/schedule/{target}/send/"


# What a difference needs. recreate: it fires, or may fire, at other times than it should.
Action = Literal["create", "recreate", "update", "enable", "disable"]


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
    action: Action | None
    about: str
    made_with: str | None = None
    is_addressed: bool = True


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

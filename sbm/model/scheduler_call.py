"""Scheduler calls: the calls that are owed to the Seed Scheduler, and their results."""

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
CallKind = Literal["subscription", "schedule", "members", "leftover"]

# The next step of a scheduler call. A step makes at most one request, and its result is stored
# before the next step.
#   members: owe a call for each subscription on a schedule
#   look: look for a schedule that an earlier POST may have made
#   create: make a schedule
#   replace: disable a schedule, because its cron cannot be changed; another one is made afterwards
#   change: change the fields that can be changed
#   disable: disable a schedule
#   none: do nothing, because no schedule is wanted and there is none
Step = Literal["members", "look", "create", "replace", "change", "disable", "none"]

# Whether the Scheduler may hold a schedule that we do not know. none: surely not; begun: perhaps,
# because a POST has just been begun; kept: as before.
Doubt = Literal["none", "begun", "kept"]


@frozen(kw_only=True)
class CallBack:
    """A schedule as the Scheduler should hold it: its times, its endpoint and its token."""

    cron_definition: str
    endpoint: str
    auth_token: str = field(repr=False)

    def payload(self) -> dict[str, Any]:
        """The body of a request that makes such a schedule, or changes one into it."""
        return {
            "frequency": None,
            "cron_definition": self.cron_definition,
            "endpoint": self.endpoint,
            "auth_token": self.auth_token,
        }


@frozen(kw_only=True)
class RemoteSchedule:
    """A schedule that the Scheduler holds, as far as it is known; None means not known.

    ``made_with`` is the cron that it was made with. The Scheduler uses that one, even if
    ``cron_definition`` shows another. ``is_addressed`` says that its endpoint and token are right.
    """

    id: str
    cron_definition: str | None = None
    made_with: str | None = None
    enabled: bool | None = None
    is_addressed: bool = True


@frozen(kw_only=True)
class SchedulerCall:
    """A claimed scheduler call, with its next step.

    ``wanted`` is the cron at which the Scheduler should call; None if it should not call.
    ``is_late`` says that no POST of an earlier step can still be in progress. ``fault`` is the last
    answer that counted as one of its ``faults``. Nothing was made for it before ``owed_at``, by the
    Scheduler's clock.
    """

    id: int
    kind: CallKind
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
    remote: RemoteSchedule | None
    is_late: bool

    def __str__(self) -> str:
        """Its target, as messages name it."""
        words = [f"{self.kind} {self.target}"]
        if self.kind == "subscription" and self.schedule_id is not None:
            words.append(f"on schedule {self.schedule_id}")
        cron = self.wanted or (self.remote.cron_definition if self.remote else None)
        if cron is not None:
            words.append(f"with cron {cron!r}")
        return " ".join(words)


@frozen(kw_only=True)
class StepDone:
    """The schedule that the Scheduler holds after a step.

    ``at`` is when it was made or changed, by the Scheduler's clock, if the Scheduler said so.
    ``goes_on`` says that there may be another step. ``replaces`` is the id of the disabled schedule
    that this one replaces. ``is_silent`` says that no schedule calls until the next step has made
    one. ``surplus`` are the ids of further schedules that were found, which must be disabled.
    """

    remote: RemoteSchedule
    at: datetime | None = None
    replaces: str | None = None
    goes_on: bool = False
    is_silent: bool = False
    surplus: tuple[str, ...] = ()


@frozen(kw_only=True)
class SilentTime:
    """A time without calls of the Scheduler, because a schedule was being replaced.

    It is after ``since``, up to and including ``until``, by the Scheduler's clock. ``now`` is the
    time of the database's clock.
    """

    since: datetime
    until: datetime
    now: datetime


@frozen(kw_only=True)
class ScheduleGone:
    """The Scheduler does not hold the schedule that we expected there."""


@frozen(kw_only=True)
class NothingToDo:
    """No request was needed."""


@frozen(kw_only=True)
class Postponed:
    """The step is not done yet, and is tried again after ``delay``."""

    reason: str
    delay: timedelta
    doubt: Doubt
    is_fault: bool = False


@frozen(kw_only=True)
class CallRefused:
    """The Scheduler refuses the request, and would refuse it again."""

    reason: str


CallResult = StepDone | ScheduleGone | NothingToDo | Postponed | CallRefused


@frozen(kw_only=True)
class FailingCall:
    """A scheduler call that was refused, or has had ``faults``: its target, and the reason."""

    kind: CallKind
    target: str
    state: str
    schedule_id: int | None
    cron_definition: str | None
    faults: int
    reason: str


def endpoint(public_url: str, kind: CallKind, target: str) -> str:
    """The URL that the Scheduler calls for a subscription or a schedule."""
    if kind == "subscription":
        return f"{public_url}/api/v1/subscriptions/{target}/send"
    return f"{public_url}/api/v1/schedule/{target}/send/"


# How to remove a difference. recreate: the schedule fires, or may fire, at wrong times.
Action = Literal["create", "recreate", "update", "enable", "disable"]


@frozen(kw_only=True)
class Difference:
    """The schedule that the Scheduler holds for a target, and the action that it needs.

    Without an action, the schedule is right, but our record of it may be wrong. ``about`` is a
    description for people.
    """

    kind: CallKind
    target: str
    remote_id: str | None
    cron_definition: str | None
    enabled: bool | None
    action: Action | None
    about: str
    made_with: str | None = None
    is_addressed: bool = True


def target_of(url: str, public_url: str) -> tuple[CallKind, str] | None:
    """The kind and target of an endpoint in the Scheduler; None if it is not one of ours.

    The form of a UUID, and a slash at the end, make no difference.
    """
    prefix = f"{public_url}/api/v1/"
    found = _ENDPOINT.fullmatch(url[len(prefix) :]) if url.startswith(prefix) else None
    if found is None:
        return None
    if found["subscription"]:
        return "subscription", str(UUID(found["subscription"]))
    return "schedule", str(int(found["schedule"]))

"""The intake account: what became of each authenticated request for a subscription."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal, get_args
from uuid import UUID

from attrs import frozen

from sbm.model.content import is_language

IntakeOutcome = Literal["created", "replayed", "twin", "refused"]
OUTCOMES: tuple[IntakeOutcome, ...] = get_args(IntakeOutcome)

# A question about the account concerns so much time at most: else it would read all months.
LONGEST_PERIOD = timedelta(days=31)

_EARLIEST = datetime.min.replace(tzinfo=timezone.utc)
_LATEST = datetime.max.replace(tzinfo=timezone.utc)

# The fields whose values are told: they are not about a person. Longer numbers may be those of
# telephones.
_TOLD = frozenset(
    {
        *("active", "completed", "initial_sequence_number", "lang", "messageset"),
        *("next_sequence_number", "process_status", "schedule", "version"),
    }
)
_NUMBER = re.compile(r"-?[0-9]{1,6}")

# So many members of an object are told, if they have such names.
_MEMBERS = 40
_NAME = re.compile(r"[A-Za-z_]{1,40}")


@frozen(kw_only=True)
class IntakeEntry:
    """One request for a subscription.

    ``reason`` and ``fields`` say why it was refused, and ``payload`` then has the members of its
    body without values of personal data. ``subscription_id`` is the subscription that it, or the
    first of several requests, has made.
    """

    id: int
    received_at: datetime
    outcome: IntakeOutcome
    reason: str
    fields: Sequence[str]
    caller: str
    user_id: int | None
    action: str
    request_id: str | None
    idempotency_key: str | None
    identity: str | None
    subscription_id: UUID | None
    payload: Any


@frozen(kw_only=True)
class IntakeCount:
    """How many requests of a caller ended in the same way, and when the latest of them came."""

    outcome: IntakeOutcome
    reason: str
    fields: Sequence[str]
    caller: str
    count: int
    latest_at: datetime


@frozen(kw_only=True)
class IntakeDay:
    """How many requests of a day ended in the same way."""

    day: date
    outcome: IntakeOutcome
    count: int


@frozen(kw_only=True)
class Period:
    """A time with a beginning and an end, which both belong to it; LONGEST_PERIOD at most."""

    after: datetime
    before: datetime


class PeriodTooLong(ValueError):
    """A period is longer than LONGEST_PERIOD."""


def period(after: datetime | None, before: datetime | None, *, now: datetime) -> Period:
    """The period with these ends; raises PeriodTooLong.

    If one is missing, it is as long as possible. If both are, it is the last one until now.
    """
    if after is None:
        # Rows may be dated by another clock than that of ``now``.
        end = _LATEST if before is None else before
        beginning = max(before or now, _EARLIEST + LONGEST_PERIOD) - LONGEST_PERIOD
        return Period(after=beginning, before=end)
    if before is None:
        return Period(after=after, before=min(after, _LATEST - LONGEST_PERIOD) + LONGEST_PERIOD)
    if before - after > LONGEST_PERIOD:
        raise PeriodTooLong
    return Period(after=after, before=before)


def without_personal_data(payload: Any, *, depth: int = 3) -> Any:
    """The shape of a JSON value: the values of a few fields stay, of others only the kind is told.

    The names of members stay. Objects within ``depth`` others are not opened.
    """
    if isinstance(payload, Mapping) and depth:
        return {
            name: value
            if name in _TOLD and _is_short(value)
            else without_personal_data(value, depth=depth - 1)
            for name, value in list(payload.items())[:_MEMBERS]
            if isinstance(name, str) and _NAME.fullmatch(name)
        }
    return (
        None
        if payload is None
        else next(told for kind, told in _KINDS if isinstance(payload, kind))
    )


# A boolean is an integer, too.
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "a text"),
    (Mapping, "an object"),
    (object, "a list or a file"),
)


def _is_short(value: Any) -> bool:
    return isinstance(value, bool) or bool(_NUMBER.fullmatch(str(value))) or is_language(str(value))

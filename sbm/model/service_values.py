"""Values that other services sent: they are believed only within these limits."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

# The ids of the services are UUIDs or numbers.
LONGEST_ID = 100

# The services store no longer addresses, endpoints, crons and tokens.
LONGEST_TEXT = 500

# Times outside of this are wrong, and some cannot be stored, or moved to another time zone.
_FIRST = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST = datetime(2200, 1, 1, tzinfo=timezone.utc)

_LARGEST_INTEGER = 2**31 - 1


def service_id(told: Any) -> str:
    """An id: a number, or a text without blanks. Raises ValueError if it is none."""
    if type(told) not in (str, int):  # true is no id
        raise ValueError("it has no id")
    text = str(told)
    if not told or len(text) > LONGEST_ID or not text.isprintable() or " " in text:
        raise ValueError("its id is none")
    return text


def service_text(told: Any, *, longest: int = LONGEST_TEXT) -> str:
    """A text of this length at most. Raises ValueError if it is none, or is too long."""
    if not isinstance(told, str) or len(told) > longest:
        raise ValueError(f"a text has more than {longest} characters, or is none")
    return told


def service_number(told: Any) -> int | None:
    """A whole number that can be stored, not negative; None if it is none."""
    return told if type(told) is int and 0 <= told <= _LARGEST_INTEGER else None


def service_moment(told: Any, *, zone: timezone | None = None) -> datetime:
    """A time; ``zone`` is the time zone of times without one. Raises ValueError if it is none."""
    moment = datetime.fromisoformat(_padded(service_text(told, longest=40)))
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError("a time has no time zone")
        moment = moment.replace(tzinfo=zone)
    if not _FIRST <= moment < _LAST:
        raise ValueError("a time is out of range")
    return moment


def _padded(moment: str) -> str:
    """The time with six digits of a second, and +00:00 for Z, which Python 3.10 needs."""
    text = moment.replace("Z", "+00:00")
    whole, dot, rest = text.partition(".")
    if not dot:
        return text
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{whole}.{digits[:6]:0<6}{rest[len(digits) :]}"

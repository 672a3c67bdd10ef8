"""How the Seed services read JSON values, and write times."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any


class InvalidValue(Exception):
    """One value is wrong; the message has the words of the real services."""


def parsed_boolean(value: Any) -> bool:
    """A boolean, or a value that the services read as one. Errors: ``InvalidValue``."""
    if isinstance(value, (bool, int, float, str)):
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    raise InvalidValue("Must be a valid boolean.")


def parsed_integer(value: Any) -> int:
    """A whole number, or the digits of one. Errors: ``InvalidValue``."""
    try:
        return int(str(value))
    except ValueError:
        raise InvalidValue("A valid integer is required.") from None


def parsed_text(value: Any) -> str | None:
    """A text or null; a number is read as its digits. Errors: ``InvalidValue``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise InvalidValue("Not a valid string.")


def parsed_json(value: Any) -> Any:
    """Any JSON value except null. Errors: ``InvalidValue``."""
    if value is None:
        raise InvalidValue("This field may not be null.")
    return value


def required_text(value: Any) -> str:
    """A text that is not empty. Errors: ``InvalidValue``."""
    text = parsed_text(parsed_json(value))
    if not text:
        raise InvalidValue("This field may not be blank.")
    return text


def required_url(value: Any) -> str:
    """An http or https URL. Errors: ``InvalidValue``."""
    url = required_text(value)
    if not url.startswith(("http://", "https://")):
        raise InvalidValue("Enter a valid URL.")
    return url


def parsed_instant(text: str) -> datetime:
    """An ISO date and time; without an offset it is UTC. Errors: ``InvalidValue``."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise InvalidValue("Enter a valid date/time.")
    date, time, fraction, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        whole = datetime.fromisoformat(f"{date}T{time}")
        return whole.replace(
            microsecond=int((fraction or "").ljust(6, "0")),
            tzinfo=timezone(-offset if sign == "-" else offset),
        )
    except ValueError:
        raise InvalidValue("Enter a valid date/time.") from None


def instant(moment: datetime) -> str:
    """An aware time as the services write it: UTC, ``Z`` for the offset."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def utc_now() -> datetime:
    """The time, aware; the default clock of the stand-ins."""
    return datetime.now(timezone.utc)


_TRUE = {"t", "T", "y", "Y", "yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "1", 1}
_FALSE = {"f", "F", "n", "N", "no", "NO", "false", "False", "FALSE", "off", "Off", "OFF", "0", 0}

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,6})\d*)?"
    r"(?:Z|([+-])(\d\d):?(\d\d)?)?",
    re.ASCII,
)

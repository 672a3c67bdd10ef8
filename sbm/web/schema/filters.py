"""Filters of lists, as parameters of the query: each is declared once.

An empty filter and an unknown name are ignored. If the filters select the rows of a change, and not
only those of a list, they are read strictly: both are errors then.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from attrs import field, frozen

from sbm.model.echo import echoed
from sbm.model.identity import canonical_uuid
from sbm.model.ids import LARGEST_ID
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Invalid
from sbm.web.http.wire import uuid_of
from sbm.web.schema import json_schema
from sbm.web.schema.fields import NO_NUL, NOT_BLANK, FieldError
from sbm.web.schema.json_schema import DAY, FLAG, MOMENT, NUMBER, ROW_ID, TEXT, JsonSchema

NO_SUCH_FILTER = "There is no such filter."
NO_SUCH_CHOICE = "Select a valid choice. That choice is not one of the available choices."

Exists = Callable[..., Awaitable[bool]]

_MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[T ]([0-9]{1,2}):([0-9]{1,2})"
    r"(?::([0-9]{1,2})(?:\.([0-9]{1,12}))?)?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)

# No column has a larger number, so no row is found.
_BEYOND = 2**62


@frozen(kw_only=True)
class Reader:
    """Reads the text of a filter; has the JSON Schema of its values.

    Called with the text, it returns the value, or None for no filter, or raises FieldError.
    """

    _read: Callable[[str], Any]
    takes: JsonSchema

    def __call__(self, given: str) -> Any:
        return self._read(given)


def taking(takes: JsonSchema) -> Callable[[Callable[[str], Any]], Reader]:
    """Make a function a reader."""
    return lambda read: Reader(read=read, takes=takes)


@frozen(kw_only=True)
class Filter:
    """One filter: its name in the query, the name of the store's parameter, and its reader.

    ``exists`` looks up the row that the value refers to. ``note`` is the sentence of the OpenAPI
    description about the rows that it finds.
    """

    name: str
    parameter: str = field()
    read: Reader
    exists: Exists | None = None
    note: str

    @parameter.default
    def _same_as_name(self) -> str:
        return self.name


async def read_filters(
    transaction: Transaction,
    filters: Sequence[Filter],
    query: Mapping[str, str],
    *,
    strictly: bool = False,
) -> dict[str, Any]:
    """The store's parameters for a query; raises Invalid with all errors.

    If ``strictly``, unknown names and empty filters are errors, too.
    """
    parameters: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    if strictly:
        names = {one.name for one in filters}
        errors = {echoed(name): [NO_SUCH_FILTER] for name in query if name not in names}
        errors |= {name: [NOT_BLANK] for name in query if name in names and not query[name].strip()}
    for one in filters:
        given = query.get(one.name, "")
        if not given or one.name in errors:
            continue
        try:
            if "\0" in given:
                raise FieldError(NO_NUL)
            value = one.read(given)
            if one.exists is not None and not await one.exists(transaction, row_id=value):
                raise FieldError(NO_SUCH_CHOICE)
            parameters[one.parameter] = value
        except FieldError as error:
            errors[one.name] = error.messages
    if errors:
        raise Invalid(errors, fields=[one.name for one in filters if one.name in errors])
    return parameters


@taking(TEXT)
def text(given: str) -> str | None:
    """The text without the blanks at its ends; an empty text is no filter."""
    return given.strip() or None


@taking(TEXT)
def identity(given: str) -> str | None:
    """A UUID in its stored spelling; other texts stay as they are, since they may be imported."""
    return canonical_uuid(given.strip()) or text(given)


def at_most(length: int, read: Reader) -> Reader:
    """A reader for texts of at most so many characters; longer texts raise FieldError."""

    def limited(given: str) -> str | None:
        found: str | None = read(given)
        if found is not None and len(found) > length:
            raise FieldError(f"Ensure this field has no more than {length} characters.")
        return found

    return Reader(read=limited, takes=read.takes | {"maxLength": length})


@taking(json_schema.UUID)
def row_uuid(given: str) -> UUID | None:
    """A UUID in any of its spellings; raises FieldError."""
    found = uuid_of(given.strip())
    if found is None and given.strip():
        raise FieldError("Enter a valid UUID.")
    return found


@taking(MOMENT)
def moment(given: str) -> datetime | None:
    """A date and a time, in UTC unless they have an offset; raises FieldError.

    ISO 8601 with dashes and colons. T or a blank is between date and time. Seconds and their
    fraction are optional; six digits of the fraction count.
    """
    if not given.strip():
        return None
    match = _MOMENT.fullmatch(given.strip())
    try:
        if match is None:
            raise ValueError("not written like a time")
        *numbers, fraction, offset = match.groups()
        microsecond = int((fraction or "0")[:6].ljust(6, "0"))
        fields = [int(number or "0") for number in numbers]
        told = datetime(*fields, microsecond, tzinfo=_zone(offset))  # type: ignore[misc, arg-type]
        return told.astimezone(timezone.utc)  # psycopg2 refuses offsets of 16 hours or more
    except (ValueError, OverflowError):
        raise FieldError("Enter a valid date/time.") from None


@taking(DAY)
def day(given: str) -> date | None:
    """A date; raises FieldError."""
    if not given.strip():
        return None
    try:
        return date.fromisoformat(given.strip())
    except ValueError:
        raise FieldError("Enter a valid date.") from None


def _zone(offset: str | None) -> timezone:
    if offset in (None, "Z"):
        return timezone.utc
    digits = offset[1:].replace(":", "").ljust(4, "0")
    distance = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-distance if offset.startswith("-") else distance)


@taking(FLAG)
def boolean(given: str) -> bool | None:
    """True or false; any other word is ignored."""
    if given in ("true", "True", "TRUE", "1"):
        return True
    return False if given in ("false", "False", "FALSE", "0") else None


@taking(NUMBER)
def integer(given: str) -> int:
    """A number without its fraction; raises FieldError."""
    try:
        number = Decimal(given.strip())
    except InvalidOperation:
        raise FieldError("Enter a number.") from None
    if not number.is_finite():
        raise FieldError("Enter a number.")
    return int(max(min(number, Decimal(_BEYOND)), Decimal(-_BEYOND)))


@taking(ROW_ID)
def reference(given: str) -> int:
    """The id of a row; raises FieldError if no row can have it."""
    if len(given) > 1000 or not given.isascii() or not given.strip().isdigit():
        raise FieldError(NO_SUCH_CHOICE)
    number = int(given)
    if not 0 < number <= LARGEST_ID:
        raise FieldError(NO_SUCH_CHOICE)
    return number


def choice(choices: Sequence[str]) -> Reader:
    """A reader for one of a few texts; other texts raise FieldError."""

    def read(given: str) -> str:
        if given not in choices:
            raise FieldError(
                f"Select a valid choice. {echoed(given)} is not one of the available choices."
            )
        return given

    return Reader(read=read, takes=TEXT | {"enum": list(choices)})

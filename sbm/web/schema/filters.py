"""Filters of lists, as parameters of the query: declared once, read in the dialect of the wire.

A filter that is not there, or empty, is none; unknown names are ignored. Where a filter says what
is done, and not only what is shown, it is read strictly: neither is overlooked.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from attrs import field, frozen

from sbm.model.echo import echoed
from sbm.model.ids import LARGEST_ID
from sbm.store.postgres.database import Transaction
from sbm.web.http.errors import Invalid
from sbm.web.http.wire import uuid_of
from sbm.web.schema import json_schema
from sbm.web.schema.fields import NO_NUL, NOT_BLANK, FieldError, canonical_uuid
from sbm.web.schema.json_schema import FLAG, MOMENT, NUMBER, ROW_ID, TEXT, JsonSchema

NO_SUCH_FILTER = "There is no such filter."
NO_SUCH_CHOICE = "Select a valid choice. That choice is not one of the available choices."

Exists = Callable[..., Awaitable[bool]]

_MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[T ]([0-9]{1,2}):([0-9]{1,2})"
    r"(?::([0-9]{1,2})(?:\.([0-9]{1,12}))?)?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)

# No column holds a larger number, so there is nothing to be found.
_BEYOND = 2**62


@frozen
class Reader:
    """How the text of a filter is read, and what it takes, as JSON Schema.

    Called with the text, it gives the value, or None for no filter, or raises FieldError.
    """

    _read: Callable[[str], Any]
    takes: JsonSchema

    def __call__(self, given: str) -> Any:
        return self._read(given)


def taking(takes: JsonSchema) -> Callable[[Callable[[str], Any]], Reader]:
    """Make a reader of a function."""
    return lambda read: Reader(read, takes)


@frozen(kw_only=True)
class Filter:
    """One filter: its name in the query, that of the store's parameter, and how it is read.

    ``exists`` looks up the row that the value refers to. ``note`` is what the OpenAPI description
    says that it finds.
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
    """The store's parameters for a query; raises Invalid with all that is wrong.

    If ``strictly``, names that are unknown and filters that are empty are wrong, too.
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
    """The text without blanks around it; if nothing is left, no filter."""
    return given.strip() or None


@taking(TEXT)
def identity(given: str) -> str | None:
    """A UUID as it is stored, whatever its spelling; else the text, as it may be imported."""
    return canonical_uuid(given.strip()) or text(given)


def at_most(length: int, read: Reader) -> Reader:
    """What another reads, of so many characters at most; what it makes raises FieldError."""

    def limited(given: str) -> str | None:
        found: str | None = read(given)
        if found is not None and len(found) > length:
            raise FieldError(f"Ensure this field has no more than {length} characters.")
        return found

    return Reader(limited, read.takes | {"maxLength": length})


@taking(json_schema.UUID)
def row_uuid(given: str) -> UUID | None:
    """A UUID in any of its spellings; raises FieldError."""
    found = uuid_of(given.strip())
    if found is None and given.strip():
        raise FieldError("Enter a valid UUID.")
    return found


@taking(MOMENT)
def moment(given: str) -> datetime | None:
    """A date and a time, in UTC unless they tell their offset; raises FieldError.

    ISO 8601 with dashes and colons: T or a blank between the two, seconds if you like, and digits
    behind them, of which six count.
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
        return told.astimezone(timezone.utc)  # psycopg2 knows no offset of 16 hours or more
    except (ValueError, OverflowError):
        raise FieldError("Enter a valid date/time.") from None


def _zone(offset: str | None) -> timezone:
    if offset in (None, "Z"):
        return timezone.utc
    digits = offset[1:].replace(":", "").ljust(4, "0")
    distance = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-distance if offset.startswith("-") else distance)


@taking(FLAG)
def boolean(given: str) -> bool | None:
    """True or false; any other word is no filter."""
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
    """The id of a row; raises FieldError where no row can have it."""
    if len(given) > 1000 or not given.isascii() or not given.strip().isdigit():
        raise FieldError(NO_SUCH_CHOICE)
    number = int(given)
    if not 0 < number <= LARGEST_ID:
        raise FieldError(NO_SUCH_CHOICE)
    return number


def choice(choices: Sequence[str]) -> Reader:
    """One of a few texts; what it makes raises FieldError."""

    def read(given: str) -> str:
        if given not in choices:
            raise FieldError(
                f"Select a valid choice. {echoed(given)} is not one of the available choices."
            )
        return given

    return Reader(read, TEXT | {"enum": list(choices)})

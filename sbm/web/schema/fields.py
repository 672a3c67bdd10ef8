"""Fields of resources: each is declared once, and reads and writes its values.

Values are read leniently: ``"7 "`` is an integer, ``"on"`` a boolean, ``5`` a text. The error
messages never change, because clients match them. Forms have neither null nor types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from attrs import field, frozen

from sbm.model.content import is_language
from sbm.model.content_rules import is_blank
from sbm.model.cron import Cron
from sbm.model.echo import echoed
from sbm.model.identity import canonical_uuid
from sbm.model.ids import LARGEST_ID
from sbm.model.instants import instant
from sbm.model.text import has_surrogates
from sbm.operations.drafts import Hold
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.bodies import parse_json

LARGEST_INTEGER = LARGEST_ID
SMALLEST_INTEGER = -LARGEST_INTEGER - 1
MAX_NUMBER_LENGTH = 1000
MAX_DEPTH = 100

REQUIRED = "This field is required."
NOT_NULL = "This field may not be null."
NOT_BLANK = "This field may not be blank."
NO_NUL = "Null characters are not allowed."
NO_SURROGATES = "Surrogate characters are not allowed."
NOT_AN_INTEGER = "A valid integer is required."
WRONG_LANGUAGE = (
    "Enter a valid language code: ISO 639-3, optionally with a country, such as eng_ZA."
)
NON_FIELD = "non_field_errors"

# The sentences about fields that many resources have.
ID = "The number of the row. The service makes it."
CREATED_AT = "When the row was made."
UPDATED_AT = "When the row was last changed."
UPDATED_BY = "The id of the user who changed it last; null: by a command, or before this was noted."

_TRUE = frozenset({"t", "T", "y", "Y", "yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"f", "F", "n", "N", "no", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})


class _Absent:
    """The value of a field that is not there."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


class FieldError(ValueError):
    """The value of one field is wrong; the error has one or more sentences."""

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = list(messages)


@frozen(kw_only=True)
class Field:
    """One field: its name on the wire, and how its value is read.

    ``attribute`` is its name in the model, if it is another one; ``label`` is its name in OPTIONS;
    ``note`` is its sentence in the OpenAPI description. A field that is ``write_only`` is not
    shown. A field without a ``default`` is required when a row is made, unless it is read-only.
    """

    kind: ClassVar[str] = "field"
    missing: ClassVar[str] = REQUIRED

    name: str
    attribute: str = field(default="")
    default: Any = ABSENT
    null: bool = False
    read_only: bool = False
    write_only: bool = False
    label: str = ""
    note: str = ""

    def __attrs_post_init__(self) -> None:
        if not self.attribute:
            object.__setattr__(self, "attribute", self.name)

    @property
    def required(self) -> bool:
        return self.default is ABSENT and not self.read_only

    def read(self, given: Any) -> Any:
        """The typed value of a JSON value; raises FieldError."""
        if given is None:
            if self.null:
                return None
            raise FieldError(NOT_NULL)
        return self.parse(given)

    def parse(self, given: Any) -> Any:
        """The typed value of a JSON value that is not null; raises FieldError."""
        raise NotImplementedError

    def from_form(self, given: Any) -> Any:
        """The JSON value of a text in a form (or of ABSENT); ABSENT if there is no value."""
        if given == "" and self.null:
            return None
        return ABSENT if given == "" and not self.required else given

    def show(self, value: Any, request: ApiRequest) -> Any:  # noqa: ARG002  # URLs need it
        """The JSON value for clients, from the value of the model."""
        return value

    def description(self) -> dict[str, Any]:
        """The description of the field in OPTIONS."""
        described: dict[str, Any] = {
            "type": self.kind,
            "required": self.required,
            "read_only": self.read_only,
            "label": self.label or self.name.replace("_", " ").capitalize(),
        }
        return described | self.limits()

    def limits(self) -> dict[str, Any]:
        """The description of its values in OPTIONS."""
        return {}


@frozen(kw_only=True)
class ReadOnly(Field):
    """A field that clients can only read; if they write it, it is ignored."""

    shown_as: str = "field"
    read_only: bool = True

    def show(self, value: Any, request: ApiRequest) -> Any:  # noqa: ARG002
        if self.shown_as == "datetime":
            return instant(value)
        return str(value) if self.shown_as == "string" else value

    def description(self) -> dict[str, Any]:
        kind = "integer" if self.shown_as == "count" else self.shown_as
        described = super().description() | {"type": kind}
        return described | ({"label": "ID"} if self.shown_as == "integer" else {})


@frozen(kw_only=True)
class RowUrl(ReadOnly):
    """The URL of the row itself; ``path`` is that of its list."""

    attribute: str = "id"
    path: str

    def show(self, value: Any, request: ApiRequest) -> str:
        return request.url(f"{self.path}{value}/")


@frozen(kw_only=True)
class Text(Field):
    """A text, stripped; numbers count as texts."""

    kind: ClassVar[str] = "string"

    max_length: int | None = None
    blank: bool = False

    def parse(self, given: Any) -> str:
        if isinstance(given, bool) or not isinstance(given, (str, int, float)):
            raise FieldError("Not a valid string.")
        text = str(given).strip()
        if not text and not self.blank:
            raise FieldError(NOT_BLANK)
        messages = self.objections(text)
        if messages:
            raise FieldError(*messages)
        if is_blank(text) and not self.blank:
            raise FieldError(NOT_BLANK)
        return text

    def objections(self, text: str) -> list[str]:
        """The errors of a text, without the blanks at its ends; a blank text is not an error."""
        messages = []
        if self.max_length is not None and len(text) > self.max_length:
            messages.append(f"Ensure this field has no more than {self.max_length} characters.")
        if "\0" in text:
            messages.append(NO_NUL)
        if has_surrogates(text):
            messages.append(NO_SURROGATES)
        return messages

    def from_form(self, given: Any) -> Any:
        return "" if given == "" and self.blank else super().from_form(given)

    def limits(self) -> dict[str, Any]:
        return {} if self.max_length is None else {"max_length": self.max_length}


@frozen(kw_only=True)
class CronField(Text):
    """One of the five fields of a schedule."""

    def objections(self, text: str) -> list[str]:
        return super().objections(text) or list(Cron.problems({self.name: text}).values())


@frozen(kw_only=True)
class Language(Text):
    """``eng`` or ``eng_ZA``."""

    def objections(self, text: str) -> list[str]:
        return [] if is_language(text) else [WRONG_LANGUAGE]


@frozen(kw_only=True)
class Identity(Text):
    """A UUID, stored in lower case."""

    def parse(self, given: Any) -> str:
        identity = canonical_uuid(super().parse(given))
        if identity is None:
            raise FieldError("Must be a valid UUID.")
        return identity

    def objections(self, text: str) -> list[str]:  # noqa: ARG002  # one text says it all
        return []


@frozen(kw_only=True)
class Choice(Field):
    """One of a few texts."""

    kind: ClassVar[str] = "choice"

    choices: Sequence[str]

    def parse(self, given: Any) -> str:
        if str(given) not in self.choices:
            raise FieldError(f'"{echoed(given)}" is not a valid choice.')
        return str(given)

    def limits(self) -> dict[str, Any]:
        named = [{"value": choice, "display_name": choice.capitalize()} for choice in self.choices]
        return {"choices": named}


@frozen(kw_only=True)
class Integer(Field):
    """An integer of 32 bits from ``least`` to ``most``; if ``choices`` are given, one of these."""

    kind: ClassVar[str] = "integer"

    choices: Sequence[int] = ()
    least: int = SMALLEST_INTEGER
    most: int = LARGEST_INTEGER

    def parse(self, given: Any) -> int:
        if isinstance(given, str) and len(given) > MAX_NUMBER_LENGTH:
            raise FieldError("String value too large.")
        try:
            number = int(re.sub(r"\.0*\s*$", "", str(given)))
        except ValueError:
            raise FieldError(NOT_AN_INTEGER) from None
        if number > self.most:
            raise FieldError(f"Ensure this value is less than or equal to {self.most}.")
        if number < self.least:
            raise FieldError(f"Ensure this value is greater than or equal to {self.least}.")
        if self.choices and number not in self.choices:
            raise FieldError(f'"{echoed(number)}" is not a valid choice.')
        return number

    def limits(self) -> dict[str, Any]:
        # Not ``least``: imported values below it are shown, and may be written back.
        return {"min_value": SMALLEST_INTEGER, "max_value": LARGEST_INTEGER}


@frozen(kw_only=True)
class Boolean(Field):
    """True or false, in many spellings."""

    kind: ClassVar[str] = "boolean"

    def parse(self, given: Any) -> bool:
        if isinstance(given, (bool, int, float)) and given in (0, 1):
            return bool(given)
        if isinstance(given, str):
            if given in _TRUE or given == "1":
                return True
            if given in _FALSE or given == "0":
                return False
        raise FieldError("Must be a valid boolean.")

    def from_form(self, given: Any) -> Any:
        """A missing value is false: browsers do not send a box that is not ticked."""
        return False if given is ABSENT else given


@frozen(kw_only=True)
class Reference(Field):
    """The id of a row of another table; ``hold`` looks it up and locks it."""

    hold: Hold

    def read(self, given: Any) -> Any:
        return super().read(None if given == "" else given)

    def parse(self, given: Any) -> int:
        wrong = FieldError(f"Incorrect type. Expected pk value, received {type(given).__name__}.")
        if isinstance(given, bool) or not isinstance(given, (int, float, str)):
            raise wrong
        if isinstance(given, float) and not given.is_integer():
            raise wrong
        if isinstance(given, str) and len(given) > MAX_NUMBER_LENGTH:
            raise wrong
        try:
            number = int(given)
        except ValueError:
            raise wrong from None
        if not 0 < number <= LARGEST_ID:
            raise FieldError(self.unknown(given))
        return number

    @staticmethod
    def unknown(given: Any) -> str:
        """The error for a value that is not the id of a row."""
        return f'Invalid pk "{echoed(given)}" - object does not exist.'


@frozen(kw_only=True)
class JsonValue(Field):
    """Any JSON that the database can store."""

    def parse(self, given: Any) -> Any:
        fault = _unfit(given)
        if fault:
            raise FieldError(fault)
        return given

    def from_form(self, given: Any) -> Any:
        if given is ABSENT:
            return ABSENT
        try:
            return parse_json(given)
        except (TypeError, ValueError):
            return _NOT_JSON


@frozen(kw_only=True)
class JsonObject(JsonValue):
    """A JSON object."""

    def parse(self, given: Any) -> Any:
        value = super().parse(given)
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise FieldError(f'Expected a dictionary of items but got type "{kind}".')
        return value


# The value of a field in a form that should be JSON, and is not.
_NOT_JSON = math.nan


def _unfit(value: Any) -> str | None:
    """Why the database could not store this JSON value; None if it can."""
    level = [value]
    for _ in range(MAX_DEPTH + 2):
        fault = next(filter(None, map(_unfit_scalar, level)), None)
        if fault or not level:
            return fault
        level = [
            below
            for one in level
            if isinstance(one, (dict, list))
            for below in ([*one.keys(), *one.values()] if isinstance(one, dict) else one)
        ]
    return f"Ensure this value is nested no more than {MAX_DEPTH} levels deep."


def _unfit_scalar(value: Any) -> str | None:
    if isinstance(value, str) and "\0" in value:
        return NO_NUL
    if isinstance(value, str) and has_surrogates(value):
        return NO_SURROGATES
    if isinstance(value, float) and not math.isfinite(value):
        return "Value must be valid JSON."
    return None

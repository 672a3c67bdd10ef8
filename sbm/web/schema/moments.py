"""Fields for moments, and for hours of the day."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen

from sbm.model.instants import instant
from sbm.model.send_hours import are_hours
from sbm.web.http.api_request import ApiRequest
from sbm.web.schema import filters
from sbm.web.schema.fields import Field, FieldError, Text


@frozen(kw_only=True)
class Moment(Field):
    """A date and a time, as filters take it: in UTC, unless it has an offset."""

    kind: ClassVar[str] = "datetime"

    def parse(self, given: Any) -> Any:
        found = filters.moment(given) if isinstance(given, str) else None
        if found is None:
            raise FieldError("Enter a valid date/time.")
        return found

    def show(self, value: Any, request: ApiRequest) -> Any:  # noqa: ARG002
        return None if value is None else instant(value)


@frozen(kw_only=True)
class Hours(Text):
    """From when until when, such as 08:00-20:00; 24:00 is the end of the day."""

    max_length: int | None = 11

    def objections(self, text: str) -> list[str]:
        return [] if are_hours(text) else ["Enter hours such as 08:00-20:00."]

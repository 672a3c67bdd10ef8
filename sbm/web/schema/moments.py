"""Fields for moments."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen

from sbm.web.http.endpoint import ApiRequest
from sbm.web.http.wire import instant
from sbm.web.schema import filters
from sbm.web.schema.fields import Field, FieldError


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

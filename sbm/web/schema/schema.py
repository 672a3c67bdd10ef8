"""Shapes of resources: their fields together, and what a body gave for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from sbm.store.postgres.database import Transaction
from sbm.web.http.bodies import Body
from sbm.web.http.errors import Invalid
from sbm.web.schema.fields import ABSENT, NON_FIELD, Field, FieldError, Reference


@define
class ParsedBody:
    """What was read from a body: typed values by field name, and what is wrong with others."""

    _shape: Schema
    given: Mapping[str, Any]
    values: dict[str, Any] = field(factory=dict)
    errors: dict[str, list[str]] = field(factory=dict)
    defaulted: set[str] = field(factory=set)

    def refuse(self, name: str, *messages: str) -> None:
        """Remember what is wrong with a field."""
        self.errors.setdefault(name, []).extend(messages)

    def take(self, one: Field, given: Any, stored: Mapping[str, Any]) -> None:
        """Read the value of a field, or remember what is wrong with it."""
        try:
            self.values[one.name] = one.read(given)
        except FieldError as complaint:
            if _is_same(given, stored.get(one.attribute, ABSENT)):
                self.values[one.name] = stored[one.attribute]
            else:
                self.refuse(one.name, *complaint.messages)

    async def look_up(self, transaction: Transaction) -> None:
        """Look up what the references refer to, and hold it until the transaction ends."""
        for one in self._shape.fields:
            number = self.values.get(one.name)
            if not isinstance(one, Reference) or number is None or one.name in self.errors:
                continue
            if not await one.hold(transaction, row_id=number):
                self.refuse(one.name, one.unknown(self.given[one.name]))

    def check(self) -> None:
        """Raise Invalid with all that is wrong, in the order of the fields, if anything is."""
        if self.errors:
            order = [*(one.name for one in self._shape.fields), NON_FIELD]
            raise Invalid({name: self.errors[name] for name in order if name in self.errors})

    def attributes(self) -> dict[str, Any]:
        """The values, by the names of the model."""
        return {
            one.attribute: self.values[one.name]
            for one in self._shape.fields
            if one.name in self.values
        }

    def written(self) -> dict[str, Any]:
        """Those values that the client has written, by the names of the model; no defaults."""
        return {
            one.attribute: self.values[one.name]
            for one in self._shape.fields
            if one.name in self.values and one.name not in self.defaulted
        }


def _is_same(given: Any, stored: Any) -> bool:
    """Whether a value is the stored one, as JSON or as the text of a form."""
    if isinstance(stored, str) or (isinstance(stored, int) and not isinstance(stored, bool)):
        return isinstance(given, (str, int)) and str(given).strip() == str(stored).strip()
    return type(given) is type(stored) and bool(given == stored)


@frozen
class Schema:
    """The fields of a resource, in the order of the wire."""

    fields: Sequence[Field]

    def read(
        self, body: Body, *, method: str = "POST", stored: Mapping[str, Any] | None = None
    ) -> ParsedBody:
        """Read the fields that can be written; others are ignored.

        Only in a POST do defaults stand in for what is not given; in a PATCH nothing is required.
        ``stored`` are the values of the row that is changed, by the names of the model: a value
        that is written as it is stored is accepted, though it may be one that only an import could
        bring. Raises Invalid when the body is no object; what is wrong with a field is kept in the
        Reading.
        """
        partial = method == "PATCH"
        given = body.as_object()
        reading = ParsedBody(self, given)
        for one in self.fields:
            if one.read_only:
                continue
            value = given.get(one.name, ABSENT)
            if body.is_form and not (partial and value is ABSENT):
                value = one.from_form(value)
            if value is not ABSENT:
                reading.take(one, value, stored or {})
            elif one.required and not partial:
                reading.refuse(one.name, one.missing)
            elif method == "POST":
                reading.values[one.name] = one.default
                reading.defaulted.add(one.name)
        return reading

    def description(self) -> dict[str, Any]:
        """What OPTIONS says of the fields."""
        return {one.name: one.description() for one in self.fields}

"""Schemas of resources: all fields of a resource, and their values from a body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from sbm.model.content_limits import ContentLimits
from sbm.model.json_text import JsonText
from sbm.model.metadata import metadata_problem
from sbm.operations.drafts import Draft, Referenced
from sbm.operations.refusals import SEVERAL, WrongValues
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.bodies import Body
from sbm.web.http.http_errors import Invalid
from sbm.web.schema.fields import ABSENT, NON_FIELD, Field, FieldError, JsonValue, Reference

_LIMITS = ContentLimits()


@define(kw_only=True)
class ParsedBody:
    """A body that was read: typed values by field name, and the errors of others.

    ``given`` is the object in the body, ``unread`` has the values of the fields with errors, and
    ``defaulted`` the names of the fields with default values.
    """

    _schema: Schema
    given: Mapping[str, Any]
    values: dict[str, Any] = field(factory=dict)
    errors: dict[str, list[str]] = field(factory=dict)
    unread: dict[str, Any] = field(factory=dict)
    defaulted: set[str] = field(factory=set)

    def refuse(self, name: str, *messages: str) -> None:
        """Add an error of a field."""
        self.errors.setdefault(name, []).extend(messages)

    def take(self, one: Field, given: Any) -> None:
        """Read the value of a field, or add its error."""
        try:
            self.values[one.name] = one.read(given)
        except FieldError as error:
            self.unread[one.name] = given
            self.refuse(one.name, *error.messages)

    def check(self) -> None:
        """Raise Invalid with all errors, if there are any."""
        if self.errors:
            raise self._schema.invalid(self.errors)

    def attributes(self) -> dict[str, Any]:
        """The values, by the names of the model."""
        attributes = self._schema.attributes
        return {attributes[name]: value for name, value in self.values.items()}

    def draft(
        self,
        stored: Mapping[str, Any] | None = None,
        *,
        user_id: int | None = None,
        limits: ContentLimits = _LIMITS,
    ) -> Draft:
        """The draft of a row, by the names of the model.

        ``stored`` are the values of the row that is changed, by the names of the model. A value
        that is the same as the stored one is accepted, even if it is invalid after an import.
        """
        attributes = self._schema.attributes
        errors, unread = self._errors_within(limits)
        before = stored or {}
        kept = {
            attributes[name]: before[attributes[name]]
            for name, given in unread.items()
            if _is_same(given, before.get(attributes[name], ABSENT))
        }
        return Draft(
            values=self.attributes() | kept,
            defaults=frozenset(attributes[name] for name in self.defaulted),
            problems={
                attributes[name]: messages
                for name, messages in errors.items()
                if attributes[name] not in kept
            },
            references=[
                Referenced(
                    attribute=one.attribute,
                    hold=one.hold,
                    unknown=one.unknown(self.given[one.name]),
                )
                for one in self._schema.references
                if one.name in self.given
            ],
            user_id=user_id,
            max_text_length=limits.text_length,
        )

    def _errors_within(
        self, limits: ContentLimits
    ) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Any]]:
        """The errors by field name, and the values of these fields, with JSON that is too large."""
        errors, unread = dict(self.errors), dict(self.unread)
        for name in self._schema.json_names & self.values.keys():
            problem = metadata_problem(self.values[name], max_bytes=limits.metadata_bytes)
            if problem is not None:
                errors[name] = [*errors.get(name, ()), problem]
                unread[name] = self.values[name]
        return errors, unread


def _is_same(given: Any, stored: Any) -> bool:
    """Whether a value is the stored one, as JSON or as the text of a form."""
    if isinstance(stored, JsonText):
        return stored.says(given)
    if isinstance(stored, str) or (isinstance(stored, int) and not isinstance(stored, bool)):
        return isinstance(given, (str, int)) and str(given).strip() == str(stored).strip()
    return type(given) is type(stored) and bool(given == stored)


@frozen
class Schema:
    """The fields of a resource, in the order of the answers."""

    fields: Sequence[Field]

    # Made once, not for each request.
    written: Sequence[Field] = field(init=False)
    references: Sequence[Reference] = field(init=False)
    attributes: Mapping[str, str] = field(init=False)
    json_names: frozenset[str] = field(init=False)

    @written.default
    def _not_read_only(self) -> list[Field]:
        return [one for one in self.fields if not one.read_only]

    @references.default
    def _references(self) -> list[Reference]:
        return [one for one in self.fields if isinstance(one, Reference)]

    @attributes.default
    def _by_name(self) -> dict[str, str]:
        return {one.name: one.attribute for one in self.fields}

    @json_names.default
    def _of_json(self) -> frozenset[str]:
        return frozenset(one.name for one in self.written if isinstance(one, JsonValue))

    def read(self, body: Body, *, method: str = "POST") -> ParsedBody:
        """Read the fields that can be written; others are ignored.

        Defaults are only used in a POST; in a PATCH, no field is required. Raises Invalid if the
        body is not an object. The ParsedBody has the errors of the fields.
        """
        partial = method == "PATCH"
        given = body.as_object()
        parsed = ParsedBody(schema=self, given=given)
        for one in self.written:
            value = given.get(one.name, ABSENT)
            if body.is_form and not (partial and value is ABSENT):
                value = one.from_form(value)
            if value is not ABSENT:
                parsed.take(one, value)
            elif one.required and not partial:
                parsed.refuse(one.name, one.missing)
            elif method == "POST":
                parsed.values[one.name] = one.default
                parsed.defaulted.add(one.name)
        return parsed

    def show(self, row: Any, request: ApiRequest) -> dict[str, Any]:
        """A row of the model as clients see it."""
        return {
            one.name: one.show(getattr(row, one.attribute), request)
            for one in self.fields
            if not one.write_only
        }

    def invalid(self, errors: Mapping[str, Sequence[str]]) -> Invalid:
        """The refusal with the errors by field, in the order of the fields."""
        order = [*(one.name for one in self.fields), NON_FIELD]
        return Invalid({name: list(errors[name]) for name in order if name in errors})

    def told(self, refusal: WrongValues) -> Invalid:
        """The refusal of an operation, with the names of the fields in the API."""
        names = {one.attribute: one.name for one in self.fields} | {SEVERAL: NON_FIELD}
        return self.invalid({names[name]: told for name, told in refusal.problems.items()})

    def description(self) -> dict[str, Any]:
        """The description of the fields in OPTIONS."""
        return {one.name: one.description() for one in self.fields}

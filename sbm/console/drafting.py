"""What users write into forms, by the fields and rules that the API has for the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from attrs import asdict, evolve, field, frozen

from sbm.model.content_limits import ContentLimits
from sbm.operations.drafts import Draft
from sbm.operations.refusals import CannotBeSent, WrongValues
from sbm.web.http.bodies import Body
from sbm.web.http.http_errors import Invalid
from sbm.web.schema.fields import NON_FIELD
from sbm.web.schema.schema import ParsedBody, Schema

# The errors that a form shows at its fields.
SHOWN = (WrongValues, CannotBeSent, Invalid)


@frozen(kw_only=True)
class DraftRules:
    """The settings by which content is judged; see ``Draft``."""

    limits: ContentLimits = field(factory=ContentLimits)
    ticking_zone: ZoneInfo | None = None


@frozen(kw_only=True)
class FormDraft:
    """The fields of a form, of one schema; ``method`` is how the API would be asked."""

    schema: Schema
    fields: Mapping[str, Any]
    method: str
    user_id: int | None
    rules: DraftRules

    def draft(self, stored: Mapping[str, Any] | None = None) -> Draft:
        """The draft of a row; ``stored`` are the values of a row that exists."""
        parsed: ParsedBody = self.schema.read(
            Body(value=dict(self.fields), is_form=True), method=self.method
        )
        made = parsed.draft(stored, user_id=self.user_id, limits=self.rules.limits)
        return evolve(made, ticking_zone=self.rules.ticking_zone)


def as_form(schema: Schema, row: Any) -> dict[str, str]:
    """The values of a row as texts of form fields."""
    values = asdict(row, recurse=False)
    written = {one.name: values[one.attribute] for one in schema.written}
    return {name: "" if value is None else str(value) for name, value in written.items()}


def given(schema: Schema, form: Mapping[str, str]) -> dict[str, str]:
    """The fields of a schema that a form has. Browsers end lines with CR and LF; we do not."""
    names = [one.name for one in schema.written]
    return {name: form[name].replace("\r\n", "\n") for name in names if name in form}


def problems_of(error: Exception, schema: Schema) -> dict[str, list[str]]:
    """The sentences of a refusal by the fields of a form; NON_FIELD has those about all of it."""
    if isinstance(error, CannotBeSent):
        return {NON_FIELD: list(error.sentences)}
    if isinstance(error, WrongValues):
        error = schema.told(error)
    body: Any = error.body if isinstance(error, Invalid) else {}
    told: Mapping[str, Sequence[str]] = body if isinstance(body, dict) else {NON_FIELD: body}
    return {name: list(sentences) for name, sentences in told.items()}


def differences(
    schema: Schema, before: Mapping[str, str], after: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """The fields whose values differ: the name, the value before, and the value after."""
    names = [one.name for one in schema.written if one.name in after]
    return [
        (name, before.get(name, ""), after[name])
        for name in names
        if before.get(name, "") != after[name]
    ]

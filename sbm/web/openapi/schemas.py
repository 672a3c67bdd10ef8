"""JSON Schemas of the values that clients write and see.

The schema of a value to write follows from the declaration of its field. The schema of a value in
an answer has only the type: imported rows are older than today's rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch

from sbm.web.schema.fields import (
    Boolean,
    Choice,
    Field,
    Identity,
    Integer,
    JsonObject,
    JsonValue,
    Language,
    ReadOnly,
    Reference,
    RowUrl,
    Text,
)
from sbm.web.schema.json_schema import (
    COUNT,
    FLAG,
    MOMENT,
    ROW_ID,
    TEXT,
    URL,
    UUID,
    JsonSchema,
)
from sbm.web.schema.moments import Hours, Moment
from sbm.web.schema.schema import Schema

_SHOWN_AS = {
    "integer": ROW_ID,
    "count": COUNT,
    "datetime": MOMENT,
    "string": UUID,
    "field": TEXT,
}


def ref(kind: str, name: str) -> JsonSchema:
    """A reference to a component of the description."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> JsonSchema:
    """A reference to a schema."""
    return ref("schemas", name)


def one_object(
    properties: Mapping[str, JsonSchema], *, required: Sequence[str] | None = None, note: str = ""
) -> JsonSchema:
    """An object of an answer: it has no other members; by default, all are required."""
    return {
        "type": "object",
        **({"description": note} if note else {}),
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def said(basis: JsonSchema, description: str) -> JsonSchema:
    """A schema with a description of its own."""
    return {**basis, "description": description}


def nullable(basis: JsonSchema) -> JsonSchema:
    """A schema that also accepts null."""
    widened = {**basis, "type": [basis["type"], "null"]}
    return widened | ({"enum": [*basis["enum"], None]} if "enum" in basis else {})


def page_of(name: str) -> JsonSchema:
    """A page of a list of these."""
    return one_object(
        {
            "count": said(COUNT, "How many rows there are, as counted on the first page."),
            "next": said(nullable(URL), "The next page; null on the last one."),
            "previous": said(nullable(URL), "The page before; null on the first one."),
            "results": {"type": "array", "items": schema(name)},
        }
    )


def shown(schema: Schema) -> JsonSchema:
    """A resource as it is shown."""
    return one_object(
        {one.name: said(shown_of(one), one.note) for one in schema.fields if not one.write_only}
    )


def written(schema: Schema, *, partial: bool = False) -> JsonSchema:
    """The values of a resource that a client may write; all others are ignored.

    If ``partial``, nothing is required, as in a PATCH.
    """
    fields = [one for one in schema.fields if not one.read_only]
    properties = {}
    for one in fields:
        taken = nullable(taken_by(one)) if one.null else taken_by(one)
        default = {} if one.required or partial else {"default": one.default}
        properties[one.name] = said(taken, one.note) | default
    required = [] if partial else [one.name for one in fields if one.required]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
    }


@singledispatch
def taken_by(field: Field) -> JsonSchema:
    """The schema of a field's value in a request, without null."""
    raise TypeError(f"{type(field).__name__} is not described")


@taken_by.register
def _(field: Text) -> JsonSchema:
    shortest: JsonSchema = {} if field.blank else {"minLength": 1}
    longest: JsonSchema = {} if field.max_length is None else {"maxLength": field.max_length}
    return TEXT | shortest | longest


@taken_by.register
def _(field: Language) -> JsonSchema:
    return TEXT | {"pattern": "^[a-z]{3}(_[A-Z]{2})?$", "maxLength": field.max_length}


@taken_by.register
def _(field: Identity) -> JsonSchema:  # noqa: ARG001  # the type says it all
    return UUID


@taken_by.register
def _(field: Choice) -> JsonSchema:
    return TEXT | {"enum": list(field.choices)}


@taken_by.register
def _(field: Integer) -> JsonSchema:
    if field.choices:
        return {"type": "integer", "enum": list(field.choices)}
    return {"type": "integer", "minimum": field.least, "maximum": field.most}


@taken_by.register
def _(field: Boolean) -> JsonSchema:  # noqa: ARG001
    return FLAG


@taken_by.register
def _(field: Hours) -> JsonSchema:  # noqa: ARG001
    return TEXT | {"pattern": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$"}


@taken_by.register
def _(field: Moment) -> JsonSchema:  # noqa: ARG001
    return MOMENT


@taken_by.register
def _(field: Reference) -> JsonSchema:  # noqa: ARG001
    return ROW_ID


@taken_by.register
def _(field: JsonValue) -> JsonSchema:  # noqa: ARG001
    return {"type": ["string", "number", "boolean", "object", "array"]}


@taken_by.register
def _(field: JsonObject) -> JsonSchema:  # noqa: ARG001
    return {"type": "object"}


@singledispatch
def shown_of(field: Field) -> JsonSchema:
    """The schema of a field's value in an answer, with null."""
    taken = taken_by(field)
    kept = {"enum"} if isinstance(field, Choice) else set()
    shown = {name: value for name, value in taken.items() if name in {"type", *kept}}
    return nullable(shown) if field.null else shown


@shown_of.register
def _(field: ReadOnly) -> JsonSchema:
    basis = _SHOWN_AS[field.shown_as]
    return nullable(basis) if field.null else basis


@shown_of.register
def _(field: RowUrl) -> JsonSchema:  # noqa: ARG001
    return URL


@shown_of.register
def _(field: JsonValue) -> JsonSchema:  # noqa: ARG001
    return {}

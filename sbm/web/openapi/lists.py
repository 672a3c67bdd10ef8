"""The parts of the description that all lists and their rows share."""

from __future__ import annotations

from collections.abc import Sequence

from sbm.web.openapi.parts import Operation, answer_of
from sbm.web.openapi.schemas import ref, schema
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import JsonSchema

NOT_FOUND = {404: ref("responses", "NotFound")}
PAGES = tuple(ref("parameters", name) for name in ("limit", "offset", "cursor"))
BY_OFFSET = PAGES[:2]
INVALID_FILTER = {400: ref("responses", "InvalidFilter")}


def parameters(filters: Sequence[Filter]) -> list[JsonSchema]:
    """Filters as parameters of the query: the values of each, and the rows that it finds."""
    return [
        {"name": one.name, "in": "query", "description": one.note, "schema": one.read.takes}
        for one in filters
    ]


def listing(
    name: str,
    summary: str,
    one: str,
    filters: Sequence[Filter] = (),
    *,
    pages: Sequence[JsonSchema] = PAGES,
    description: str = "",
) -> Operation:
    """A list of objects with the schema ``one``, a page at a time."""
    return Operation(
        name=name,
        summary=summary,
        description=description,
        parameters=[*parameters(filters), *pages],
        answers={200: answer_of(schema(f"{one}Page"), "One page."), **INVALID_FILTER},
    )


def key(name: str, taken: JsonSchema, description: str) -> list[JsonSchema]:
    """The parameter of a path for the id of a row."""
    return [
        {"name": name, "in": "path", "required": True, "description": description, "schema": taken}
    ]

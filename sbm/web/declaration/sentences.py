"""What the OpenAPI description says of a resource, besides its fields and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from sbm.web.http.bodies import PARSED_TYPES
from sbm.web.openapi.parts import Operation
from sbm.web.schema.json_schema import JsonSchema


@frozen(kw_only=True)
class Sentences:
    """The words of a resource.

    ``tag`` is the heading that it stands under. ``one`` and ``many`` are its rows in sentences,
    ``name`` is theirs in the names of operations, ``schema_name`` that of their schema.
    ``row_schema`` describes rows that have no fields declared. ``key`` says what the id in the path
    names, ``answer`` what is answered there.

    ``notes`` say what is special about a method, by its name, or about LIST. ``example`` is a row
    to write, ``change`` some fields of one; ``media_types`` are the forms in which they are
    written. ``post`` describes a POST to the list that makes no row. ``created`` are headers of the
    answer to one that does; it ``takes_key`` if it is done once for each Idempotency-Key.
    ``in_use``: a row that others refer to is not deleted.
    """

    tag: str
    name: str
    one: str
    many: str
    schema_name: str
    row_schema: JsonSchema | None = None
    key: str
    answer: str = "The row."
    notes: Mapping[str, str] = {}
    example: Mapping[str, Any] | None = None
    change: Mapping[str, Any] | None = None
    media_types: Sequence[str] = PARSED_TYPES
    post: Operation | None = None
    created: Mapping[str, JsonSchema] = {}
    takes_key: bool = False
    in_use: bool = False

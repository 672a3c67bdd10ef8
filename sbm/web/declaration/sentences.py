"""The sentences of the OpenAPI description about a resource, besides its fields and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from sbm.web.http.bodies import PARSED_TYPES
from sbm.web.openapi.parts import Operation
from sbm.web.schema.json_schema import JsonSchema


@frozen(kw_only=True)
class Sentences:
    """The sentences and names of a resource.

    ``tag`` is its heading. ``one`` and ``many`` name its rows in sentences, ``name`` in the names
    of operations, ``schema_name`` in the name of their schema. ``row_schema`` describes rows
    without declared fields. ``key`` describes the id in the path, and ``answer`` the answer there.

    ``notes`` are remarks about methods, by name, or about LIST. ``example`` is a row to write,
    ``change`` some fields of one; ``media_types`` are those of their bodies. ``post`` describes a
    POST to the list that makes no row. ``created`` are the headers of the answer to a POST that
    makes a row. ``changed`` are further answers to PUT and PATCH, by status. ``takes_key``: a
    request with an Idempotency-Key is done once. ``in_use``: a row is not deleted while other rows
    refer to it.
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
    changed: Mapping[int, JsonSchema] = {}
    takes_key: bool = False
    in_use: bool = False

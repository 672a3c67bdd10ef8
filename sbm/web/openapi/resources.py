"""The shape that lists and rows have in common: list, create, read, change, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from sbm.web.http.bodies import FORM, JSON, MULTIPART
from sbm.web.openapi.parts import Operation, Path, answer_of, no_content
from sbm.web.openapi.schemas import JsonSchema, page_of, ref, schema

NOT_FOUND = {404: ref("responses", "NotFound")}
PAGES = tuple(ref("parameters", name) for name in ("limit", "offset", "position"))
BY_OFFSET = PAGES[:2]
INVALID_FILTER = {400: ref("responses", "InvalidFilter")}


def filters(**told: tuple[JsonSchema, str]) -> list[JsonSchema]:
    """Filters of a list, by name: what each takes, and what it finds."""
    return [
        {"name": name, "in": "query", "description": description, "schema": taken}
        for name, (taken, description) in told.items()
    ]


def listing(
    name: str,
    summary: str,
    one: str,
    told: Sequence[JsonSchema] = (),
    *,
    pages: Sequence[JsonSchema] = PAGES,
    description: str = "",
) -> Operation:
    """A list of these, a page at a time; ``told`` are its filters."""
    return Operation(
        name=name,
        summary=summary,
        description=description,
        parameters=[*told, *pages],
        answers={200: answer_of(schema(f"{one}Page"), "One page."), **INVALID_FILTER},
    )


def key(name: str, taken: JsonSchema, description: str) -> list[JsonSchema]:
    """The parameter of a path that names a row."""
    return [
        {"name": name, "in": "path", "required": True, "description": description, "schema": taken}
    ]


@frozen(kw_only=True)
class Resource:
    """Rows that clients list, make, read, change and delete.

    ``one`` and ``many`` are their names in sentences, ``schema_name`` and ``name`` those of the
    schemas and of the operations. ``notes`` say what is special about a method, by its name.
    ``example`` is a row to write, ``change`` some fields of one.
    """

    tag: str
    path: str
    name: str
    one: str
    many: str
    schema_name: str
    row_key: Sequence[JsonSchema]
    filters: Sequence[JsonSchema] = ()
    media_types: Sequence[str] = (JSON, FORM, MULTIPART)
    created: Mapping[str, JsonSchema] = {}
    takes_key: bool = False
    in_use: bool = False
    notes: Mapping[str, str] = {}
    example: Mapping[str, Any] | None = None
    change: Mapping[str, Any] | None = None

    def paths(self) -> list[Path]:
        """The list, and one row of it."""
        return [
            Path(
                path=self.path,
                tag=self.tag,
                operations={
                    "GET": listing(
                        f"list_{self.name}s",
                        f"List {self.many}",
                        self.schema_name,
                        self.filters,
                        description=self.notes.get("LIST", ""),
                    ),
                    "POST": self._writing("POST", "create", f"Make {self.one}"),
                },
            ),
            Path(
                path=f"{self.path}{{id}}/",
                tag=self.tag,
                parameters=self.row_key,
                operations={
                    "GET": Operation(
                        name=f"read_{self.name}",
                        summary=f"Read {self.one}",
                        answers={200: self._answer("The row."), **NOT_FOUND},
                    ),
                    "PUT": self._writing("PUT", "put", f"Write {self.one}"),
                    "PATCH": self._writing("PATCH", "patch", f"Change fields of {self.one}"),
                    "DELETE": Operation(
                        name=f"delete_{self.name}",
                        summary=f"Delete {self.one}",
                        description=self.notes.get("DELETE", ""),
                        answers={
                            204: no_content("It is deleted."),
                            **NOT_FOUND,
                            **({409: ref("responses", "InUse")} if self.in_use else {}),
                        },
                    ),
                },
            ),
        ]

    def schemas(
        self, shown: JsonSchema, written: JsonSchema, changed: JsonSchema
    ) -> dict[str, JsonSchema]:
        """The schemas that the operations refer to."""
        return {
            self.schema_name: shown,
            f"{self.schema_name}Page": page_of(self.schema_name),
            f"{self.schema_name}Written": written,
            f"{self.schema_name}Changed": changed,
        }

    def _answer(self, description: str, **headers: JsonSchema) -> JsonSchema:
        return answer_of(schema(self.schema_name), description, **headers)

    def _writing(self, method: str, name: str, summary: str) -> Operation:
        created = method == "POST"
        answers = (
            {201: self._answer("The row that was made.", **self.created)}
            if created
            else {200: self._answer("The row as it is now."), **NOT_FOUND}
        )
        return Operation(
            name=f"{name}_{self.name}",
            summary=summary,
            description=self.notes.get(method, ""),
            body=schema(f"{self.schema_name}{'Changed' if method == 'PATCH' else 'Written'}"),
            example=self.change if method == "PATCH" else self.example,
            media_types=self.media_types,
            answers=answers,
            takes_key=created and self.takes_key,
        )

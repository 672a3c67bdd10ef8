"""The declaration of a resource: rows that clients list and read, and perhaps write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from sbm.model.paging import Page
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.needs import FOR_EVERY_USER, Needs
from sbm.web.http.reply import OptionsInfo
from sbm.web.http.wire import row_id
from sbm.web.openapi.lists import NOT_FOUND, key, listing
from sbm.web.openapi.parts import Operation, PathItem, answer_of, no_content
from sbm.web.openapi.schemas import page_of, ref, schema, shown, written
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import ROW_ID, UUID, JsonSchema
from sbm.web.schema.pages import BY_ID, Listing, Order
from sbm.web.schema.schema import Schema

Row = TypeVar("Row")

EVERY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")


@frozen(kw_only=True)
class Resource(Generic[Row]):
    """The declaration of the rows of one kind.

    ``path`` is the path of the list. ``methods`` are those that clients may use: GET for the list
    and for a row, POST for the list, all others for a row. ``needs`` are their permissions.

    ``schema`` has the fields. ``shown`` makes the JSON of a row, by default from the fields.

    The functions take a transaction first. ``list_page`` takes the page that is asked for and the
    parameters of the filters, by name. ``find``, ``change`` and ``delete`` take the id of a row;
    ``key`` is its name there, and ``read_key`` reads it from the path. ``create`` takes a Draft,
    ``change`` takes Changes (see ``sbm.operations.drafts``). ``is_under_way`` says whether people
    who are under way get what follows from a row: then content.publish is needed to change it.

    ``title`` and ``description`` are for OPTIONS; ``row_description`` is for that of a row, if it
    differs. ``sentences`` are for the OpenAPI description.
    """

    path: str
    title: str
    description: str = ""
    row_description: str | None = None
    methods: Sequence[str] = EVERY_METHOD
    needs: Needs = FOR_EVERY_USER
    schema: Schema | None = None
    shown: Callable[[ApiRequest, Row], Mapping[str, Any]] = field()
    key: str
    read_key: Callable[[str], Any] = row_id
    filters: Sequence[Filter] = ()
    order: Order[Row] = BY_ID
    list_page: Callable[..., Awaitable[Page[Row]]]
    find: Callable[..., Awaitable[Row | None]]
    create: Callable[..., Awaitable[Row]] | None = None
    change: Callable[..., Awaitable[Row]] | None = None
    delete: Callable[..., Awaitable[None]] | None = None
    is_under_way: Callable[..., Awaitable[bool]] | None = None
    sentences: Sentences

    # Made once, not for each request.
    listing: Listing[Row] = field(init=False)
    list_options: OptionsInfo = field(init=False)
    row_options: OptionsInfo = field(init=False)

    @shown.default
    def _shown_by_schema(self) -> Callable[[ApiRequest, Row], Mapping[str, Any]]:
        assert self.schema is not None
        schema = self.schema
        return lambda request, row: schema.show(row, request)

    @listing.default
    def _listing(self) -> Listing[Row]:
        return Listing(
            name=self.path.strip("/").rpartition("/")[2],
            list_page=self.list_page,
            shown=self.shown,
            order=self.order,
            filters=self.filters,
        )

    @list_options.default
    def _list_options(self) -> OptionsInfo:
        return self._options("List", self.description, "POST")

    @row_options.default
    def _row_options(self) -> OptionsInfo:
        description = self.description if self.row_description is None else self.row_description
        return self._options("Instance", description, "PUT")

    @property
    def row_key(self) -> list[JsonSchema]:
        """The parameter of the path of a row, for the OpenAPI description."""
        taken = ROW_ID if self.read_key is row_id else UUID
        return key("id", taken, self.sentences.key)

    def paths(self) -> list[PathItem]:
        """The list and a row, for the OpenAPI description."""
        told = self.sentences
        operations = {
            "GET": listing(
                f"list_{told.name}s",
                f"List {told.many}",
                told.schema_name,
                self.filters,
                description=told.notes.get("LIST", ""),
            ),
            "POST": told.post or self._writing("POST", "create", f"Make {told.one}"),
        }
        of_row = {
            "GET": Operation(
                name=f"read_{told.name}",
                summary=f"Read {told.one}",
                answers={200: self._answer(told.answer), **NOT_FOUND},
            ),
            "PUT": self._writing("PUT", "put", f"Write {told.one}"),
            "PATCH": self._writing("PATCH", "patch", f"Change fields of {told.one}"),
            "DELETE": Operation(
                name=f"delete_{told.name}",
                summary=f"Delete {told.one}",
                description=told.notes.get("DELETE", ""),
                answers={
                    204: no_content("The row was deleted."),
                    **NOT_FOUND,
                    **({409: ref("responses", "InUse")} if told.in_use else {}),
                },
            ),
        }
        return [
            self._path(self.path, operations),
            self._path(f"{self.path}{{id}}/", of_row, self.row_key),
        ]

    def schemas(self) -> dict[str, JsonSchema]:
        """The schemas that these paths refer to."""
        name, page = self.sentences.schema_name, page_of(self.sentences.schema_name)
        if self.sentences.row_schema is not None:
            return {name: self.sentences.row_schema, f"{name}Page": page}
        assert self.schema is not None
        return {
            name: shown(self.schema),
            f"{name}Page": page,
            f"{name}Written": written(self.schema),
            f"{name}Changed": written(self.schema, partial=True),
        }

    def _options(self, kind: str, description: str, method: str) -> OptionsInfo:
        actions = None
        if self.schema is not None and method in self.methods:
            actions = {method: self.schema.description()}
        return OptionsInfo(name=f"{self.title} {kind}", description=description, actions=actions)

    def _path(
        self, path: str, operations: Mapping[str, Operation], key: Sequence[JsonSchema] = ()
    ) -> PathItem:
        return PathItem(
            path=path,
            tag=self.sentences.tag,
            needs=self.needs,
            parameters=key,
            operations={name: one for name, one in operations.items() if name in self.methods},
        )

    def _answer(self, description: str, **headers: JsonSchema) -> JsonSchema:
        return answer_of(schema(self.sentences.schema_name), description, **headers)

    def _writing(self, method: str, name: str, summary: str) -> Operation:
        told = self.sentences
        is_change, creates = method == "PATCH", method == "POST"
        answers = (
            {201: self._answer("The row that was made.", **told.created)}
            if creates
            else {200: self._answer("The row as it is now."), **NOT_FOUND, **told.changed}
        )
        return Operation(
            name=f"{name}_{told.name}",
            summary=summary,
            description=told.notes.get(method, ""),
            body=schema(f"{told.schema_name}{'Changed' if is_change else 'Written'}"),
            example=told.change if is_change else told.example,
            media_types=told.media_types,
            answers=answers,
            takes_key=creates and told.takes_key,
        )

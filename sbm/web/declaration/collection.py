"""The routes of a resource, and the answers that follow from its declaration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, NoReturn

from attrs import field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.model.content_limits import ContentLimits
from sbm.operations.drafts import Changes, Draft
from sbm.operations.refusals import WrongValues
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.resource import Resource
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, Method, new_app, reading, replying
from sbm.web.http.http_errors import NotFound, Refusal
from sbm.web.http.publishing import check_publishing
from sbm.web.http.reply import Reply
from sbm.web.schema.schema import ParsedBody, Schema


def collection_app() -> Klein:
    """A new app with the routes of a list and of its rows, for the class of a resource."""
    app = new_app()

    @app.route("/")
    async def answer_list(self: Collection, request: Request) -> bytes:
        return await self.answer_list(request)

    @app.route("/<key>")
    async def answer_row(self: Collection, request: Request, key: str) -> bytes:
        return await self.answer_row(request, key)

    return app


@frozen(eq=False, kw_only=True)
class Collection:
    """The list of a resource and its rows, as ``resource`` declares them.

    A subclass sets ``app = collection_app()``. It can add routes, and override the methods that do
    more. ``limits`` are those of what is written.
    """

    resource: ClassVar[Resource[Any]]

    endpoint: Endpoint
    limits: ContentLimits = field(factory=ContentLimits)

    async def answer_list(self, request: Request) -> bytes:
        """Answer a request to the list."""
        return await self.endpoint.answer(
            request,
            self.resource.list_options,
            self._allowed(self.list_methods()),
            needs=self.resource.needs,
        )

    async def answer_row(self, request: Request, key: str) -> bytes:
        """Answer a request to one row."""
        return await self.endpoint.answer(
            request,
            self.resource.row_options,
            self._allowed(self.row_methods(key)),
            needs=self.resource.needs,
        )

    def list_methods(self) -> dict[str, Method]:
        """The methods of the list."""
        return {
            "GET": self.resource.listing.method(self.endpoint),
            "POST": replying(self.create),
        }

    def row_methods(self, key: str) -> dict[str, Method]:
        """The methods of one row."""
        change = replying(partial(self.change, key))
        return {
            "GET": reading(partial(self.read, key)),
            "PUT": change,
            "PATCH": change,
            "DELETE": replying(partial(self.delete, key)),
        }

    async def create(self, transaction: Transaction, request: ApiRequest) -> Reply:
        """Make a row from the body."""
        assert self.resource.create is not None
        draft = self.draft(self._schema.read(request.body()), request)
        with self.refusals_told():
            made = await self.resource.create(transaction, draft)
        await self.check_publishing(transaction, request, made.id)
        return Reply(status=201, body=self.resource.shown(request, made))

    async def read(self, key: str, transaction: Transaction, request: ApiRequest) -> Reply:
        """One row."""
        found = await self.resource.find(transaction, **self._named(key))
        if found is None:
            raise NotFound
        return Reply(body=self.resource.shown(request, found))

    async def change(self, key: str, transaction: Transaction, request: ApiRequest) -> Reply:
        """Change a row; the body is read before the row is locked."""
        assert self.resource.change is not None
        row, changes = self._named(key), self._changes(request)
        await self.check_publishing(transaction, request, row[self.resource.key])
        with self.refusals_told():
            changed = await self.resource.change(transaction, changes, **row)
        await self.check_publishing(transaction, request, row[self.resource.key])
        return Reply(body=self.resource.shown(request, changed))

    async def delete(self, key: str, transaction: Transaction, request: ApiRequest) -> Reply:
        """Delete a row."""
        assert self.resource.delete is not None
        row = self._named(key)
        await self.check_publishing(transaction, request, row[self.resource.key])
        await self.resource.delete(transaction, **row)
        return Reply(status=204)

    async def check_publishing(
        self, transaction: Transaction, request: ApiRequest, row_id: Any
    ) -> None:
        """Raise Forbidden if people under way get what follows from this row, as it is now.

        It is called before and after a change: both may reach people.
        """
        is_under_way = self.resource.is_under_way
        if is_under_way is not None:
            await check_publishing(
                transaction, user=request.user, is_under_way=is_under_way, row_id=row_id
            )

    def draft(
        self, parsed: ParsedBody, request: ApiRequest, stored: Mapping[str, Any] | None = None
    ) -> Draft:
        """The draft of a row, for this user; ``stored`` are the values of a row that exists."""
        return parsed.draft(stored, user_id=request.user.id, limits=self.limits)

    @contextmanager
    def refusals_told(self) -> Iterator[None]:
        """Raise the refusals of operations with the names of the fields in the API."""
        try:
            yield
        except WrongValues as refusal:
            raise self._schema.told(refusal) from None

    @property
    def _schema(self) -> Schema:
        assert self.resource.schema is not None
        return self.resource.schema

    def _changes(self, request: ApiRequest) -> Changes:
        """The changes in the body; if it cannot be read, they raise after the row was found."""
        try:
            parsed = self._schema.read(request.body(), method=request.method)
        except Refusal as refusal:
            return partial(_refuse, refusal)
        return partial(self.draft, parsed, request)

    def _named(self, key: str) -> dict[str, Any]:
        return {self.resource.key: self.resource.read_key(key)}

    def _allowed(self, methods: Mapping[str, Method]) -> dict[str, Method]:
        return {name: one for name, one in methods.items() if name in self.resource.methods}


def _refuse(refusal: Refusal, _stored: Mapping[str, Any]) -> NoReturn:
    raise refusal

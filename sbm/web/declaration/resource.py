"""The declaration of a resource: rows that clients list and read, and perhaps write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from sbm.model.paging import Page
from sbm.web.http.endpoint import ApiRequest, OptionsInfo
from sbm.web.http.wire import row_id
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import BY_ID, Listing, Order
from sbm.web.schema.schema import Schema

Row = TypeVar("Row")

EVERY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")


@frozen(kw_only=True)
class Resource(Generic[Row]):
    """What is special about the rows of one kind.

    ``path`` is that of the list, ``methods`` are what clients may do: GET of the list and of a row,
    POST to the list, and the others to a row.

    The functions take a transaction. ``list_page`` takes by name a window and the parameters of the
    filters; ``find``, ``change`` and ``delete`` have the id as ``key``, of what ``read_key`` makes
    of the path. ``create`` takes a draft, ``change`` what makes one of the stored row.

    ``title`` and ``about`` are what OPTIONS says, ``row_about`` where it says other things of a
    row. Clients see a row as its ``schema`` says, unless there is ``shown``. ``permission`` is what
    a user must hold.
    """

    path: str
    title: str
    about: str = ""
    row_about: str | None = None
    methods: Sequence[str] = EVERY_METHOD
    permission: str | None = None
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

    @shown.default
    def _shown_by_schema(self) -> Callable[[ApiRequest, Row], Mapping[str, Any]]:
        assert self.schema is not None
        schema = self.schema
        return lambda request, row: schema.show(row, request)

    @property
    def listing(self) -> Listing[Row]:
        """How the list is filtered, read, sorted and shown."""
        return Listing(
            name=self.path.strip("/").rpartition("/")[2],
            list_page=self.list_page,
            shown=self.shown,
            order=self.order,
            filters=self.filters,
        )

    @property
    def list_options(self) -> OptionsInfo:
        """What OPTIONS says of the list."""
        return self._options("List", self.about, "POST")

    @property
    def row_options(self) -> OptionsInfo:
        """What OPTIONS says of a row."""
        about = self.about if self.row_about is None else self.row_about
        return self._options("Instance", about, "PUT")

    def _options(self, kind: str, about: str, method: str) -> OptionsInfo:
        actions = None
        if self.schema is not None and method in self.methods:
            actions = {method: self.schema.description()}
        return OptionsInfo(name=f"{self.title} {kind}", description=about, actions=actions)

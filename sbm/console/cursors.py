"""Pages of lists in the console: the links between them hold the row at which a page ends.

Those of ``PagedList`` hold it sealed. A list in the order of its ids names it, see ``asked``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from attrs import field, frozen

from sbm.model.paging import EndlessPage, Page, PageRequest
from sbm.web.http.http_errors import Malformed
from sbm.web.schema.pages import Order
from sbm.web.schema.seals import sealed, unsealed

Row = TypeVar("Row")

# The rows of a page.
ROWS = 50

_INVALID = "This page does not belong to the list as it is filtered now: begin again."
# These parameters choose no rows.
_APART = ("cursor", "done")


@frozen(kw_only=True)
class PageLinks:
    """The addresses of the page before and of the next page; None: there is none."""

    previous: str | None = None
    next: str | None = None


def links_beside(
    asked: PageRequest, page: Page[Row], first: str, place: Callable[[Row, bool], str]
) -> PageLinks:
    """The links of a page that was asked for.

    It may have been cut for its bytes. ``first`` is the address of the first page. ``place`` makes
    that of the page after a row, or before it, if its second argument is true.
    """
    if not page.rows:
        return PageLinks(previous=first if asked.key is not None else None)
    has_previous = page.more if asked.backwards else asked.key is not None
    has_next = page.more or page.rest > 0 or asked.backwards
    return PageLinks(
        previous=place(page.rows[0], True) if has_previous else None,
        next=place(page.rows[-1], False) if has_next else None,
    )


@frozen(kw_only=True)
class PagedList(Generic[Row]):
    """A list with pages: its name, and its order as the API has it."""

    name: str
    order: Order[Row]

    def window(self, query: Mapping[str, str]) -> PageRequest:
        """The page that a query asks for; raises Malformed."""
        if not query.get("cursor"):
            return PageRequest(limit=ROWS)
        backwards, count, *key = self._contents(query)
        return PageRequest(
            limit=ROWS, key=self._key(key), backwards=bool(backwards), count=_counted(count)
        )

    def links(
        self, path: str, query: Mapping[str, str], window: PageRequest, page: Page[Row]
    ) -> PageLinks:
        """The links of a page that was found; ``path`` and ``query`` are those of its address."""

        def place(edge: Row, backwards: bool) -> str:
            contents = [backwards, page.count, *self.order.written(edge)]
            return _place(path, query, sealed(contents, _bound(self.name, query)))

        return links_beside(window, page, _place(path, query), place)

    def after(self, query: Mapping[str, str]) -> tuple[Any, ...] | None:
        """The key after which a page of an endless list begins; raises Malformed."""
        if not query.get("cursor"):
            return None
        _, _, *key = self._contents(query)
        return self._key(key)

    def further(self, path: str, query: Mapping[str, str], page: EndlessPage[Row]) -> PageLinks:
        """The links of a page of an endless list, from which the way back is its beginning."""
        following = None
        if page.more:
            contents = [False, 0, *self.order.written(page.rows[-1])]
            following = _place(path, query, sealed(contents, _bound(self.name, query)))
        return PageLinks(
            previous=_place(path, query) if query.get("cursor") else None, next=following
        )

    def _contents(self, query: Mapping[str, str]) -> list[Any]:
        return unsealed(query["cursor"], _bound(self.name, query))

    def _key(self, key: list[Any]) -> tuple[Any, ...]:
        try:
            return self.order.read(key)
        except (ValueError, TypeError, OverflowError, AttributeError):
            raise Malformed(_INVALID, kind="cursor") from None


@frozen(kw_only=True)
class PartOfList(Generic[Row]):
    """A page as a template shows it: its rows, the size of the whole list, and its links."""

    rows: list[Row]
    count: int
    links: PageLinks = field(factory=PageLinks)


def moment_and_number(key: list[Any]) -> tuple[datetime, int]:
    """The key of a list by time and number, as JSON has it; raises ValueError."""
    told, number = key
    moment = datetime.fromisoformat(told)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment, natural(number)


def natural(told: Any) -> int:
    """A whole number that the database can hold; raises ValueError."""
    if type(told) is not int or not 0 <= told < 2**63:
        raise ValueError("no number")
    return told


def _counted(told: Any) -> int:
    try:
        return natural(told)
    except ValueError:
        raise Malformed(_INVALID, kind="cursor") from None


def _bound(name: str, query: Mapping[str, str]) -> list[Any]:
    filters = [[key, value] for key, value in sorted(query.items()) if key not in _APART]
    return ["console", name, filters]


def _place(path: str, query: Mapping[str, str], cursor: str | None = None) -> str:
    told = {name: value for name, value in query.items() if name not in _APART and value}
    if cursor is not None:
        told["cursor"] = cursor
    # A path is quoted once: it may have been taken from an address that was.
    place = quote(path, safe="/%:+,;@~!*'()")
    return f"{place}?{urlencode(told)}" if told else place

"""Following a list from page to page, for as long as one question may take."""

from __future__ import annotations

from collections.abc import Container
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field, frozen
from twisted.internet.task import deferLater

from sbm.clients.outcomes import TooManyPages

QueryPairs = tuple[tuple[str, str], ...]

# The web servers of the services accept shorter request lines only.
_LONGEST_LINK = 8000

# A page that is shorter is read in a moment, and needs no rest after it.
_SHORT_PAGE = 64 * 1024


@frozen(kw_only=True)
class PageLimits:
    """How many pages and rows one question reads at most, and in which time.

    After each page, the daemon does other work first: in a second, it reads ``bytes_per_second`` at
    most. None: it does not rest.
    """

    pages: int
    rows: int
    time: timedelta
    bytes_per_second: int | None = None


@define(eq=False, slots=False, kw_only=True)
class PageTrail:
    """The pages of one question, each after the link of the one before.

    ``query`` is that of the next page, None at the end. If the list goes on beyond a limit, it ends
    there, and ``limit`` says which one: ``pages``, ``rows`` or ``time``.
    """

    query: QueryPairs | None
    _reactor: Any
    _limits: PageLimits
    limit: str = field(default="", init=False)
    pages: int = field(default=0, init=False)
    _rows: int = field(default=0, init=False)
    _seen: set[QueryPairs] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._until = self._reactor.seconds() + self._limits.time.total_seconds()

    def go_on(self, link: Any, *, rows: int) -> None:
        """Go to the page of this link, after one with so many rows.

        Raises ValueError if the link cannot be followed, or was followed before.
        """
        assert self.query is not None
        self._seen.add(self.query)
        self.pages += 1
        self._rows += rows
        self.query = next_query(link, self._seen)
        if self.query is None:
            return
        self.limit = self._exceeded()
        if self.limit:
            self.query = None

    async def rest(self, size: int) -> None:
        """Let the daemon do other work after a page of so many bytes, if another one follows."""
        pace = self._limits.bytes_per_second
        if pace is not None and size > _SHORT_PAGE and self.query is not None:
            await deferLater(self._reactor, size / pace)

    def check_end(self) -> None:
        """Raise TooManyPages if the list has not come to its end."""
        if self.limit:
            raise TooManyPages(self.excess)

    @property
    def excess(self) -> str:
        """The limit in words."""
        told = {
            "pages": f"more than {self._limits.pages} pages",
            "rows": f"more than {self._limits.rows} rows",
            "time": f"more pages than can be read in {self._limits.time.total_seconds():g} s",
        }
        return f"the list has {told[self.limit]}" if self.limit else ""

    def _exceeded(self) -> str:
        if self.pages >= self._limits.pages:
            return "pages"
        if self._rows >= self._limits.rows:
            return "rows"
        return "time" if self._reactor.seconds() >= self._until else ""


def next_query(link: Any, seen: Container[QueryPairs]) -> QueryPairs | None:
    """The query of a link to the next page, or None at the end.

    Only the query is used, because the host in the link may be one that only the service itself can
    reach. Raises ValueError if the link has no query, or one that was already followed.
    """
    if link is None:
        return None
    if len(link) > _LONGEST_LINK:
        raise ValueError("its link to the next page is too long")
    query = tuple(parse_qsl(urlsplit(link).query, keep_blank_values=True))
    if not query or query in seen:
        raise ValueError("its link to the next page has no query, or one that was followed before")
    return query

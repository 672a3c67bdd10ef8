"""Lists, a page at a time, by ``limit`` and ``offset``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from attrs import frozen

from sbm.web.exchange import Exchange, Reply

MAX_LIMIT = 1000

# Beyond any table; a larger offset would not be a number for the database.
MAX_OFFSET = 2**62


@frozen(kw_only=True)
class Page:
    """The part of a list that is asked for."""

    limit: int
    offset: int

    @classmethod
    def asked_for(cls, query: Mapping[str, str]) -> Page:
        """Read the page from the query; what is no number there is ignored."""
        limit = _number(query.get("limit")) or MAX_LIMIT
        offset = _number(query.get("offset")) or 0
        return cls(limit=min(limit, MAX_LIMIT), offset=min(offset, MAX_OFFSET))

    def reply(self, exchange: Exchange, *, count: int, results: Sequence[Any]) -> Reply:
        """The page, with the absolute URLs of its neighbours."""
        following = self.offset + self.limit
        preceding = max(self.offset - self.limit, 0)
        return Reply(
            body={
                "count": count,
                "next": self._url(exchange, following) if following < count else None,
                "previous": self._url(exchange, preceding) if self.offset else None,
                "results": results,
            }
        )

    def _url(self, exchange: Exchange, offset: int) -> str:
        """The same list from another offset on: whatever else was asked is asked again."""
        query = dict(exchange.query) | {"limit": str(self.limit), "offset": str(offset)}
        if not offset:
            del query["offset"]
        return f"{exchange.url(exchange.path)}?{urlencode(sorted(query.items()))}"


def _number(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 1000:
        return None
    return int(text)

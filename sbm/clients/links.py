"""Links from one page of a list to the next."""

from __future__ import annotations

from collections.abc import Container
from typing import Any
from urllib.parse import parse_qsl, urlsplit

QueryPairs = tuple[tuple[str, str], ...]


def next_query(link: Any, seen: Container[QueryPairs]) -> QueryPairs | None:
    """The query of a link to the next page, or None at the end.

    Only the query is used, because the host in the link may be one that only the service itself can
    reach. Raises ValueError if the link has no query, or one that was already followed.
    """
    if link is None:
        return None
    query = tuple(parse_qsl(urlsplit(link).query, keep_blank_values=True))
    if not query or query in seen:
        raise ValueError("its link to the next page has no query, or one that was followed before")
    return query

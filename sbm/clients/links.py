"""Links from one page of a list to the next."""

from __future__ import annotations

from collections.abc import Container
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Query = tuple[tuple[str, str], ...]


def next_query(link: Any, seen: Container[Query]) -> Query | None:
    """The query of a link to the next page, or None at the end.

    Nothing but the query: the host in it may be one that only the service itself can reach. Raises
    ValueError for a link that leads nowhere, or to where we have been.
    """
    if link is None:
        return None
    query = tuple(parse_qsl(urlsplit(link).query, keep_blank_values=True))
    if not query or query in seen:
        raise ValueError("its link leads nowhere new")
    return query

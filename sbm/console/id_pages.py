"""Pages of a list in the order of its ids: the address names the row next to the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sbm.model.natural_numbers import natural_number
from sbm.model.paging import Page, PageRequest


def number_in(query: Mapping[str, str], name: str) -> int | None:
    """A number of the query; None if there is none that a row could have."""
    told = query.get(name, "")
    number = natural_number(told.removeprefix("-"))
    return -number if number is not None and told.startswith("-") else number


def window(query: Mapping[str, str], *, limit: int) -> PageRequest:
    """The page that a query asks for, ``after`` or ``before`` a row; or else the first one."""
    after, before = number_in(query, "after"), number_in(query, "before")
    if before is not None:
        return PageRequest(limit=limit, key=(before,), backwards=True)
    return PageRequest(limit=limit, key=None if after is None else (after,))


def neighbours(wanted: PageRequest, page: Page[Any]) -> tuple[str | None, str | None]:
    """The addresses of the pages before and after, where there are some."""
    if not page.rows:
        return None, None
    is_before = page.more if wanted.backwards else wanted.key is not None
    is_after = wanted.backwards or page.more
    return (
        f"?before={page.rows[0].id}" if is_before else None,
        f"?after={page.rows[-1].id}" if is_after else None,
    )

"""What the address of a list asks for: which rows of it, and of which days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from sbm.console.cursors import PageLinks, links_beside
from sbm.console.texts import marked
from sbm.model.natural_numbers import natural_number
from sbm.model.paging import Page, PageRequest
from sbm.web.http.http_errors import Invalid

PER_PAGE = 50

# The largest id that a column can have.
_LARGEST = 2**63 - 1

# The parameters of an address that say which page of a list it is, and what was done before.
_OF_PAGE = ("after", "before", "done")


def rows_asked(
    query: Mapping[str, str], *, most: int = PER_PAGE, is_counted: bool = False
) -> PageRequest:
    """The page of a list in the order of its ids: those next to one, or the first.

    The whole list is counted only if it ``is_counted``. Raises Invalid if there can be no such id.
    """
    count = None if is_counted else 0
    for name in ("after", "before"):
        given = query.get(name, "")
        if not given:
            continue
        number = natural_number(given, most=_LARGEST)
        if number is None:
            raise Invalid({name: [marked("There is no such page.")]})
        return PageRequest(limit=most, key=(number,), backwards=name == "before", count=count)
    return PageRequest(limit=most, count=count)


def around(
    path: str,
    query: Mapping[str, str],
    asked: PageRequest,
    page: Page[Any],
    key: Callable[[Any], int] = lambda row: int(row.id),
) -> PageLinks:
    """The pages beside this one, with the same filters."""

    def place(edge: Any, backwards: bool) -> str:
        return _at(path, query, {"before" if backwards else "after": key(edge)})

    return links_beside(asked, page, _at(path, query), place)


def number_asked(query: Mapping[str, str], name: str) -> int | None:
    """A number of the query, also a negative one; None if there is none that a row could have."""
    told = query.get(name, "")
    number = natural_number(told.removeprefix("-"))
    return -number if number is not None and told.startswith("-") else number


def _at(path: str, query: Mapping[str, str], place: Mapping[str, int] | None = None) -> str:
    kept = {name: value for name, value in query.items() if value and name not in _OF_PAGE}
    told = urlencode({**kept, **(place or {})})
    return f"{path}?{told}" if told else path


def day_asked(
    query: Mapping[str, str], name: str, zone: ZoneInfo, *, is_end: bool = False
) -> datetime | None:
    """When a day begins in this zone, or ``is_end``: when it ends; None if none is asked for.

    Raises Invalid if it is no day.
    """
    given = query.get(name, "").strip()
    if not given:
        return None
    try:
        day = date.fromisoformat(given)
        if is_end:
            day += timedelta(days=1)
    except (ValueError, OverflowError):
        raise Invalid({name: [marked("Enter a day, such as 2026-11-28.")]}) from None
    begin = datetime.combine(day, time.min, zone)
    return begin - timedelta(microseconds=1) if is_end else begin


def faults_of(error: Invalid) -> Mapping[str, Sequence[str]]:
    """The sentences about each field of a form of filters; raises the error if it has no fields."""
    if not isinstance(error.body, Mapping):
        raise error
    return error.body

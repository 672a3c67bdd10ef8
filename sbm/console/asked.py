"""What the address of a list asks for: which rows of it, and of which days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.console.texts import marked
from sbm.model.natural_numbers import natural_number
from sbm.model.paging import Page, PageRequest
from sbm.web.http.http_errors import Invalid

PER_PAGE = 50

# The largest id that a column can have.
_LARGEST = 2**63 - 1

# The parameters of an address that say which page of a list it is, and what was done before.
_OF_PAGE = ("after", "before", "done")


@frozen(kw_only=True)
class Around:
    """The addresses of the pages before and after one; None: there is none."""

    previous: str | None
    next: str | None


def rows_asked(query: Mapping[str, str], *, most: int = PER_PAGE) -> PageRequest:
    """The page of a list in the order of its ids: those next to one, or the first.

    Nobody counts the whole list. Raises Invalid if there can be no such id.
    """
    for name in ("after", "before"):
        given = query.get(name, "")
        if not given:
            continue
        number = natural_number(given, most=_LARGEST)
        if number is None:
            raise Invalid({name: [marked("There is no such page.")]})
        return PageRequest(limit=most, key=(number,), backwards=name == "before", count=0)
    return PageRequest(limit=most, count=0)


def around(
    path: str,
    query: Mapping[str, str],
    asked: PageRequest,
    page: Page[Any],
    key: Callable[[Any], int] = lambda row: int(row.id),
) -> Around:
    """The pages beside this one, with the same filters."""
    if not page.rows:
        return Around(previous=None, next=None)
    has_before = asked.key is not None and (page.more or not asked.backwards)
    has_after = asked.backwards or page.more
    return Around(
        previous=_at(path, query, before=key(page.rows[0])) if has_before else None,
        next=_at(path, query, after=key(page.rows[-1])) if has_after else None,
    )


def _at(path: str, query: Mapping[str, str], **place: int) -> str:
    kept = {name: value for name, value in query.items() if value and name not in _OF_PAGE}
    return f"{path}?{urlencode({**kept, **place})}"


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

"""The names of the metrics for the Metrics API, and the estimates of a week."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date

CREATED = "subscriptions.created.sum"
ERRORED = "subscriptions.send_next_message_errored.sum"

_FIXED = (
    CREATED,
    ERRORED,
    "sbm.send_next_message.connection_error.sum",
    *(f"sbm.send_next_message.http_error.{status}.sum" for status in (400, 401, 403, 404, 500)),
    "sbm.send_next_message.timeout.sum",
    *(f"subscriptions.send.estimate.{weekday}.last" for weekday in range(7)),  # 0 is Monday
)


def names(messagesets: Iterable[tuple[str, str]]) -> list[str]:
    """Every name once; ``messagesets`` are the content types and short names of all sets."""
    named = list(_FIXED)
    for messageset in messagesets:
        named += of_message(*messageset)
    return list(dict.fromkeys(named))


def of_message(content_type: str, short_name: str) -> tuple[str, str]:
    """The metrics that count a message of such a set: one of the set, one of its content type."""
    return f"message.{content_type}.{part(short_name)}.sum", f"message.{content_type}.sum"


def of_failure(failure: str) -> str:
    """The metric that counts a failed call; ``failure`` is its kind, as ServiceClient names it."""
    return f"sbm.send_next_message.{failure}.sum"


def of_week(estimates: Mapping[date, int], today: date) -> dict[str, float]:
    """The estimates for the rest of this week: how many subscriptions get a message on each day.

    Days of the next week are left out. A metric has the name of a weekday, so they would replace
    the estimate of a past day, which people still compare with what was sent on it.
    """
    return {
        f"subscriptions.send.estimate.{day.weekday()}.last": float(subscriptions)
        for day, subscriptions in estimates.items()
        if 0 <= (day - today).days <= 6 - today.weekday()
    }


def part(text: str) -> str:
    """The text as one part of a name.

    Characters that are not word characters become one ``_``; at the ends, they are removed.
    """
    return re.sub(r"\W+", "_", text).strip("_")

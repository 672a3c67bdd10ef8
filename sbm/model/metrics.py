"""The names of the metrics that are told to the Metrics API."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FIXED = (
    "subscriptions.created.sum",
    "subscriptions.send_next_message_errored.sum",
    "sbm.send_next_message.connection_error.sum",
    *(f"sbm.send_next_message.http_error.{status}.sum" for status in (400, 401, 403, 404, 500)),
    "sbm.send_next_message.timeout.sum",
    *(f"subscriptions.send.estimate.{weekday}.last" for weekday in range(7)),  # 0 is Monday
)


def names(messagesets: Iterable[tuple[str, str]]) -> list[str]:
    """Every name, once; ``messagesets`` are the content types and short names of all sets."""
    named = list(_FIXED)
    for content_type, short_name in messagesets:
        named += [f"message.{content_type}.{part(short_name)}.sum", f"message.{content_type}.sum"]
    return list(dict.fromkeys(named))


def part(text: str) -> str:
    """The text as one part of a name: what is no word character becomes one ``_``, inside only."""
    return re.sub(r"\W+", "_", text).strip("_")

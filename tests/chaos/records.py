"""The data for the report: of the Message Sender, the database, and the callers' notes."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from attrs import field, frozen

from tests.arrange import arranged
from tests.chaos.content import Content, MessageNumber

Subscriber = tuple[str, int]  # identity and message set: no identity is subscribed twice to a set


@frozen(kw_only=True)
class RecordedOutbound:
    """An outbound that the Message Sender holds; ``message`` is None if it is not known."""

    id: str
    identity: str
    send_id: str
    is_resend: bool
    created_at: str
    prepend: str
    message: MessageNumber | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], content: Content) -> RecordedOutbound:
        """An outbound from a row of the list."""
        *prepend, text = str(row["content"]).split("\n")
        return cls(
            id=str(row["id"]),
            identity=row["to_identity"],
            send_id=str((row["metadata"] or {}).get("sbm_send_id")),
            is_resend=row["resend"],
            created_at=row["created_at"],
            prepend="\n".join(prepend),
            message=content.message(text),
        )


def held(port: int, content: Content) -> list[RecordedOutbound]:
    """All outbounds of the Message Sender on a port of this machine, oldest first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    path, found = "/api/v1/outbound/", []
    while path:
        connection.request("GET", path, headers={"Authorization": "Token of-the-account"})
        page = json.loads(connection.getresponse().read())
        found += [RecordedOutbound.from_row(row, content) for row in page["results"]]
        split = urlsplit(page["next"] or "")
        path = f"{split.path}?{split.query}" if page["next"] else ""
    connection.close()
    return found[::-1]


@frozen(kw_only=True)
class Records:
    """The rows of the database that the report needs."""

    subscriptions: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    resend_requests: list[dict[str, Any]]
    ticks: Counter[int]
    live: list[dict[str, Any]]
    expanding: int
    unbalanced_ticks: list[dict[str, Any]]

    @classmethod
    def read(cls, uri: str) -> Records:
        """Read them."""
        with arranged(uri) as direct:
            ticks = direct.rows(
                "SELECT schedule_id, count(*) FROM ticks WHERE source = 'post-back' GROUP BY 1"
            )
            return cls(
                subscriptions=direct.rows("SELECT * FROM subscriptions"),
                ledger=direct.rows(
                    "SELECT ledger.*, ticks.source FROM ledger"
                    " LEFT JOIN ticks ON ticks.id = tick_id ORDER BY ledger.id"
                ),
                resend_requests=direct.rows("SELECT * FROM resend_requests"),
                ticks=Counter({row["schedule_id"]: row["count"] for row in ticks}),
                live=direct.rows("SELECT * FROM sends"),
                expanding=direct.value("SELECT count(*) FROM ticks WHERE state = 'expanding'"),
                unbalanced_ticks=direct.unbalanced_ticks(),
            )


@frozen(kw_only=True)
class Notes:
    """The answers that the callers of the API got.

    Counted are the triggers that were accepted in an answer that arrived. A prepend is True where
    it was surely set, False where nobody knows; ``created`` are new identities that were accepted.
    """

    singles: Counter[UUID] = field(factory=Counter)
    resends: Counter[UUID] = field(factory=Counter)
    ticks: Counter[int] = field(factory=Counter)
    created: set[str] = field(factory=set)
    prepends: dict[UUID, tuple[str, bool]] = field(factory=dict)
    answers: Counter[str] = field(factory=Counter)
    wrong: list[str] = field(factory=list)

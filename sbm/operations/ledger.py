"""The list of the ledger: which filters an index serves, and which are refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

from attrs import evolve

from sbm.model.ledger_entry import SENT, LedgerEntry, LedgerFilter
from sbm.model.paging import EndlessPage
from sbm.operations.refusals import OperationRefused
from sbm.store import ledger
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

# The filters, besides those of the time, that an index serves together, in the words of the API. A
# person has so few rows that all other filters can be added.
SERVED: tuple[tuple[str, ...], ...] = (
    (),
    ("tick",),
    ("messageset", "sequence_number", "lang"),
    ("version",),
    ("outcome",),
    ("outcome", "stage"),
    ("outcome", "tick"),
    ("outcome", "tick", "stage", "reason_kind"),
    ("outcome", "messageset"),
    ("reason_kind",),
    ("delivered",),
    ("delivered", "messageset"),
)

_NAMES = {
    "tick_id": "tick",
    "messageset_id": "messageset",
    "sequence_number": "sequence_number",
    "lang": "lang",
    "message_version_id": "version",
    "outcome": "outcome",
    "stage": "stage",
    "reason_kind": "reason_kind",
    "delivered": "delivered",
}

# A message that was claimed before it changed is settled later: as a rule within minutes, but after
# an unknown outcome perhaps much later.
_LATE = timedelta(days=31)
# The clock of the database may have been set.
_EARLY = timedelta(days=1)

# How many rows of a long list are read at a time.
CHUNK = 500


class NotServed(OperationRefused):
    """No index serves these filters together, so the answer could take minutes."""


def check_served(wanted: LedgerFilter) -> None:
    """Raise NotServed, with a sentence for people, if no index serves these filters together."""
    if wanted.identity is not None or wanted.subscription_id is not None:
        return
    given = {name for field, name in _NAMES.items() if getattr(wanted, field) is not None}
    if wanted.outcome in SENT:
        raise NotServed(
            f"Nearly all rows have the outcome {wanted.outcome}: no index finds them. Ask for a"
            " message (messageset, sequence_number and lang), a tick or a time, and read the"
            " outcome of each row; or add identity or subscription."
        )
    if wanted.delivered:
        raise NotServed(
            "Nearly all messages are delivered: no index finds them. Ask for delivered=false, or"
            " add identity or subscription."
        )
    if given not in map(set, SERVED):
        told = "; ".join(" and ".join(one) for one in SERVED if one)
        raise NotServed(
            f"No index serves {' and '.join(sorted(given))} together, without others. Each of"
            f" these is served: {told}; and all filters together with identity or subscription."
            " Times can be added to each."
        )


async def list_page(
    transaction: Transaction,
    *,
    wanted: LedgerFilter,
    limit: int,
    after: tuple[datetime, int] = ledger.START,
) -> EndlessPage[LedgerEntry]:
    """The next rows that match; raises NotServed."""
    check_served(wanted)
    if wanted.identity is not None or wanted.subscription_id is not None:
        rows = await ledger.list_of_person(transaction, wanted=wanted, limit=limit + 1, after=after)
    elif wanted.delivered is not None:
        rows = await ledger.list_undelivered(
            transaction, wanted=wanted, limit=limit + 1, after=after
        )
    else:
        placed = await _placed(transaction, wanted)
        if placed is None:
            return EndlessPage(rows=[], more=False)
        rows = await ledger.list_rows(transaction, wanted=placed, limit=limit + 1, after=after)
    return EndlessPage(rows=rows[:limit], more=len(rows) > limit)


async def pages(
    database: Database, *, wanted: LedgerFilter, first: EndlessPage[LedgerEntry]
) -> AsyncGenerator[list[LedgerEntry], None]:
    """The rows of this page, and all that follow, a few at a time.

    Each part is read in a transaction of its own, so that no snapshot is held while a slow reader
    takes it.
    """
    page = first
    yield page.rows
    while page.more:
        page = await database.read(list_page, wanted=wanted, limit=CHUNK, after=page.rows[-1].key)
        yield page.rows


async def _placed(transaction: Transaction, wanted: LedgerFilter) -> LedgerFilter | None:
    """A filter by a version has the place of its message, and its time; None: no such version.

    The index is that of the place, and the times leave out the rows of other versions.
    """
    if wanted.message_version_id is None:
        return wanted
    version = await ledger.find_version(transaction, version_id=wanted.message_version_id)
    if version is None:
        return None
    after, before = version.made_at - _EARLY, wanted.settled_before
    if wanted.settled_after is not None:
        after = max(after, wanted.settled_after)
    if version.replaced_at is not None:
        until = version.replaced_at + _LATE
        before = until if before is None else min(before, until)
    return evolve(
        wanted,
        messageset_id=version.messageset_id,
        sequence_number=version.sequence_number,
        lang=version.lang,
        settled_after=after,
        settled_before=before,
    )

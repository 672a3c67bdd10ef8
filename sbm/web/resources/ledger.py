"""``/api/v1/ledger``: what became of each send, as a list and as CSV."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from attrs import fields, frozen
from twisted.web.server import Request

from sbm.model.csv_text import csv_lines
from sbm.model.instants import instant
from sbm.model.ledger_entry import (
    OUTCOMES,
    REASON_KINDS,
    STAGES,
    LedgerEntry,
    LedgerFilter,
)
from sbm.model.paging import EndlessPage, PortionSize
from sbm.model.user import PEOPLE_READ
from sbm.operations import ledger as operation
from sbm.store import ledger
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, InTransaction, new_app, reading
from sbm.web.http.flow import Flow
from sbm.web.http.http_errors import Invalid
from sbm.web.http.needs import Needs
from sbm.web.http.needs import reading as reading_needs
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.lists import INVALID_FILTER, parameters
from sbm.web.openapi.parts import Operation, PathItem, Section, allow
from sbm.web.openapi.schemas import nullable, one_object, ref, said, schema
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import COUNT, FLAG, MOMENT, TEXT, URL, UUID
from sbm.web.schema.pages import EndlessListing, Order

PATH = "/api/v1/ledger/"

NEEDS: Needs = reading_needs(PEOPLE_READ)

FILTERS = [
    Filter(name="identity", read=filters.identity, note="Rows of this person."),
    Filter(
        name="subscription",
        parameter="subscription_id",
        read=filters.row_uuid,
        note="Rows of this subscription, also if it was deleted.",
    ),
    Filter(name="tick", parameter="tick_id", read=filters.integer, note="Rows of this tick."),
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.integer,
        note="Rows of this message set, also if it was deleted; with `sequence_number` and `lang`,"
        " with `outcome`, or with `delivered=false`.",
    ),
    Filter(
        name="sequence_number",
        read=filters.integer,
        note="Rows with this number; with `messageset` and `lang`.",
    ),
    Filter(
        name="lang",
        read=filters.text,
        note="Rows in this language; with `messageset` and `sequence_number`.",
    ),
    Filter(
        name="version",
        parameter="message_version_id",
        read=filters.integer,
        note="Rows with this version of a message: those who got this text.",
    ),
    Filter(
        name="outcome",
        read=filters.choice(OUTCOMES),
        note="Rows with this outcome. `sent`, `adopted` and `dry-run` need a person.",
    ),
    Filter(name="stage", read=filters.choice(STAGES), note="With `outcome`: how far it came."),
    Filter(
        name="reason_kind",
        read=filters.choice(tuple(REASON_KINDS)),
        note="Rows that were not sent for such a reason.",
    ),
    Filter(
        name="delivered",
        read=filters.boolean,
        note="`false`: what was sent and not delivered. `true` needs a person.",
    ),
    Filter(
        name="after",
        parameter="settled_after",
        read=filters.moment,
        note="Rows of this time or later.",
    ),
    Filter(
        name="before",
        parameter="settled_before",
        read=filters.moment,
        note="Rows of this time or before.",
    ),
]

_ROW = one_object(
    {
        "id": said(COUNT, "The number of the row."),
        "settled_at": said(MOMENT, "When the outcome was settled; the newest come first."),
        "send": said(UUID, "The id of the send; the Message Sender has it in the metadata."),
        "tick": said(nullable(COUNT), "The tick that asked for it."),
        "kind": said(TEXT, "`next` message, `resend`, or a `move` of an operator."),
        "outcome": said(TEXT | {"enum": list(OUTCOMES)}, "What became of it."),
        "stage": said(TEXT | {"enum": list(STAGES)}, "How far it came."),
        "reason": said(TEXT, "Why it was not sent, in words."),
        "reason_kind": said(nullable(TEXT), "The kind of the reason; null: it was sent."),
        "subscription": said(UUID, "The subscription, which may be deleted."),
        "identity": said(TEXT, "The person."),
        "messageset": said(nullable(COUNT), "The message set, which may be deleted."),
        "sequence_number": said(nullable({"type": "integer"}), "The number of the message."),
        "lang": said(nullable(TEXT), "The language."),
        "attempts": said(COUNT, "How often it was claimed."),
        "outbound": said(nullable(TEXT), "The id of the outbound at the Message Sender."),
        "owed_at": said(MOMENT, "Since when it was owed."),
        "first_attempt_at": said(nullable(MOMENT), "When it was claimed first."),
        "actor": said(nullable(TEXT), "The operator, if one did it."),
        "version": said(nullable(COUNT), "The version of the message, with its text as sent."),
        "prepend": said(nullable(TEXT), "What was sent before the text."),
        "delivered": said(nullable(FLAG), "Whether it was delivered; null: not known (yet)."),
        "delivery_attempts": said(nullable(COUNT), "How often the Message Sender has tried."),
        "nack_reason": said(nullable(TEXT), "Why the network has refused it."),
    }
)

# The names of the columns, in their order.
COLUMNS: tuple[str, ...] = tuple(_ROW["properties"])


def shown(entry: LedgerEntry) -> dict[str, Any]:
    """A row as clients see it."""
    return {
        "id": entry.id,
        "settled_at": instant(entry.settled_at),
        "send": str(entry.send_id),
        "tick": entry.tick_id,
        "kind": entry.kind,
        "outcome": entry.outcome,
        "stage": entry.stage,
        "reason": entry.reason,
        "reason_kind": entry.reason_kind,
        "subscription": str(entry.subscription_id),
        "identity": entry.identity,
        "messageset": entry.messageset_id,
        "sequence_number": entry.sequence_number,
        "lang": entry.lang,
        "attempts": entry.attempts,
        "outbound": entry.outbound_id,
        "owed_at": instant(entry.owed_at),
        "first_attempt_at": entry.first_attempt_at and instant(entry.first_attempt_at),
        "actor": entry.actor,
        "version": entry.message_version_id,
        "prepend": entry.prepend,
        "delivered": entry.delivered,
        "delivery_attempts": entry.delivery_attempts,
        "nack_reason": entry.nack_reason,
    }


def _key_of(key: list[Any]) -> tuple[datetime, int]:
    moment, row_id = key
    settled_at = datetime.fromisoformat(moment)
    if settled_at.tzinfo is None or type(row_id) is not int or not 0 <= row_id < 2**63:
        raise ValueError("no key of a row")
    return settled_at, row_id


_ORDER: Order[LedgerEntry] = Order(
    written=lambda row: [row.settled_at.isoformat(), row.id], read=_key_of
)


async def _list_page(
    transaction: Transaction, *, size: PortionSize, after: Any, **wanted: Any
) -> EndlessPage[LedgerEntry]:
    return await operation.list_page(
        transaction,
        wanted=LedgerFilter(**wanted),
        limit=size.rows,
        after=ledger.START if after is None else after,
    )


LISTING: EndlessListing[LedgerEntry] = EndlessListing(
    name="ledger", list_page=_list_page, shown=shown, order=_ORDER, filters=FILTERS
)


async def _refuse_format(_transaction: Transaction, _request: ApiRequest) -> Reply:
    raise Invalid({"format": ["It must be json or csv."]})


_OPTIONS = OptionsInfo(name="Ledger", description="What became of each send.")


@frozen(eq=False, kw_only=True)
class Ledger:
    """The ledger: pages in JSON, or all rows that match in CSV."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def rows(self, request: Request) -> bytes:
        method, answers = LISTING.method(self.endpoint), None
        told = request.args.get(b"format", [b""])[-1]
        if told == b"csv":
            method = InTransaction(work=self._first, reply=self._csv, only_reads=True, lane="list")
            answers = "text/csv"
        elif told not in (b"", b"json"):
            method = reading(_refuse_format)
        return await self.endpoint.answer(
            request, _OPTIONS, {"GET": method}, needs=NEEDS, answers=answers
        )

    async def _first(
        self, transaction: Transaction, request: ApiRequest
    ) -> tuple[LedgerFilter, EndlessPage[LedgerEntry]]:
        """The first rows, so that a refusal still has its status."""
        wanted = LedgerFilter(**await filters.read_filters(transaction, FILTERS, request.query))
        page = await operation.list_page(transaction, wanted=wanted, limit=operation.CHUNK)
        return wanted, page

    async def _csv(
        self, _request: ApiRequest, found: tuple[LedgerFilter, EndlessPage[LedgerEntry]]
    ) -> Reply:
        wanted, first = found
        return Reply(
            headers={
                "Content-Type": "text/csv; charset=utf-8",
                "Content-Disposition": 'attachment; filename="ledger.csv"',
            },
            stream=partial(self._stream, wanted, first),
        )

    async def _stream(
        self, wanted: LedgerFilter, first: EndlessPage[LedgerEntry], request: Request
    ) -> None:
        """Write all rows, no faster than the client takes them: only a few are in memory."""
        flow = Flow()
        with flow.of(request):
            request.write(csv_lines([COLUMNS]).encode("utf-8"))
            async for rows in operation.pages(self.endpoint.database, wanted=wanted, first=first):
                lines = csv_lines(shown(row).values() for row in rows)  # type: ignore[misc]
                await flow.ready()
                request.write(lines.encode("utf-8", "backslashreplace"))


assert {one.name for one in fields(LedgerFilter)} == {one.parameter for one in FILTERS}

_PAGE = one_object(
    {
        "next": said(nullable(URL), "The next page; null on the last one."),
        "results": {"type": "array", "items": schema("LedgerEntry")},
    }
)
_FORMAT = {
    "name": "format",
    "in": "query",
    "description": "`csv`: all rows that match, streamed, as CSV with a line of names.",
    "schema": TEXT | {"enum": ["json", "csv"]},
}

SECTION = Section(
    tags=[("Ledger", "What became of each send.")],
    paths=[
        PathItem(
            path=PATH,
            tag="Ledger",
            needs=NEEDS,
            operations={
                "GET": Operation(
                    name="list_ledger",
                    summary="List the ledger",
                    description="The newest come first; rows are not counted. Filters that no"
                    " index serves together are refused with 400, and a sentence says which are"
                    " served. Times can be added to each. Members that a tick skipped again have no"
                    " row of it: see `skipped_again` of the tick.",
                    parameters=[
                        *parameters(FILTERS),
                        _FORMAT,
                        ref("parameters", "limit"),
                        ref("parameters", "cursor"),
                    ],
                    answers={
                        200: {
                            "description": "One page, or all rows in CSV.",
                            "headers": allow(),
                            "content": {
                                "application/json": {"schema": schema("LedgerPage")},
                                "text/csv": {"schema": TEXT},
                            },
                        },
                        **INVALID_FILTER,
                    },
                )
            },
        ),
    ],
    schemas={"LedgerEntry": _ROW, "LedgerPage": _PAGE},
)

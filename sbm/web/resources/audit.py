"""``/api/v1/audit``: who changed what, when and why; and the undoing of changes."""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.audit_entry import AUDITED_TABLES, ROW_OPERATIONS, AuditEntry
from sbm.model.instants import instant
from sbm.model.user import ADMINISTER
from sbm.operations.undoing import BATCH, Undone, UndoRules, undo_entry, undo_request
from sbm.settings.config import SchedulingSettings
from sbm.store import audit
from sbm.store.audit import AuditFilter
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import replying
from sbm.web.http.needs import Needs
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_id
from sbm.web.openapi.lists import NOT_FOUND, parameters
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter, read_filters
from sbm.web.schema.json_schema import MOMENT, ROW_ID, TEXT

PATH = "/api/v1/audit/"

FILTERS = [
    Filter(name="actor", read=filters.text, note="Changes by this user or operator."),
    Filter(
        name="table",
        parameter="table_name",
        read=filters.choice(AUDITED_TABLES),
        note="Changes of rows of this table.",
    ),
    Filter(
        name="row",
        parameter="row_id",
        read=filters.text,
        note="Changes of the row with this id; together with `table`.",
    ),
    Filter(
        name="operation", read=filters.choice(ROW_OPERATIONS), note="Rows made, changed or deleted."
    ),
    Filter(name="request_id", read=filters.text, note="Changes by this request or command."),
    Filter(name="identity", read=filters.identity, note="Changes of this person's data."),
    Filter(name="done_after", read=filters.moment, note="Changes at this time or later."),
    Filter(name="done_before", read=filters.moment, note="Changes at this time or before."),
]

_UNDO_FILTERS = [
    Filter(
        name="whole_request",
        read=filters.boolean,
        note="`true`: undo all changes of the request or command that made this one, the last one"
        f" first. There may be {BATCH} at most.",
    )
]

_OBJECT = {"type": "object"}
_VALUES = nullable(_OBJECT)
_ROW = one_object(
    {
        "id": said(ROW_ID, "Newer entries have higher numbers."),
        "done_at": said(MOMENT, "When."),
        "actor": said(TEXT, "Who: the name of a user, or of the operator of a command."),
        "user": said(nullable(ROW_ID), "The id of the user; null: a command, or the Scheduler."),
        "action": said(TEXT, "The request or the command, such as `PATCH /api/v1/message/3/`."),
        "reason": said(TEXT, "Why, if it was said."),
        "request_id": said(nullable(TEXT), "The X-Request-ID of the request."),
        "table": said(nullable(TEXT), "The table of the row; null: it tells of a whole command."),
        "row": said(nullable(TEXT), "The id of the row."),
        "operation": said(
            nullable(TEXT | {"enum": list(ROW_OPERATIONS)}), "What was done to the row."
        ),
        "before": said(_VALUES, "The columns before; of an update, those that differ."),
        "after": said(_VALUES, "The columns after; of an update, those that differ."),
        "details": said(_OBJECT, "Of a command: its counts."),
        "identity": said(nullable(TEXT), "The person, if the change concerns one."),
        "undoes": said(nullable(ROW_ID), "The entry whose change this one undoes."),
    }
)
_UNDONE = one_object(
    {
        "undone": said({"type": "array", "items": ROW_ID}, "The entries that were undone."),
        "stayed": {
            "type": "array",
            "items": one_object(
                {
                    "entry": said(ROW_ID, "An entry that was not undone."),
                    "table": said(TEXT, "The table of its row."),
                    "row": said(TEXT, "The id of its row."),
                    "moved_on": said(
                        _VALUES, "The values that have changed since; null: the row is gone."
                    ),
                }
            ),
        },
    }
)


def shown(_request: ApiRequest, entry: AuditEntry) -> dict[str, Any]:
    """An entry as clients see it."""
    return {
        "id": entry.id,
        "done_at": instant(entry.done_at),
        "actor": entry.actor,
        "user": entry.user_id,
        "action": entry.action,
        "reason": entry.reason,
        "request_id": entry.request_id,
        "table": entry.table_name,
        "row": entry.row_id,
        "operation": entry.operation,
        "before": entry.before,
        "after": entry.after,
        "details": entry.details,
        "identity": entry.identity,
        "undoes": entry.undoes,
    }


async def _list_page(transaction: Transaction, *, page: Any, **wanted: Any) -> Any:
    return await audit.list_page(transaction, page=page, wanted=AuditFilter(**wanted))


_NEEDS = Needs(of_path=ADMINISTER)

RESOURCE = Resource[AuditEntry](
    path=PATH,
    title="Audit",
    description="The changes by the API and by commands.",
    methods=("GET",),
    needs=_NEEDS,
    shown=shown,
    filters=FILTERS,
    key="entry_id",
    list_page=_list_page,
    find=audit.find,
    sentences=Sentences(
        tag="Audit",
        name="audit_entry",
        one="an entry of the audit",
        many="the audit",
        schema_name="AuditEntry",
        row_schema=_ROW,
        key="The entry.",
        answer="The entry.",
        notes={"LIST": "The newest come first. For administrators."},
    ),
)

_UNDO = OptionsInfo(name="Audit Undo", description="Undoes a change")


@frozen(eq=False, kw_only=True)
class Audit(Collection):
    """The audit; administrators can undo what it tells of."""

    app = collection_app()
    resource = RESOURCE

    scheduling: SchedulingSettings

    @app.route("/<key>/undo")
    async def undo(self, request: Request, key: str) -> bytes:
        methods = {"POST": replying(partial(self._undo, key))}
        return await self.endpoint.answer(request, _UNDO, methods, needs=_NEEDS)

    async def _undo(self, key: str, transaction: Transaction, request: ApiRequest) -> Reply:
        """The body is not read."""
        wanted = await read_filters(transaction, _UNDO_FILTERS, request.query)
        undo = undo_request if wanted.get("whole_request") else undo_entry
        rules = UndoRules(
            max_text_length=self.limits.text_length, ticking_zone=self.scheduling.ticking_zone
        )
        undone = await undo(transaction, entry_id=row_id(key), rules=rules)
        return Reply(body=_undone(undone))


def _undone(undone: Undone) -> dict[str, Any]:
    return {
        "undone": [one.id for one in undone.undone],
        "stayed": [
            {
                "entry": one.entry.id,
                "table": one.entry.table_name,
                "row": one.entry.row_id,
                "moved_on": one.moved_on,
            }
            for one in undone.stayed
        ],
    }


SECTION = Section(
    tags=[("Audit", "Who changed what, when and why.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path=f"{PATH}{{id}}/undo/",
            tag="Audit",
            needs=_NEEDS,
            parameters=RESOURCE.row_key,
            operations={
                "POST": Operation(
                    name="undo_change",
                    summary="Undo a change",
                    description="The row gets the values that it had before the change. If one of"
                    " them has changed since, the row stays as it is, and the answer says so. The"
                    " undoing is a change, too. A secret cannot be put back, and rules and"
                    " references hold: then the answer is 409, and nothing was changed. The body"
                    " is not read.",
                    parameters=parameters(_UNDO_FILTERS),
                    answers={
                        200: answer_of(schema("UndoneChanges"), "What was undone, and what not."),
                        409: answer_of(schema("Refusal"), "Nothing was changed."),
                        **NOT_FOUND,
                    },
                )
            },
        ),
    ],
    schemas={**RESOURCE.schemas(), "UndoneChanges": _UNDONE},
)

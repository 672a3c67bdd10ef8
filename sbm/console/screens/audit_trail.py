"""The audit: who changed what, when and why; and the undoing of changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

from attrs import evolve, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, Propose, perform, sentence_of, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.asked import around, day_asked, faults_of, rows_asked
from sbm.console.masking import HIDDEN
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.audit_entry import AUDITED_TABLES, ROW_OPERATIONS, AuditEntry
from sbm.model.paging import PortionSize
from sbm.model.user import ADMINISTER
from sbm.operations.refusals import NoSuchRow
from sbm.operations.undoing import NotUndoable, Stayed, Undone, UndoRules, undo_entry, undo_request
from sbm.store import audit
from sbm.store.audit import AuditFilter
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Invalid
from sbm.web.http.wire import row_id
from sbm.web.schema import filters

PLACE = "/console/audit/"

# The columns that tell who a person is or what is known of them, by table.
_PERSONAL: Mapping[str, frozenset[str]] = {
    "subscriptions": frozenset({"identity", "metadata"}),
    "users": frozenset({"email"}),
}

# A page has fewer rows if they have more than so many bytes, since their values are parsed.
_PAGE_BYTES = 2 * 2**20

# So many rows that stay are named.
_NAMED = 10


@frozen(kw_only=True)
class ChangedField:
    """A column of a row before and after a change, as they are shown; None: it had none."""

    name: str
    before: str | None
    after: str | None


@frozen(eq=False, kw_only=True)
class AuditTrail:
    """The pages of the audit, for administrators."""

    app = Klein()

    pages: Pages
    rules: UndoRules

    @app.route("/")
    async def entries(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(get=ADMINISTER), get=self._list)

    @app.route("/<entry>/")
    async def entry(self, request: Request, entry: str) -> bytes:
        """A POST shows the masked values, and the audit has who saw them."""
        return await self.pages.answer(
            request,
            PageNeeds(get=ADMINISTER, post=ADMINISTER),
            get=partial(self._entry, entry=entry),
            post=partial(self._unmask, entry=entry),
        )

    @app.route("/<entry>/undo/")
    async def undo(self, request: Request, entry: str) -> bytes:
        return await self._undo(request, entry, is_whole=False)

    @app.route("/<entry>/undo-request/")
    async def undo_request(self, request: Request, entry: str) -> bytes:
        return await self._undo(request, entry, is_whole=True)

    async def _list(self, visit: Visit) -> View:
        query, errors = visit.query, {}
        try:
            asked, wanted = rows_asked(query), self._wanted(query)
        except Invalid as error:
            # What is wrong is told in the form, as it was filled in; the list is the whole one.
            errors = {
                name: [visit._(one) for one in told] for name, told in faults_of(error).items()
            }
            query, asked, wanted = {}, rows_asked({}), AuditFilter()
        asked = evolve(asked, portion=PortionSize(rows=asked.limit, bytes=_PAGE_BYTES))
        page = await visit.read(audit.list_page, page=asked, wanted=wanted)
        return View(
            template="audit.html",
            values={
                "entries": page.rows,
                "links": around(PLACE, query, asked, page),
                "asked": visit.query,
                "errors": errors,
                "is_filtered": bool(errors) or wanted != AuditFilter(),
                "tables": AUDITED_TABLES,
                "operations": ROW_OPERATIONS,
                "names": {one.id: _names(one) for one in page.rows},
                "done": await sentence_of(visit),
            },
            status=400 if errors else 200,
        )

    def _wanted(self, query: Mapping[str, str]) -> AuditFilter:
        """Raises Invalid for what is none of the choices, and what cannot be stored."""
        given = {name: text.strip() or None for name, text in query.items()}
        if any("\0" in text for text in given.values() if text):
            raise Invalid({"actor": [marked("A filter must not contain null characters.")]})
        table, operation = given.get("table"), given.get("operation")
        if table not in (None, *AUDITED_TABLES) or operation not in (None, *ROW_OPERATIONS):
            raise Invalid({"table": [marked("There is no such choice.")]})
        zone = self.pages.renderer.zone
        identity = given.get("identity")
        return AuditFilter(
            actor=given.get("actor"),
            table_name=table,
            row_id=given.get("row"),
            operation=operation,
            request_id=given.get("request_id"),
            identity=None if identity is None else filters.identity(identity),
            done_after=day_asked(query, "from", zone),
            done_before=day_asked(query, "to", zone, is_end=True),
        )

    async def _entry(self, visit: Visit, *, entry: str) -> View:
        found = await visit.read(_found, entry_id=row_id(entry))
        return _shown(found, done=await sentence_of(visit))

    async def _unmask(self, visit: Visit, *, entry: str) -> View:
        return _shown(await visit.change(_unmasked, entry_id=row_id(entry)), is_open=True)

    async def _undo(self, request: Request, entry: str, *, is_whole: bool) -> bytes:
        # What undoing changes is known exactly when it has been done. So the page does it, and
        # rolls that back; and the form does it, and rolls it back unless it is what was seen.
        last: list[Undone] = []

        def propose(visit: Visit) -> Propose:
            return partial(
                self._propose, visit=visit, entry_id=row_id(entry), is_whole=is_whole, last=last
            )

        async def get(visit: Visit) -> View:
            return await show(visit, propose(visit), is_rehearsed=True)

        async def post(visit: Visit) -> View:
            async def told(_transaction: Transaction) -> Done:
                return Done(sentence=_told(visit, last[-1]), place=f"{PLACE}{row_id(entry)}/")

            return await perform(visit, propose(visit), told, is_rehearsed=True)

        needs = PageNeeds(get=ADMINISTER, post=ADMINISTER)
        return await self.pages.answer(request, needs, get=get, post=post)

    async def _propose(
        self,
        transaction: Transaction,
        *,
        visit: Visit,
        entry_id: int,
        is_whole: bool,
        last: list[Undone],
    ) -> Proposal:
        """Undo it, and say what that has changed; ``last`` gets the result, too."""
        undo = undo_request if is_whole else undo_entry
        title = visit._("Undo a whole request") if is_whole else visit._("Undo a change")
        back = f"{PLACE}{entry_id}/"
        try:
            undone = await undo(transaction, entry_id=entry_id, rules=self.rules)
        except NotUndoable as error:
            return Proposal(
                title=title,
                button=title,
                sentences=[],
                count=0,
                back=back,
                objection=visit.retold(str(error)),
            )
        last.append(undone)
        count, stays = len(undone.undone), len(undone.stayed)
        sentences = [
            visit.counted(
                "%(num)s row gets the values that it had before the change, or is removed or made"
                " again.",
                "%(num)s rows get the values that they had before the changes, or are removed or"
                " made again.",
                count,
            )
        ]
        if stays:
            sentences.append(
                visit.counted(
                    "%(num)s of %(whole)s moved on since and stays as it is.",
                    "%(num)s of %(whole)s moved on since and stay as they are.",
                    stays,
                    whole=count + stays,
                )
            )
            sentences += [_stayed(visit, one) for one in undone.stayed[:_NAMED]]
        return Proposal(
            title=title,
            button=visit._("Undo"),
            sentences=sentences,
            count=count,
            seen=[one.entry.id for one in undone.stayed],
            back=back,
            undo=visit._("The undoing is in the audit, too, and can itself be undone."),
            objection=""
            if count
            else visit._("Nothing can be undone: all of it has moved on since."),
        )


async def _found(transaction: Transaction, *, entry_id: int) -> AuditEntry:
    found = await audit.find(transaction, entry_id=entry_id)
    if found is None:
        raise NoSuchRow
    return found


async def _unmasked(transaction: Transaction, *, entry_id: int) -> AuditEntry:
    found = await _found(transaction, entry_id=entry_id)
    await audit.record(
        transaction,
        actor="",  # the transaction has an author
        action="",
        reason="",
        details={"shown": "audit", "entry": entry_id},
    )
    return found


def _shown(entry: AuditEntry, *, is_open: bool = False, done: str | None = None) -> View:
    fields = _changed(entry, is_open=is_open)
    beside = urlencode({"request_id": entry.request_id or ""})
    return View(
        template="audit_entry.html",
        values={
            "entry": entry,
            "fields": fields,
            "details": _details(entry, is_open=is_open),
            "identity": entry.identity if is_open else HIDDEN,
            "is_open": is_open,
            "has_masked": entry.identity is not None
            or bool(_PERSONAL.get(entry.table_name or "", frozenset()) & set(_names(entry)))
            or bool(entry.details.value),
            "beside": f"{PLACE}?{beside}" if entry.request_id else None,
            "done": done,
        },
    )


def _names(entry: AuditEntry) -> list[str]:
    """The columns that an entry tells of; of an update, those that differ.

    An entry may also have others, which must still be current if it is undone.
    """
    before, after = entry.old_values, entry.new_values
    names = dict.fromkeys((*before, *after))
    if entry.operation != "update":
        return list(names)
    return [name for name in names if before.get(name) != after.get(name)]


def _changed(entry: AuditEntry, *, is_open: bool) -> list[ChangedField]:
    masked = frozenset() if is_open else _PERSONAL.get(entry.table_name or "", frozenset())
    before, after = entry.old_values, entry.new_values
    return [
        ChangedField(
            name=name,
            before=_text(before[name], is_masked=name in masked) if name in before else None,
            after=_text(after[name], is_masked=name in masked) if name in after else None,
        )
        for name in _names(entry)
    ]


def _details(entry: AuditEntry, *, is_open: bool) -> Sequence[tuple[str, str]]:
    """What a command says of itself. Numbers are of no person; texts and lists may be."""
    return [
        (name, _text(value, is_masked=not is_open and not isinstance(value, int | float)))
        for name, value in entry.details.value.items()
    ]


def _text(value: Any, *, is_masked: bool) -> str:
    if value is None:
        return "–"
    if is_masked:
        return HIDDEN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _told(visit: Visit, undone: Undone) -> str:
    told = visit.counted(
        "%(num)s change was undone.", "%(num)s changes were undone.", len(undone.undone)
    )
    if not undone.stayed:
        return told
    stays = visit.counted(
        "%(num)s moved on since and stays as it is.",
        "%(num)s moved on since and stay as they are.",
        len(undone.stayed),
    )
    return f"{told} {stays}"


def _stayed(visit: Visit, stayed: Stayed) -> str:
    """Which row stays; the values that differ may be personal, so only their names are told."""
    row = {"table": stayed.entry.table_name, "row": stayed.entry.row_id}
    if stayed.moved_on is None:
        return visit._("%(table)s %(row)s is gone.") % row
    names = ", ".join(stayed.moved_on)
    return visit._("%(table)s %(row)s has other values now: %(names)s.") % {**row, "names": names}

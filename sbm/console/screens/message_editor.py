"""One message: its text beside its other languages, its size, and how a person would get it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, carry_out, perform, sentence_of, show
from sbm.console.answering import Handler, PageNeeds, Pages
from sbm.console.drafting import SHOWN, FormDraft, problems_of
from sbm.console.screens.message_screen import (
    HasConflict,
    MessageRules,
    PlaceKey,
    check_reach,
    conflict,
    edit_state,
    editor,
    find_place,
    hold_version,
    why_unreachable,
    written_in,
)
from sbm.console.screens.set_fields import find_set
from sbm.console.visit import View, Visit
from sbm.model.text import is_storable
from sbm.model.user import CONTENT_EDIT, PEOPLE_READ
from sbm.operations.content import PLACE_TAKEN, change_message, create_message
from sbm.operations.content_grid import sms_of
from sbm.operations.message_place import (
    MessagePlace,
    Replacement,
    count_readers,
    delete_and_compare,
)
from sbm.operations.previewing import Preview, PreviewRules, preview
from sbm.operations.refusals import SEVERAL, NoSuchRow, WrongValues
from sbm.store import audit
from sbm.store.postgres.transaction import Transaction
from sbm.web.resources.messages import SCHEMA

_LONGEST_IDENTITY = 200

WorkAt = Callable[[Visit, PlaceKey], Awaitable[View]]


@frozen(eq=False, kw_only=True)
class MessageEditor:
    """The pages of one message."""

    app = Klein()

    pages: Pages
    rules: MessageRules

    @app.route("/")
    async def message(self, request: Request, key: str, number: str, lang: str) -> bytes:
        where = PlaceKey(key=key, number=number, lang=lang)
        return await self.pages.answer(
            request,
            PageNeeds(post=CONTENT_EDIT),
            get=self._at(where, self._page),
            post=self._at(where, self._save),
        )

    @app.route("/count/")
    async def count(self, request: Request, key: str, number: str, lang: str) -> bytes:
        where = PlaceKey(key=key, number=number, lang=lang)
        return await self.pages.answer(
            request, PageNeeds(post=CONTENT_EDIT), post=self._at(where, self._count)
        )

    @app.route("/preview/")
    async def preview(self, request: Request, key: str, number: str, lang: str) -> bytes:
        where = PlaceKey(key=key, number=number, lang=lang)
        return await self.pages.answer(
            request, PageNeeds(post=PEOPLE_READ), post=self._at(where, self._preview)
        )

    @app.route("/delete/")
    async def delete(self, request: Request, key: str, number: str, lang: str) -> bytes:
        where = PlaceKey(key=key, number=number, lang=lang)
        return await self.pages.answer(
            request,
            PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT),
            get=self._at(where, self._ask_delete),
            post=self._at(where, self._delete),
        )

    @staticmethod
    def _at(where: PlaceKey, work: WorkAt) -> Handler:
        async def handler(visit: Visit) -> View:
            return await work(visit, where)

        return handler

    async def _page(self, visit: Visit, where: PlaceKey) -> View:
        return await editor(visit, where, self.rules, done=await sentence_of(visit))

    async def _save(self, visit: Visit, where: PlaceKey) -> View:
        """Save the text; a second editor of the same message sees both texts."""
        written = written_in(visit)

        async def propose(transaction: Transaction) -> Proposal:
            place = await hold_version(transaction, visit=visit, where=where)
            return Proposal(
                title=visit._("Save the message"),
                button=visit._("Save"),
                sentences=[],
                count=0,
                back=where.base,
                fields={**written, "version": place.version},
                seen=(place.version,),
                needs_reason=False,
            )

        async def work(transaction: Transaction) -> Done:
            return await self._write(transaction, visit, where, written)

        try:
            return await carry_out(visit, propose, work)
        except HasConflict as error:
            return await conflict(visit, where, error)
        except WrongValues as error:
            place = await visit.read(find_place, where=where)
            if PLACE_TAKEN in error.problems.get(SEVERAL, ()):  # by another, just now
                return await conflict(visit, where, HasConflict(place))
            return await self._refused(visit, where, error)
        except SHOWN as error:
            return await self._refused(visit, where, error)

    async def _refused(self, visit: Visit, where: PlaceKey, error: Exception) -> View:
        problems = problems_of(error, SCHEMA)
        state = edit_state(visit, visit.form.get("version", ""), problems=problems)
        return await editor(visit, where, self.rules, state=state, written=written_in(visit))

    async def _write(
        self, transaction: Transaction, visit: Visit, where: PlaceKey, written: dict[str, str]
    ) -> Done:
        place = await find_place(transaction, where=where)
        await check_reach(transaction, visit=visit, message=place.message)
        draft = FormDraft(
            schema=SCHEMA,
            fields=_fields(place, written),
            method="PATCH" if place.message is not None else "POST",
            user_id=visit.user.id,
            rules=self.rules.drafts,
        )
        if place.message is None:
            message = await create_message(transaction, draft.draft())
        else:
            message = await change_message(transaction, draft.draft, message_id=place.message.id)
        await check_reach(transaction, visit=visit, message=message)
        readers = await count_readers(transaction, place=place)
        told = visit.counted(
            "It was saved. %(num)s person gets it next, in this wording.",
            "It was saved. %(num)s people get it next, in this wording.",
            readers.get_it,
        )
        return Done(sentence=told, place=where.base)

    async def _count(self, visit: Visit, where: PlaceKey) -> View:
        """The size of the text that is in the form: a part of the page, or the page."""
        written = written_in(visit)
        if visit.request.getHeader("hx-request") != "true":
            state = edit_state(visit, visit.form.get("version", ""))
            return await editor(visit, where, self.rules, state=state, written=written)
        messageset = await visit.read(find_set, key=where.key)
        text = written.get("text_content", "").strip()
        return View(
            template="message_count.html",
            values={
                "sms": sms_of(messageset, text),
                "characters": len(text),
                "longest": self.rules.drafts.limits.text_length,
            },
        )

    async def _preview(self, visit: Visit, where: PlaceKey) -> View:
        """How a person would get the text that is in the form. That somebody looked is audited."""
        identity = visit.form.get("identity", "").strip()
        is_asked = 0 < len(identity) <= _LONGEST_IDENTITY and is_storable(identity)
        found = await visit.change(self._look, visit=visit, where=where) if is_asked else None
        problems = {} if is_asked else {"identity": [visit._("Enter an identity.")]}
        state = edit_state(visit, visit.form.get("version", ""), problems=problems)
        return await editor(
            visit,
            where,
            self.rules,
            state=state,
            written=written_in(visit),
            preview=found,
            identity=identity if is_storable(identity) else "",
        )

    async def _look(self, transaction: Transaction, *, visit: Visit, where: PlaceKey) -> Preview:
        place = await find_place(transaction, where=where)
        identity = visit.form["identity"].strip()
        await audit.record(
            transaction,
            actor=visit.user.username,
            action="console preview",
            reason="",
            details={"identity": identity, "shown": ["texts"]},
        )
        stored = None if place.message is None else place.message.text_content
        return await preview(
            transaction,
            place=place,
            text=written_in(visit).get("text_content", stored),
            identity=identity,
            rules=PreviewRules(
                media_url=self.rules.media_url,
                max_text_length=self.rules.drafts.limits.text_length,
            ),
        )

    async def _ask_delete(self, visit: Visit, where: PlaceKey) -> View:
        async def propose(transaction: Transaction) -> Proposal:
            return await _propose_delete(transaction, visit, where)

        return await show(visit, propose, is_rehearsed=True)

    async def _delete(self, visit: Visit, where: PlaceKey) -> View:
        """The proposal deletes it already, to see what follows; if that has changed, it raises."""

        async def propose(transaction: Transaction) -> Proposal:
            return await _propose_delete(transaction, visit, where)

        async def work(_transaction: Transaction) -> Done:
            told = {"number": where.number, "lang": where.lang}
            return Done(
                sentence=visit._("Message %(number)s in %(lang)s was deleted.") % told,
                place=f"/console/content/{where.key}/",
            )

        return await perform(visit, propose, work, is_rehearsed=True)


async def _propose_delete(transaction: Transaction, visit: Visit, where: PlaceKey) -> Proposal:
    place = await find_place(transaction, where=where)
    message = place.message
    if message is None:
        raise NoSuchRow
    objection = await why_unreachable(transaction, visit=visit, place=place)
    instead = await delete_and_compare(transaction, message=message)
    told = {"number": place.number, "lang": place.lang, "name": place.messageset.short_name}
    return Proposal(
        title=visit._("Delete message %(number)s in %(lang)s of “%(name)s”") % told,
        button=visit._("Delete the message"),
        sentences=[_told(visit, one, place) for one in instead]
        or [visit._("Nobody gets it next, so nobody gets another message because of this.")],
        count=sum(one.count for one in instead),
        back=where.base,
        seen=(place.version, *(f"{one.number} {one.message_lang} {one.count}" for one in instead)),
        undo=visit._("An administrator can undo it in the audit."),
        objection=objection,
        is_dangerous=True,
    )


def _told(visit: Visit, one: Replacement, place: MessagePlace) -> str:
    """What some people get instead of a deleted message."""
    if one.number is None:
        return visit.counted(
            "%(num)s person is at the end of the set then, and completes it.",
            "%(num)s people are at the end of the set then, and complete it.",
            one.count,
        )
    if one.message_lang is None:
        return visit.counted(
            "%(num)s person waits until the message is there again.",
            "%(num)s people wait until the message is there again.",
            one.count,
        )
    if one.number == place.number:
        return visit.counted(
            "%(num)s person gets it in another language: %(lang)s.",
            "%(num)s people get it in another language: %(lang)s.",
            one.count,
            lang=one.message_lang,
        )
    return visit.counted(
        "%(num)s person gets number %(next)s next instead.",
        "%(num)s people get number %(next)s next instead.",
        one.count,
        next=one.number,
    )


def _fields(place: MessagePlace, written: dict[str, str]) -> dict[str, str]:
    """The fields of the message, as a form of the API has them."""
    fields = {
        "messageset": str(place.messageset.id),
        "sequence_number": str(place.number),
        "lang": place.lang,
        **written,
    }
    if not fields.get("metadata", "{}").strip():
        fields["metadata"] = "{}"
    return fields

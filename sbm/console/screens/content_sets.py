"""Message sets: what there is, what is missing, and how many people are in each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attrs import field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, carry_out, perform, sentence_of, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.asked import around, rows_asked
from sbm.console.drafting import (
    SHOWN,
    DraftRules,
    FormDraft,
    as_form,
    differences,
    given,
    problems_of,
)
from sbm.console.form_fields import FormState
from sbm.console.screens.set_fields import (
    find_set,
    form_state,
    policy_in_words,
    read_options,
    schedule_words,
    set_fields,
    why_blocked,
)
from sbm.console.visit import View, Visit
from sbm.model.content import CONTENT_TYPES, NEXT, MessageSet
from sbm.model.content_summary import SetSummary
from sbm.model.paging import Page, PageRequest
from sbm.model.user import CONTENT_EDIT
from sbm.operations.content import change_messageset, create_messageset, delete_messageset
from sbm.store import messagesets, schedules
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedules import ToldSchedule
from sbm.web.http.publishing import check_publishing
from sbm.web.http.wire import row_id
from sbm.web.resources.messagesets import SCHEMA

HOME = "/console/content/"
_ROWS = 50
_NEW = "new"


@frozen(kw_only=True)
class _ListedSets:
    """A page of sets, and what their rows tell."""

    page: Page[MessageSet]
    summaries: Mapping[int, SetSummary]
    names: Mapping[int, str]
    schedules: Mapping[int, ToldSchedule]


@frozen(eq=False, kw_only=True)
class ContentSets:
    """The list of message sets; to make, change and delete one."""

    app = Klein()

    pages: Pages
    rules: DraftRules = field(factory=DraftRules)

    @app.route("/")
    async def list(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._list)

    @app.route("/new/")
    async def new(self, request: Request) -> bytes:
        needs = PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT)
        return await self.pages.answer(request, needs, get=self._new, post=self._create)

    @app.route("/<key>/edit/")
    async def edit(self, request: Request, key: str) -> bytes:
        needs = PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT)
        return await self.pages.answer(
            request, needs, get=partial(self._edit, key), post=partial(self._change, key)
        )

    @app.route("/<key>/delete/")
    async def delete(self, request: Request, key: str) -> bytes:
        needs = PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT)
        return await self.pages.answer(
            request, needs, get=partial(self._ask_delete, key), post=partial(self._delete, key)
        )

    async def _list(self, visit: Visit) -> View:
        wanted = rows_asked(visit.query, most=_ROWS, is_counted=True)
        found = await visit.read(_read_page, wanted=wanted)
        return View(
            template="content_sets.html",
            values={
                "sets": found.page.rows,
                "count": found.page.count,
                "summaries": found.summaries,
                "names": found.names,
                "words": {one.id: schedule_words(visit, one) for one in found.schedules.values()},
                "policies": {
                    one.id: policy_in_words(visit, one.on_missing_translation)
                    for one in found.page.rows
                },
                "links": around(visit.path, visit.query, wanted, found.page),
                "done": await sentence_of(visit),
            },
        )

    async def _new(self, visit: Visit) -> View:
        values = {"content_type": CONTENT_TYPES[0], "on_missing_translation": NEXT}
        return await self._form(visit, None, form_state(visit, values, _NEW))

    async def _create(self, visit: Visit) -> View:
        values = given(SCHEMA, visit.form)

        async def propose(_transaction: Transaction) -> Proposal:
            return Proposal(
                title=visit._("New message set"),
                button=visit._("Make the message set"),
                sentences=[],
                count=0,
                back=HOME,
                fields=values,
                seen=(_NEW,),
                needs_reason=False,
            )

        async def work(transaction: Transaction) -> Done:
            made = await create_messageset(transaction, self._draft(visit, values, "POST").draft())
            await _check(transaction, visit, made.id)
            told = visit._("The message set “%(name)s” was made.") % {"name": made.short_name}
            return Done(sentence=told, place=f"{HOME}{made.id}/")

        try:
            return await carry_out(visit, propose, work)
        except SHOWN as error:
            problems = problems_of(error, SCHEMA)
            return await self._form(visit, None, form_state(visit, values, _NEW, problems=problems))

    async def _edit(self, key: str, visit: Visit) -> View:
        found = await visit.read(find_set, key=key)
        values = as_form(SCHEMA, found)
        return await self._form(visit, found, form_state(visit, values, _version(found)))

    async def _change(self, key: str, visit: Visit) -> View:
        values = given(SCHEMA, visit.form)
        propose = partial(self._propose_change, visit=visit, key=key, values=values)

        async def work(transaction: Transaction) -> Done:
            messageset_id = row_id(key)
            await _check(transaction, visit, messageset_id)
            changed = await change_messageset(
                transaction, self._draft(visit, values, "PUT").draft, messageset_id=messageset_id
            )
            await _check(transaction, visit, messageset_id)
            told = visit._("The message set “%(name)s” was changed.") % {"name": changed.short_name}
            return Done(sentence=told, place=f"{HOME}{changed.id}/")

        try:
            return await carry_out(visit, propose, work)
        except SHOWN as error:
            found = await visit.read(find_set, key=key)
            problems = problems_of(error, SCHEMA)
            state = form_state(visit, values, _version(found), problems=problems)
            return await self._form(visit, found, state)

    async def _propose_change(
        self, transaction: Transaction, *, visit: Visit, key: str, values: Mapping[str, str]
    ) -> Proposal:
        """What the form would change. It is only shown if somebody else was faster."""
        found = await find_set(transaction, key=key)
        options = await read_options(transaction)
        labels = {one.name: one for one in set_fields(visit, FormState(), options)}
        colon = visit._(": ")
        told = {"name": found.short_name}
        return Proposal(
            title=visit._("Change the message set “%(name)s”") % told,
            button=visit._("Save"),
            sentences=[
                f"{labels[name].label}{colon}{labels[name].told(before)}"
                f" → {labels[name].told(after)}"
                for name, before, after in differences(SCHEMA, as_form(SCHEMA, found), values)
            ],
            count=0,
            back=f"{HOME}{found.id}/",
            fields=values,
            seen=(_version(found),),
            needs_reason=False,
        )

    async def _ask_delete(self, key: str, visit: Visit) -> View:
        return await show(visit, partial(_propose_delete, visit=visit, key=key))

    async def _delete(self, key: str, visit: Visit) -> View:
        async def work(transaction: Transaction) -> Done:
            found = await find_set(transaction, key=key)
            await _check(transaction, visit, found.id)
            await delete_messageset(transaction, messageset_id=found.id)
            told = visit._("The message set “%(name)s” was deleted.") % {"name": found.short_name}
            return Done(sentence=told, place=HOME)

        return await perform(visit, partial(_propose_delete, visit=visit, key=key), work)

    async def _form(self, visit: Visit, found: MessageSet | None, state: FormState) -> View:
        options = await visit.read(read_options)
        people, blocked = 0, ""
        if found is not None:
            people = (await visit.read(messagesets.describe, ids=[found.id]))[found.id].people
            blocked = await visit.read(_why_blocked, visit=visit, messageset_id=found.id)
        return View(
            template="content_set_form.html",
            values={
                "found": found,
                "people": people,
                "blocked": blocked,
                "state": state,
                "fields": set_fields(visit, state, options),
            },
            status=state.status,
        )

    def _draft(self, visit: Visit, values: Mapping[str, str], method: str) -> FormDraft:
        return FormDraft(
            schema=SCHEMA, fields=values, method=method, user_id=visit.user.id, rules=self.rules
        )


async def _read_page(transaction: Transaction, *, wanted: PageRequest) -> _ListedSets:
    page = await messagesets.list_page(transaction, page=wanted)
    ids = [one.id for one in page.rows]
    told = await schedules.list_told_of(
        transaction, ids={one.default_schedule_id for one in page.rows}
    )
    everything = await messagesets.list_all(transaction)
    return _ListedSets(
        page=page,
        summaries=await messagesets.describe(transaction, ids=ids),
        names={one.id: one.short_name for one in everything},
        schedules={one.id: one for one in told},
    )


async def _propose_delete(transaction: Transaction, *, visit: Visit, key: str) -> Proposal:
    found = await find_set(transaction, key=key)
    summary = (await messagesets.describe(transaction, ids=[found.id]))[found.id]
    followed = [
        one.short_name
        for one in await messagesets.list_all(transaction)
        if one.next_set_id == found.id and one.id != found.id
    ]
    sentences = [
        visit.counted(
            "%(num)s message is deleted with it.",
            "%(num)s messages are deleted with it.",
            summary.messages,
        )
    ]
    if followed:
        told = visit._("These sets have no next set then: %(names)s.")
        sentences.append(told % {"names": ", ".join(followed)})
    objection = await _why_blocked(transaction, visit=visit, messageset_id=found.id)
    if await messagesets.find_users(transaction, messageset_id=found.id):
        objection = visit._(
            "Subscriptions use this set, so it cannot be deleted. Completed ones count, too."
        )
    return Proposal(
        title=visit._("Delete the message set “%(name)s”") % {"name": found.short_name},
        button=visit._("Delete the message set"),
        sentences=sentences,
        count=summary.messages,
        back=f"{HOME}{found.id}/",
        seen=(_version(found),),
        undo=visit._("An administrator can undo it in the audit."),
        objection=objection,
        is_dangerous=True,
    )


async def _why_blocked(transaction: Transaction, *, visit: Visit, messageset_id: int) -> str:
    return await why_blocked(
        transaction, visit=visit, is_under_way=messagesets.is_under_way, row_id=messageset_id
    )


async def _check(transaction: Transaction, visit: Visit, messageset_id: int) -> None:
    await check_publishing(
        transaction,
        user=visit.user,
        is_under_way=messagesets.is_under_way,
        row_id=messageset_id,
    )


def _version(found: MessageSet) -> str:
    return found.updated_at.isoformat()

"""Clone a message set: first what the clone would have, then make it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attrs import field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, perform, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.drafting import DraftRules
from sbm.console.form_fields import FormState
from sbm.console.screens.set_fields import find_set, named
from sbm.console.visit import View, Visit
from sbm.model.signature import Signature
from sbm.model.user import CONTENT_EDIT
from sbm.operations.clone import (
    CloneRequest,
    NameTaken,
    Unsendable,
    make_planned,
    read_plan,
)
from sbm.store import messagesets
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.bodies import Body
from sbm.web.http.publishing import check_publishing
from sbm.web.resources.messagesets import SCHEMA

# What stands for the next set of the source, and for none.
_SAME, _NONE = "same", "none"


@frozen(eq=False, kw_only=True)
class SetClone:
    """The page that clones a set."""

    app = Klein()

    pages: Pages
    rules: DraftRules = field(factory=DraftRules)

    @app.route("/")
    async def clone(self, request: Request, key: str) -> bytes:
        needs = PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT)
        return await self.pages.answer(
            request, needs, get=partial(self._ask, key), post=partial(self._clone, key)
        )

    async def _ask(self, key: str, visit: Visit) -> View:
        """The form; or the preview, if it was filled in."""
        if "short_name" not in visit.query:
            return await self._form(key, visit, {"next_set": _SAME}, {})
        values = _values(visit.query)
        problems = _problems(values)
        if problems:
            return await self._form(key, visit, values, problems)
        try:
            return await show(visit, partial(self._propose, key=key, visit=visit, values=values))
        except NameTaken as error:
            return await self._form(key, visit, values, {"short_name": [str(error)]})
        except Unsendable as error:
            return await self._form(key, visit, values, {"non_field_errors": [str(error)]})

    async def _clone(self, key: str, visit: Visit) -> View:
        values = _values(visit.form)

        async def work(transaction: Transaction) -> Done:
            request = await self._request(transaction, key, visit, values)
            plan = await read_plan(transaction, request=request)
            made = await make_planned(transaction, request=request, plan=plan, names={})
            await check_publishing(
                transaction,
                user=visit.user,
                is_under_way=messagesets.is_under_way,
                row_id=made.id,
            )
            told = {"name": made.short_name, "source": plan.source.short_name}
            return Done(
                sentence=visit._("“%(name)s” was made from “%(source)s”.") % told,
                place=f"/console/content/{made.id}/",
            )

        problems = _problems(values)
        if problems:
            return await self._form(key, visit, values, problems)
        return await perform(
            visit, partial(self._propose, key=key, visit=visit, values=values), work
        )

    async def _request(
        self, transaction: Transaction, key: str, visit: Visit, values: Mapping[str, str]
    ) -> CloneRequest:
        source = await find_set(transaction, key=key)
        following = values["next_set"]
        return CloneRequest(
            source=source.short_name,
            short_name=values["short_name"],
            label=values["label"] or None,
            next_set=None if following in (_SAME, _NONE) else following,
            is_last=following == _NONE,
            text_limit=self.rules.limits.text_length,
            signature=Signature(actor=visit.user.username, reason=visit.reason),
        )

    async def _propose(
        self, transaction: Transaction, *, key: str, visit: Visit, values: Mapping[str, str]
    ) -> Proposal:
        request = await self._request(transaction, key, visit, values)
        plan = await read_plan(transaction, request=request)
        total = sum(plan.languages.values())
        sentences = [
            visit.counted("%(num)s message is copied.", "%(num)s messages are copied.", total)
        ]
        colon = visit._(": ")
        sentences += [
            f"{named(visit, lang)}{colon}{count}" for lang, count in sorted(plan.languages.items())
        ]
        if plan.files:
            sentences.append(
                visit.counted(
                    "Both sets use the same %(num)s file.",
                    "Both sets use the same %(num)s files.",
                    len(plan.files),
                )
            )
        sentences.append(visit._("Nobody is in the new set. All else is as in the old one."))
        told = {"name": values["short_name"], "source": plan.source.short_name}
        return Proposal(
            title=visit._("Make “%(name)s” from “%(source)s”") % told,
            button=visit._("Make the message set"),
            sentences=sentences,
            count=total,
            back=f"/console/content/{plan.source.id}/clone/",
            fields=values,
            seen=(plan.source.updated_at.isoformat(), *map(str, plan.languages.items())),
            undo=visit._("Delete the new set to undo it."),
            needs_reason=False,
        )

    async def _form(
        self, key: str, visit: Visit, values: Mapping[str, str], problems: Mapping[str, list[str]]
    ) -> View:
        source = await visit.read(find_set, key=key)
        sets = await visit.read(messagesets.list_all)
        told = {name: [visit.retold(one) for one in problems[name]] for name in problems}
        state = FormState(values=values, problems=told)
        _ = visit._
        fields = [
            state.of("short_name", _("New short name"), is_required=True, longest=100),
            state.of(
                "label", _("Name for people"), hint=_("Empty: that of the old set."), longest=100
            ),
            state.of(
                "next_set",
                _("Next set"),
                kind="choice",
                options=[
                    (_SAME, _("the same as that of the old set")),
                    (_NONE, _("none")),
                    *((str(one.id), one.short_name) for one in sets),
                ],
            ),
        ]
        return View(
            template="content_clone.html",
            values={"source": source, "state": state, "fields": fields},
            status=state.status,
        )


def _values(told: Mapping[str, str]) -> dict[str, str]:
    values = {name: told.get(name, "").strip() for name in ("short_name", "label", "next_set")}
    return values | {"next_set": values["next_set"] or _SAME}


def _problems(values: Mapping[str, str]) -> dict[str, list[str]]:
    """The problems of the names, by the rules of the API."""
    names = {"short_name": values["short_name"], "label": values["label"]}
    return SCHEMA.read(Body(value=names), method="PATCH").errors

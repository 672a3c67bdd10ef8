"""Tokens of users: made, shown once, and revoked."""

from __future__ import annotations

from datetime import datetime, time
from functools import partial
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, perform, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.asked import day_asked
from sbm.console.screens.accounts import PLACE, find
from sbm.console.visit import View, Visit
from sbm.model.user import ADMINISTER, MAX_TOKEN_NAME
from sbm.operations.refusals import NoSuchRow
from sbm.operations.users import issue_token, revoke_token
from sbm.store import users
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.wire import row_id


@frozen(eq=False, kw_only=True)
class TokenPages:
    """The actions on tokens, for administrators; a user has at most ``max_tokens`` live ones."""

    app = Klein()

    pages: Pages
    max_tokens: int

    @app.route("/new/<user>/")
    async def new(self, request: Request, user: str) -> bytes:
        needs = PageNeeds(get=ADMINISTER, post=ADMINISTER)
        get, post = partial(self._show_new, user=user), partial(self._make, user=user)
        return await self.pages.answer(request, needs, get=get, post=post)

    @app.route("/<token>/revoke/")
    async def revoke(self, request: Request, token: str) -> bytes:
        needs = PageNeeds(get=ADMINISTER, post=ADMINISTER)
        get, post = partial(self._show_revoke, token=token), partial(self._revoke, token=token)
        return await self.pages.answer(request, needs, get=get, post=post)

    async def _show_new(self, visit: Visit, *, user: str) -> View:
        return await show(visit, partial(self._propose_new, visit=visit, user_id=row_id(user)))

    async def _make(self, visit: Visit, *, user: str) -> View:
        """The answer to the form shows the token. It is stored nowhere, so it comes only once."""
        user_id = row_id(user)
        made: dict[str, Any] = {}

        async def work(transaction: Transaction) -> Done:
            _, made["token"] = await issue_token(
                transaction,
                user_id=user_id,
                name=visit.form.get("name", "").strip(),
                expires_at=self._expiry(visit),
                most=self.max_tokens,
            )
            told = visit._("A token was made. It was shown once, and cannot be shown again.")
            return Done(sentence=told, place=f"{PLACE}{user_id}/")

        propose = partial(self._propose_new, visit=visit, user_id=user_id)
        view = await perform(visit, propose, work)
        if view.goes_to is None or "token" not in made:
            return view
        return View(template="token.html", values={**made, "back": f"{PLACE}{user_id}/"})

    def _expiry(self, visit: Visit) -> datetime | None:
        """When the day begins on which it is refused; raises Invalid."""
        zone = self.pages.renderer.zone
        day = day_asked(visit.form, "expires_at", zone)
        return None if day is None else datetime.combine(day.date(), time.min, zone)

    async def _propose_new(
        self, transaction: Transaction, *, visit: Visit, user_id: int
    ) -> Proposal:
        found = await find(transaction, user_id)
        return Proposal(
            title=visit._("Make a token for “%(name)s”") % {"name": found.username},
            button=visit._("Make the token"),
            sentences=[
                visit._("A program that has the token may do whatever this user may."),
                visit._("It is shown once, on the next page. Only a digest of it is stored."),
            ],
            count=1,
            back=f"{PLACE}{user_id}/",
            undo=visit._("You can revoke it at any time."),
            template="token_form.html",
            values={"max_name": MAX_TOKEN_NAME},
        )

    async def _show_revoke(self, visit: Visit, *, token: str) -> View:
        return await show(visit, partial(_propose_revoke, visit=visit, token_id=row_id(token)))

    async def _revoke(self, visit: Visit, *, token: str) -> View:
        token_id = row_id(token)

        async def work(transaction: Transaction) -> Done:
            found = await users.find_token(transaction, token_id=token_id)
            if found is None:
                raise NoSuchRow
            await revoke_token(transaction, token_id=token_id)
            told = visit._("The token was revoked.")
            return Done(sentence=told, place=f"{PLACE}{found.user_id}/")

        return await perform(visit, partial(_propose_revoke, visit=visit, token_id=token_id), work)


async def _propose_revoke(transaction: Transaction, *, visit: Visit, token_id: int) -> Proposal:
    found = await users.find_token(transaction, token_id=token_id)
    if found is None:
        raise NoSuchRow
    named = {"id": found.id, "name": found.name or "–", "user": found.username}
    return Proposal(
        title=visit._("Revoke a token"),
        button=visit._("Revoke"),
        sentences=[
            visit._("It revokes token %(id)s (%(name)s) of “%(user)s”.") % named,
            visit._("Programs that use it are refused from then on."),
        ],
        count=1,
        seen=[found.revoked_at is not None],
        back=f"{PLACE}{found.user_id}/",
        undo=visit._("This cannot be undone: make another token instead."),
        objection=visit._("It is revoked already.") if found.revoked_at else "",
        is_dangerous=True,
    )

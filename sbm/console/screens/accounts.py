"""Users: who they are, what they may do, and how they get in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import asdict, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, perform, sentence_of, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.asked import around, rows_asked
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.paging import Page, PageRequest
from sbm.model.user import ADMINISTER, MAX_EMAIL, MAX_USERNAME, STORED_PERMISSIONS, USUAL
from sbm.operations.drafts import Draft
from sbm.operations.refusals import NoSuchRow, WrongValues
from sbm.operations.users import change_user, create_user
from sbm.store import console_sessions, users
from sbm.store.console_sessions import ListedSession
from sbm.store.postgres.transaction import Transaction
from sbm.store.users import TokenRecord, UserRecord, UserUses
from sbm.web.http.passwords import Passwords
from sbm.web.http.wire import row_id

PLACE = "/console/users/"

# What each permission allows, in the words of the console.
ALLOWED: Mapping[str, str] = {
    "content.edit": marked("Edit schedules, message sets, messages and files."),
    "content.publish": marked("Also change what people who are under way get."),
    "people.read": marked("Read who gets what, and what became of each message."),
    "people.act": marked("Register people, and change or stop their messages."),
    "operate": marked("Start, pause, stop and repeat sending."),
    "view_behindsubscription": marked("Read who is behind."),
    "can_find_behind_subscriptions": marked("Search for those who are behind."),
}

# The longest password that is taken here, in characters.
MAX_PASSWORD = 1000
UNFIT_PASSWORD = marked("Enter a password of 1 to 1000 characters.")


@frozen(kw_only=True)
class Account:
    """A user, and how the user gets in."""

    user: UserRecord
    uses: UserUses
    tokens: Page[TokenRecord]
    sessions: list[ListedSession]


@frozen(eq=False, kw_only=True)
class Accounts:
    """The pages of users, for administrators."""

    app = Klein()

    pages: Pages
    passwords: Passwords

    @app.route("/")
    async def accounts(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(get=ADMINISTER), get=self._list)

    @app.route("/new/")
    async def new(self, request: Request) -> bytes:
        needs = PageNeeds(get=ADMINISTER, post=ADMINISTER)
        return await self.pages.answer(request, needs, get=self._show_new, post=self._make)

    @app.route("/<user>/")
    async def account(self, request: Request, user: str) -> bytes:
        return await self.pages.answer(
            request, PageNeeds(get=ADMINISTER), get=partial(self._account, user=user)
        )

    @app.route("/<user>/edit/")
    async def edit(self, request: Request, user: str) -> bytes:
        needs = PageNeeds(get=ADMINISTER, post=ADMINISTER)
        get, post = partial(self._show_edit, user=user), partial(self._edit, user=user)
        return await self.pages.answer(request, needs, get=get, post=post)

    @app.route("/<user>/password/")
    async def password(self, request: Request, user: str) -> bytes:
        needs = PageNeeds(get=ADMINISTER, post=ADMINISTER)
        get, post = partial(self._show_password, user=user), partial(self._password, user=user)
        return await self.pages.answer(request, needs, get=get, post=post)

    @app.route("/<user>/active/")
    async def active(self, request: Request, user: str) -> bytes:
        """Let the user in, or lock the user out: whichever the user is not."""
        needs = PageNeeds(get=ADMINISTER, post=ADMINISTER)
        get, post = partial(self._show_active, user=user), partial(self._active, user=user)
        return await self.pages.answer(request, needs, get=get, post=post)

    async def _list(self, visit: Visit) -> View:
        asked = rows_asked(visit.query)
        name = visit.query.get("username", "").replace("\0", "").strip() or None

        async def read(transaction: Transaction) -> View:
            page = await users.list_page(transaction, page=asked, username=name)
            uses = await users.list_uses(transaction, user_ids=[one.id for one in page.rows])
            return View(
                template="users.html",
                values={
                    "accounts": page.rows,
                    "uses": {one.user_id: one for one in uses},
                    "links": around(PLACE, visit.query, asked, page),
                    "name": name or "",
                    "usual": _in_order(USUAL),
                },
            )

        view = await visit.read(read)
        return View(
            template=view.template, values={**view.values, "done": await sentence_of(visit)}
        )

    async def _account(self, visit: Visit, *, user: str) -> View:
        asked = rows_asked(visit.query)
        found = await visit.read(_read, user_id=row_id(user), page=asked)
        return View(
            template="user.html",
            values={
                "account": found.user,
                "uses": found.uses,
                "tokens": found.tokens.rows,
                "links": around(f"{PLACE}{found.user.id}/", visit.query, asked, found.tokens),
                "sessions": found.sessions,
                "own_session": visit.session.id,
                "allowed": {name: visit._(told) for name, told in ALLOWED.items()},
                "usual": _in_order(USUAL),
                "done": await sentence_of(visit),
            },
        )

    async def _show_new(self, visit: Visit) -> View:
        return await show(visit, partial(_propose_new, visit=visit))

    async def _make(self, visit: Visit) -> View:
        values = _values(visit.form)
        given = visit.form.get("password", "")
        if given:
            values["password"] = await hashed(self.passwords, given)

        async def work(transaction: Transaction) -> Done:
            if given and not values["password"]:
                raise WrongValues({"password": [UNFIT_PASSWORD]})
            made = await create_user(transaction, Draft(values={**values, "is_active": True}))
            told = visit._("The user “%(name)s” was made.") % {"name": made.username}
            return Done(sentence=told, place=f"{PLACE}{made.id}/")

        return await perform(visit, partial(_propose_new, visit=visit), work)

    async def _show_edit(self, visit: Visit, *, user: str) -> View:
        return await show(visit, partial(_propose_edit, visit=visit, user_id=row_id(user)))

    async def _edit(self, visit: Visit, *, user: str) -> View:
        user_id = row_id(user)
        values = _values(visit.form)

        async def work(transaction: Transaction) -> Done:
            await change_user(transaction, lambda _: Draft(values=values), user_id=user_id)
            return Done(sentence=visit._("The user was changed."), place=f"{PLACE}{user_id}/")

        return await perform(visit, partial(_propose_edit, visit=visit, user_id=user_id), work)

    async def _show_password(self, visit: Visit, *, user: str) -> View:
        return await show(visit, partial(_propose_password, visit=visit, user_id=row_id(user)))

    async def _password(self, visit: Visit, *, user: str) -> View:
        user_id = row_id(user)
        new = await hashed(self.passwords, visit.form.get("password", ""))

        async def work(transaction: Transaction) -> Done:
            if not new:
                raise WrongValues({"password": [UNFIT_PASSWORD]})
            draft = Draft(values={"password": new})
            await change_user(transaction, lambda _: draft, user_id=user_id)
            told = visit._("The user has another password, and every session of the user ended.")
            return Done(sentence=told, place=f"{PLACE}{user_id}/")

        return await perform(visit, partial(_propose_password, visit=visit, user_id=user_id), work)

    async def _show_active(self, visit: Visit, *, user: str) -> View:
        return await show(visit, partial(_propose_active, visit=visit, user_id=row_id(user)))

    async def _active(self, visit: Visit, *, user: str) -> View:
        user_id = row_id(user)

        async def work(transaction: Transaction) -> Done:
            found = await users.lock_by_id(transaction, user_id=user_id)
            is_active = found is not None and not found.is_active
            draft = Draft(values={"is_active": is_active})
            await change_user(transaction, lambda _: draft, user_id=user_id)
            told = (
                visit._("The user can log in again.")
                if is_active
                else visit._("The user is locked out.")
            )
            return Done(sentence=told, place=f"{PLACE}{user_id}/")

        return await perform(visit, partial(_propose_active, visit=visit, user_id=user_id), work)


async def _read(transaction: Transaction, *, user_id: int, page: PageRequest) -> Account:
    user = await find(transaction, user_id)
    (uses,) = await users.list_uses(transaction, user_ids=[user_id])
    return Account(
        user=user,
        uses=uses,
        tokens=await users.list_tokens_page(transaction, page=page, user_id=user_id),
        sessions=await console_sessions.list_all(transaction, user_id=user_id),
    )


async def find(transaction: Transaction, user_id: int) -> UserRecord:
    """The user with this id; raises NoSuchRow."""
    found = await users.find(transaction, user_id=user_id)
    if found is None:
        raise NoSuchRow
    return found


def _in_order(permissions: frozenset[str]) -> list[str]:
    return [name for name in STORED_PERMISSIONS if name in permissions]


def _values(form: Mapping[str, str]) -> dict[str, Any]:
    """The values of a user in a form, without the password."""
    return {
        "username": form.get("username", ""),
        "email": form.get("email", "").strip(),
        "is_admin": "is_admin" in form,
        "is_limited": form.get("is_limited") == "yes",
        "permissions": [name for name in STORED_PERMISSIONS if f"may-{name}" in form],
    }


async def hashed(passwords: Passwords, given: str) -> str:
    """The hash of a new password, or nothing if it is not one that is taken; raises Busy."""
    return await passwords.hashed(given) if 0 < len(given) <= MAX_PASSWORD else ""


def _inputs(visit: Visit, found: UserRecord | None) -> dict[str, Any]:
    """What the form of a user shows: ``found`` is None for a new one, who is limited."""
    stored = None if found is None else asdict(found)
    return {
        "stored": stored
        or {"username": "", "email": "", "is_admin": False, "is_limited": True, "permissions": []},
        "is_new": found is None,
        "allowed": {name: visit._(told) for name, told in ALLOWED.items()},
        "usual": _in_order(USUAL),
        "max_username": MAX_USERNAME,
        "max_email": MAX_EMAIL,
    }


async def _propose_new(_transaction: Transaction, *, visit: Visit) -> Proposal:
    return Proposal(
        title=visit._("Make a user"),
        button=visit._("Make the user"),
        sentences=[
            visit._("A user with a password can log in here. One without can only use tokens."),
            visit._("A user is never deleted, so that the audit stays readable."),
        ],
        count=1,
        back=PLACE,
        undo=visit._("You can lock the user out later."),
        template="user_form.html",
        values=_inputs(visit, None),
    )


async def _propose_edit(transaction: Transaction, *, visit: Visit, user_id: int) -> Proposal:
    found = await find(transaction, user_id)
    sessions = await console_sessions.list_all(transaction, user_id=user_id)
    return Proposal(
        title=visit._("Change the user “%(name)s”") % {"name": found.username},
        button=visit._("Change the user"),
        sentences=[
            visit._("What the user may do changes with the next page or request."),
            visit.counted(
                "If the user becomes limited, %(num)s session in the console ends.",
                "If the user becomes limited, %(num)s sessions in the console end.",
                len(sessions),
            ),
        ],
        count=1,
        seen=[json_of(found)],
        back=f"{PLACE}{user_id}/",
        undo=visit._("The audit can undo the change."),
        template="user_form.html",
        values=_inputs(visit, found),
    )


def json_of(found: UserRecord) -> str:
    """The values of a user that a form was made of."""
    stored = asdict(found)
    return repr({**stored, "permissions": sorted(found.permissions)})


async def _propose_password(transaction: Transaction, *, visit: Visit, user_id: int) -> Proposal:
    found = await find(transaction, user_id)
    sessions = await console_sessions.list_all(transaction, user_id=user_id)
    return Proposal(
        title=visit._("Set a password for “%(name)s”") % {"name": found.username},
        button=visit._("Set the password"),
        sentences=[
            visit._("The old password is refused from then on. Tokens stay valid."),
            visit.counted(
                "%(num)s session in the console ends.",
                "%(num)s sessions in the console end.",
                len(sessions),
            ),
        ],
        count=1,
        back=f"{PLACE}{user_id}/",
        undo=visit._("This cannot be undone: set another password instead."),
        template="password_form.html",
        values={"asks_present": False, "account_name": found.username},
    )


async def _propose_active(transaction: Transaction, *, visit: Visit, user_id: int) -> Proposal:
    found = await find(transaction, user_id)
    if not found.is_active:
        return Proposal(
            title=visit._("Let “%(name)s” in again") % {"name": found.username},
            button=visit._("Let the user in"),
            sentences=[visit._("The password and the tokens are valid again.")],
            count=1,
            seen=[False],
            back=f"{PLACE}{user_id}/",
            undo=visit._("You can lock the user out again."),
        )
    sessions = await console_sessions.list_all(transaction, user_id=user_id)
    is_last = found.is_admin and not await users.has_administrator(transaction, besides=user_id)
    return Proposal(
        title=visit._("Lock “%(name)s” out") % {"name": found.username},
        button=visit._("Lock the user out"),
        sentences=[
            visit._("The password and all tokens are refused until you let the user in again."),
            visit.counted(
                "%(num)s session in the console ends.",
                "%(num)s sessions in the console end.",
                len(sessions),
            ),
        ],
        count=1,
        seen=[True],
        back=f"{PLACE}{user_id}/",
        undo=visit._("You can let the user in again. Sessions do not come back."),
        objection=visit._("This is the last active administrator. Make another one first.")
        if is_last
        else "",
        is_dangerous=True,
    )

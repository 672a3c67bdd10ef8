"""Sessions of the console: my own, and for administrators those of others; and my password."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, perform, sentence_of, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.screens.accounts import MAX_PASSWORD, UNFIT_PASSWORD, find, hashed
from sbm.console.texts import marked
from sbm.console.throttle import Throttle
from sbm.console.visit import View, Visit
from sbm.model.signature import Signature
from sbm.model.user import ADMINISTER
from sbm.operations import logins
from sbm.operations.refusals import NoSuchRow, WrongValues
from sbm.store import console_sessions
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.passwords import Passwords
from sbm.web.http.wire import row_id

PLACE = "/console/sessions/"


@frozen(eq=False, kw_only=True)
class SessionPages:
    """Everybody sees and ends the own sessions; administrators end those of others.

    The ``throttle`` is that of the login: it also counts wrong present passwords.
    """

    app = Klein()

    pages: Pages
    passwords: Passwords
    throttle: Throttle

    @app.route("/")
    async def sessions(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(), get=self._list)

    @app.route("/<session>/end/")
    async def end(self, request: Request, session: str) -> bytes:
        return await self._end(request, PageNeeds(), None, session)

    @app.route("/others/")
    async def end_others(self, request: Request) -> bytes:
        return await self._end(request, PageNeeds(), None, None)

    @app.route("/of/<user>/<session>/end/")
    async def end_of(self, request: Request, user: str, session: str) -> bytes:
        return await self._end(request, _ADMINISTERING, user, session)

    @app.route("/of/<user>/end/")
    async def end_all_of(self, request: Request, user: str) -> bytes:
        return await self._end(request, _ADMINISTERING, user, None)

    @app.route("/password/")
    async def password(self, request: Request) -> bytes:
        return await self.pages.answer(
            request, PageNeeds(), get=self._show_password, post=self._password
        )

    async def _list(self, visit: Visit) -> View:
        found = await visit.read(console_sessions.list_all, user_id=visit.user.id)
        return View(
            template="sessions.html",
            values={
                "sessions": found,
                "own_session": visit.session.id,
                "done": await sentence_of(visit),
            },
        )

    async def _end(
        self, request: Request, needs: PageNeeds, user: str | None, session: str | None
    ) -> bytes:
        """End one session, or all besides the present one, of this user or of whoever asks."""

        def ending(visit: Visit) -> Ending:
            assert visit.user.id is not None
            return Ending(
                visit=visit,
                user_id=visit.user.id if user is None else row_id(user),
                session_id=None if session is None else row_id(session),
                place=PLACE if user is None else f"/console/users/{row_id(user)}/",
            )

        async def get(visit: Visit) -> View:
            return await show(visit, ending(visit).propose)

        async def post(visit: Visit) -> View:
            return await perform(visit, ending(visit).propose, ending(visit).work)

        return await self.pages.answer(request, needs, get=get, post=post)

    async def _show_password(self, visit: Visit) -> View:
        return await show(visit, partial(_propose_password, visit=visit))

    async def _password(self, visit: Visit) -> View:
        """The present password is asked for: somebody may have left the browser open."""
        assert visit.user.id is not None
        user_id = visit.user.id
        problems = await self._problems(visit)
        new = "" if problems else await hashed(self.passwords, visit.form.get("password", ""))

        async def work(transaction: Transaction) -> Done:
            if problems:
                raise WrongValues(problems)
            ended = await logins.change_own_password(
                transaction, user_id=user_id, session_id=visit.session.id, password=new
            )
            told = visit.counted(
                "Your password was changed, and %(num)s other session ended.",
                "Your password was changed, and %(num)s other sessions ended.",
                ended,
            )
            return Done(sentence=told, place=PLACE)

        return await perform(visit, partial(_propose_password, visit=visit), work)

    async def _problems(self, visit: Visit) -> dict[str, list[str]]:
        if not 0 < len(visit.form.get("password", "")) <= MAX_PASSWORD:
            return {"password": [UNFIT_PASSWORD]}
        name, address = visit.user.username, self.pages.proxies.address(visit.request)
        if self.throttle.begin(name, address):
            return {"present": [marked("Too many wrong passwords. Try again later.")]}
        present = visit.form.get("present", "")
        found = await self.passwords.user_with(name, present)
        if found is None or found.id != visit.user.id:
            return {"present": [marked("The present password is wrong.")]}
        self.throttle.succeed(name, address)
        return {}


_ADMINISTERING = PageNeeds(get=ADMINISTER, post=ADMINISTER)


@frozen(kw_only=True)
class Ending:
    """The end of one session of a user, or, without ``session_id``, of all but the present one."""

    visit: Visit
    user_id: int
    session_id: int | None
    place: str

    async def propose(self, transaction: Transaction) -> Proposal:
        """Say what ends; raises NoSuchRow."""
        visit = self.visit
        user = await find(transaction, self.user_id)
        found = await console_sessions.list_all(transaction, user_id=self.user_id)
        ended = [
            one.id
            for one in found
            if one.id == self.session_id or (self.session_id is None and one.id != visit.session.id)
        ]
        if self.session_id is not None and not ended:
            raise NoSuchRow
        sentences = [
            visit.counted(
                "%(num)s session of “%(name)s” ends.",
                "%(num)s sessions of “%(name)s” end.",
                len(ended),
                name=user.username,
            ),
            visit._("What was typed there and not sent is lost. Tokens stay valid."),
        ]
        if self.user_id == visit.user.id:
            sentences.append(visit._("The session that you use now goes on."))
        return Proposal(
            title=visit._("End sessions"),
            button=visit._("End"),
            sentences=sentences,
            count=len(ended),
            seen=ended,
            back=self.place,
            objection=self._objection(ended),
            needs_reason=False,
        )

    def _objection(self, ended: list[int]) -> str:
        if self.session_id == self.visit.session.id:
            return self.visit._("This is the session that you use now: log out instead.")
        return "" if ended else self.visit._("There is no other session.")

    async def work(self, transaction: Transaction) -> Done:
        """End them."""
        visit = self.visit
        signature = Signature(actor=visit.user.username, reason=visit.reason)
        ended = 1
        if self.session_id is None:
            ended = await logins.end_sessions(
                transaction, user_id=self.user_id, besides=visit.session.id, signature=signature
            )
        else:
            await logins.end_session(
                transaction,
                user_id=self.user_id,
                session_id=self.session_id,
                signature=signature,
            )
        told = visit.counted("%(num)s session ended.", "%(num)s sessions ended.", ended)
        return Done(sentence=told, place=self.place)


async def _propose_password(transaction: Transaction, *, visit: Visit) -> Proposal:
    assert visit.user.id is not None
    found = await console_sessions.list_all(transaction, user_id=visit.user.id)
    return Proposal(
        title=visit._("Change my password"),
        button=visit._("Change it"),
        sentences=[
            visit.counted(
                "%(num)s other session of yours ends. This one goes on.",
                "%(num)s other sessions of yours end. This one goes on.",
                len([one for one in found if one.id != visit.session.id]),
            ),
            visit._("Your tokens stay valid."),
        ],
        count=1,
        back=PLACE,
        needs_reason=False,
        template="password_form.html",
        values={"asks_present": True, "account_name": visit.user.username},
    )

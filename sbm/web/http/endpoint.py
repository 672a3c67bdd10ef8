"""How a request gets its reply, and the order of all checks.

First Host and Accept, then authentication, permission and method. Then the resource checks the row,
the body, and the values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Generic, Literal, TypeVar

from attrs import Factory, evolve, field, frozen
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.server import Request

from sbm.model.user import User
from sbm.runtime.threads import shielded
from sbm.store import idempotency
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.store.postgres.transaction import Transaction
from sbm.web.http import http_errors
from sbm.web.http.acceptance import accepts
from sbm.web.http.api_request import ApiRequest, content_of
from sbm.web.http.authentication import Authentication, Token
from sbm.web.http.http_errors import Reason
from sbm.web.http.list_lane import ListLane
from sbm.web.http.needs import FOR_EVERY_USER, Needs
from sbm.web.http.origin import Proxies
from sbm.web.http.reply import OptionsInfo, Reply, reply_to, written
from sbm.web.http.wire import compact_json

# These change nothing.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

# The header of a repeated answer.
REPLAYED = "Idempotency-Replayed"


Result = TypeVar("Result")


@frozen(kw_only=True)
class InTransaction(Generic[Result]):
    """A method whose work is one transaction; the token of the user is looked up in it, too.

    ``work`` may run more than once, so it has no effects outside the transaction. ``reply`` makes
    the reply after the commit: it has the effects, and may take long. If all statements of the work
    only read, say ``only_reads``: that saves the COMMIT. If there is ``refused``, it is called
    after the work of a request with a user was rolled back, with the error; and once the user is
    known, all is done to its end, even if the client goes away meanwhile. ``lane`` says on which
    connections: those of ``list`` share a part of the usual ones, and ``prompt`` has its own.
    """

    work: Callable[[Transaction, ApiRequest], Awaitable[Result]]
    reply: Callable[[ApiRequest, Result], Awaitable[Reply]]
    only_reads: bool = False
    refused: Callable[[ApiRequest, Exception], Awaitable[None]] | None = None
    lane: Literal["usual", "list", "prompt"] = "usual"


def replying(work: Callable[[Transaction, ApiRequest], Awaitable[Reply]]) -> InTransaction[Reply]:
    """A method whose work returns the reply."""
    return InTransaction(work=work, reply=_as_it_is)


def reading(work: Callable[[Transaction, ApiRequest], Awaitable[Reply]]) -> InTransaction[Reply]:
    """A method whose work returns the reply, and all of whose statements only read."""
    return InTransaction(work=work, reply=_as_it_is, only_reads=True)


async def _as_it_is(_request: ApiRequest, reply: Reply) -> Reply:
    return reply


# A method without InTransaction begins its own transactions: it needs several, or none, or takes
# long between them.
Method = InTransaction[Any] | Callable[[ApiRequest], Awaitable[Reply]]


@frozen(eq=False, kw_only=True)
class Endpoint:
    """The part of every answer that all paths of the API share.

    ``prompt`` are the connections of what must not wait behind all else: the health check, and the
    calls that begin to send.
    """

    database: Database
    authentication: Authentication
    proxies: Proxies = field(factory=Proxies)
    prompt: Database | None = None
    lists: ListLane = field(
        default=Factory(
            lambda self: ListLane(most=max(1, self.database.size // 2)), takes_self=True
        )
    )

    async def answer(
        self,
        request: Request,
        options: OptionsInfo,
        methods: Mapping[str, Method],
        unavailable: Callable[[DatabaseUnavailable], Any] | None = None,
        *,
        needs: Needs = FOR_EVERY_USER,
        needs_user: bool = True,
        answers: str | None = None,
    ) -> bytes:
        """Call one of the methods, or answer with an error; the result is the body.

        ``unavailable`` makes the body of the answer while there is no database; by default, it is
        that of all other paths.

        ``needs`` are the permissions of this path: users without them are Forbidden before the
        method is checked. Without ``needs_user``, a request without credentials has the user
        NOBODY; credentials that are given must be right. ``answers`` is the type of the answer, if
        it is not JSON.
        """
        try:
            reply = await self._reply(request, options, methods, needs, needs_user, answers)
        except CancelledError:
            raise  # the client has gone
        except Exception as error:
            reply = reply_to(error)
            if unavailable is not None and isinstance(error, DatabaseUnavailable):
                reply = evolve(reply, body=unavailable(error))
        request.setHeader(b"Allow", _allowed(tuple(methods)))
        body = written(request, reply)
        if reply.stream is not None and request.method != b"HEAD":
            await reply.stream(request)
        return body

    async def _reply(
        self,
        request: Request,
        options: OptionsInfo,
        methods: Mapping[str, Method],
        needs: Needs,
        needs_user: bool,
        answers: str | None,
    ) -> Reply:
        origin, address = self.proxies.origin(request), self.proxies.address(request)
        if not accepts(request.getHeader("accept"), answers):
            raise http_errors.NotAcceptable
        name = request.method.decode("ascii", "replace")
        method = methods.get("GET" if name == "HEAD" else name)
        found: list[ApiRequest] = []
        outlasts_client = isinstance(method, InTransaction) and method.refused is not None
        # When the client has gone, its body is closed.
        content = content_of(request) if outlasts_client else None

        def admitted(user: User) -> ApiRequest:
            made = ApiRequest.of(
                request, user, method=name, origin=origin, address=address, content=content
            )
            found.append(made)
            needs.check(user, "" if method is None else name)
            if method is None and name != "OPTIONS":
                raise http_errors.MethodNotAllowed(name)
            return made

        if isinstance(method, InTransaction):
            credentials = await self.authentication.credentials(
                request, needed=needs_user, calls_back=needs.admits_scheduler
            )
            return await self._in_lane(method, credentials, admitted, found)
        user = await self.authentication.user_of(
            request, needed=needs_user, calls_back=needs.admits_scheduler
        )
        admitted_request = admitted(user)
        return options.reply() if method is None else await method(admitted_request)

    async def _in_lane(
        self,
        method: InTransaction[Any],
        credentials: User | Token,
        admitted: Callable[[User], ApiRequest],
        found: Sequence[ApiRequest],
    ) -> Reply:
        """The reply of a method that is one transaction, when it is its turn."""
        work = partial(self._transacted, method, credentials, admitted, found)
        if method.lane == "list":
            user = credentials.username if isinstance(credentials, User) else credentials.digest
            return await self.lists.run(user, work)
        if method.refused is None:
            return await work()
        working = Deferred.fromCoroutine(work())
        try:
            return await shielded(working)
        except CancelledError:
            if not found:  # the work of strangers would pile up
                working.cancel()
            raise

    async def _transacted(
        self,
        method: InTransaction[Any],
        credentials: User | Token,
        admitted: Callable[[User], ApiRequest],
        found: Sequence[ApiRequest],
    ) -> Reply:
        """The reply of a method that is one transaction; ``found`` are the requests with a user."""
        database = self.database
        if method.lane == "prompt" and self.prompt is not None:
            database = self.prompt
        transact = database.read if method.only_reads else database.transact
        try:
            request, result = await transact(_worked, credentials, admitted, method)
        except CancelledError:
            raise
        except Exception as error:
            if method.refused is not None and found:
                await method.refused(found[-1], error)
            raise
        return await method.reply(request, result)


def new_app() -> Klein:
    """A Klein app whose paths are taken literally."""
    app = Klein()
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    return app


def only_read(request: Request) -> None:
    """Refuse other methods than reads, for resources that need no user; raises MethodNotAllowed."""
    request.setHeader(b"Allow", b"GET, HEAD, OPTIONS")
    if request.method not in (b"GET", b"HEAD", b"OPTIONS"):
        raise http_errors.MethodNotAllowed(request.method.decode("ascii", "replace"))


async def once(
    transaction: Transaction, request: ApiRequest, work: Callable[[Transaction], Awaitable[Reply]]
) -> Reply:
    """The reply of ``work``; a request with a key that was used before gets the earlier reply.

    The reply is stored in the same transaction, so a crash or a lost COMMIT does not cause a second
    one. If ``work`` raises, nothing is stored: a refusal must be raised.
    """
    keyed = request.keyed()
    if keyed is None:
        return await work(transaction)
    answer = await idempotency.find_answer(transaction, request=keyed)
    if answer is not None:
        if answer.fingerprint != keyed.fingerprint:
            raise http_errors.KeyReused
        headers = {**answer.headers, REPLAYED: "true"}
        reason = Reason(kind="replayed")
        return Reply(status=answer.status, json=answer.body, headers=headers, reason=reason)
    reply = await work(transaction)
    body = compact_json(reply.body) if reply.json is None else reply.json
    await idempotency.keep_answer(
        transaction, request=keyed, status=reply.status, headers=reply.headers, body=body
    )
    return evolve(reply, body=None, json=body)


async def _worked(
    transaction: Transaction,
    credentials: User | Token,
    admitted: Callable[[User], ApiRequest],
    method: InTransaction[Result],
) -> tuple[ApiRequest, Result]:
    """The request, and the result of its method."""
    if isinstance(credentials, User):
        user = credentials
    else:
        user = await credentials.user(transaction)
    request = admitted(user)
    if request.method not in _SAFE:
        transaction.author = request.author()
    return request, await method.work(transaction, request)


@cache
def _allowed(methods: tuple[str, ...]) -> bytes:
    known = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return ", ".join(name for name in _METHODS if name in known).encode("ascii")

"""Finds the route of a request, and answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.exceptions import NotFound as WerkzeugNotFound
from werkzeug.routing import Rule

from sbm.web.http.http_errors import NoSuchPath
from sbm.web.http.reply import reply_to, written

_log = Logger()


class RoutedResource(Resource):
    """The resource of a Klein app whose routes return bytes, a coroutine of bytes, or a resource.

    All errors are JSON. Klein's own resource makes two functions for each request that refer to
    themselves. They hold the request, and 48 other objects, until the garbage is collected.
    """

    isLeaf = True

    def __init__(self, app: Klein) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._app = app
        # The host makes a difference only for redirects, and these paths have none.
        self._routes = app.url_map.bind("")
        # The rules of paths without variables, once they were asked for. Each has at most two
        # paths: with and without a slash at the end.
        self._literal: dict[str, Rule] = {}

    def render(self, request: Request) -> int:
        ended = request.notifyFinish()
        answering = Deferred.fromCoroutine(self._answer(request))
        ended.addErrback(lambda _: answering.cancel())  # the client has gone
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        try:
            body = await self._body(request)
        except Exception as error:
            if _is_over(request):
                if not isinstance(error, CancelledError):
                    _log.failure("{path}: an error after the end of the request", path=request.path)
                return
            body = written(request, reply_to(error))
        if body is not None and not _is_over(request):
            request.write(body)
            request.finish()

    async def _body(self, request: Request) -> bytes | None:
        """The body of the answer; None if another resource answers."""
        rule, parts = self._route(b"/".join(request.postpath or ()).decode("utf-8"))
        found: Any = self._app.execute_endpoint(rule.endpoint, request, **parts)
        if isinstance(found, Deferred):
            found = await found
        if IResource.providedBy(found):
            self._hand_over(request, rule, found)
            return None
        return bytes(found)

    def _route(self, path: str) -> tuple[Rule, Mapping[str, Any]]:
        """The rule of a path, and the values of its variables; raises NoSuchPath."""
        path = "/" + path.lstrip("/")  # several slashes at the beginning are as good as one
        rule = self._literal.get(path)
        if rule is not None:
            return rule, {}
        try:
            rule, parts = self._routes.match(path, return_rule=True)
        except WerkzeugNotFound:
            raise NoSuchPath from None
        if not parts:
            self._literal[path] = rule
        return rule, parts

    def _hand_over(self, request: Request, rule: Rule, resource: IResource) -> None:
        """Let a resource answer that is mounted below the path of a rule."""
        route: Any = self._app.endpoints[rule.endpoint]
        parts = request.postpath or []
        request.prepath = [*(request.prepath or ()), *parts[: route.segment_count]]
        request.postpath = parts[route.segment_count :]
        request.render(getChildForRequest(resource, request))


def _is_over(request: Request) -> bool:
    """Whether the request is answered already, or its client has gone."""
    return bool(request.finished) or request.channel is None

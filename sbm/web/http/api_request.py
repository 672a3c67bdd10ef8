"""A request that has passed the general checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from attrs import field, frozen
from twisted.web.server import Request

from sbm.model.author import Author
from sbm.model.user import User
from sbm.store.idempotency import KeyedRequest
from sbm.web.http import http_errors
from sbm.web.http.authors import MAX_ACTION, given_reason
from sbm.web.http.bodies import Body, parse
from sbm.web.http.targets import parameters_of
from sbm.web.http.uploads import Upload

# The key may be in quotes, as in the draft of the header, or without, as most clients write it.
_KEY_HEADER = b"idempotency-key"
MAX_KEY_LENGTH = 255
_KEY = re.compile(rb'("?)([!#-~]{1,%d})\1' % MAX_KEY_LENGTH)


# The header of a POST-back that opens a tick only if it does what was simulated.
SIMULATION_TOKEN = "Simulation-Token"  # noqa: S105


@frozen(kw_only=True)
class ApiRequest:
    """A request that has passed the general checks, and its user.

    ``address`` is that of the client. ``parameters`` are those of the query, in their order;
    ``query`` has the last value of each. ``content`` is the body, if the request must outlast its
    client.
    """

    user: User
    method: str
    origin: str
    address: str
    path: str
    parameters: Sequence[tuple[str, str]]
    query: Mapping[str, str]
    _request: Any = field(alias="request")
    _content: bytes | None = field(alias="content", default=None)

    @classmethod
    def of(
        cls,
        request: Request,
        user: User,
        *,
        method: str,
        origin: str,
        address: str,
        content: bytes | None = None,
    ) -> ApiRequest:
        """The request of a user who may make it."""
        parameters = parameters_of(request.uri)
        return cls(
            user=user,
            method=method,
            origin=origin,
            address=address,
            path=request.path.decode("ascii", "replace"),
            parameters=parameters,
            query=dict(parameters),
            request=request,
            content=content,
        )

    def body(self) -> Body:
        """The body, parsed; raises Malformed, TooLarge or UnsupportedMediaType."""
        return parse(self._raw_body(), self._request.getHeader("content-type") or "")

    async def body_with_file(self) -> Body:
        """The body, parsed; its file is on disk. Raises the errors of ``body``, or NotStored."""
        upload: Upload | None = self._request.upload
        if upload is None:
            return self.body()
        if self._request.is_too_large:
            raise http_errors.TooLarge(upload.limit)
        return await upload.body()

    @property
    def action(self) -> str:
        """The method and the path, for the audit and the intake account."""
        return f"{self.method} {self.path}"[:MAX_ACTION]

    @property
    def request_id(self) -> str:
        """The X-Request-ID."""
        return str(self._request.request_id)

    def author(self) -> Author:
        """The author of the changes that the request makes; raises Malformed for a wrong reason."""
        return Author(
            actor=self.user.username,
            user_id=self.user.id,
            action=self.action,
            reason=given_reason(self._request),
            request_id=self.request_id,
            idempotency_key=self.idempotency_key,
        )

    def url(self, path: str) -> str:
        """The absolute URL of a path, as the client sees this service."""
        return self.origin + path

    @property
    def has_key(self) -> bool:
        """Whether there is an Idempotency-Key header, valid or not."""
        return bool(self._request.requestHeaders.hasHeader(_KEY_HEADER))

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key; None: there is none, or it is not valid."""
        lines = self._request.requestHeaders.getRawHeaders(_KEY_HEADER, [])
        found = _KEY.fullmatch(b", ".join(lines))
        return None if found is None else found[2].decode("ascii")

    def keyed(self) -> KeyedRequest | None:
        """The identification of a request by its Idempotency-Key; raises Malformed or TooLarge."""
        if not self.has_key:
            return None
        key, path = self.idempotency_key, self.path.rstrip("/")
        if key is None:
            raise http_errors.WrongKey(MAX_KEY_LENGTH)
        return KeyedRequest(
            user_id=self.user.id,
            path=path,
            key=key,
            digest=sha256(f"{self.user.id} {key} {path}".encode()).digest(),
            fingerprint=sha256(self._raw_body()).digest(),
        )

    def simulation_token(self) -> UUID | None:
        """The token in the Simulation-Token header, if there is one; raises Malformed."""
        told = self._request.getHeader(SIMULATION_TOKEN)
        if told is None:
            return None
        try:
            return UUID(told.strip())
        except ValueError:
            raise http_errors.Malformed(
                f"{SIMULATION_TOKEN} must be the token of a simulation.", kind="simulation-token"
            ) from None

    def _raw_body(self) -> bytes:
        if self._request.is_too_large:
            raise http_errors.TooLarge(self._request.body_limit)
        return content_of(self._request) if self._content is None else self._content


def content_of(request: Any) -> bytes:
    """The body of a request whose client has not gone; of one that is too large, its beginning."""
    request.content.seek(0)
    content: bytes = request.content.read()
    return content

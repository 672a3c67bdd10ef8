"""Requests as they come from the socket, before anything is made of them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.web.server import Request, Site

# JSON and forms.
MAX_BODY_BYTES = 2**20

# A path that there is not, and is not going to be.
UNKNOWN_PATH = b"/-"

_ORIGIN = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class BoundedRequest(Request):
    """A request that keeps no more of its body than is allowed, and leaves parsing to us.

    What exceeds the limit is read and dropped, so that the refusal reaches the client.
    """

    body_size = 0

    def __init__(self, channel: Any, queued: Any = False) -> None:
        del queued  # only given by old callers, and without effect
        super().__init__(channel, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]

    @property
    def is_too_large(self) -> bool:
        return self.body_size > MAX_BODY_BYTES

    def handleContentChunk(self, data: bytes) -> None:
        self.body_size += len(data)
        if not self.is_too_large:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Take the path alone: a target may come as a whole URL, or with a fragment."""
        target = _ORIGIN.sub(b"", path, count=1) if not path.startswith(b"/") else path
        target = target.partition(b"#")[0]
        super().requestReceived(command, target or b"/", version)  # type: ignore[no-untyped-call]


class QuietSite(Site):
    """A site without an access log, which would double the cost of a request."""

    displayTracebacks = False

    def getResourceFor(self, request: Any) -> Any:
        """Find the resource, unless the path is not text: then it is just as unknown as others."""
        try:
            unquote_to_bytes(request.path).decode("utf-8")
        except UnicodeDecodeError:
            request.path = UNKNOWN_PATH
            request.postpath = [UNKNOWN_PATH[1:]]
        return super().getResourceFor(request)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Write nothing."""

"""The files of the pages: the style sheet, the scripts and the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen
from twisted.web.http import NOT_MODIFIED
from twisted.web.server import Request

from sbm.console.rendering import compressed
from sbm.web.openapi.published import StaticDocument

FOLDER = Path(__file__).parent / "static"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@frozen(eq=False, kw_only=True)
class StaticFiles:
    """The files, read when the daemon starts; there is no way to any other file."""

    _files: Mapping[str, StaticDocument] = field(init=False)

    @_files.default
    def _read(self) -> Mapping[str, StaticDocument]:
        return {
            path.name: StaticDocument(
                body=path.read_bytes(),
                content_type=_TYPES[path.suffix],
                headers={"Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"},
            )
            for path in FOLDER.iterdir()
            if path.suffix in _TYPES
        }

    def find(self, name: str) -> StaticDocument | None:
        """The file of this name."""
        return self._files.get(name)

    @staticmethod
    def answer(request: Request, file: StaticDocument) -> bytes:
        """Answer with a file, compressed if the browser accepts that."""
        body = file.answer(request)
        if not body or request.code == NOT_MODIFIED:
            return body
        body, headers = compressed(body, request.getHeader("accept-encoding"))
        if "Content-Encoding" in headers:
            request.setHeader(b"Content-Encoding", b"gzip")
            request.setHeader(b"Content-Length", b"%d" % len(body))
        return body

"""The files of the pages: the style sheet, the scripts and the pictures."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen
from twisted.web.http import CACHED
from twisted.web.server import Request

from sbm.console.rendering import accepts_gzip
from sbm.console.visit import View
from sbm.web.http.http_errors import MethodNotAllowed, NoSuchPath

FOLDER = Path(__file__).parent / "static"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# An address has the digest of its file, so the file at it never changes.
_KEPT = "public, max-age=31536000, immutable"


@frozen(eq=False, kw_only=True)
class _ShippedFile:
    body: bytes = field(repr=False)
    content_type: str
    digest: str = field(init=False)
    compressed: bytes = field(init=False, repr=False)

    @digest.default
    def _hashed(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:16]

    @compressed.default
    def _zipped(self) -> bytes:
        return gzip.compress(self.body, compresslevel=9, mtime=0)


@frozen(eq=False, kw_only=True)
class StaticFiles:
    """The files, read when the daemon starts; there is no way to any other file."""

    _files: Mapping[str, _ShippedFile] = field(init=False)

    @_files.default
    def _read(self) -> Mapping[str, _ShippedFile]:
        return {
            path.name: _ShippedFile(body=path.read_bytes(), content_type=_TYPES[path.suffix])
            for path in FOLDER.iterdir()
            if path.suffix in _TYPES
        }

    def addresses(self) -> Mapping[str, str]:
        """The addresses of the files, by their names."""
        return {
            name: f"/console/static/{name}?v={file.digest}" for name, file in self._files.items()
        }

    def view(self, request: Request, name: str) -> View:
        """The file of this name; raises NoSuchPath, or MethodNotAllowed."""
        file = self._files.get(name)
        if file is None:
            raise NoSuchPath
        if request.method == b"POST":
            raise MethodNotAllowed("POST")
        is_present = (request.args or {}).get(b"v") == [file.digest.encode("ascii")]
        is_zipped = accepts_gzip(request.getHeader("accept-encoding"))
        headers = {
            "Content-Type": file.content_type,
            "Cache-Control": _KEPT if is_present else "no-cache",
            "Vary": "Accept-Encoding",
        }
        coding = "-gzip" if is_zipped else ""
        if request.setETag(f'"{file.digest}{coding}"'.encode("ascii")) is CACHED:
            return View(status=request.code, raw=b"", headers=headers)
        if is_zipped:
            headers["Content-Encoding"] = "gzip"
        return View(raw=file.compressed if is_zipped else file.body, headers=headers)

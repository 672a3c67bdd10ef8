"""What kind of file a browser can show or play."""

from __future__ import annotations

from mimetypes import guess_type
from typing import Literal
from urllib.parse import quote

from attrs import frozen

FileKind = Literal["sound", "picture", "other"]

_KINDS: dict[str, FileKind] = {"audio": "sound", "image": "picture"}


@frozen(kw_only=True)
class ShownFile:
    """A file of a message, and its address."""

    name: str
    url: str
    kind: FileKind


def kind_of(name: str) -> FileKind:
    """The kind of a file, by its name."""
    kind, _, _ = (guess_type(name)[0] or "").partition("/")
    return _KINDS.get(kind, "other")


def shown_file(name: str | None, media_url: str) -> ShownFile | None:
    """The file below the address of the media folder; None for none."""
    if name is None:
        return None
    return ShownFile(name=name, url=f"{media_url}/{quote(name)}", kind=kind_of(name))

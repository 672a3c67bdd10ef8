"""How long a body may be, by its path: a limit is looked at before anything of the body is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from attrs import field, frozen

# A name and a password, or a key.
CREDENTIALS_BYTES = 8 * 2**10
# A subscription, with its metadata.
SUBSCRIPTION_BYTES = 64 * 2**10
# All else: texts of messages, and forms.
USUAL_BYTES = 2**20

# How many values a JSON text may have, whatever its length: a value takes up to a hundred times its
# bytes in memory, and a million of them hold the reactor for half a second.
MAX_JSON_VALUES = 10_000

# A body may come in so many chunks, and in one more for each so many bytes. Whatever its length, a
# chunk takes 7 µs.
FREE_CHUNKS = 200
BYTES_OF_CHUNK = 64


class TinyChunks(Exception):
    """A body comes in more chunks than it needs."""


def check_chunks(chunks: int, size: int) -> None:
    """Raise TinyChunks if a body of this size must not have come in so many chunks."""
    if chunks > FREE_CHUNKS + size // BYTES_OF_CHUNK:
        raise TinyChunks


@frozen(eq=False, kw_only=True)
class BodyLimits:
    """The limits in bytes; ``subscription`` is that of the webhook and of subscriptions."""

    subscription: int = SUBSCRIPTION_BYTES
    _by_path: Sequence[tuple[re.Pattern[bytes], int]] = field(init=False)

    @_by_path.default
    def _listed(self) -> Sequence[tuple[re.Pattern[bytes], int]]:
        return (
            (re.compile(rb"/api/(token-auth|v1/user/token)/?"), CREDENTIALS_BYTES),
            (re.compile(rb"/console/(login|link)/?"), CREDENTIALS_BYTES),
            (re.compile(rb"/api/v1/subscriptions(/.*)?"), self.subscription),
        )

    @classmethod
    def with_metadata(cls, max_bytes: int) -> BodyLimits:
        """The limits if metadata may have so many bytes: there is room for all other fields."""
        return cls(subscription=max(SUBSCRIPTION_BYTES, 4 * max_bytes))

    def of(self, target: bytes) -> int:
        """The limit for a request with this path, perhaps with a query."""
        path = unquote_to_bytes(target.partition(b"?")[0])
        return next((limit for known, limit in self._by_path if known.fullmatch(path)), USUAL_BYTES)

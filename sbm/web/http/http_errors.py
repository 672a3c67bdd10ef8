"""What goes wrong in a request, and the one table of the statuses that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.python.failure import Failure

from sbm.model.echo import echoed
from sbm.operations.refusals import CannotBeSent, InUse, NoSuchRow
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable

UNEXPECTED = {"detail": "Internal server error."}

_NOT_FOUND = "Not found."
_UNKNOWN = (
    "The database was lost while it stored this: it is not known whether this was done."
    " Look before you try again."
)


@frozen(kw_only=True)
class Reason:
    """Why a request is refused, as it is counted and logged: nothing in it comes from a client.

    ``kind`` is one of few words; ``fields`` are names of ours; a ``failure`` is a defect of ours.
    """

    kind: str = ""
    fields: tuple[str, ...] = ()
    failure: Failure | None = field(default=None, repr=False)


class Refusal(Exception):
    """A request that is answered with an error; ``body`` is the JSON value of the answer.

    ``kind`` says more exactly than the class why, and ``fields`` which fields are at fault.
    """

    def __init__(self, body: Any, *, kind: str = "", fields: Sequence[str] = ()) -> None:
        super().__init__(body)
        self.body = body
        self.kind = kind
        self.fields = tuple(fields)


class Detailed(Refusal):
    """A refusal that is told in one sentence."""

    def __init__(self, detail: str, *, kind: str = "") -> None:
        super().__init__({"detail": detail}, kind=kind)


class Malformed(Detailed):
    """The request, its body or its Host header cannot be read."""


class Invalid(Refusal):
    """What the body or the filters say cannot be accepted; messages by field, or a list.

    The names of the fields are logged. If some of them come from the client, ``fields`` has those
    that do not.
    """

    def __init__(self, body: Any, *, kind: str = "", fields: Sequence[str] | None = None) -> None:
        if fields is None:
            fields = tuple(body) if isinstance(body, dict) else ()
        super().__init__(body, kind=kind, fields=fields)


class WrongKey(Malformed):
    """The Idempotency-Key header has no key."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"Idempotency-Key must be one key of 1 to {most} visible ASCII characters, without"
            " blanks or quotes.",
            kind="idempotency-key",
        )


class KeyReused(Detailed):
    """Another request has had this key; it was done, and this one is not."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for a request with another body.")


class Unauthenticated(Detailed):
    """It is not known who asks."""


class Forbidden(Detailed):
    """It is known who asks, and she may not."""

    def __init__(self) -> None:
        super().__init__("You do not have permission to perform this action.")


class NotFound(Detailed):
    """There is no such path, or no such row."""

    def __init__(self, *, kind: str = "") -> None:
        super().__init__(_NOT_FOUND, kind=kind)


class NoSuchPath(NotFound):
    """There is no such path."""

    def __init__(self) -> None:
        super().__init__(kind="unknown-path")


class MethodNotAllowed(Detailed):
    """The path exists, but knows no such method."""

    def __init__(self, method: str) -> None:
        super().__init__(f'Method "{echoed(method)}" not allowed.')


class NotAcceptable(Detailed):
    """The Accept header excludes JSON outright."""

    def __init__(self) -> None:
        super().__init__("Could not satisfy the request Accept header.")


class TooLarge(Detailed):
    """The body exceeds its limit; it was not kept."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body must not exceed {limit} bytes.")


class NotStored(Detailed):
    """A file could not be stored, and nothing was."""

    def __init__(self, detail: str = "The file cannot be stored now. Try again later.") -> None:
        super().__init__(detail)


class UnsupportedMediaType(Detailed):
    """There is a body, but of no type that is read here."""

    def __init__(self, content_type: str) -> None:
        super().__init__(f'Unsupported media type "{echoed(content_type)}" in request.')


class Busy(Detailed):
    """More is asked at once than can be done; nothing was begun."""

    def __init__(self) -> None:
        super().__init__("Too many passwords are being checked now; try again soon.")


# Ours, and those of the operations.
STATUSES: Mapping[type[Exception], int] = {
    Malformed: 400,
    Invalid: 400,
    CannotBeSent: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    NoSuchRow: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    InUse: 409,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    KeyReused: 422,
    Busy: 503,
    DatabaseUnavailable: 503,
    NotStored: 503,
}

# How they are counted, unless they know it more exactly; for each class of STATUSES.
KINDS: Mapping[type[Exception], str] = {
    Malformed: "malformed",
    Invalid: "invalid",
    CannotBeSent: "invalid",
    Unauthenticated: "credentials",
    Forbidden: "forbidden",
    NotFound: "not-found",
    NoSuchRow: "not-found",
    MethodNotAllowed: "method",
    NotAcceptable: "accept",
    InUse: "in-use",
    TooLarge: "too-large",
    UnsupportedMediaType: "media-type",
    KeyReused: "key-reused",
    Busy: "busy",
    CommitUnknown: "commit-unknown",
    DatabaseUnavailable: "database",
    NotStored: "storage",
}
DEFECT = "defect"

# What a client has to be told besides the status.
HEADERS: Mapping[type[Exception], Mapping[str, str]] = {
    Unauthenticated: {"WWW-Authenticate": 'Basic realm="api"'},
    Busy: {"Retry-After": "1"},
    DatabaseUnavailable: {"Retry-After": "5"},
}


def status_of(error: Exception) -> int | None:
    """The status that tells of this error, or None: it is one of ours."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)


def reason_of(error: Exception) -> Reason:
    """Why this error refuses a request; an error that has no status is a defect."""
    kind = next((kind for one, kind in KINDS.items() if isinstance(error, one)), None)
    if kind is None:
        return Reason(kind=DEFECT, failure=Failure(error))
    if isinstance(error, Refusal):
        return Reason(kind=error.kind or kind, fields=error.fields)
    return Reason(kind=kind)


def headers_of(error: Exception) -> Mapping[str, str]:
    """The headers that go with this error."""
    return next((headers for kind, headers in HEADERS.items() if isinstance(error, kind)), {})


def body_of(error: Exception) -> Any:
    """The JSON value that tells of this error."""
    if isinstance(error, Refusal):
        return error.body
    if isinstance(error, NoSuchRow):
        return {"detail": _NOT_FOUND}
    if isinstance(error, InUse):
        return {"detail": str(error)}
    if isinstance(error, CannotBeSent):
        return list(error.sentences)
    if isinstance(error, CommitUnknown):
        return {"detail": _UNKNOWN}
    if isinstance(error, DatabaseUnavailable):
        return {"detail": "The database cannot be used now. Nothing was done; try again later."}
    return UNEXPECTED

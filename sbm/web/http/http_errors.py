"""The errors of requests, and the one table of their statuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from attrs import field, frozen
from twisted.python.failure import Failure

from sbm.model.echo import echoed
from sbm.operations.ledger import NotServed
from sbm.operations.privacy import TooMuchData
from sbm.operations.refusals import (
    CannotBeSent,
    InUse,
    NoSuchRow,
    SimulationUnknown,
)
from sbm.operations.undoing import NotUndoable
from sbm.operations.users import LastAdministrator, TooManyTokens
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable

UNEXPECTED = {"detail": "Internal server error."}

_NOT_FOUND = "Not found."
_UNKNOWN = (
    "The database was lost while it stored this: it is not known whether this was done."
    " Look before you try again."
)


@frozen(kw_only=True)
class Reason:
    """Why a request is refused, for counters and the log: nothing in it comes from a client.

    ``kind`` is one of a few words; ``fields`` are names of our fields; a ``failure`` is a bug.
    """

    kind: str = ""
    fields: tuple[str, ...] = ()
    failure: Failure | None = field(default=None, repr=False)


class Refusal(Exception):
    """A request that is answered with an error; ``body`` is the JSON value of the answer.

    ``kind`` is a more exact reason than the class, and ``fields`` are the fields with errors.
    """

    def __init__(self, body: Any, *, kind: str = "", fields: Sequence[str] = ()) -> None:
        super().__init__(body)
        self.body = body
        self.kind = kind
        self.fields = tuple(fields)


class RefusalWithDetail(Refusal):
    """A refusal whose body has one sentence, as ``detail``."""

    def __init__(self, detail: str, *, kind: str = "") -> None:
        super().__init__({"detail": detail}, kind=kind)


class Malformed(RefusalWithDetail):
    """The request, its body or its Host header cannot be read."""


class Invalid(Refusal):
    """The values in the body or the filters are refused; messages by field, or a list.

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


class KeyReused(RefusalWithDetail):
    """The key was used for another request; that one was done, and this one is not."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for a request with another body.")


class Unauthenticated(RefusalWithDetail):
    """The request has no user, or its credentials are wrong."""


class Forbidden(RefusalWithDetail):
    """The user does not have the permission; ``because`` says why it is needed here."""

    def __init__(self, permission: str | None = None, *, because: str = "") -> None:
        detail = "You do not have permission to perform this action."
        if permission is not None:
            detail += f" {because or 'It'} needs {permission}."
        super().__init__(detail)


class NotFound(RefusalWithDetail):
    """There is no such path, or no such row."""

    def __init__(self, *, kind: str = "") -> None:
        super().__init__(_NOT_FOUND, kind=kind)


class NoSuchPath(NotFound):
    """There is no such path."""

    def __init__(self) -> None:
        super().__init__(kind="unknown-path")


class MethodNotAllowed(RefusalWithDetail):
    """The path exists, but does not have this method."""

    def __init__(self, method: str) -> None:
        super().__init__(f'Method "{echoed(method)}" not allowed.')


class NotAcceptable(RefusalWithDetail):
    """The Accept header excludes JSON outright."""

    def __init__(self) -> None:
        super().__init__("Could not satisfy the request Accept header.")


class NotAsSimulated(Refusal):
    """The tick would not do what was simulated; it was not opened."""


class TooLarge(RefusalWithDetail):
    """The body exceeds its limit; nothing of it was stored."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body must not exceed {limit} bytes.")


class NotStored(RefusalWithDetail):
    """A file could not be stored; nothing was changed."""

    def __init__(self, detail: str = "The file cannot be stored now. Try again later.") -> None:
        super().__init__(detail)


class UnsupportedMediaType(RefusalWithDetail):
    """The body has a media type that this path does not read."""

    def __init__(self, content_type: str) -> None:
        super().__init__(f'Unsupported media type "{echoed(content_type)}" in request.')


class Busy(RefusalWithDetail):
    """Too many requests at once; nothing was begun."""

    def __init__(
        self, detail: str = "Too many passwords are being checked now; try again soon."
    ) -> None:
        super().__init__(detail)


class TooManyGuesses(RefusalWithDetail):
    """An address has sent many wrong credentials: nothing was looked up.

    ``seconds`` is how long to wait.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("Too many wrong credentials came from this address; try again later.")
        self.seconds = seconds


# The errors of ``web``, and those of the operations.
STATUSES: Mapping[type[Exception], int] = {
    Malformed: 400,
    Invalid: 400,
    CannotBeSent: 400,
    NotServed: 400,
    SimulationUnknown: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    NoSuchRow: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    InUse: 409,
    LastAdministrator: 409,
    NotUndoable: 409,
    NotAsSimulated: 409,
    TooMuchData: 409,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    KeyReused: 422,
    TooManyGuesses: 429,
    TooManyTokens: 429,
    Busy: 503,
    DatabaseUnavailable: 503,
    NotStored: 503,
}

# The reasons for the counters, for each class of STATUSES; an error may have a more exact one.
KINDS: Mapping[type[Exception], str] = {
    Malformed: "malformed",
    Invalid: "invalid",
    CannotBeSent: "invalid",
    NotServed: "not-served",
    SimulationUnknown: "simulation-token",
    Unauthenticated: "credentials",
    Forbidden: "forbidden",
    NotFound: "not-found",
    NoSuchRow: "not-found",
    MethodNotAllowed: "method",
    NotAcceptable: "accept",
    InUse: "in-use",
    LastAdministrator: "last-administrator",
    NotUndoable: "not-undoable",
    NotAsSimulated: "not-as-simulated",
    TooMuchData: "too-much-data",
    TooLarge: "too-large",
    UnsupportedMediaType: "media-type",
    KeyReused: "key-reused",
    TooManyGuesses: "too-many-guesses",
    TooManyTokens: "too-many-tokens",
    Busy: "busy",
    CommitUnknown: "commit-unknown",
    DatabaseUnavailable: "database",
    NotStored: "storage",
}
DEFECT = "defect"

# The headers that some errors need.
HEADERS: Mapping[type[Exception], Mapping[str, str]] = {
    Unauthenticated: {"WWW-Authenticate": 'Basic realm="api"'},
    Busy: {"Retry-After": "1"},
    DatabaseUnavailable: {"Retry-After": "5"},
}


def status_of(error: Exception) -> int | None:
    """The status of this error; None if the error is a bug."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)


def reason_of(error: Exception) -> Reason:
    """The reason of this error, for counters and the log; an error without a status is a bug."""
    kind = next((kind for one, kind in KINDS.items() if isinstance(error, one)), None)
    if kind is None:
        return Reason(kind=DEFECT, failure=Failure(error))
    if isinstance(error, Refusal):
        return Reason(kind=error.kind or kind, fields=error.fields)
    return Reason(kind=kind)


def headers_of(error: Exception) -> Mapping[str, str]:
    """The headers of the answer to this error."""
    if isinstance(error, TooManyGuesses):
        return {"Retry-After": str(ceil(error.seconds))}
    return next((headers for kind, headers in HEADERS.items() if isinstance(error, kind)), {})


def body_of(error: Exception) -> Any:
    """The JSON value of the answer to this error."""
    if isinstance(error, Refusal):
        return error.body
    if isinstance(error, NoSuchRow):
        return {"detail": _NOT_FOUND}
    told = InUse | LastAdministrator | NotServed | NotUndoable | SimulationUnknown
    if isinstance(error, told | TooManyTokens | TooMuchData):
        return {"detail": str(error)}
    if isinstance(error, CannotBeSent):
        return list(error.sentences)
    if isinstance(error, CommitUnknown):
        return {"detail": _UNKNOWN}
    if isinstance(error, DatabaseUnavailable):
        return {"detail": "The database cannot be used now. Nothing was done; try again later."}
    return UNEXPECTED

"""The author of a change by the API: what the audit tells of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from sbm.model.author import REQUEST_ID, Author, new_request_id
from sbm.model.signature import MAX_REASON
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Malformed

REASON_HEADER = "X-Change-Reason"
REQUEST_ID_HEADER = "X-Request-ID"

# Longer paths are cut in the audit.
MAX_ACTION = 200

Result = TypeVar("Result")


def request_id_of(request: Any) -> str:
    """The id that the client has given its request, or a new one."""
    given = request.getHeader(REQUEST_ID_HEADER) or ""
    return given if REQUEST_ID.fullmatch(given) else new_request_id()


def given_reason(request: Any) -> str:
    """Why a change is made, as the client says; raises Malformed."""
    lines: list[bytes] = request.requestHeaders.getRawHeaders(REASON_HEADER.encode("ascii"), [b""])
    reason: str | None = None
    with suppress(ValueError):  # not UTF-8, or several
        (reason,) = (line.decode("utf-8").strip() for line in lines)
    if reason is None or len(reason) > MAX_REASON or not reason.isprintable():
        raise Malformed(
            f"{REASON_HEADER} must be printable text of at most {MAX_REASON} characters, in UTF-8,"
            " and be there only once.",
            kind="change-reason",
        )
    return reason


async def by_author(
    transaction: Transaction,
    author: Author,
    work: Callable[..., Awaitable[Result]],
    **arguments: Any,
) -> Result:
    """Do work whose changes have this author; for methods that begin their own transactions."""
    transaction.author = author
    return await work(transaction, **arguments)

"""A request leaves nothing that only a collection of garbage would find."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import pytest_twisted

from sbm.web.http.http_errors import Refusal
from sbm.web.http.request import BoundedRequest
from tests.web.conftest import Api
from tests.web.sockets import asked, head

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def errors() -> set[int]:
    """The refusals that are in memory; other tests have some that are never raised."""
    return {id(one) for one in gc.get_objects() if isinstance(one, Refusal)}


def requests() -> list[BoundedRequest]:
    """The requests that are in memory; a connection of another test may have one for a while."""
    return [one for one in gc.get_objects() if isinstance(one, BoundedRequest)]


@pytest.fixture
def errors_before() -> Iterator[set[int]]:
    """What is in memory before the test; nothing is collected during it."""
    gc.collect()
    gc.disable()
    yield errors()
    gc.enable()


@pytest.mark.parametrize(
    ("kind", "body", "token"),
    [
        (JSON, b'{"a": "' + b"x" * 100_000, "right"),
        (JSON, b"[" + b"[]," * 20_000 + b"[]]", "right"),
        (JSON, b'{"short_name": 1}', "right"),
        (FORM, b"&".join([b"a=1"] * 5000), "right"),
        (JSON, b"{}", "wrong"),
    ],
    ids=["unreadable", "too many values", "invalid", "too many fields", "not authenticated"],
)
@pytest_twisted.ensureDeferred
async def test_a_refused_request_leaves_no_error(
    api: Api, errors_before: set[int], kind: str, body: bytes, token: str
) -> None:
    lines = f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"
    given = {"token": token} if token == "wrong" else {}
    start = head(api, "POST /api/v1/messageset/", *lines, **given)
    status, _ = await (await asked(api, start + body)).answer()
    assert status in (400, 401)
    assert errors() <= errors_before


@pytest.mark.parametrize(
    ("asked_for", "expected"),
    [
        ("GET /api/v1/messageset/", 200),
        ("GET /api/v1/messageset/1/", 404),
        ("GET /nowhere", 404),
        ("GET /livez", 200),
    ],
    ids=["list", "row", "unknown path", "probe"],
)
@pytest_twisted.ensureDeferred
async def test_an_answered_request_is_not_kept(api: Api, asked_for: str, expected: int) -> None:
    gc.collect()
    gc.disable()
    try:
        before = requests()
        start = head(api, asked_for, "Connection: close")
        answer = await (await asked(api, start)).rest()
        assert answer.startswith(b"HTTP/1.1 %d " % expected)
        kept = [one for one in requests() if not any(one is other for other in before)]
    finally:
        gc.enable()
    assert not kept

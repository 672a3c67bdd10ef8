"""A refused request leaves nothing that only a collection of garbage would find."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import pytest_twisted

from sbm.web.http.http_errors import Refusal
from tests.web.conftest import Api
from tests.web.sockets import asked, head

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def errors() -> set[int]:
    """The refusals that are in memory; other tests have some that are never raised."""
    return {id(one) for one in gc.get_objects() if isinstance(one, Refusal)}


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

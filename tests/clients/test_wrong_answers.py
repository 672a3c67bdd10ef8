"""Every way in which an answer can be wrong is one of the outcomes that the callers know."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone

import pytest
from pytest_twisted import ensureDeferred

from sbm.clients.http_connection import MAX_BODY_BYTES
from sbm.clients.identity_store import IdentityStore
from sbm.clients.message_sender import MessageSender
from sbm.clients.metrics import MetricsApi
from sbm.clients.outcomes import CannotBeAsked, Failed, Faulty, OutcomeUnknown, Rejected, Unanswered
from sbm.clients.scheduler import LOOK, Scheduler
from sbm.clients.service_client import ServiceClient
from sbm.model.scheduler_call import CallBack
from tests.clients.far import Far, Line, answer

NOW = datetime(2026, 1, 5, tzinfo=timezone.utc)
CALL_BACK = CallBack(cron_definition="* * * * *", endpoint="http://sbm/", auth_token="t")


async def pages(client: ServiceClient) -> None:
    async for _ in Scheduler(client=client).pages(limits=LOOK):
        pass


# What is called, and whether it changes anything there.
CALLS: dict[str, tuple[Callable[[ServiceClient], Awaitable[object]], bool]] = {
    "look up an address": (lambda far: IdentityStore(client=far).address_of("i"), False),
    "post an outbound": (
        lambda far: MessageSender(client=far).post(b"{}", begin=lambda: True),
        True,
    ),
    "look for outbounds": (
        lambda far: MessageSender(client=far).find(["i"], keys=["k"], after=NOW),
        False,
    ),
    "make a schedule": (
        lambda far: Scheduler(client=far).create(CALL_BACK, begin=lambda: True),
        True,
    ),
    "change a schedule": (
        lambda far: Scheduler(client=far).change("1", {"enabled": False}),
        False,
    ),
    "list schedules": (pages, False),
    "tell the metrics": (lambda far: MetricsApi(client=far).fire({"a.sum": 1.0}), True),
}

HEAD = b"HTTP/1.1 200 OK\r\n"
HOSTILE = b"\x1b]0;\x07\x00\r\n2026-11-28 all is well\xc2\x9b2J\xe2\x80\xae\xff"
_CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

# What comes over the wire; the connection is closed behind it.
ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a strange version": b"ICY 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status that is no number": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "half a status": b"HTTP/1.1 20",
    "half of the headers": HEAD + b"Content-Le",
    "a header without a colon": HEAD + b"nonsense\r\nContent-Length: 2\r\n\r\n{}",
    "a length that is no number": HEAD + b"Content-Length: two\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a body that is too short": HEAD + b'Content-Length: 99\r\n\r\n{"id": 1',
    "a chunk that is no chunk": _CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "half of the chunks": _CHUNKED + b'5\r\n{"id"',
    "a strange transfer": HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "only that it goes on": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a redirect": answer(302, Location="http://127.0.0.1:9/"),
    "a redirect to nowhere": b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n",
    "an empty body": answer(200),
    "a page": answer(200, b"<html></html>", Content_Type="text/html"),
    "half of the JSON": answer(200, b'{"id": '),
    "other JSON": answer(200, b"[1]"),
    "null": answer(200, b"null"),
    "a number that is none": answer(200, b'{"id": NaN, "results": NaN}'),
    "too many digits": answer(200, b'{"id": ' + b"9" * 5000 + b"}"),
    "deep JSON": answer(200, b"[" * 100_000),
    "no UTF-8": answer(200, b'{"id": "\xff", "results": [{"address": "\xff"}]}'),
    "a terminal": answer(200, HOSTILE),
    "a terminal in JSON": answer(200, json.dumps({"id": HOSTILE.decode("latin-1")}).encode()),
    "a terminal that is away": answer(503, HOSTILE),
    "an error without end": b"HTTP/1.1 500 No\r\nContent-Length: 999999\r\n\r\n" + b"<p>" * 99_999,
    "no gzip": answer(200, b"{}", Content_Encoding="gzip"),
    "half of the gzip": answer(200, gzip.compress(b'{"id": 1}')[:12], Content_Encoding="gzip"),
    "too long": answer(200, b" " * (MAX_BODY_BYTES + 1)),
    "too long in chunks": _CHUNKED + b"500000\r\n" + b" " * 0x500000 + b"\r\n0\r\n\r\n",
    **{f"status {status}": answer(status, b"<h1>no</h1>") for status in range(400, 600)},
}


@pytest.mark.parametrize("called", CALLS)
@ensureDeferred
async def test_whatever_comes_back_a_call_ends_in_an_outcome(
    far: Far, client: ServiceClient, called: str
) -> None:
    call, changes = CALLS[called]
    for name, said in ANSWERS.items():

        def reply(line: Line, said: bytes = said) -> None:
            line.hang_up(said)

        far.reply = reply
        error = await error_of(call(client))
        if error is None:
            assert name in _FINE.get(called, ()), f"{name} is no success"
            continue
        assert isinstance(error, Failed | Rejected), f"{name}: {error!r}"
        assert changes or not isinstance(error, OutcomeUnknown), f"{name}: nothing was changed"
        assert str(error).isprintable(), name
        assert len(str(error)) < 500


async def error_of(call: Awaitable[object]) -> Exception | None:
    """What a call raises."""
    try:
        await call
    except Exception as error:
        return error
    return None


# Where the status is all that counts, or nothing is what was looked for.
_ANY_2XX = tuple(name for name, said in ANSWERS.items() if said[9:10] == b"2")
_FINE = {"change a schedule": _ANY_2XX, "tell the metrics": _ANY_2XX, "look for outbounds": ANSWERS}


@pytest.mark.parametrize("said", ["nothing", "half of the headers", "half of the chunks"])
@ensureDeferred
async def test_a_question_without_a_whole_answer_may_be_due_to_what_was_asked(
    far: Far, client: ServiceClient, said: str
) -> None:
    far.reply = lambda line: line.hang_up(ANSWERS[said])
    with pytest.raises(Unanswered):
        await IdentityStore(client=client).address_of("i")


@ensureDeferred
async def test_an_answer_that_is_too_long_is_a_faulty_one(far: Far, client: ServiceClient) -> None:
    far.reply = lambda line: line.hang_up(ANSWERS["too long"])
    with pytest.raises(Faulty):
        await IdentityStore(client=client).address_of("i")


@ensureDeferred
async def test_outbounds_that_were_looked_for_in_vain_are_in_doubt(
    far: Far, client: ServiceClient
) -> None:
    """A wrong answer never proves that something is absent."""
    for name, said in ANSWERS.items():

        def reply(line: Line, said: bytes = said) -> None:
            line.hang_up(said)

        far.reply = reply
        try:
            found = await MessageSender(client=client).find(["i"], keys=["k"], after=NOW)
        except (Failed, CannotBeAsked):
            continue
        assert found.doubt, name

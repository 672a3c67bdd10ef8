"""The Message Sender: every kind of answer means one thing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.web.server import Site

from sbm.clients.message_sender import MessageSender
from sbm.clients.outcomes import OutcomeUnknown, Rejected, Unavailable
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import RequestTimeout
from sbm.sandbox.stand_ins.message_sender import MessageSender as Store
from sbm.sandbox.stand_ins.message_sender import MessageSenderApp
from sbm.settings.endpoints import ServiceAddress
from tests.clients.far import Far, answer, reactor
from tests.clients.test_service_client import TIMEOUT, yes

OUTBOUND = '{"to_addr":"+27820001001","to_identity":"i","content":"two ☃"}'.encode()


async def post(client: ServiceClient) -> str:
    return await MessageSender(client=client).post(OUTBOUND, begin=yes)


@ensureDeferred
async def test_the_request_is_the_outbound_and_nothing_else(
    far: Far, client: ServiceClient
) -> None:
    far.says(answer(201, b'{"id": "7"}'))
    assert await post(client) == "7"
    (request,) = far.requests
    assert (request.method, request.target) == ("POST", "/api/v1/outbound/")
    assert request.headers["authorization"] == "Token the-token"
    assert request.body == OUTBOUND


@ensureDeferred
async def test_the_stand_in_takes_it_and_its_id_comes_back() -> None:
    store = Store()
    port = reactor.listenTCP(
        0, Site(MessageSenderApp(sender=store).resource()), interface="127.0.0.1"
    )
    address = ServiceAddress(url=f"http://127.0.0.1:{port.getHost().port}", token="t")
    client = ServiceClient(reactor=reactor, address=address, timeout=RequestTimeout(TIMEOUT))
    try:
        outbound_id = await post(client)
    finally:
        await client.stopService()
        await port.stopListening()
    assert store.get(outbound_id).said.content == "two ☃"


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    ("body", "outbound_id"), [({"id": "abc", "more": 1}, "abc"), ({"id": 17}, "17")]
)
@ensureDeferred
async def test_a_success_with_an_id_is_sent(
    far: Far, client: ServiceClient, status: int, body: Any, outbound_id: str
) -> None:
    far.says(answer(status, json.dumps(body).encode()))
    assert await post(client) == outbound_id


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"{}",
        b"[]",
        b"null",
        b'"id"',
        b'{"id": null}',
        b'{"id": ""}',
        b'{"id": false}',
        b'{"id": {"a": 1}}',
        b'{"id": 0}',
        b'{"id": "a\\u001b[2J"}',
        b'{"id": "two words"}',
        b'{"id": "' + b"a" * 101 + b'"}',
        b'{"id": ' + b"1" * 101 + b"}",
        b'{"id": ["a"]}',
        b'{"id": "1"',
        b"[" * 100_000,
        b'{"id": "\xff"}',
    ],
)
@ensureDeferred
async def test_a_success_without_an_id_is_unknown(
    far: Far, client: ServiceClient, body: bytes
) -> None:
    far.says(answer(201, body))
    with pytest.raises(OutcomeUnknown):
        await post(client)


@ensureDeferred
async def test_a_success_in_garbled_gzip_is_unknown(far: Far, client: ServiceClient) -> None:
    far.says(answer(201, b"no gzip at all", Content_Encoding="gzip"))
    with pytest.raises(OutcomeUnknown):
        await post(client)


@ensureDeferred
async def test_a_success_without_content_is_unknown(far: Far, client: ServiceClient) -> None:
    far.says(b"HTTP/1.1 204 No Content\r\n\r\n")
    with pytest.raises(OutcomeUnknown):
        await post(client)


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ((400, 413, 415, 422), Rejected),
        ((401, 403, 404, 405, 429), Unavailable),
        ((301, 302, 304, 308, 402, 406, 408, 409, 410, 418, 423, 425, 451), OutcomeUnknown),
        ((500, 501, 502, 503, 504, 507, 520, 599), OutcomeUnknown),
    ],
)
@ensureDeferred
async def test_every_other_status_has_its_meaning(
    far: Far, client: ServiceClient, statuses: tuple[int, ...], meaning: type[Exception]
) -> None:
    for status in statuses:
        far.says(answer(status, b'{"id": "1", "detail": "so"}'))
        with pytest.raises(meaning) as caught:
            await post(client)
        if status != 304:  # which has no body
            assert f'answered {status} {{"id"' in str(caught.value)


@ensureDeferred
async def test_what_the_service_asks_for_is_passed_on(far: Far, client: ServiceClient) -> None:
    far.says(answer(429, Retry_After="7"))
    with pytest.raises(Unavailable) as caught:
        await post(client)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 7

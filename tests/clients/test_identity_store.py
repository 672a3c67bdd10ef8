"""The Identity Store: an address, none, or no answer."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from twisted.web.server import Site

from sbm.addresses import ServiceAddress
from sbm.clients.exchange import Exchanges
from sbm.clients.identity_store import IdentityStore
from sbm.clients.outcomes import Rejected, Unavailable
from sbm.sandbox.identity_store import IdentityStore as Store
from sbm.sandbox.identity_store import IdentityStoreApp
from tests.clients.far import Far, answer, reactor
from tests.clients.test_exchange import TIMEOUT

MOTHER = "6fb30d6b-ba06-4964-825e-20f93388b9fe"


async def ask(exchanges: Exchanges, identity: str = MOTHER) -> str:
    return await IdentityStore(exchanges).address_of(identity)


@ensureDeferred
async def test_the_request_is_as_the_service_knows_it(far: Far, exchanges: Exchanges) -> None:
    far.says(answer(200, b'{"results": [{"address": "+27820001001"}, {"address": "+1"}]}'))
    assert await ask(exchanges) == "+27820001001"
    (request,) = far.requests
    assert (request.method, request.body) == ("GET", b"")
    assert request.target == (
        f"/api/v1/identities/{MOTHER}/addresses/msisdn?default=True&use_communicate_through=True"
    )
    assert request.headers["authorization"] == "Token the-token"


@ensureDeferred
async def test_an_identity_that_is_no_uuid_stays_one_part_of_the_path(
    far: Far, exchanges: Exchanges
) -> None:
    far.says(answer(200, b'{"results": [{"address": "+1"}]}'))
    await ask(exchanges, "../x?default=False#/é")
    assert far.only(lambda request: request.target).startswith(
        "/api/v1/identities/..%2Fx%3Fdefault%3DFalse%23%2F%C3%A9/addresses/msisdn?default=True&"
    )


@ensureDeferred
async def test_the_stand_in_is_understood() -> None:
    store = Store()
    known, silent = store.add("+27820001001"), store.add(None)
    port = reactor.listenTCP(0, Site(IdentityStoreApp(store).resource()), interface="127.0.0.1")
    address = ServiceAddress(url=f"http://127.0.0.1:{port.getHost().port}", token="t")
    exchanges = Exchanges(reactor, address, TIMEOUT)
    try:
        assert await ask(exchanges, known) == "+27820001001"
        with pytest.raises(Rejected, match="no address"):
            await ask(exchanges, silent)
        with pytest.raises(Rejected, match="does not know"):
            await ask(exchanges, MOTHER)
    finally:
        await exchanges.stopService()
        await port.stopListening()


@pytest.mark.parametrize(
    "body",
    [b'{"results": []}', b'{"results": [{"address": null}]}', b'{"results":[{"address":""}]}'],
)
@ensureDeferred
async def test_no_address_is_an_answer(far: Far, exchanges: Exchanges, body: bytes) -> None:
    far.says(answer(200, body))
    with pytest.raises(Rejected, match="no address"):
        await ask(exchanges)


@ensureDeferred
async def test_a_404_of_the_service_means_the_identity(far: Far, exchanges: Exchanges) -> None:
    far.says(answer(404, b'{"detail":"Not found."}'))
    with pytest.raises(Rejected, match="does not know"):
        await ask(exchanges)


@pytest.mark.parametrize(
    "body", [b"", b"<h1>Not Found</h1>", b"[]", b'"detail"', b'["detail"]', b"{}", b"[" * 100_000]
)
@ensureDeferred
async def test_a_404_of_somebody_else_marks_nobody(
    far: Far, exchanges: Exchanges, body: bytes
) -> None:
    far.says(answer(404, body))
    with pytest.raises(Unavailable):
        await ask(exchanges)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"{}",
        b"[]",
        b"null",
        b'{"results": null}',
        b'{"results": {}}',
        b'{"results": ""}',
        b'{"results": 0}',
        b'{"results": 7}',
        b'{"results": "+27"}',
        b'{"results": [{}]}',
        b'{"results": ["+27"]}',
        b'{"results": [null]}',
        b"[" * 100_000,
        b'{"results": [{"address": "\xff"}]}',
    ],
)
@ensureDeferred
async def test_an_answer_that_makes_no_sense_marks_nobody(
    far: Far, exchanges: Exchanges, body: bytes
) -> None:
    far.says(answer(200, body))
    with pytest.raises(Unavailable):
        await ask(exchanges)


@ensureDeferred
async def test_every_other_status_is_the_service_s_absence(far: Far, exchanges: Exchanges) -> None:
    for status in (301, 302, 400, 401, 403, 405, 408, 410, 418, 429, 500, 502, 503, 504):
        far.says(answer(status, b'{"detail": "x", "results": []}', Retry_After="9"))
        with pytest.raises(Unavailable) as caught:
            await ask(exchanges)
        assert f"answered {status} " in str(caught.value)
        assert caught.value.retry_after is not None


@ensureDeferred
async def test_a_connection_that_drops_once_costs_nothing(far: Far, exchanges: Exchanges) -> None:
    def reply(line: object) -> None:
        if len(far.requests) == 1:
            far.lines[0].hang_up()
        else:
            far.lines[1].say(answer(200, b'{"results": [{"address": "+1"}]}'))

    far.reply = reply
    assert await ask(exchanges) == "+1"

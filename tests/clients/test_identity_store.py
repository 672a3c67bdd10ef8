"""The Identity Store: an address, none, or no answer."""

from __future__ import annotations

import json

import pytest
from pytest_twisted import ensureDeferred
from twisted.web.server import Site

from sbm.clients.identity_store import MOST_FOUND, IdentityStore
from sbm.clients.outcomes import Faulty, NotKnown, Rejected, Unavailable
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import RequestTimeout
from sbm.sandbox.stand_ins.identity_store import IdentityStore as Store
from sbm.sandbox.stand_ins.identity_store import IdentityStoreApp
from sbm.settings.endpoints import ServiceAddress
from tests.clients.far import Far, answer, reactor
from tests.clients.test_service_client import TIMEOUT

MOTHER = "6fb30d6b-ba06-4964-825e-20f93388b9fe"


async def ask(client: ServiceClient, identity: str = MOTHER) -> str:
    return await IdentityStore(client=client).address_of(identity)


@ensureDeferred
async def test_the_request_is_as_the_service_knows_it(far: Far, client: ServiceClient) -> None:
    far.says(answer(200, b'{"results": [{"address": "+27820001001"}, {"address": "+1"}]}'))
    assert await ask(client) == "+27820001001"
    (request,) = far.requests
    assert (request.method, request.body) == ("GET", b"")
    assert request.target == (
        f"/api/v1/identities/{MOTHER}/addresses/msisdn?default=True&use_communicate_through=True"
    )
    assert request.headers["authorization"] == "Token the-token"


@ensureDeferred
async def test_an_identity_that_is_no_uuid_stays_one_part_of_the_path(
    far: Far, client: ServiceClient
) -> None:
    far.says(answer(200, b'{"results": [{"address": "+1"}]}'))
    await ask(client, "../x?default=False#/é")
    assert far.only(lambda request: request.target).startswith(
        "/api/v1/identities/..%2Fx%3Fdefault%3DFalse%23%2F%C3%A9/addresses/msisdn?default=True&"
    )


@ensureDeferred
async def test_the_stand_in_is_understood() -> None:
    store = Store()
    known, silent = store.add("+27820001001"), store.add(None)
    port = reactor.listenTCP(
        0, Site(IdentityStoreApp(store=store).resource()), interface="127.0.0.1"
    )
    address = ServiceAddress(url=f"http://127.0.0.1:{port.getHost().port}", token="t")
    client = ServiceClient(reactor=reactor, address=address, timeout=RequestTimeout(TIMEOUT))
    try:
        assert await ask(client, known) == "+27820001001"
        with pytest.raises(Rejected, match="no address"):
            await ask(client, silent)
        with pytest.raises(Rejected, match="does not know"):
            await ask(client, MOTHER)
        asked = IdentityStore(client=client)
        assert (await asked.search("+27820001001")).identities == [known]
        assert not (await asked.search("27820001001")).identities
        assert [await asked.is_known(one) for one in (silent, MOTHER)] == [True, False]
    finally:
        await client.stopService()
        await port.stopListening()


@pytest.mark.parametrize(
    "body",
    [b'{"results": []}', b'{"results": [{"address": null}]}', b'{"results":[{"address":""}]}'],
)
@ensureDeferred
async def test_no_address_is_an_answer(far: Far, client: ServiceClient, body: bytes) -> None:
    far.says(answer(200, body))
    with pytest.raises(Rejected, match="no address"):
        await ask(client)


@ensureDeferred
async def test_a_404_of_the_service_means_the_identity(far: Far, client: ServiceClient) -> None:
    far.says(answer(404, b'{"detail":"Not found."}'))
    with pytest.raises(Rejected, match="does not know"):
        await ask(client)


@pytest.mark.parametrize(
    "body", [b"", b"<h1>Not Found</h1>", b"[]", b'"detail"', b'["detail"]', b"{}", b"[" * 100_000]
)
@ensureDeferred
async def test_a_404_of_somebody_else_marks_nobody(
    far: Far, client: ServiceClient, body: bytes
) -> None:
    far.says(answer(404, body))
    with pytest.raises(Unavailable):
        await ask(client)


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
    far: Far, client: ServiceClient, body: bytes
) -> None:
    far.says(answer(200, body))
    with pytest.raises(Unavailable):
        await ask(client)


@pytest.mark.parametrize(
    "status", [301, 302, 400, 401, 403, 405, 408, 410, 418, 500, 502, 503, 504, 599]
)
@ensureDeferred
async def test_every_other_status_may_be_due_to_the_identity(
    far: Far, client: ServiceClient, status: int
) -> None:
    far.says(answer(status, b'{"detail": "x", "results": []}'))
    with pytest.raises(Faulty, match=f"answered {status} ") as caught:
        await ask(client)
    assert not caught.value.at_once


@pytest.mark.parametrize("status", [429, 503])
@ensureDeferred
async def test_a_service_that_asks_for_a_pause_is_away(
    far: Far, client: ServiceClient, status: int
) -> None:
    far.says(answer(status, b'{"detail": "x"}', Retry_After="9"))
    with pytest.raises(Unavailable) as caught:
        await ask(client)
    assert not isinstance(caught.value, Faulty)
    assert caught.value.retry_after is not None


@pytest.mark.parametrize("status", [400, 403, 500, 502])
@ensureDeferred
async def test_what_an_error_asks_for_is_not_asked_of_everybody(
    far: Far, client: ServiceClient, status: int
) -> None:
    far.says(answer(status, Retry_After="3600"))
    with pytest.raises(Faulty) as caught:
        await ask(client)
    assert caught.value.retry_after is None


def committed_results(far: Far, answers: list[bytes]) -> None:
    """Answer one request after the other."""
    far.reply = lambda line: line.say(answers.pop(0))


SERVER_ERROR = answer(500, b"<h1>Server Error (500)</h1>", Content_Type="text/html")


@ensureDeferred
async def test_a_500_about_an_identity_that_is_not_there_means_not_known(
    far: Far, client: ServiceClient
) -> None:
    committed_results(far, [SERVER_ERROR, answer(404, b'{"detail":"Not found."}')])
    with pytest.raises(NotKnown):
        await ask(client)
    assert [request.target.partition("?")[0] for request in far.requests] == [
        f"/api/v1/identities/{MOTHER}/addresses/msisdn",
        f"/api/v1/identities/{MOTHER}/",
    ]


@pytest.mark.parametrize(
    "second",
    [
        answer(200, b'{"id": "x"}'),
        SERVER_ERROR,
        answer(404, b"<h1>Not Found</h1>"),
        answer(429),
        b"garbage\r\n\r\n",
    ],
)
@ensureDeferred
async def test_a_500_about_anything_else_is_a_faulty_answer(
    far: Far, client: ServiceClient, second: bytes
) -> None:
    committed_results(far, [SERVER_ERROR, second])
    with pytest.raises(Faulty, match="answered 500") as caught:
        await ask(client)
    assert not isinstance(caught.value, NotKnown)


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        (" ", "is blank"),
        ("\u00a0\u2003", "is blank"),
        ("\u200b\ufeff", "is blank"),
        ("\t\n", "has control characters"),
        ("+2782\u00000001", "has control characters"),
        ("+27820001001\r\n", "has control characters"),
        ("+2782\u0085", "has control characters"),
        ("+" + "1" * 500, "has more than 500 characters"),
    ],
)
@ensureDeferred
async def test_what_is_no_address_is_told_from_none(
    far: Far, client: ServiceClient, address: str, fault: str
) -> None:
    far.says(answer(200, json.dumps({"results": [{"address": address}]}).encode()))
    with pytest.raises(Rejected, match=fault) as caught:
        await ask(client)
    assert not address.strip() or address not in str(caught.value)


@pytest.mark.parametrize("address", ["+27 82 000 1001", "mother@example.org", "☎", "\ud800"])
@ensureDeferred
async def test_other_addresses_are_taken_as_they_are(
    far: Far, client: ServiceClient, address: str
) -> None:
    far.says(answer(200, json.dumps({"results": [{"address": address}]}).encode()))
    assert await ask(client) == address


@ensureDeferred
async def test_a_connection_that_drops_once_costs_nothing(far: Far, client: ServiceClient) -> None:
    def reply(line: object) -> None:
        if len(far.requests) == 1:
            far.lines[0].hang_up()
        else:
            far.lines[1].say(answer(200, b'{"results": [{"address": "+1"}]}'))

    far.reply = reply
    assert await ask(client) == "+1"


@ensureDeferred
async def test_identities_are_found_by_a_number(far: Far, client: ServiceClient) -> None:
    other = "BBE7936A-9A5F-4C7E-8A61-6B1AD4D5C0F1"
    far.says(answer(200, json.dumps({"results": [{"id": MOTHER}, {"id": other}]}).encode()))
    found = await IdentityStore(client=client).search("+27820001001")
    assert (found.identities, found.more) == ([MOTHER, other.lower()], False)
    assert far.only(lambda request: request.target) == (
        "/api/v1/identities/search/?details__addresses__msisdn=%2B27820001001"
    )


@ensureDeferred
async def test_a_number_of_many_identities_is_told_in_part(far: Far, client: ServiceClient) -> None:
    rows = [{"id": f"6fb30d6b-ba06-4964-825e-{number:012}"} for number in range(MOST_FOUND + 1)]
    far.says(answer(200, json.dumps({"next": None, "results": rows}).encode()))
    found = await IdentityStore(client=client).search("+27820001001")
    assert (len(found.identities), found.more) == (MOST_FOUND, True)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"<h1>hello</h1>",
        b'{"results": null}',
        b'{"results": [1]}',
        b'{"results": [{"id": 1}]}',
        b'{"results": [{"id": "../x"}]}',
    ],
)
@ensureDeferred
async def test_other_answers_to_a_search_are_faulty(
    far: Far, client: ServiceClient, body: bytes
) -> None:
    far.says(answer(200, body))
    with pytest.raises(Faulty):
        await IdentityStore(client=client).search("+27820001001")


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
@ensureDeferred
async def test_a_search_that_is_refused_finds_nothing_out(
    far: Far, client: ServiceClient, status: int
) -> None:
    far.says(answer(status, b'{"detail": "no"}'))
    with pytest.raises(Unavailable, match=str(status)):
        await IdentityStore(client=client).search("+27820001001")


@pytest.mark.parametrize(
    ("told", "is_known"),
    [(answer(200, b'{"id": "x"}'), True), (answer(404, b'{"detail": "Not found."}'), False)],
)
@ensureDeferred
async def test_it_tells_whether_it_knows_an_identity(
    far: Far, client: ServiceClient, told: bytes, is_known: bool
) -> None:
    far.says(told)
    assert await IdentityStore(client=client).is_known(MOTHER) is is_known


@pytest.mark.parametrize("told", [answer(404, b"<h1>Not Found</h1>"), answer(500), answer(429)])
@ensureDeferred
async def test_a_useless_answer_does_not_tell_whether_it_knows_an_identity(
    far: Far, client: ServiceClient, told: bytes
) -> None:
    far.says(told)
    with pytest.raises(Unavailable):
        await IdentityStore(client=client).is_known(MOTHER)

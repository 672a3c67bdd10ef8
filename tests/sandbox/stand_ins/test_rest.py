"""The rules that all stand-ins share, tested with the Message Sender."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.web.server import Request

from sbm.sandbox.stand_ins.message_sender import MessageSender, MessageSenderApp
from sbm.sandbox.stand_ins.rest import Response, compact_json
from tests.sandbox.wire import Wire


@pytest.fixture
def wire() -> Wire:
    return Wire(MessageSenderApp(sender=MessageSender()).resource())


@pytest.mark.parametrize("authorization", [None, "", " "])
def test_nobody_comes_in_without_authorization(wire: Wire, authorization: str | None) -> None:
    wire.authorization = authorization
    answer = wire.get("/outbound/")
    assert answer.status == 401
    assert answer.raw == b'{"detail":"Authentication credentials were not provided."}'
    assert answer.headers["www-authenticate"] == 'Basic realm="api"'


def test_answers_are_compact_json_of_known_length(wire: Wire) -> None:
    answer = wire.get("/outbound/")
    assert answer.raw == b'{"next":null,"previous":null,"results":[]}'
    assert answer.headers["content-type"] == "application/json"
    assert answer.announced_length == len(answer.raw)


def test_an_unknown_path_is_not_found_in_json(wire: Wire) -> None:
    answer = wire.get("/inbound/")
    assert (answer.status, answer.body) == (404, {"detail": "Not found."})


def test_a_method_that_a_path_lacks_is_refused_in_json(wire: Wire) -> None:
    answer = wire.ask("PUT", "/outbound/")
    assert (answer.status, answer.body) == (405, {"detail": 'Method "PUT" not allowed.'})


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b'{"to_addr":', "JSON parse error - Expecting value: line 1 column 12 (char 11)"),
        (
            b'{"metadata": NaN}',
            "JSON parse error - Out of range float values are not JSON compliant: 'NaN'",
        ),
    ],
)
def test_malformed_json_is_refused_with_its_place(wire: Wire, raw: bytes, detail: str) -> None:
    answer = wire.ask("POST", "/outbound/", raw=raw)
    assert (answer.status, answer.body) == (400, {"detail": detail})


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[]", "Invalid data. Expected a dictionary, but got list."),
        (b"null", "No data provided"),
    ],
)
def test_a_body_that_is_no_object_is_refused(wire: Wire, raw: bytes, message: str) -> None:
    answer = wire.ask("POST", "/outbound/", raw=raw)
    assert (answer.status, answer.body) == (400, {"non_field_errors": [message]})


@pytest.mark.parametrize("content_type", [None, "text/plain"])
def test_a_body_that_is_not_called_json_is_refused(wire: Wire, content_type: str | None) -> None:
    wire.content_type = content_type
    answer = wire.post("/outbound/", {"to_addr": "+1", "content": "one"})
    detail = f'Unsupported media type "{content_type or ""}" in request.'
    assert (answer.status, answer.body) == (415, {"detail": detail})


def test_no_body_is_an_empty_object(wire: Wire) -> None:
    answer = wire.ask("POST", "/outbound/")
    assert (answer.status, list(answer.body)) == (400, ["non_field_errors"])


def test_bytes_that_are_no_text_are_refused(wire: Wire) -> None:
    assert wire.ask("POST", "/outbound/", raw=b'{"content":"\xff"}').status == 400


def test_json_keeps_letters_and_escapes_what_utf8_cannot_hold() -> None:
    assert compact_json(["☃", "\ud800"]) == '["☃","\\ud800"]'.encode()


class Broken(MessageSenderApp):
    """Answers 500 with the row stored, and takes its time to list."""

    def create(self, request: Request) -> Response:
        super().create(request)
        return Response(status=500, body={"detail": "Server Error"})

    async def list_all(self, request: Request) -> Response:  # type: ignore[override]
        waited: Deferred[None] = succeed(None)
        await waited
        return super().list_all(request)


def test_a_subclass_adds_a_fault_by_overriding_an_exchange() -> None:
    wire = Wire(Broken(sender=MessageSender()).resource())
    assert wire.post("/outbound/", {"to_addr": "+1", "content": "one"}).status == 500
    assert len(wire.get("/outbound/").body["results"]) == 1

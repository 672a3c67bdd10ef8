"""How documents are written to clients."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.test.requesthelper import DummyRequest

from sbm.web.openapi.published import PIECE_BYTES, StaticDocument

BODY = b"x" * (2 * PIECE_BYTES + 1)


class SlowReader(DummyRequest):
    """A client that takes a piece, and then no more until it is told to."""

    method = b"GET"
    channel = object()
    producer: Any = None

    def setETag(self, _etag: bytes) -> None:
        pass

    def registerProducer(self, producer: Any, _is_streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        super().write(data)  # type: ignore[no-untyped-call]
        self.producer.pauseProducing()


def test_a_document_is_written_no_faster_than_it_is_taken() -> None:
    document = StaticDocument(body=BODY, content_type="text/plain")
    client: Any = SlowReader([b""])
    answering = Deferred.fromCoroutine(document.answer(client))
    for pieces in (1, 2):
        assert len(b"".join(client.written)) == pieces * PIECE_BYTES
        client.producer.resumeProducing()
    assert b"".join(client.written) == BODY
    assert answering.result == b""

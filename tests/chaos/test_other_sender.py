"""The second Message Sender speaks the wire of the first, by code of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest
from attrs import define

from tests.chaos.other_sender import PAGE, Outbounds, OutboundServer
from tests.chaos.sender_faults import NONE, SenderFault
from tests.ports import free_port


@define
class Wire:
    port: int
    path: Path
    trouble: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/outbound/"

    def post(self, number: int, identity: str = "someone") -> Any:
        body = {
            "to_addr": "+27820001001",
            "to_identity": identity,
            "delivered": "false",
            "resend": "false",
            "metadata": {"sbm_send_id": f"send {number}"},
            "content": f"message {number}",
        }
        request = Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request) as answer:
            assert answer.status == 201
            return json.load(answer)

    def get(self, query: str) -> Any:
        with urlopen(f"{self.url}?{query}") as answer:
            return json.load(answer)

    def pages(self, **query: Any) -> list[list[str]]:
        """The contents of each page, by the queries of ``next``."""
        found, following = [], urlencode(query, doseq=True)
        while True:
            page = self.get(following)
            found.append([row["content"] for row in page["results"]])
            if page["next"] is None:
                return found
            following = urlsplit(page["next"]).query


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(free_port(), tmp_path / "outbounds", tmp_path / "trouble")
    server = OutboundServer(made.port, Outbounds(made.path), made.trouble)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def test_pages_are_newest_first_and_end(wire: Wire) -> None:
    for number in range(PAGE + 2):
        wire.post(number)
    newest, oldest = wire.pages()
    assert newest == [f"message {number}" for number in range(PAGE + 1, 1, -1)]
    assert oldest == ["message 1", "message 0"]


def test_a_full_last_page_is_the_last(wire: Wire) -> None:
    for number in range(PAGE):
        wire.post(number)
    assert len(wire.pages()) == 1


def test_any_of_several_identities_is_found_and_no_other(wire: Wire) -> None:
    for number, identity in enumerate(["one", "two", "three"] * PAGE):
        wire.post(number, identity)
    found = [text for page in wire.pages(to_identity=["one", "three"]) for text in page]
    assert found == [f"message {number}" for number in reversed(range(3 * PAGE)) if number % 3 != 1]


def test_what_came_before_a_time_is_left_out(wire: Wire) -> None:
    wire.post(1)
    later = wire.post(2)["created_at"]
    assert wire.pages(after=later) == [["message 2"]]
    assert wire.pages(after="2000-01-01T00:00:00+00:00") == [["message 2", "message 1"]]


def test_metadata_comes_back_and_the_address_does_not(wire: Wire) -> None:
    stored = wire.post(1)
    (row,) = wire.get("")["results"]
    assert row == stored
    assert row["metadata"]["sbm_send_id"] == "send 1"
    assert row["to_addr"] == ""


def test_who_opens_the_file_anew_finds_what_was_answered(wire: Wire) -> None:
    stored = wire.post(1)
    assert Outbounds(wire.path).page({}) == ([stored], None)


def test_it_stores_and_answers_500_until_that_is_lifted(wire: Wire) -> None:
    SenderFault(kind="stored, answered 500").tell(wire.trouble)
    with pytest.raises(HTTPError, match="500"):
        wire.post(1)
    NONE.tell(wire.trouble)
    wire.post(2)
    assert wire.pages() == [["message 2", "message 1"]]


def test_a_busy_one_stores_nothing_and_says_for_how_long(wire: Wire) -> None:
    SenderFault(kind="busy, 429").tell(wire.trouble)
    with pytest.raises(HTTPError, match="429") as refusal:
        wire.post(1)
    assert refusal.value.headers["Retry-After"] == "1"
    assert wire.pages() == [[]]

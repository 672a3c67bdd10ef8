"""The stand-in of the Message Sender."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID, uuid4

import pytest
from attrs import define, field
from twisted.web.resource import Resource

from sbm.sandbox.stand_ins.message_sender import (
    MessageSender,
    MessageSenderApp,
    NewOutbound,
    Outbound,
    OutboundQuery,
)
from tests.sandbox.wire import SetClock, Wire

THANDI = "bbe7936a-9a5f-4c7e-8a61-6b1ad4d5c0f1"
SIPHO = "7656fa41-2a4f-4b0d-9b5e-1df0a1f0a6d2"
TEXT = {
    "to_addr": "+27820001001",
    "to_identity": THANDI,
    "delivered": "false",
    "resend": "true",
    "metadata": {"sbm_send_id": "x", "nested": [1, None, "☃"]},
    "content": "two ☃",
}


@define
class Bench:
    """A Message Sender of three rows a page, with its clock and its wire."""

    path: Path | None = None
    clock: SetClock = field(factory=SetClock)
    seen: list[Outbound] = field(factory=list)
    sender: MessageSender = field(init=False)
    wire: Wire = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sender = MessageSender(clock=self.clock, path=self.path, observer=self.seen.append)
        self.wire = Wire(MessageSenderApp(sender=self.sender, page_size=3).resource())

    def store(self, content: str, **said: Any) -> Outbound:
        outbound = self.sender.store(NewOutbound(**{"to_addr": "+1", "content": content, **said}))
        self.clock.advance(minutes=1)
        return outbound

    def contents(self, **parameters: Any) -> list[str]:
        answer = self.wire.get(f"/outbound/?{urlencode(parameters, doseq=True)}")
        assert answer.status == 200, answer.body
        return [outbound["content"] for outbound in answer.body["results"]]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_post_answers_with_the_stored_outbound() -> None:
    outbound_id = UUID("00000000-0000-4000-8000-000000000001")
    sender = MessageSender(clock=SetClock(), new_id=lambda: outbound_id)
    answer = Wire(MessageSenderApp(sender=sender).resource()).post("/outbound/", TEXT)
    assert answer.status == 201
    assert list(answer.body.items()) == [
        ("url", f"http://far.example/outbound/{outbound_id}/"),
        ("id", str(outbound_id)),
        ("version", 1),
        ("to_addr", "+27820001001"),
        ("vumi_message_id", None),
        ("content", "two ☃"),
        ("delivered", False),
        ("attempts", 0),
        ("metadata", {"sbm_send_id": "x", "nested": [1, None, "☃"]}),
        ("created_at", "2024-05-01T12:00:00Z"),
        ("updated_at", "2024-05-01T12:00:00Z"),
        ("channel", None),
        ("to_identity", THANDI),
        ("resend", True),
    ]


def test_every_post_inserts_a_row(bench: Bench) -> None:
    first, second = (bench.wire.post("/outbound", TEXT).body["id"] for _ in range(2))
    assert first != second
    assert [outbound.id for outbound in bench.sender.outbounds()] == [first, second]


def test_the_observer_sees_each_outbound(bench: Bench) -> None:
    bench.wire.post("/outbound/", TEXT)
    assert [outbound.said.content for outbound in bench.seen] == ["two ☃"]


def test_audio_needs_no_content(bench: Bench) -> None:
    audio = {"to_identity": THANDI, "metadata": {"voice_speech_url": ["http://x/1.mp3"]}}
    answer = bench.wire.post("/outbound/", audio)
    assert (answer.status, answer.body["content"], answer.body["to_addr"]) == (201, None, None)


@pytest.mark.parametrize(
    ("changes", "field_name"),
    [
        ({"to_addr": None, "to_identity": ""}, "non_field_errors"),
        ({"content": ""}, "non_field_errors"),
        ({"content": ["one"]}, "content"),
        ({"delivered": "perhaps"}, "delivered"),
        ({"version": "one"}, "version"),
        ({"metadata": None}, "metadata"),
    ],
)
def test_what_makes_no_outbound_is_refused_by_name(
    bench: Bench, changes: dict[str, Any], field_name: str
) -> None:
    answer = bench.wire.post("/outbound/", {**TEXT, **changes})
    assert (answer.status, list(answer.body)) == (400, [field_name])
    assert len(bench.sender) == 0


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_outbound_is_read_and_deleted_by_its_id(bench: Bench, slash: str) -> None:
    path = f"/outbound/{bench.store('one').id}{slash}"
    assert bench.wire.get(path).body["content"] == "one"
    assert bench.wire.ask("DELETE", path).status == 204
    assert bench.wire.get(path).status == 404
    assert bench.wire.ask("DELETE", path).status == 404
    assert bench.contents() == []


def test_addresses_follow_the_host_and_the_mount() -> None:
    sender = MessageSender()
    outbound = sender.store(NewOutbound(to_addr="+1", content="one"))
    face: Any = MessageSenderApp(sender=sender).resource()
    root: Any = Resource()
    api: Any = Resource()
    root.putChild(b"api", api)
    api.putChild(b"v1", face)
    answer = Wire(root).get("http://127.0.0.1:8003/api/v1/outbound/")
    expected = f"http://127.0.0.1:8003/api/v1/outbound/{outbound.id}/"
    assert [row["url"] for row in answer.body["results"]] == [expected]


def test_a_list_is_newest_first_unless_asked_otherwise(bench: Bench) -> None:
    bench.store("one")
    bench.store("two")
    assert bench.contents() == ["two", "one"]
    assert bench.contents(ordering="-created_at") == ["two", "one"]
    assert bench.contents(ordering="created_at") == ["one", "two"]


def followed(bench: Bench, url: str, way: str) -> list[list[str]]:
    found = []
    while url:
        body = bench.wire.get(url).body
        found.append([outbound["content"] for outbound in body["results"]])
        last, url = url, body[way]
    return [*found, [last]]


@pytest.mark.parametrize("ordering", ["created_at", "-created_at"])
@pytest.mark.parametrize("count", [1, 3, 4, 6, 7])
def test_following_next_and_previous_passes_every_row_once(
    bench: Bench, ordering: str, count: int
) -> None:
    for number in range(count):
        bench.store(str(number))
    *onward, [last] = followed(bench, f"http://far.example/outbound/?ordering={ordering}", "next")
    listed = [content for contents in onward for content in contents]
    assert listed == sorted(map(str, range(count)), reverse=ordering[0] == "-")
    *back, _ = followed(bench, last, "previous")
    assert [content for contents in back[::-1] for content in contents] == listed


def test_rows_of_the_same_instant_are_paged_once_each(bench: Bench) -> None:
    for number in range(7):
        bench.store(str(number))
        bench.clock.advance(minutes=-1)
    *found, _ = followed(bench, "http://far.example/outbound/", "next")
    assert found == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


def test_next_keeps_the_filters_and_misses_nothing_when_rows_are_added(bench: Bench) -> None:
    for number in range(5):
        bench.store(str(number), to_identity=THANDI)
    first = bench.wire.get(f"/outbound/?to_identity={THANDI}&to_identity={SIPHO}").body
    bench.store("late", to_identity=THANDI)
    parameters = parse_qs(urlsplit(first["next"]).query)
    assert parameters["to_identity"] == [THANDI, SIPHO]
    second = bench.wire.get(first["next"]).body
    assert [outbound["content"] for outbound in second["results"]] == ["1", "0"]
    assert second["next"] is None


def test_a_cursor_of_somebody_else_is_refused(bench: Bench) -> None:
    for cursor in ("x", "AAAA", "b24gMSAy"):
        assert bench.wire.get(f"/outbound/?cursor={cursor}").body == {"detail": "Invalid cursor"}


def test_identities_and_addresses_may_be_several(bench: Bench) -> None:
    bench.store("one", to_identity=THANDI, to_addr="+1")
    bench.store("two", to_identity=SIPHO, to_addr="+2")
    bench.store("three", to_identity=str(uuid4()), to_addr="+3")
    assert bench.contents(to_identity=[THANDI, SIPHO]) == ["two", "one"]
    assert bench.contents(to_addr=["+3", "+1"]) == ["three", "one"]
    assert bench.contents(to_addr=["+3", "+1"], to_identity=[THANDI, SIPHO]) == ["one"]
    assert bench.contents(to_identity=str(uuid4())) == []


def test_after_and_before_include_their_instant(bench: Bench) -> None:
    bench.store("12:00", to_identity=THANDI)
    bench.store("12:01", to_identity=THANDI)
    bench.store("12:02", to_identity=THANDI)
    assert bench.contents(after="2024-05-01T12:01:00Z") == ["12:02", "12:01"]
    assert bench.contents(before="2024-05-01T14:01:00+02:00") == ["12:01", "12:00"]
    assert bench.contents(after="2024-05-01 12:00:00.000001", before="2024-05-01T12:01") == [
        "12:01"
    ]
    assert bench.contents(after="2024-05-01T12:02:00", to_identity=THANDI) == ["12:02"]


def test_a_clock_set_back_puts_rows_where_they_belong(bench: Bench) -> None:
    bench.store("noon")
    bench.clock.advance(hours=-1)
    bench.store("earlier")
    assert bench.contents() == ["noon", "earlier"]
    assert bench.contents(before="2024-05-01T11:30:00Z") == ["earlier"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"version": "2"}, ["odd"]),
        ({"attempts": "3.0"}, ["odd"]),
        ({"vumi_message_id": "v"}, ["odd"]),
        ({"delivered": "True"}, ["odd"]),
        ({"delivered": "0"}, ["plain"]),
        ({"delivered": "perhaps"}, ["odd", "plain"]),
        ({"version": "", "to_addr": "", "after": ""}, ["odd", "plain"]),
        ({"metadata": "x", "content": "plain", "page_size": "1"}, ["odd", "plain"]),
    ],
)
def test_filters_are_exact_and_unknown_ones_ignored(
    bench: Bench, parameters: dict[str, str], expected: list[str]
) -> None:
    bench.store("plain")
    bench.store("odd", version=2, attempts=3, vumi_message_id="v", delivered=True)
    assert bench.contents(**parameters) == expected


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("after=yesterday", "Enter a valid date/time."),
        ("before=2024-13-01T00:00:00Z", "Enter a valid date/time."),
        # An unescaped plus is a blank by the time it is read.
        ("after=2024-05-01T12:00:00+00:00", "Enter a valid date/time."),
        ("version=x", "Enter a number."),
        ("attempts=NaN", "Enter a number."),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    bench: Bench, parameter: str, message: str
) -> None:
    answer = bench.wire.get(f"/outbound/?{parameter}")
    assert (answer.status, list(answer.body.values())) == (400, [[message]])


def test_75_identities_fit_in_a_request_line_and_84_do_not(bench: Bench) -> None:
    identities = [str(uuid4()) for _ in range(84)]
    assert bench.contents(to_identity=identities[:75], after="2024-05-01T12:00:00.000000Z") == []
    assert (
        bench.wire.get(f"/outbound/?{urlencode({'to_identity': identities}, True)}").status == 400
    )


def test_a_question_about_one_identity_looks_at_no_other_rows(bench: Bench) -> None:
    looked_at: list[str | None] = []

    class Watched(OutboundQuery):
        def matches(self, outbound: Outbound) -> bool:
            looked_at.append(outbound.said.content)
            return super().matches(outbound)

    for number in range(50):
        bench.store(str(number), to_identity=str(uuid4()))
    bench.store("hers", to_identity=THANDI)
    assert len(list(bench.sender.find(Watched(to_identity=frozenset({THANDI}))))) == 1
    assert looked_at == ["hers"]


def test_what_was_stored_and_deleted_holds_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "outbounds.jsonl"
    before = Bench(path)
    before.wire.post("/outbound/", TEXT)
    before.clock.advance(microseconds=7)
    before.wire.ask("DELETE", f"/outbound/{before.store('deleted').id}/")
    before.store("kept", channel="whatsapp", delivered=True, version=2)
    listed = before.wire.get("/outbound/").body
    before.sender.close()
    after = Bench(path)
    assert after.wire.get("/outbound/").body == listed
    assert after.seen == []
    assert after.contents(to_identity=THANDI) == ["two ☃"]
    after.sender.close()


def test_a_link_to_the_next_page_holds_over_a_restart(tmp_path: Path) -> None:
    before = Bench(tmp_path / "outbounds.jsonl", clock=SetClock())
    first = [before.store(str(number)) for number in range(6)]
    before.sender.delete(first[1].id)
    following = before.wire.get("/outbound/").body["next"]
    before.sender.close()
    after = Bench(tmp_path / "outbounds.jsonl")
    results = after.wire.get(following).body["results"]
    assert [outbound["content"] for outbound in results] == ["2", "0"]
    after.sender.close()


def test_a_torn_last_line_is_cut_off_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "outbounds.jsonl"
    first = Bench(path)
    first.store("one")
    first.store("torn")
    first.sender.close()
    path.write_bytes(path.read_bytes()[:-20])
    second = Bench(path)
    second.store("two")
    second.sender.close()
    third = Bench(path)
    assert third.contents() == ["two", "one"]
    third.sender.close()

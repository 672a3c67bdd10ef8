"""The account finds what is wrong: each kind, in a database and among outbounds made for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import define, evolve, field

from tests.arrange import Arranged, arranged
from tests.chaos import report
from tests.chaos.content import Content, MessageNumber, People
from tests.chaos.records import Notes, RecordedOutbound, Records

MESSAGES = 3


@define
class Run:
    """A run that came to rest: two subscribers; one of each kind of send for the first."""

    uri: str
    direct: Arranged
    content: Content = field(factory=lambda: Content(MESSAGES))
    people: People = field(factory=People)
    outbounds: list[RecordedOutbound] = field(factory=list)
    notes: Notes = field(factory=Notes)

    def __attrs_post_init__(self) -> None:
        self.content.write(self.uri, 2)
        self.people.write(self.uri, self.content, 2)

    @property
    def one(self) -> UUID:
        """The subscription in the first set of the chain."""
        return self.people.subscribed[0]

    @property
    def identity(self) -> str:
        return str(self.direct.subscription(self.one)["identity"])

    def send(self, number: int, *, prepend: str = "", kind: str = "next") -> RecordedOutbound:
        """A message is sent to the first subscriber, whose subscription moves on."""
        send_id, outbound_id = uuid4(), str(uuid4())
        tick = self.direct.value(
            "INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)"
            " VALUES ('single', 'expanded', now() + %s * interval '1 minute', 0, 1, now())"
            " RETURNING id",
            len(self.outbounds),
        )
        self.direct.rows(
            "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id,"
            " identity, outbound_id) VALUES (%s, %s, %s, 'sent', 'post', %s, %s, %s)",
            *(send_id, tick, kind, self.one, self.identity, outbound_id),
        )
        if kind == "next":
            self.direct.rows(
                "UPDATE subscriptions SET next_sequence_number = %s, metadata = NULL WHERE id = %s",
                *(number + 1, self.one),
            )
        outbound = RecordedOutbound(
            id=outbound_id,
            identity=self.identity,
            send_id=str(send_id),
            is_resend=kind == "resend",
            created_at=f"2026-01-01T00:00:{len(self.outbounds):02}.000000Z",
            prepend=prepend,
            message=MessageNumber(generation=0, number=number),
        )
        self.outbounds.append(outbound)
        return outbound

    def wrongs(self) -> dict[str, list[str]]:
        """The cases of the report by kind, without empty kinds."""
        records = Records.read(self.uri)
        made = report.close(records, self.outbounds, self.notes, self.content)
        return {kind: cases for kind, cases in made.wrongs.items() if cases}


@pytest.fixture
def run(database_uri: str) -> Iterator[Run]:
    with arranged(database_uri) as direct:
        made = Run(database_uri, direct)
        made.send(1, prepend=made.people.prepends[made.one][0])
        made.send(2)
        made.notes.prepends.update(made.people.prepends)
        made.notes.singles[made.one] = 2
        yield made


def test_where_all_is_well_nothing_is_wrong(run: Run) -> None:
    assert run.wrongs() == {}


def test_a_message_that_is_not_there_is_lost(run: Run) -> None:
    run.outbounds.pop()
    assert len(run.wrongs()["lost"]) == 1


def test_the_last_message_of_a_completed_subscription_can_be_lost(run: Run) -> None:
    run.direct.rows(
        "UPDATE subscriptions SET next_sequence_number = 3, completed = true, active = false,"
        " process_status = 2 WHERE id = %s",
        run.one,
    )
    assert len(run.wrongs()["lost"]) == 1


def test_a_trigger_that_was_accepted_and_opened_nothing_is_lost(run: Run) -> None:
    run.notes.singles[run.one] += 1
    assert len(run.wrongs()["lost"]) == 1


def test_a_tick_a_resend_and_a_subscription_that_were_accepted_can_be_lost(run: Run) -> None:
    run.notes.ticks[run.content.schedules[0]] += 1
    run.notes.resends[run.one] += 1
    run.notes.created.add(str(uuid4()))
    assert len(run.wrongs()["lost"]) == 3


def test_a_prepend_that_was_never_carried_is_lost(run: Run) -> None:
    run.outbounds[0] = evolve(run.outbounds[0], prepend="")
    assert len(run.wrongs()["lost"]) == 1


def test_a_message_by_two_sends_is_there_twice(run: Run) -> None:
    run.send(2)
    assert list(run.wrongs()) == ["twice"]


def test_a_send_that_is_there_twice_is_one_case(run: Run) -> None:
    run.outbounds.append(evolve(run.outbounds[1], id="another"))
    assert len(run.wrongs()["twice"]) == 1


def test_a_resend_is_not_a_second_message_but_may_be_there_once_only(run: Run) -> None:
    resend = run.send(2, kind="resend")
    assert run.wrongs() == {}
    run.outbounds.append(evolve(resend, id="another"))
    assert list(run.wrongs()) == ["twice"]


def test_a_prepend_that_was_carried_and_still_waits_is_there_twice(run: Run) -> None:
    run.direct.rows(
        "UPDATE subscriptions SET metadata = jsonb_build_object('kept', 'k',"
        " 'prepend_next_delivery', %s::text) WHERE id = %s",
        *(run.people.prepends[run.one][0], run.one),
    )
    assert list(run.wrongs()) == ["twice"]


def _message_beyond(run: Run) -> None:
    run.direct.rows("UPDATE subscriptions SET next_sequence_number = 2 WHERE id = %s", run.one)


def _wrong_order(run: Run) -> None:
    one, two = run.outbounds
    run.outbounds[1] = evolve(two, created_at=one.created_at.replace("2026", "2025"))


def _outbound_of_nobody(run: Run) -> None:
    run.outbounds[1] = evolve(run.outbounds[1], id="another")


def _no_successor(run: Run) -> None:
    run.send(3)
    run.direct.rows(
        "UPDATE subscriptions SET next_sequence_number = 3, completed = true, active = false,"
        " process_status = 2 WHERE id = %s",
        run.one,
    )


def _two_successors(run: Run) -> None:
    run.direct.rows(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)"
        " SELECT identity, messageset_id, schedule_id, lang FROM subscriptions WHERE id = %s",
        run.one,
    )


def _in_error(run: Run) -> None:
    run.direct.rows("UPDATE subscriptions SET process_status = -1 WHERE id = %s", run.one)


def _lost_metadata(run: Run) -> None:
    run.direct.rows("UPDATE subscriptions SET metadata = '{}' WHERE id = %s", run.one)


def _resend_with_prepend(run: Run) -> None:
    run.outbounds.append(evolve(run.send(2, kind="resend"), prepend="first"))
    del run.outbounds[-2]


def _resend_without_outbound(run: Run) -> None:
    message = run.direct.value("SELECT min(id) FROM messages")
    run.direct.rows(
        "INSERT INTO resend_requests (subscription_id, message_id, send_id) VALUES (%s, %s, %s)",
        *(run.one, message, uuid4()),
    )


@pytest.mark.parametrize(
    "disturb",
    [
        _message_beyond,
        _wrong_order,
        _outbound_of_nobody,
        _no_successor,
        _two_successors,
        _in_error,
        _lost_metadata,
        _resend_with_prepend,
        _resend_without_outbound,
    ],
)
def test_what_disagrees_is_told(run: Run, disturb: Any) -> None:
    disturb(run)
    assert list(run.wrongs()) == ["disagreeing"]


def test_a_live_send_is_stuck_and_a_failure_is_told(run: Run) -> None:
    run.direct.rows(
        "UPDATE ledger SET outcome = 'failed', outbound_id = NULL WHERE send_id = %s",
        UUID(run.outbounds[1].send_id),
    )
    run.direct.rows(
        "INSERT INTO sends (id, kind, lane, subscription_id, identity, tick_id)"
        " SELECT %s, 'next', 'single', id, identity, (SELECT min(id) FROM ticks)"
        " FROM subscriptions WHERE id = %s",
        *(uuid4(), run.one),
    )
    wrongs = run.wrongs()
    assert len(wrongs["stuck"]) == len(wrongs["failed"]) == len(wrongs["unbalanced"]) == 1

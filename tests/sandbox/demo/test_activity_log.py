"""The story of the sends."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import LogPublisher

from sbm.model.send import GivenBack, MessageToSend, Recipient, Send, SendResult, Settled, Unknown
from sbm.sandbox.demo.activity_log import ActivityLog, ActivityReporter
from sbm.sandbox.demo.terminal import Line
from sbm.sandbox.stand_ins.identity_store import IdentityStore
from sbm.sandbox.stand_ins.message_sender import MessageSender
from sbm.sandbox.stand_ins.schedules import Scheduler
from sbm.telemetry import Telemetry
from tests.sandbox.wire import result_of

IDENTITY = "bbe7936a-0000-4000-8000-000000000000"
SUBSCRIPTION = UUID("00000000-0000-4000-8000-000000000002")
SENT = Settled(outcome="sent", stage="post", outbound_id="o")


def send(number: int, *, text: str | None = "Hello", file_name: str | None = None) -> Send:
    message = MessageToSend(
        sequence_number=number, text_content=text, file_name=file_name, metadata="{}"
    )
    return Send(
        id=UUID("00000000-0000-4000-8000-000000000001"),
        kind="next",
        lane="tick",
        schedule_id=1,
        tick_id=1,
        attempt=1,
        owner=UUID("00000000-0000-4000-8000-000000000003"),
        faults=0,
        subscription_id=SUBSCRIPTION,
        identity=IDENTITY,
        prepend=None,
        recipient=Recipient(
            active=True,
            completed=False,
            process_status=0,
            lang="eng_ZA",
            messageset_id=1,
            messageset="pregnancy",
            content_type="text",
            channel=None,
            message=message,
        ),
    )


@define
class StubApi:
    """An API that answers what the test says."""

    answers: dict[str, Any] = field(factory=dict)
    asked: list[str] = field(factory=list)

    async def get(self, path: str, **query: str) -> Any:
        self.asked.append(path)
        return self.answers[path]


class LoggedActivity:
    """An activity log and a reporter, and what they have told."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        identities = IdentityStore()
        identities.add("+27820001001", IDENTITY)
        self.activity_log = ActivityLog(identity_store=identities)
        self.activity_log.lengths = {("pregnancy", "eng_ZA"): 3}
        self.telemetry = Telemetry()
        self.far = StubApi()
        far: Any = self.far
        self.scheduler = Scheduler()
        self.reporter = ActivityReporter(
            caller=far,
            activity_log=self.activity_log,
            telemetry=self.telemetry,
            message_sender=MessageSender(),
            scheduler=self.scheduler,
        )
        publisher: Any = LogPublisher(self.events.append)  # type: ignore[arg-type]
        self.activity_log._log.observer = publisher
        self.reporter._log.observer = publisher

    @property
    def told(self) -> list[str]:
        """The lines, with runs of blanks as one."""
        lines = [str(event["line"]) for event in self.events if isinstance(event.get("line"), Line)]
        return [" ".join(line.split()) for line in lines]

    def run(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        result_of(Deferred.fromCoroutine(work))


@pytest.fixture
def story() -> LoggedActivity:
    return LoggedActivity()


def test_a_delivery_tells_who_got_what(story: LoggedActivity) -> None:
    story.activity_log.settled(send(2), SENT)
    assert story.told == ["+27820001001 pregnancy 2/3 eng_ZA Hello"]


def test_a_recording_is_told_by_its_name(story: LoggedActivity) -> None:
    story.activity_log.settled(send(2, text=None, file_name="chime.wav"), SENT)
    assert story.told == ["+27820001001 pregnancy 2/3 eng_ZA [chime.wav]"]


def test_somebody_unknown_is_told_by_her_identity(story: LoggedActivity) -> None:
    other = "bbe7936a-0000-4000-8000-000000000001"
    story.activity_log.settled(evolve(send(2), identity=other), SENT)
    assert story.told == [f"{other} pregnancy 2/3 eng_ZA Hello"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (Settled(outcome="refused", stage="post", reason="too long"), "refused: too long"),
        (Unknown(reason="timed out"), "no answer: timed out"),
    ],
)
def test_what_was_not_delivered_is_told_with_its_reason(
    story: LoggedActivity, result: SendResult, told: str
) -> None:
    story.activity_log.settled(send(2), result)
    assert story.told == [f"+27820001001 pregnancy 2/3 eng_ZA {told}"]


def test_a_send_that_is_given_back_is_for_the_log_file(story: LoggedActivity) -> None:
    story.activity_log.settled(send(2), GivenBack(reason="away", delay=timedelta(seconds=1)))
    assert story.told == []
    assert len(story.events) == 1


def test_a_send_without_its_subscription_is_told_too(story: LoggedActivity) -> None:
    gone = evolve(send(2), recipient=None)
    story.activity_log.settled(gone, Settled(outcome="skipped", stage="trigger", reason="deleted"))
    assert story.told == ["+27820001001 skipped: deleted"]


def test_the_end_of_a_set_is_told_with_what_follows(story: LoggedActivity) -> None:
    story.far.answers = {
        f"subscriptions/{SUBSCRIPTION}/": {"completed": True, "messageset": 1},
        "messageset/1/": {"next_set": 2},
        "messageset/2/": {"short_name": "baby"},
    }
    story.activity_log.settled(send(3), SENT)
    story.run(story.reporter.follow_ends())
    assert story.told[1:] == ["+27820001001 has completed pregnancy, and begins baby"]


def test_nobody_asks_before_the_end(story: LoggedActivity) -> None:
    story.activity_log.settled(send(2), SENT)
    story.run(story.reporter.follow_ends())
    assert story.far.asked == []


def test_a_set_that_became_longer_is_learned_anew(story: LoggedActivity) -> None:
    story.far.answers = {
        f"subscriptions/{SUBSCRIPTION}/": {"completed": False, "messageset": 1},
        "messageset/": {"results": [{"id": 1, "short_name": "pregnancy"}]},
        "message/": {
            "results": [
                {"messageset": 1, "lang": "eng_ZA", "sequence_number": number}
                for number in (4, 3, 1)
            ]
        },
    }
    story.activity_log.settled(send(3), SENT)
    story.run(story.reporter.follow_ends())
    assert story.activity_log.lengths == {("pregnancy", "eng_ZA"): 4}


def test_the_sums_are_told_when_they_have_changed(story: LoggedActivity) -> None:
    story.far.answers = {"subscriptions/": {"count": 12}}
    story.run(story.reporter.sum_up())
    assert story.told == []
    story.telemetry.count("sends.sent")
    story.run(story.reporter.sum_up())
    story.run(story.reporter.sum_up())
    assert story.told == [
        "1 delivered in this run, 0 sets completed, 12 subscriptions active;"
        " 0 in the Message Sender"
    ]


def test_a_failed_call_of_the_scheduler_is_told_once(story: LoggedActivity) -> None:
    story.scheduler.record_failure("s", "status 503")
    story.run(story.reporter.sum_up())
    story.run(story.reporter.sum_up())
    assert [event["reason"] for event in story.events] == ["status 503"]

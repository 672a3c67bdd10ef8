"""Numbers that have messages in other languages only: what a reader gets there, set by set."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_twisted import blockon, ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.ids import BEFORE_ALL
from sbm.model.send import Send, Settled, objection
from sbm.store import estimates, messages, resends, schedule_runs, sends, ticks
from sbm.store.behind_subscriptions import fast_forward, look
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.pipeline.simulated import apart

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
LEASE = timedelta(seconds=60)
POLICIES = ("next", "fallback:eng_ZA", "fallback:xho_ZA", "wait")


@define
class OneSet:
    """The set of the issue: eng 1 to 4, zul 1 and 4; and the set that follows it."""

    database: Database
    direct: Arranged
    policy: str
    schedule: int = field(init=False)
    messageset: int = field(init=False)
    following: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule()
        self.following = self.direct.messageset("baby", self.schedule, langs=("zul_ZA",))
        self.messageset = self.direct.messageset(
            *("pregnancy", self.schedule), messages=4, next_set=self.following
        )
        for number in (1, 4):
            self.translate(number)
        self.direct.rows(
            "UPDATE messagesets SET on_missing_translation = %s WHERE id = %s",
            *(self.policy, self.messageset),
        )
        self.direct.rows("DELETE FROM content_changes")

    def translate(self, number: int) -> None:
        self.direct.message(self.messageset, number, "zul_ZA", f"zul {number}")

    def reader(self, lang: str = "zul_ZA", number: int = 1) -> UUID:
        (one,) = self.direct.subscriptions(
            *(1, self.messageset, self.schedule), lang=lang, next_sequence_number=number
        )
        return one

    async def tick(self) -> list[dict[str, Any]]:
        """What the ledger says of a tick in which all that can be sent is sent."""
        before = len(self.direct.ledger())
        await self.database.transact(ticks.open_tick, schedule_id=self.schedule)
        while await self.database.transact(ticks.expand, limit=100) is not None:
            pass
        await self.deliver()
        assert self.direct.unbalanced_ticks() == []
        self.direct.rows("UPDATE ticks SET created_at = created_at - interval '2 hours'")
        return self.direct.ledger()[before:]

    async def deliver(self) -> list[Send]:
        claimed = await self.database.transact(sends.claim, owner=uuid4(), limit=100, lease=LEASE)
        results = [(send, objection(send) or SENT) for send in claimed]
        await self.database.transact(sends.settle, results=results)
        return claimed

    async def received(self, subscription: UUID, ticks: int) -> list[tuple[Any, ...]]:
        """Number, language and outcome of so many ticks."""
        for _ in range(ticks):
            await self.tick()
        return [
            (row["sequence_number"], row["lang"], row["outcome"])
            for row in self.direct.ledger()
            if row["subscription_id"] == subscription
        ]


@ensureDeferred
async def test_by_default_the_next_message_in_the_own_language_is_sent(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "next")
    reader = one_set.reader()
    assert await one_set.received(reader, 2) == [(1, "zul_ZA", "sent"), (4, "zul_ZA", "sent")]
    assert direct.subscription(reader)["completed"]


@ensureDeferred
async def test_a_fallback_sends_the_number_in_the_other_language_and_the_ledger_says_so(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "fallback:eng_ZA")
    reader = one_set.reader()
    assert await one_set.received(reader, 4) == [
        (1, "zul_ZA", "sent"),
        (2, "eng_ZA", "sent"),
        (3, "eng_ZA", "sent"),
        (4, "zul_ZA", "sent"),
    ]
    assert direct.subscription(reader)["completed"]
    (follower,) = direct.rows("SELECT lang FROM subscriptions WHERE chained_from = %s", reader)
    assert follower == {"lang": "zul_ZA"}


@ensureDeferred
async def test_what_goes_out_in_the_other_language_has_its_text_and_is_marked_with_it(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "fallback:eng_ZA")
    one_set.reader(number=2)
    await database.transact(ticks.open_tick, schedule_id=one_set.schedule)
    while await database.transact(ticks.expand, limit=100) is not None:
        pass
    (send,) = await one_set.deliver()
    assert send.recipient is not None
    assert send.recipient.message is not None
    assert (send.recipient.lang, send.recipient.message.text_content) == (
        "eng_ZA",
        "pregnancy 2 eng_ZA",
    )


@pytest.mark.parametrize("policy", ["wait", "fallback:xho_ZA"])
@ensureDeferred
async def test_a_subscription_waits_and_gets_the_message_at_the_tick_after_its_translation(
    database: Database, direct: Arranged, policy: str
) -> None:
    one_set = OneSet(database, direct, policy)
    reader = one_set.reader()
    assert await one_set.received(reader, 3) == [
        (1, "zul_ZA", "sent"),
        (2, "zul_ZA", "skipped"),
        (2, "zul_ZA", "skipped"),
    ]
    last = direct.ledger()[-1]
    assert (last["stage"], last["reason"]) == (
        "content",
        "message 2 of pregnancy is missing in zul_ZA: the subscription waits for it",
    )
    kinds = direct.rows("SELECT reason_kind(kind, outcome, stage, reason) AS kind FROM ledger")
    assert {row["kind"] for row in kinds} == {None, "no-translation"}
    standing = direct.subscription(reader)
    assert (standing["next_sequence_number"], standing["active"]) == (2, True)
    assert direct.rows("SELECT FROM failed_tasks") == []
    for number in (2, 3):
        one_set.translate(number)
    assert (await one_set.received(reader, 3))[3:] == [
        (2, "zul_ZA", "sent"),
        (3, "zul_ZA", "sent"),
        (4, "zul_ZA", "sent"),
    ]
    assert direct.subscription(reader)["completed"]


@pytest.mark.parametrize("policy", ["wait", "fallback:eng_ZA"])
@ensureDeferred
async def test_the_set_ends_with_the_highest_number_of_all_languages(
    database: Database, direct: Arranged, policy: str
) -> None:
    one_set = OneSet(database, direct, policy)
    direct.message(one_set.messageset, 5, "eng_ZA", "five")
    direct.rows("DELETE FROM content_changes")
    reader = one_set.reader(number=4)
    expected = (5, "zul_ZA", "skipped") if policy == "wait" else (5, "eng_ZA", "sent")
    assert await one_set.received(reader, 2) == [(4, "zul_ZA", "sent"), expected]
    assert direct.subscription(reader)["completed"] is (policy != "wait")
    # If that number is deleted, a waiting reader is at the end, like everybody else.
    direct.rows("DELETE FROM messages WHERE sequence_number = 5")
    if policy == "wait":
        (rests,) = await one_set.tick()
        assert "changed a short while ago" in rests["reason"]
        direct.rows("DELETE FROM content_changes")
        (ends,) = await one_set.tick()
        assert ends["reason"].endswith("the subscription is completed")
        assert direct.subscription(reader)["completed"]


@ensureDeferred
async def test_a_language_without_any_message_gets_the_whole_set_in_the_other_one(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "fallback:eng_ZA")
    reader = one_set.reader("xho_ZA")
    assert await one_set.received(reader, 4) == [
        (number, "eng_ZA", "sent") for number in range(1, 5)
    ]


@ensureDeferred
async def test_a_set_without_any_message_fails_under_each_policy(
    database: Database, direct: Arranged
) -> None:
    for policy in POLICIES:
        one_set = OneSet(database, direct, policy)
        direct.rows("DELETE FROM messages")
        reader = one_set.reader()
        assert [one[2] for one in await one_set.received(reader, 1)] == ["failed"]
        direct.rows("UPDATE messagesets SET short_name = short_name || id")
        direct.rows("DELETE FROM subscriptions")


@ensureDeferred
async def test_a_policy_that_changes_while_a_send_is_in_hand_completes_nobody(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "next")
    direct.message(one_set.messageset, 5, "eng_ZA", "five")
    direct.rows("DELETE FROM content_changes")
    reader = one_set.reader(number=5)
    await database.transact(ticks.open_tick, schedule_id=one_set.schedule)
    while await database.transact(ticks.expand, limit=100) is not None:
        pass
    claimed = await database.transact(sends.claim, owner=uuid4(), limit=9, lease=LEASE)
    direct.rows("UPDATE messagesets SET on_missing_translation = 'wait'")
    await database.transact(
        sends.settle, results=[(send, objection(send) or SENT) for send in claimed]
    )
    assert direct.ledger()[-1]["reason"] == (
        "the subscription, or the content of its set, changed meanwhile"
    )
    assert not direct.subscription(reader)["completed"]


@pytest.mark.parametrize(
    ("policy", "number", "completed"),
    [("next", 4, True), ("fallback:eng_ZA", 3, False), ("wait", 3, False)],
)
@ensureDeferred
async def test_where_a_reader_should_be_is_counted_by_the_places_of_the_policy(
    database: Database, direct: Arranged, policy: str, number: int, *, completed: bool
) -> None:
    """After two runs of the schedule."""
    one_set = OneSet(database, direct, policy)
    reader = one_set.reader()
    search_id, _ = await database.transact(schedule_runs.begin, as_of=None)
    direct.rows("UPDATE subscriptions SET created_at = now() - interval '30 days'")
    direct.rows(
        "INSERT INTO schedule_runs SELECT %s, %s, n, now() - interval '30 days' + n * interval"
        " '1 day' FROM generate_series(1, 2) n",
        *(search_id, one_set.schedule),
    )
    found = await database.transact(
        *(look,), search_id=search_id, after=BEFORE_ALL, limit=9, wanted=schedule_runs.EVERYBODY
    )
    assert found is not None
    (behind,) = found.found
    place = behind.path[0]
    assert (behind.messages_behind, place.next_sequence_number, place.completed) == (
        *(2, number, completed),
    )
    await database.transact(
        fast_forward, search_id=search_id, ids=[reader], actor="ann", reason="why"
    )
    moved = direct.subscription(reader)
    assert (moved["next_sequence_number"], moved["completed"]) == (number, completed)


@pytest.mark.parametrize(
    ("policy", "number", "counted"),
    [
        *(("next", number, number <= 4) for number in (1, 2, 4, 5)),
        *(("fallback:eng_ZA", number, number <= 4) for number in (1, 2, 4, 5)),
        *(("wait", number, number in (1, 4)) for number in (1, 2, 4, 5)),
    ],
)
@ensureDeferred
async def test_an_estimate_counts_those_who_get_a_message(
    database: Database, direct: Arranged, policy: str, number: int, *, counted: bool
) -> None:
    one_set = OneSet(database, direct, policy)
    one_set.reader(number=number)
    await database.transact(
        estimates.estimate, send_date=date(2026, 11, 28), schedules=[one_set.schedule]
    )
    assert direct.value("SELECT sum(estimate_subscriptions) FROM estimated_sends") == counted


@ensureDeferred
async def test_a_resend_repeats_the_message_in_the_language_in_which_it_went_out(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "fallback:eng_ZA")
    reader = one_set.reader(number=2)
    await one_set.tick()
    await database.transact(resends.owe, subscription_id=reader)
    (send,) = await one_set.deliver()
    assert send.recipient is not None
    assert send.recipient.message is not None
    assert send.recipient.message.text_content == "pregnancy 2 eng_ZA"


@ensureDeferred
async def test_the_text_beside_a_prepend_is_that_of_the_place(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "fallback:eng_ZA")
    text = await database.transact(
        messages.find_next_text,
        messageset_id=one_set.messageset,
        lang="zul_ZA",
        next_sequence_number=2,
    )
    assert text == "pregnancy 2 eng_ZA"


# The law, against a model in Python: what somebody receives, tick by tick, in any set.

LANGS = ("eng_ZA", "zul_ZA", "xho_ZA")
CONTENTS = st.sets(st.tuples(st.integers(1, 5), st.sampled_from(LANGS)), min_size=1)


def modelled(content: set[tuple[int, str]], policy: str, lang: str, number: int) -> Any:
    """What the tick at this number sends, as (number, language), or why it sends nothing."""
    if policy == "next":
        own = sorted(one for one, other in content if other == lang)
        following = [one for one in own if one >= number]
        return (following[0], lang) if following else "ends" if own else "has no message"
    places = sorted({one for one, _ in content if one >= number})
    if not places:
        return "ends"
    for choice in (lang, policy.removeprefix("fallback:")):
        if (places[0], choice) in content:
            return places[0], choice
    return f"waits at {places[0]}"


def is_last(content: set[tuple[int, str]], policy: str, lang: str, number: int) -> bool:
    return bool(modelled(content, policy, lang, number + 1) == "ends")


def told(row: dict[str, Any]) -> Any:
    """The same about a row of the ledger."""
    if row["outcome"] == "sent":
        return row["sequence_number"], row["lang"]
    if "waits for it" in row["reason"]:
        return f"waits at {row['sequence_number']}"
    return "ends" if "is completed" in row["reason"] else "has no message"


async def play(
    one_set: OneSet, content: set[tuple[int, str]], policy: str, lang: str, number: int
) -> None:
    direct = one_set.direct
    direct.rows("DELETE FROM messages; DELETE FROM subscriptions")
    direct.rows("UPDATE messagesets SET on_missing_translation = %s", policy)
    for place, other in content:
        direct.message(one_set.messageset, place, other, "text")
    direct.rows("DELETE FROM content_changes")
    reader = one_set.reader(lang, number)
    for _ in range(3):
        expected = modelled(content, policy, lang, number)
        (row,) = [row for row in await one_set.tick() if row["subscription_id"] == reader]
        assert told(row) == expected
        completed = expected == "ends"
        if isinstance(expected, tuple):
            number = expected[0] + 1
            completed = is_last(content, policy, lang, expected[0])
        standing = direct.subscription(reader)
        assert standing["completed"] is completed
        if completed:
            break
        assert standing["next_sequence_number"] == number


@pytest.mark.slow
@ensureDeferred
async def test_each_reader_gets_what_the_policy_says_in_any_set(
    database: Database, direct: Arranged
) -> None:
    one_set = OneSet(database, direct, "next")

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(CONTENTS, st.sampled_from(POLICIES), st.sampled_from(LANGS), st.integers(-1, 6))
    def run(content: set[tuple[int, str]], policy: str, lang: str, number: int) -> None:
        blockon(Deferred.fromCoroutine(play(one_set, content, policy, lang, number)))

    await apart(run)

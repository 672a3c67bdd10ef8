"""Subscriptions beyond the end of their content: deleted messages, and what becomes of people."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred

from sbm.model.ids import BEFORE_ALL
from sbm.model.send import CONTENT_SETTLE, Send, Settled, objection
from sbm.store import estimates, schedule_runs, sends, ticks
from sbm.store.behind_subscriptions import fast_forward, look
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
DRY_RUN = Settled(outcome="dry-run", stage="post")
ASSUMED = Settled(outcome="failed", stage="post", reason="at most once", is_assumed=True)
LEASE = timedelta(seconds=60)


@define
class TwoSets:
    """A set of five messages in two languages, and the set that follows it."""

    database: Database
    direct: Arranged
    schedule: int = field(init=False)
    baby: int = field(init=False)
    pregnancy: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule()
        self.baby = self.direct.messageset("baby", self.schedule, langs=("eng_ZA", "zul_ZA"))
        self.pregnancy = self.direct.messageset(
            *("pregnancy", self.schedule),
            messages=5,
            next_set=self.baby,
            langs=("eng_ZA", "zul_ZA"),
        )

    def mother(self, number: int = 5, **fields: Any) -> UUID:
        (mother,) = self.direct.subscriptions(
            *(1, self.pregnancy, self.schedule), next_sequence_number=number, **fields
        )
        return mother

    async def claimed(self, *, settle: timedelta = CONTENT_SETTLE) -> list[Send]:
        """The claimed sends of a tick."""
        await self.database.transact(ticks.open_tick, schedule_id=self.schedule)
        while await self.database.transact(ticks.expand, limit=100) is not None:
            pass
        return await self.database.transact(
            sends.claim, owner=uuid4(), limit=100, lease=LEASE, content_settle=settle
        )

    async def settle(self, claimed: list[Send], result: Settled | None = None) -> None:
        results = []
        for send in claimed:
            found = objection(send) or result
            assert found is not None
            results.append((send, found))
        await self.database.transact(sends.settle, results=results)
        assert self.direct.unbalanced_ticks() == []

    async def tick(self, result: Settled | None = SENT, **options: Any) -> dict[str, Any]:
        """A tick, with this result for what can be sent; the last row of the ledger."""
        await self.settle(await self.claimed(**options), result)
        return self.direct.ledger()[-1]

    def rest(self, hours: float = 1.1) -> None:
        """So much time passes for what was changed."""
        self.direct.rows(
            "UPDATE content_changes SET changed_at = changed_at - %s", timedelta(hours=hours)
        )

    def delete_last(self) -> None:
        self.direct.rows("DELETE FROM messages WHERE sequence_number = 5 AND lang = 'eng_ZA'")

    def changed(self) -> set[tuple[int, str]]:
        """Of which sets and languages a change was noted within the last hour."""
        return {
            (row["messageset_id"], row["lang"])
            for row in self.direct.rows(
                "SELECT messageset_id, lang FROM content_changes"
                " WHERE changed_at > now() - interval '1 hour'"
            )
        }

    def followers(self, mother: UUID) -> list[dict[str, Any]]:
        return self.direct.rows("SELECT * FROM subscriptions WHERE chained_from = %s", mother)


@pytest.mark.parametrize("result", [SENT, DRY_RUN, ASSUMED])
@ensureDeferred
async def test_whoever_stands_before_a_deleted_message_completes_and_goes_on(
    database: Database, direct: Arranged, result: Settled
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(4)
    await two_sets.tick(result)
    two_sets.delete_last()
    two_sets.rest()
    entry = await two_sets.tick()
    assert (entry["outcome"], entry["stage"]) == ("skipped", "content")
    assert entry["reason"] == (
        "pregnancy has no further message in eng_ZA: the subscription is completed"
    )
    done = direct.subscription(mother)
    assert (done["completed"], done["active"], done["process_status"]) == (True, False, 2)
    assert done["next_sequence_number"] == 5
    (baby,) = two_sets.followers(mother)
    assert (baby["messageset_id"], baby["next_sequence_number"]) == (two_sets.baby, 1)
    assert (baby["lang"], baby["identity"]) == (done["lang"], done["identity"])
    assert direct.rows("SELECT * FROM failed_tasks WHERE stage = 'content'") == []
    entry = await two_sets.tick()
    assert (entry["subscription_id"], entry["outcome"]) == (baby["id"], "sent")


@ensureDeferred
async def test_until_the_content_has_been_at_rest_they_are_skipped_with_that_reason(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(4)
    await two_sets.tick()
    two_sets.delete_last()
    before = direct.subscription(mother)
    for hours in (0.0, 0.9):
        two_sets.rest(hours)
        entry = await two_sets.tick()
        assert (entry["outcome"], entry["stage"]) == ("skipped", "content")
        assert "changed a short while ago" in entry["reason"]
        assert direct.subscription(mother) == before
    assert direct.rows("SELECT * FROM failed_tasks") == []
    two_sets.direct.message(two_sets.pregnancy, 5, "eng_ZA", "five, again")
    assert (await two_sets.tick())["sequence_number"] == 5
    assert direct.subscription(mother)["completed"]


@pytest.mark.parametrize(("settle", "completes"), [(0.0, True), (30.0, False)])
@ensureDeferred
async def test_how_long_content_has_to_rest_is_a_setting(
    database: Database, direct: Arranged, settle: float, completes: bool
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(6)
    await two_sets.tick(settle=timedelta(seconds=settle))
    assert direct.subscription(mother)["completed"] == completes


@ensureDeferred
async def test_a_send_that_was_owed_before_the_change_completes_nobody_however_late_it_is_claimed(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother()
    two_sets.rest(9)
    await database.transact(sends.owe, subscription_id=mother)
    two_sets.delete_last()
    # Both lie some hours back by now.
    two_sets.rest(3)
    direct.rows("UPDATE sends SET owed_at = now() - interval '4 hours'")
    claimed = await database.transact(sends.claim, owner=uuid4(), limit=9, lease=LEASE)
    await two_sets.settle(claimed)
    assert "changed a short while ago" in direct.ledger()[-1]["reason"]
    assert not direct.subscription(mother)["completed"]
    assert (await two_sets.tick())["outcome"] == "skipped"
    assert direct.subscription(mother)["completed"]


@ensureDeferred
async def test_imported_people_beyond_the_end_complete_and_do_not_go_on(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(99)
    two_sets.rest()
    entry = await two_sets.tick()
    assert entry["outcome"] == "skipped"
    assert entry["reason"].endswith("so that no next set begins")
    assert direct.subscription(mother)["completed"]
    assert two_sets.followers(mother) == []


@ensureDeferred
async def test_a_send_of_another_set_does_not_carry_them_on(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(3)
    await two_sets.tick()
    toddler = direct.messageset("toddler", two_sets.schedule, next_set=two_sets.baby)
    direct.rows("UPDATE subscriptions SET messageset_id = %s, next_sequence_number = 9", toddler)
    two_sets.rest()
    await two_sets.tick()
    assert direct.subscription(mother)["completed"]
    assert two_sets.followers(mother) == []


@ensureDeferred
async def test_where_there_is_no_message_at_all_in_the_language_it_is_a_failed_task(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(3, lang="xho_ZA")
    two_sets.rest()
    entry = await two_sets.tick()
    assert (entry["outcome"], entry["stage"]) == ("failed", "content")
    assert entry["reason"] == "pregnancy has no message in xho_ZA"
    assert not direct.subscription(mother)["completed"]
    assert len(direct.rows("SELECT * FROM failed_tasks")) == 1


@ensureDeferred
async def test_the_end_is_that_of_the_language_which_the_person_has_now(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(4)
    await two_sets.tick()
    direct.rows("DELETE FROM messages WHERE sequence_number > 3 AND lang = 'zul_ZA'")
    two_sets.rest()
    direct.rows("UPDATE subscriptions SET lang = 'zul_ZA'")
    assert (await two_sets.tick())["outcome"] == "skipped"
    (baby,) = two_sets.followers(mother)
    assert baby["lang"] == "zul_ZA"


@pytest.mark.parametrize(
    ("change", "completes"),
    [
        ("INSERT INTO messages (messageset_id, sequence_number, lang, text_content)"
         " SELECT messageset_id, 5, lang, 'again' FROM messages"
         " WHERE lang = 'eng_ZA' AND messageset_id = 2 AND sequence_number = 1", False),
        ("DELETE FROM messages WHERE sequence_number = 4", False),
        ("UPDATE messages SET text_content = 'written again' WHERE sequence_number = 1", False),
        ("DELETE FROM messages", False),
        ("UPDATE subscriptions SET next_sequence_number = 1", False),
        ("UPDATE subscriptions SET next_sequence_number = 7", False),
        ("UPDATE subscriptions SET lang = 'zul_ZA'", False),
        ("UPDATE subscriptions SET active = false", False),
        ("UPDATE subscriptions SET process_status = -1", False),
        ("UPDATE subscriptions SET messageset_id = 1", False),
        ("DELETE FROM subscriptions", False),
        ("UPDATE messages SET updated_at = now()", True),
        ("UPDATE subscriptions SET metadata = '{}'", True),
    ],
)  # fmt: skip
@ensureDeferred
async def test_what_changes_between_claim_and_settling_is_heeded(
    database: Database, direct: Arranged, change: str, completes: bool
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(4)
    await two_sets.tick()
    two_sets.delete_last()
    two_sets.rest()
    claimed = await two_sets.claimed()
    direct.rows(change)
    before = direct.rows("SELECT * FROM subscriptions")
    await two_sets.settle(claimed)
    entry = direct.ledger()[-1]
    assert entry["outcome"] == "skipped"
    if completes:
        assert direct.subscription(mother)["completed"]
        assert len(two_sets.followers(mother)) == 1
    else:
        assert direct.rows("SELECT * FROM subscriptions") == before
        assert entry["reason"] == "the subscription, or the content of its set, changed meanwhile"


@ensureDeferred
async def test_a_language_that_the_person_has_since_the_claim_is_looked_at_by_the_next_tick(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(5)
    two_sets.delete_last()
    two_sets.rest()
    direct.rows("DELETE FROM messages WHERE sequence_number = 5")
    claimed = await two_sets.claimed()
    direct.rows("UPDATE subscriptions SET lang = 'zul_ZA'")
    await two_sets.settle(claimed)
    assert not direct.subscription(mother)["completed"]


@ensureDeferred
async def test_a_completion_that_lost_its_claim_moves_nothing(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    mother = two_sets.mother(9)
    two_sets.rest()
    (send,) = await two_sets.claimed()
    direct.rows("UPDATE sends SET attempt = attempt + 1")
    result = objection(send)
    assert result is not None
    committed = await database.transact(sends.settle, results=[(send, result)])
    assert committed.sends == set()
    assert not direct.subscription(mother)["completed"]


ENGLISH = "messageset_id = 2 AND lang = 'eng_ZA'"


@pytest.mark.parametrize(
    ("change", "noted"),
    [
        ("DELETE FROM messages WHERE [english] AND sequence_number = 5", {(2, "eng_ZA")}),
        ("DELETE FROM messages WHERE [english]", {(2, "eng_ZA")}),
        ("INSERT INTO messages (messageset_id, sequence_number, lang, text_content)"
         " VALUES (1, 9, 'zul_ZA', 'x'), (1, 9, 'xho_ZA', 'x')", {(1, "zul_ZA"), (1, "xho_ZA")}),
        ("UPDATE messages SET sequence_number = 9 WHERE [english] AND sequence_number = 5",
         {(2, "eng_ZA")}),
        ("UPDATE messages SET lang = 'xho_ZA' WHERE [english]", {(2, "eng_ZA"), (2, "xho_ZA")}),
        ("UPDATE messages SET messageset_id = 1 WHERE [english] AND sequence_number = 5",
         {(1, "eng_ZA"), (2, "eng_ZA")}),
        ("UPDATE messages SET text_content = 'x' WHERE [english]", {(2, "eng_ZA")}),
        ("UPDATE messages SET text_content = text_content, updated_at = now()", set()),
        ("DELETE FROM binary_contents", {(2, "zul_ZA")}),
        ("DELETE FROM messagesets WHERE id = 2", set()),
        ("UPDATE messagesets SET label = 'x'", set()),
        ("DELETE FROM messages WHERE false", set()),
    ],
)  # fmt: skip
@ensureDeferred
async def test_every_change_of_content_is_noted_whoever_makes_it(
    database: Database, direct: Arranged, change: str, noted: set[tuple[int, str]]
) -> None:
    two_sets = TwoSets(database, direct)
    assert (two_sets.baby, two_sets.pregnancy) == (1, 2)
    direct.message(2, 6, "zul_ZA", None, file_name="six.png")
    assert two_sets.changed() == {(1, "eng_ZA"), (1, "zul_ZA"), (2, "eng_ZA"), (2, "zul_ZA")}
    two_sets.rest(2)
    direct.rows(change.replace("[english]", ENGLISH))
    assert two_sets.changed() == noted


async def expected(database: Database, direct: Arranged, schedule: int, runs: int) -> Any:
    """Who is behind after so many runs since an hour after the beginning, and the search's id."""
    search_id, _ = await database.transact(schedule_runs.begin, as_of=None)
    direct.rows("UPDATE subscriptions SET created_at = now() - interval '30 days'")
    direct.rows(
        "INSERT INTO schedule_runs SELECT %s, %s, n, now() - interval '30 days' + n * interval"
        " '1 day' FROM generate_series(1, %s) n",
        *(search_id, schedule, runs),
    )
    found = await database.transact(
        look,
        search_id=search_id,
        after=BEFORE_ALL,
        limit=100,
        wanted=schedule_runs.EVERYBODY,
    )
    assert found is not None
    return search_id, found.found


@pytest.mark.parametrize("initial", [1, 4])
@ensureDeferred
async def test_who_is_behind_agrees_about_who_goes_on(
    database: Database, direct: Arranged, initial: int
) -> None:
    two_sets = TwoSets(database, direct)
    sent_to = two_sets.mother(4)
    await two_sets.tick()
    imported = two_sets.mother(5)
    direct.rows("UPDATE subscriptions SET initial_sequence_number = %s", initial)
    # If the subscription began with the fourth message, all its messages are gone.
    direct.rows("DELETE FROM messages WHERE sequence_number >= 4 AND messageset_id = 2")
    search_id, found = await expected(database, direct, two_sets.schedule, 20)
    (one,) = found
    assert one.id == sent_to
    assert [step.messageset_id for step in one.path] == [two_sets.pregnancy, two_sets.baby]
    assert one.messages_behind == 3
    assert one.unsendable == "no message of its set is left to send"
    ids = [sent_to, imported]
    helped = await database.transact(
        fast_forward, search_id=search_id, ids=ids, actor="a", reason=""
    )
    assert (helped.done, helped.begun) == (1, 1)
    assert direct.subscription(sent_to)["completed"]
    assert not direct.subscription(imported)["completed"]


@ensureDeferred
async def test_estimates_leave_out_those_to_whom_nothing_is_sent(
    database: Database, direct: Arranged
) -> None:
    two_sets = TwoSets(database, direct)
    two_sets.mother(5)
    two_sets.mother(6)
    two_sets.mother(1, lang="xho_ZA")
    await database.transact(
        estimates.estimate, send_date=date(2026, 3, 1), schedules=[two_sets.schedule]
    )
    _, found = await database.transact(estimates.list_page, limit=10, offset=0)
    counts = {one.messageset_id: one.estimate_subscriptions for one in found}
    assert counts == {two_sets.pregnancy: 1, two_sets.baby: 0}

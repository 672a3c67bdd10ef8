"""``sbm failed-task``, as an operator runs it."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED, MISUSED
from sbm.model.failed_task import MAX_REASON
from sbm.operations.requeue import AT_ONCE
from tests.arrange import Arranged
from tests.commands.operator import Sbm


def failures(direct: Arranged, count: int) -> list[int]:
    """So many failures; the last one is of other content, and of a resend."""
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    *mothers, last = direct.subscriptions(count, messageset, schedule)
    return [
        *direct.failures(mothers),
        *direct.failures([last], kind="resend", stage="content", reason="there is\nno message"),
    ]


@ensureDeferred
async def test_failures_are_listed_newest_first(sbm: Sbm, direct: Arranged) -> None:
    first, second = failures(direct, 2)
    mother = direct.value("SELECT subscription_id FROM failed_tasks WHERE id = %s", second)
    heading, newest, oldest = (await sbm("failed-task", "list")).out.splitlines()
    assert heading.split() == ["ID", "KIND", "STAGE", "INITIATED", "SUBSCRIPTION", "REASON"]
    assert newest.split()[:3] == [str(second), "resend", "content"]
    assert newest.endswith(f"2026-01-01 00:00:00+00:00  {mother}  there is no message")
    assert oldest.split()[0] == str(first)
    listed = (await sbm("failed-task", "list", "--subscription", str(mother))).out.splitlines()
    assert listed[1:] == [newest]


@ensureDeferred
async def test_a_reason_executes_nothing_in_a_terminal_and_ends_no_line(
    sbm: Sbm, direct: Arranged
) -> None:
    """Reasons that are stored already may be as another service has written them."""
    schedule = direct.schedule()
    mothers = direct.subscriptions(1, direct.messageset("a", schedule), schedule)
    direct.failures(mothers, reason="400 \x1b[2J\x9b1m\r\n99  next  post \u202e")
    _, line = (await sbm("failed-task", "list")).out.splitlines()
    assert line.endswith("  400 \\u001b[2J\\u009b1m 99 next post \\u202e")


@ensureDeferred
async def test_a_long_list_says_how_long_it_is(sbm: Sbm, direct: Arranged) -> None:
    failures(direct, 101)
    *_, last = (await sbm("failed-task", "list")).out.splitlines()
    assert last == "the newest 100 of 101"


@pytest.mark.parametrize(
    ("options", "owed"),
    [
        ((), 3),
        (("--kind", "resend"), 1),
        (("--stage", "post"), 2),
        (("--reason-contains", "CHANNEL"), 2),
        (("--reason-contains", "channel", "--kind", "resend"), 0),
    ],
)
@ensureDeferred
async def test_those_that_match_are_requeued(
    sbm: Sbm, direct: Arranged, options: tuple[str, ...], owed: int
) -> None:
    failures(direct, 3)
    outcome = await sbm("failed-task", "requeue", *options, "--dry-run")
    assert (outcome.status, outcome.out) == (0, f"{owed} would be requeued\n")
    assert direct.value("SELECT count(*) FROM failed_tasks") == 3
    outcome = await sbm("failed-task", "requeue", *options)
    assert outcome.out == f"{owed} requeued: {owed} owed again, 0 skipped\n"
    assert direct.value("SELECT count(*) FROM sends") == owed
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_these_are_requeued_and_what_is_not_there_is_told(sbm: Sbm, direct: Arranged) -> None:
    first, second, third = (str(number) for number in failures(direct, 3))
    direct.rows(
        "UPDATE subscriptions SET active = false FROM failed_tasks"
        " WHERE subscription_id = subscriptions.id AND failed_tasks.id = %s",
        int(second),
    )
    wanted = (first, second, second, "4711")
    outcome = await sbm("failed-task", "requeue", *wanted, "--dry-run")
    assert (outcome.status, outcome.out) == (FAILED, "2 would be requeued\n")
    outcome = await sbm("failed-task", "requeue", *wanted)
    assert (outcome.status, outcome.out) == (FAILED, "2 requeued: 1 owed again, 1 skipped\n")
    assert outcome.stderr == "sbm: there is no failed task 4711\n"
    assert [str(row["id"]) for row in direct.rows("SELECT id FROM failed_tasks")] == [third]
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_what_is_too_long_is_left_to_a_daemon(sbm: Sbm, direct: Arranged) -> None:
    failures(direct, AT_ONCE + 2)
    outcome = await sbm("failed-task", "requeue", "--kind", "next")
    told = (
        f"{AT_ONCE} requeued: {AT_ONCE} owed again, 0 skipped\na daemon goes on with the others\n"
    )
    assert (outcome.status, outcome.out) == (0, told)
    assert direct.value("SELECT wanted FROM tasks") == {"kind": "next"}


@pytest.mark.parametrize(
    "options",
    [
        ("nope",),
        ("0",),
        ("2147483648",),
        ("--kind", "other"),
        ("--subscription", "x"),
        ("--reason-contains", ""),
        ("--reason-contains", " "),
        ("--reason-contains", "x" * (MAX_REASON + 1)),
        ("7", "--kind", "next"),
    ],
)
@ensureDeferred
async def test_what_cannot_be_meant_requeues_nothing(
    sbm: Sbm, direct: Arranged, options: tuple[str, ...]
) -> None:
    failures(direct, 2)
    assert (await sbm("failed-task", "requeue", *options)).status == MISUSED
    assert direct.value("SELECT count(*) FROM failed_tasks") == 2


@pytest.mark.parametrize("by_id", [True, False])
@ensureDeferred
async def test_a_requeue_is_signed(sbm: Sbm, direct: Arranged, by_id: bool) -> None:
    numbers = failures(direct, 2)
    those = [str(one) for one in numbers] if by_id else []
    signed = ("--by", "ann", "--reason", "the store is back")
    assert (await sbm("failed-task", "requeue", *those, "--dry-run", *signed)).status == 0
    assert direct.rows("SELECT id FROM audit") == []
    assert (await sbm("failed-task", "requeue", *those, *signed)).status == 0
    (entry,) = direct.rows("SELECT actor, action, reason, details FROM audit")
    assert entry == {
        "actor": "ann",
        "action": "sbm failed-task requeue",
        "reason": "the store is back",
        "details": {"requeued": 2, "owed": 2},
    }
    assert (await sbm("failed-task", "requeue", *signed)).status == 0
    assert direct.value("SELECT count(*) FROM audit") == 1

"""``sbm behind``, as an operator runs it."""

from __future__ import annotations

import getpass
import json
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from pytest_twisted import ensureDeferred

from sbm.cli import run
from sbm.commands.running import FAILED, MISUSED
from tests.arrange import Arranged
from tests.commands.operator import Sbm

# A month ago, at 7 in UTC: it is 9 in Johannesburg.
BEGAN = datetime.now(timezone.utc).replace(hour=7, minute=0, second=0, microsecond=0) - timedelta(
    days=30
)
# When the schedule, at 8 every day, has run once more: exactly then in Johannesburg.
THEN = (BEGAN + timedelta(days=6)).strftime("%Y-%m-%dT08:00")


@pytest.fixture
def mothers(direct: Arranged, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Three who have had no message of a set of four, which another one follows; one is late."""
    monkeypatch.setenv("SBM_TIMEZONE", "Africa/Johannesburg")
    schedule = direct.schedule(minute="0", hour="8")
    baby = direct.messageset("baby", schedule, messages=9)
    pregnancy = direct.messageset("pregnancy", schedule, messages=4, next_set=baby)
    mothers = sorted(direct.subscriptions(3, pregnancy, schedule))
    direct.subscriptions(1, baby, schedule)
    direct.rows("UPDATE subscriptions SET created_at = %s", BEGAN)
    return mothers


@ensureDeferred
async def test_the_difference_is_printed_and_nothing_changes(
    sbm: Sbm, direct: Arranged, mothers: list[UUID]
) -> None:
    before = direct.rows("SELECT * FROM subscriptions ORDER BY id")
    outcome = await sbm("behind", "diff", "--end-date", THEN, "--message-set", "pregnancy")
    assert (outcome.status, outcome.stderr) == (0, "3 behind\n")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["subscription"] for line in lines] == [str(mother) for mother in mothers]
    row = direct.subscription(mothers[0])
    baby = direct.value("SELECT id FROM messagesets WHERE short_name = 'baby'")
    chained = BEGAN.replace(hour=6) + timedelta(days=4)
    assert lines[0] == {
        "subscription": str(mothers[0]),
        "identity": row["identity"],
        "lang": "eng_ZA",
        "messages_behind": 6,
        "current_messageset": row["messageset_id"],
        "current_messageset_name": "pregnancy",
        "current_sequence_number": 1,
        "expected_messageset": baby,
        "expected_messageset_name": "baby",
        "expected_sequence_number": 3,
        "expected_completed": False,
        "fast_forward": [
            {
                "subscription": str(mothers[0]),
                "messageset": row["messageset_id"],
                "messageset_name": "pregnancy",
                "next_sequence_number": 4,
                "completed": True,
                "created_at": BEGAN.isoformat(),
            },
            {
                "subscription": None,
                "messageset": baby,
                "messageset_name": "baby",
                "next_sequence_number": 3,
                "completed": False,
                "created_at": chained.isoformat(),
            },
        ],
        "held_back": None,
    }
    assert direct.rows("SELECT * FROM subscriptions ORDER BY id") == before
    for table in ("behind_subscriptions", "searches", "schedule_runs", "ledger", "audit"):
        assert direct.rows(f"SELECT * FROM {table}") == []  # noqa: S608


@ensureDeferred
async def test_so_many_are_moved_in_somebodys_name_and_the_rest_the_next_time(
    sbm: Sbm, direct: Arranged, mothers: list[UUID]
) -> None:
    direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " SELECT 'next', 'tick', id, identity, 1 FROM subscriptions WHERE id = %s",
        mothers[0],
    )
    pregnancy = str(direct.subscription(mothers[0])["messageset_id"])
    command = ("behind", "fast-forward", "--end-date", THEN, "--message-set", pregnancy)
    skipped = "1 skipped: a message is already owed to the subscription\n"
    outcome = await sbm(*command, "--dry-run")
    assert outcome.out == (
        f"{mothers[1]}: pregnancy 1 to baby 3, 6 behind\n"
        f"{mothers[2]}: pregnancy 1 to baby 3, 6 behind\n"
        "2 would be moved; subscriptions to next sets that would be made: 2\n" + skipped
    )
    assert direct.ledger() == []
    outcome = await sbm(
        *command, "--limit", "1", "--by", "thandi", "--reason", "the clock stood still"
    )
    assert outcome.out == "1 moved; subscriptions to next sets that were made: 1\n" + skipped
    assert [direct.subscription(mother)["completed"] for mother in mothers] == [False, True, False]
    assert {row["actor"] for row in direct.ledger()} == {"thandi"}
    outcome = await sbm(*command)
    assert outcome.out == "1 moved; subscriptions to next sets that were made: 1\n" + skipped
    assert [direct.subscription(mother)["completed"] for mother in mothers] == [False, True, True]
    assert {row["actor"] for row in direct.ledger()} == {"thandi", getpass.getuser()}


@ensureDeferred
async def test_one_message_is_owed_to_each(sbm: Sbm, direct: Arranged, mothers: list[UUID]) -> None:
    command = ("behind", "send", "--end-date", THEN, "--message-set", "pregnancy")
    outcome = await sbm(*command, "--limit", "2", "--dry-run")
    assert outcome.out == (
        f"{mothers[0]}: pregnancy 1, 6 behind\n{mothers[1]}: pregnancy 1, 6 behind\n"
        "2 would be owed a message\n"
    )
    assert direct.rows("SELECT * FROM sends") == []
    assert (await sbm(*command, "--limit", "2")).out == "2 owed a message\n"
    skipped = "2 skipped: a message is already owed to the subscription\n"
    assert (await sbm(*command)).out == "1 owed a message\n" + skipped
    owed = direct.rows("SELECT subscription_id, actor FROM sends ORDER BY subscription_id")
    assert [row["subscription_id"] for row in owed] == mothers
    assert {row["actor"] for row in owed} == {getpass.getuser()}
    assert direct.unbalanced_ticks() == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--message-set", "nowhere"), "there is no message set 'nowhere'"),
        (("--schedule", "4711"), "there is no schedule 4711"),
        (("--end-date", "1999-01-01"), "--end-date must be within ten years of now"),
    ],
)
@ensureDeferred
async def test_what_there_is_not_is_told(sbm: Sbm, options: tuple[str, ...], told: str) -> None:
    outcome = await sbm("behind", "diff", *options)
    assert (outcome.status, outcome.stderr) == (FAILED, f"sbm: {told}\n")


@pytest.mark.parametrize(
    "options", [("--limit", "0"), ("--end-date", "soon"), ("--schedule", "x"), ("--dry-run",)]
)
def test_what_cannot_be_meant_is_misused(options: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(("behind", "diff", *options), {})
    assert ended.value.code == MISUSED

"""``sbm subscription remove-duplicates``, as an operator runs it."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED
from sbm.operations.selection import CHUNK
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm

REMOVE = ("subscription", "remove-duplicates")
DOUBLED = CHUNK // 2 + 100


def audited(whole: dict[str, Any]) -> dict[str, Any]:
    """The columns of a subscription that the audit stores."""
    derived = ("updated_at", "updated_by", "joined_at", "joined_xid")
    return {name: value for name, value in whole.items() if name not in derived}


def doubled(direct: Arranged) -> None:
    """So many people, each subscribed three times, and one of them to another set as well."""
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    mothers = direct.subscriptions(DOUBLED, messageset, schedule, metadata={"n": 1e-7})
    direct.rows(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, metadata,"
        " next_sequence_number) SELECT identity, messageset_id, schedule_id, lang, metadata, again"
        " FROM subscriptions, generate_series(2, 3) again"
    )
    other = direct.messageset("baby", schedule)
    direct.rows(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)"
        " SELECT identity, %s, schedule_id, lang FROM subscriptions WHERE id = %s",
        other,
        mothers[0],
    )


@ensureDeferred
async def test_what_would_go_is_told_and_then_goes_and_the_audit_has_it_in_full(
    sbm: Sbm, direct: Arranged
) -> None:
    doubled(direct)
    before = direct.rows("SELECT id, to_jsonb(s) AS whole FROM subscriptions s")
    *lines, last = (await sbm(*REMOVE, "--dry-run")).out.splitlines()
    assert last == f"{2 * DOUBLED} would be removed"
    assert len(before) == direct.value("SELECT count(*) FROM subscriptions")
    told = {line.split()[0] for line in lines}

    outcome = await sbm(*REMOVE, "--all", "--by", "ann", "--reason", "the Hub retried")
    assert (outcome.status, outcome.out) == (0, f"{2 * DOUBLED} removed\n")
    left = direct.rows("SELECT id, next_sequence_number AS number FROM subscriptions")
    assert [row["number"] for row in left].count(3) == DOUBLED == len(left) - 1
    gone = {str(row["id"]) for row in before} - {str(row["id"]) for row in left}
    assert gone == told
    entries = direct.rows(
        "SELECT actor, action, reason, details FROM audit WHERE operation IS NULL"
    )
    assert len(entries) > 1  # each with what its transaction did
    assert {(row["actor"], row["action"], row["reason"]) for row in entries} == {
        ("ann", " ".join(("sbm", *REMOVE)), "the Hub retried")
    }
    kept = [one["subscription"] for row in entries for one in row["details"]["removed"]]
    assert sorted(kept) == sorted(gone)
    removed = direct.rows("SELECT id, row_id, before FROM audit WHERE operation = 'delete'")
    whole = {str(row["id"]): audited(row["whole"]) for row in before}
    assert {row["row_id"]: row["before"] for row in removed} == {one: whole[one] for one in gone}

    assert (await sbm(*REMOVE, "--all")).out == "0 removed\n"
    assert direct.value("SELECT count(*) FROM audit WHERE operation IS NULL") == len(entries)

    entry = removed[0]
    outcome = await sbm("audit", "undo", str(entry["id"]))
    assert outcome.out == f"undone: {entry['id']}, subscriptions {entry['row_id']}\n"
    back = direct.value("SELECT to_jsonb(s) FROM subscriptions s WHERE id = %s", entry["row_id"])
    assert audited(back) == entry["before"]


@ensureDeferred
async def test_so_many_of_one_set_can_be_deactivated_instead(sbm: Sbm, direct: Arranged) -> None:
    doubled(direct)
    assert (await sbm(*REMOVE, "--message-set", "baby")).out == "0 removed\n"
    outcome = await sbm(*REMOVE, "--message-set", "pregnancy", "--deactivate", "--limit", "7")
    assert outcome.out == "7 deactivated\n"
    inactive = direct.rows("SELECT id FROM subscriptions WHERE NOT active")
    (details,) = (
        row["details"] for row in direct.rows("SELECT details FROM audit WHERE operation IS NULL")
    )
    told = {one["subscription"] for one in details["deactivated"]}
    assert {str(row["id"]) for row in inactive} == told
    assert (len(told), details["count"], details["messageset_id"]) == (7, 7, 1)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--limit", "5"),
        ("--all", "--fields", "identity,lang"),
        ("--all", "--fields", "identity,messageset,version"),
        ("--all", "--limit", "0"),
        ("--all", "--within", "-1"),
        ("--all", "--within", "5", "--any-time"),
    ],
)
def test_what_cannot_be_meant_is_misuse(options: tuple[str, ...]) -> None:
    assert misused(*REMOVE, *options)


def test_a_number_that_is_none_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (("--within", "soon"), ("--limit", "1.5"), ("--schedule", "daily")):
        assert misused(*REMOVE, "--all", *options)
        assert f"argument {options[0]}: must be " in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--message-set", "4711"), ("--schedule", "4711")])
@ensureDeferred
async def test_what_is_not_there_is_told(sbm: Sbm, options: tuple[str, ...]) -> None:
    outcome = await sbm(*REMOVE, *options)
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert "4711" in outcome.stderr

"""``sbm subscription remove-duplicates``, as an operator runs it."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED
from sbm.operations.selection import CHUNK
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm

REMOVE = ("subscription", "remove-duplicates")
DOUBLED = CHUNK // 2 + 100

# As the manual has it.
BRING_BACK = (
    "INSERT INTO subscriptions"
    " SELECT (jsonb_populate_record(NULL::subscriptions, one -> 'subscription')).*"
    " FROM audit, jsonb_array_elements(details -> 'removed') one"
    " WHERE one -> 'subscription' ->> 'id' = %s"
)


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
    entries = direct.rows("SELECT actor, command, reason, details FROM audit")
    assert len(entries) > 1  # each with what its transaction did
    assert {(row["actor"], row["command"], row["reason"]) for row in entries} == {
        ("ann", " ".join(REMOVE), "the Hub retried")
    }
    kept = [one["subscription"] for row in entries for one in row["details"]["removed"]]
    whole = {str(row["id"]): row["whole"] for row in before}
    assert sorted(one["id"] for one in kept) == sorted(gone)
    assert all(one == whole[one["id"]] for one in kept)

    assert (await sbm(*REMOVE, "--all")).out == "0 removed\n"
    assert direct.value("SELECT count(*) FROM audit") == len(entries)

    lost = min(gone)
    direct.rows(BRING_BACK, lost)
    assert (
        direct.value("SELECT to_jsonb(s) FROM subscriptions s WHERE id = %s", lost) == whole[lost]
    )


@ensureDeferred
async def test_so_many_of_one_set_can_be_deactivated_instead(sbm: Sbm, direct: Arranged) -> None:
    doubled(direct)
    assert (await sbm(*REMOVE, "--message-set", "baby")).out == "0 removed\n"
    outcome = await sbm(*REMOVE, "--message-set", "pregnancy", "--deactivate", "--limit", "7")
    assert outcome.out == "7 deactivated\n"
    inactive = direct.rows("SELECT id FROM subscriptions WHERE NOT active")
    (details,) = (row["details"] for row in direct.rows("SELECT details FROM audit"))
    told = {one["subscription"]["id"] for one in details["deactivated"]}
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

"""``sbm audit``, as an operator runs it."""

from __future__ import annotations

import json

from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED, OK
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm


@ensureDeferred
async def test_a_command_is_audited_and_undone(sbm: Sbm, direct: Arranged) -> None:
    assert (await sbm("user", "create", "ann")).status == OK
    assert (await sbm("user", "disable", "ann")).status == OK
    lines = (await sbm("audit", "list", "--table", "users")).out.splitlines()
    assert "is_active: true -> false" in lines[1]
    assert "sbm user disable" in lines[1]
    assert "sbm user create" in lines[2]
    found = (await sbm("audit", "list", "--json", "--operation", "update")).out
    entry = json.loads(found)
    assert (entry["before"], entry["after"]) == ({"is_active": True}, {"is_active": False})

    outcome = await sbm("audit", "undo", str(entry["id"]), "--by", "bob", "--reason", "a mistake")
    assert (outcome.status, outcome.out) == (OK, f"undone: {entry['id']}, users {entry['row']}\n")
    assert direct.value("SELECT is_active FROM users")
    undoing = direct.rows("SELECT * FROM audit ORDER BY id DESC LIMIT 1")[0]
    assert (undoing["actor"], undoing["action"], undoing["reason"], undoing["undoes"]) == (
        *("bob", "sbm audit undo"),
        *("a mistake", entry["id"]),
    )
    again = await sbm("audit", "undo", str(entry["id"]))
    assert again.status == FAILED
    assert again.out == f"stayed: {entry['id']}, users {entry['row']}: now is_active: true\n"


@ensureDeferred
async def test_all_changes_of_a_command_are_undone_but_those_that_moved_on(
    sbm: Sbm, direct: Arranged
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    ids = direct.subscriptions(600, messageset, schedule)
    direct.rows("UPDATE subscriptions SET process_status = -1")
    assert (await sbm("subscription", "reset-stuck", "--all")).out == "600 reset\n"
    request_id = direct.value("SELECT DISTINCT request_id FROM audit")
    moved = ids[:3]
    direct.rows("UPDATE subscriptions SET process_status = -2 WHERE id = ANY(%s)", moved)
    outcome = await sbm("audit", "undo", "--request", request_id)
    assert outcome.status == FAILED
    lines = outcome.out.splitlines()
    assert len([line for line in lines if line.startswith("undone")]) == 597
    stayed = [line for line in lines if line.startswith("stayed")]
    assert all(line.endswith("now process_status: -2") for line in stayed)
    assert {line.split()[3].rstrip(":") for line in stayed} == set(map(str, moved))
    left = direct.value("SELECT count(*) FROM subscriptions WHERE process_status = -1")
    assert left == 597


@ensureDeferred
async def test_unknown_entries_and_requests_are_told(sbm: Sbm) -> None:
    assert (await sbm("audit", "undo", "7")).status == FAILED
    assert "no change" in (await sbm("audit", "undo", "--request", "nothing")).stderr
    assert misused("audit", "undo")
    assert misused("audit", "list", "--limit", "0")

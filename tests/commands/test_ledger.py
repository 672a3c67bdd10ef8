"""``sbm ledger``, as an operator runs it."""

from __future__ import annotations

import csv
import io
import json

from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED, MISUSED, OK
from tests.arrange import Arranged
from tests.commands.operator import Sbm
from tests.web.resources.test_ledger import ROWS


@ensureDeferred
async def test_rows_are_listed_in_each_form(sbm: Sbm, direct: Arranged) -> None:
    direct.rows(ROWS, "someone", 30)

    table = (await sbm("ledger", "list", "--limit", "5")).out.splitlines()
    assert len(table) == 7
    assert table[-1] == "the newest 5; there are more"

    found = (await sbm("ledger", "list", "--json", "--outcome", "refused")).out.splitlines()
    assert [json.loads(line)["reason_kind"] for line in found] == ["refused"] * 7

    printed = (await sbm("ledger", "list", "--csv", "--identity", "someone")).out
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["identity"] for row in rows] == ["someone"] * 6


@ensureDeferred
async def test_a_reason_is_data_in_each_form(sbm: Sbm, direct: Arranged) -> None:
    direct.rows(ROWS, "someone", 30)
    reason = "\x1b[2J\r\nall is well \x9b\u202e"
    direct.rows("UPDATE ledger SET reason = %s", reason)
    for form in ((), ("--json",), ("--csv", "--identity", "someone")):
        printed = (await sbm("ledger", "list", *form)).out
        assert "all is well" in printed
        assert printed.replace("\n", "").replace("\r", "").isprintable()
    (row,) = (await sbm("ledger", "list", "--json")).out.splitlines()[:1]
    assert json.loads(row)["reason"] == reason


@ensureDeferred
async def test_filters_that_no_index_serves_are_refused(sbm: Sbm) -> None:
    outcome = await sbm("ledger", "list", "--lang", "eng")
    assert outcome.status == FAILED
    assert "No index serves lang" in outcome.stderr


@ensureDeferred
async def test_the_versions_of_a_message_are_listed(sbm: Sbm, direct: Arranged) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=0)
    message = direct.message(messageset, 7, "eng", "wrong")
    direct.rows("UPDATE messages SET text_content = 'right'")

    outcome = await sbm("ledger", "versions", str(message))

    assert outcome.status == OK
    lines = outcome.out.splitlines()
    assert lines[1].endswith("right")
    assert lines[2].endswith("wrong")
    assert (await sbm("ledger", "versions", "99")).status == FAILED


@ensureDeferred
async def test_a_person_is_found_in_any_spelling(sbm: Sbm, direct: Arranged) -> None:
    identity = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
    direct.rows(ROWS, identity, 5)
    for spelling in (identity, identity.upper(), identity.replace("-", "")):
        found = (await sbm("ledger", "list", "--json", "--identity", spelling)).out.splitlines()
        assert [json.loads(line)["identity"] for line in found] == [identity]


@ensureDeferred
async def test_numbers_that_no_row_can_have_are_refused(sbm: Sbm) -> None:
    outcome = await sbm("ledger", "list", "--tick", "9" * 20)
    assert outcome.status == MISUSED
    assert "larger than any number" in outcome.stderr

"""``sbm simulate``, as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm


def change(what: str, *, number: str = "1", lang: str = '"eng_ZA"') -> str:
    return f'[{{"sequence_number": {number}, "lang": {lang}, {what}}}]'


def world(direct: Arranged) -> tuple[int, int]:
    schedule = direct.schedule(minute="0", hour="8")
    messageset = direct.messageset("pregnancy", schedule)
    direct.rows("DELETE FROM content_changes")
    direct.subscriptions(5, messageset, schedule, next_sequence_number=3)
    direct.subscriptions(2, messageset, schedule, lang="xho_ZA")
    return schedule, messageset


@ensureDeferred
async def test_a_tick_is_simulated(sbm: Sbm, direct: Arranged) -> None:
    schedule, messageset = world(direct)
    lines = (await sbm("simulate", "schedule", str(schedule))).out.splitlines()
    assert lines[0] == "5 of 7 are sent a message (5 SMS)"
    assert lines[2].split() == [str(messageset), "eng_ZA", "3", "5", "5"]
    assert lines[3] == "2 not: failed (content): pregnancy has no message in xho_ZA"
    assert lines[6:8] == [
        "5 complete their set, if all of it is sent",
        f"    5 of set {messageset} in eng_ZA go on nowhere",
    ]
    assert lines[-1].startswith("token: ")
    assert direct.value("SELECT made_by FROM simulations") == "sbm simulate"
    assert direct.rows("SELECT FROM ticks") == []


@ensureDeferred
async def test_days_and_changed_sets_are_simulated(
    sbm: Sbm, direct: Arranged, tmp_path: Path
) -> None:
    schedule, messageset = world(direct)
    told = json.loads((await sbm("simulate", "days", "2", "--json")).out)
    assert [(one["sent"], one["not_sent"]) for one in told["ticks"]] == [(5, 2), (0, 2)]
    at = told["ticks"][1]["at"]
    later = await sbm("simulate", "schedule", str(schedule), "--at", at, "--json")
    assert json.loads(later.out)["send"]["count"] == 0
    changes = tmp_path / "changes.json"
    changes.write_text('[{"sequence_number": 1, "lang": "xho_ZA", "text_content": "Molo"}]')
    lines = (await sbm("simulate", "set", str(messageset), str(changes))).out.splitlines()
    assert lines[:2] == [
        "at least 2 people have another result than without the changes",
        "7 of 7 are sent a message (7 SMS)",
    ]


@ensureDeferred
async def test_what_cannot_be_simulated_is_told(sbm: Sbm, direct: Arranged, tmp_path: Path) -> None:
    _, messageset = world(direct)
    assert "does not exist" in (await sbm("simulate", "schedule", "99")).stderr
    changes = tmp_path / "changes.json"
    for text, told in (
        ("[", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("{}", "Give a list of 1 to 1,000 changes."),
        ("[]", "Give a list"),
        ("[1]", "Change 1 is not an object."),
        (change('"delete": true', number="1e999"), "sequence_number from 1"),
        (change('"text_content": "x"', number="2147483648"), "sequence_number from 1"),
        (change('"text_content": "x"', number="1.5"), "sequence_number from 1"),
        (change('"text_content": "x"', lang='"English"'), "lang, such as eng"),
        (change('"text_content": "x"', lang="null"), "lang, such as eng"),
        (change('"text_content": null'), "text_content that is text"),
        (change(r'"text_content": "\ud800"'), "text_content that is text"),
        (change('"text_content": "x", "delete": true'), "text_content, or delete as true"),
        ('[{"sequence_number": 9, "lang": "eng_ZA", "delete": true}]', "no such message"),
    ):
        changes.write_text(text)
        outcome = await sbm("simulate", "set", str(messageset), str(changes))
        assert told in outcome.stderr
        assert outcome.status != 0
    outcome = await sbm("simulate", "schedule", "1", "--at", "2020-01-01")
    assert "within the next 31 days" in outcome.stderr


def test_misuse_is_told_before_a_database_is_used() -> None:
    assert misused("simulate", "days", "32")
    assert misused("simulate", "schedule", "1", "--at", "soon")
    assert misused("simulate", "schedule", "1", "--allowed-change", "101")
    assert misused("simulate")

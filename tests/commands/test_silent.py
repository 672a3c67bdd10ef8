"""``sbm silent``, as an operator runs it."""

from __future__ import annotations

import json

from pytest_twisted import ensureDeferred

from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm


def world(direct: Arranged) -> int:
    schedule = direct.schedule(minute="0")
    messageset = direct.messageset("pregnancy", schedule)
    direct.subscriptions(5, messageset, schedule)
    direct.subscriptions(2, messageset, schedule, lang="xho_ZA")
    (stuck,) = direct.subscriptions(1, messageset, schedule)
    direct.rows("UPDATE subscriptions SET process_status = -1 WHERE id = %s", stuck)
    return messageset


@ensureDeferred
async def test_silent_people_are_counted_by_cause_set_language_and_schedule(
    sbm: Sbm, direct: Arranged
) -> None:
    world(direct)
    lines = (await sbm("silent")).out.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["error", "pregnancy", "eng_ZA", "1", "1"],
        ["language", "pregnancy", "xho_ZA", "1", "2"],
    ]
    assert lines[3:] == ["3 of 8 active subscriptions are silent"]
    lines = (await sbm("silent", "--cause", "language")).out.splitlines()
    assert lines[2:] == ["2 of 8 active subscriptions are silent"]
    assert direct.rows("SELECT FROM silent_subscriptions") == []


@ensureDeferred
async def test_silent_people_are_printed_as_json(sbm: Sbm, direct: Arranged) -> None:
    messageset = world(direct)
    outcome = await sbm("silent", "--people", "--cause", "error")
    (one,) = [json.loads(line) for line in outcome.out.splitlines()]
    assert one == {
        "subscription_id": one["subscription_id"],
        "cause": "error",
        "identity": one["identity"],
        "messageset_id": messageset,
        "messageset": "pregnancy",
        "lang": "eng_ZA",
        "schedule_id": 1,
        "next_sequence_number": 1,
    }
    assert "1 of 8 active" in outcome.stderr


@ensureDeferred
async def test_nobody_is_silent_where_nobody_is_enrolled(sbm: Sbm) -> None:
    assert (await sbm("silent")).out == "0 of 0 active subscriptions are silent\n"
    assert misused("silent", "--cause", "bored")

"""``sbm forget`` and ``sbm export``, as an operator runs them."""

from __future__ import annotations

import json

from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED, OK
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm
from tests.operations.test_privacy import IDENTITY, Seeds, claimed, dump


@ensureDeferred
async def test_a_person_is_exported_counted_and_forgotten(sbm: Sbm, direct: Arranged) -> None:
    seeds = Seeds(direct, IDENTITY)
    exported = json.loads((await sbm("export", "--identity", IDENTITY.upper())).out)
    assert exported["tables"].keys() == seeds.values.keys()
    counted = await sbm("forget", IDENTITY, "--dry-run")
    assert counted.out.splitlines()[1].split() == ["subscriptions", "1"]
    assert direct.subscription(seeds.subscription)
    done = await sbm("forget", IDENTITY, "--by", "ann", "--reason", f"{IDENTITY} asked")
    assert done.status == OK, done
    assert done.out.splitlines()[1].split() == ["subscriptions", "1"]
    assert IDENTITY not in dump(direct)
    newest = direct.rows("SELECT * FROM audit ORDER BY id DESC LIMIT 1")[0]
    assert (newest["actor"], newest["action"]) == ("ann", "sbm forget")
    again = await sbm("forget", IDENTITY)
    assert (again.status, again.out.splitlines()[0]) == (OK, "nothing about this person")
    empty = await sbm("export", "--identity", IDENTITY)
    assert json.loads(empty.out) == {"identity": IDENTITY, "tables": {}}


@ensureDeferred
async def test_what_remains_is_told(sbm: Sbm, direct: Arranged) -> None:
    claimed(direct, Seeds(direct, IDENTITY))
    outcome = await sbm("forget", IDENTITY, "--wait", "0.3")
    assert outcome.status == FAILED
    assert "waiting for other services: sends: 1" in outcome.out


def test_wrong_arguments_are_refused() -> None:
    assert misused("forget", " ")
    assert misused("forget", IDENTITY, "--wait", "-1")
    assert misused("export")

"""``sbm subscription reset-stuck``, as an operator runs it."""

from __future__ import annotations

from uuid import UUID

import pytest
from pytest_twisted import ensureDeferred

from sbm.operations.selection import CHUNK
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm

RESET = ("subscription", "reset-stuck")
STUCK = CHUNK + 10


def stuck(direct: Arranged, messageset: int, count: int, status: int) -> set[UUID]:
    mothers = direct.subscriptions(count, messageset, 1)
    direct.rows("UPDATE subscriptions SET process_status = %s WHERE id = ANY(%s)", status, mothers)
    return set(mothers)


def ready(direct: Arranged) -> set[UUID]:
    rows = direct.rows("SELECT id FROM subscriptions WHERE process_status = 0")
    return {row["id"] for row in rows}


@ensureDeferred
async def test_those_in_error_are_counted_and_then_ready_again(sbm: Sbm, direct: Arranged) -> None:
    schedule = direct.schedule()
    pregnancy, baby = (direct.messageset(name, schedule) for name in ("pregnancy", "baby"))
    unreached = stuck(direct, pregnancy, STUCK, -1)
    broken = stuck(direct, baby, 2, -2)
    (completed,) = stuck(direct, baby, 1, -1)
    direct.rows("UPDATE subscriptions SET completed = true WHERE id = %s", completed)

    outcome = await sbm(*RESET, "--dry-run")
    assert [line.split() for line in outcome.out.splitlines()[1:]] == [
        ["baby", "-2", "2"],
        ["pregnancy", "-1", str(STUCK)],
        [str(STUCK + 2), "would", "be", "reset"],
    ]
    assert ready(direct) == set()

    assert (
        await sbm(*RESET, "--status", "-2", "--by", "ann", "--reason", "mended")
    ).out == "2 reset\n"
    assert ready(direct) == broken
    (entry,) = direct.rows(
        "SELECT actor, action, reason, details FROM audit WHERE operation IS NULL"
    )
    told = entry["details"].pop("subscriptions")
    assert set(map(UUID, told)) == broken
    assert entry == {
        "actor": "ann",
        "action": " ".join(("sbm", *RESET)),
        "reason": "mended",
        "details": {"all": True, "status": -2, "count": 2},
    }

    assert (await sbm(*RESET, "--message-set", "1", "--limit", "5")).out == "5 reset\n"
    assert len(ready(direct) & unreached) == 5
    assert (await sbm(*RESET, "--all")).out == f"{STUCK - 5} reset\n"
    assert ready(direct) == unreached | broken
    numbers = [
        row["details"]["count"]
        for row in direct.rows("SELECT details FROM audit WHERE operation IS NULL")
    ]
    assert sum(numbers) == STUCK + 2
    assert max(numbers) == CHUNK


@pytest.mark.parametrize("options", [(), ("--all", "--status", "1")])
def test_what_cannot_be_meant_is_misuse(options: tuple[str, ...]) -> None:
    assert misused(*RESET, *options)

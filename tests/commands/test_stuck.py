"""``sbm subscription reset-stuck``, as an operator runs it."""

from __future__ import annotations

from uuid import UUID

import pytest

from sbm.commands.selecting import CHUNK
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.test_users import Sbm
from tests.commands.test_users import behind as behind
from tests.commands.test_users import sbm as sbm

RESET = ("subscription", "reset-stuck")
STUCK = CHUNK + 10


def stuck(behind: Arranged, messageset: int, count: int, status: int) -> set[UUID]:
    mothers = behind.subscriptions(count, messageset, 1)
    behind.rows("UPDATE subscriptions SET process_status = %s WHERE id = ANY(%s)", status, mothers)
    return set(mothers)


def ready(behind: Arranged) -> set[UUID]:
    rows = behind.rows("SELECT id FROM subscriptions WHERE process_status = 0")
    return {row["id"] for row in rows}


def test_those_in_error_are_counted_and_then_ready_again(sbm: Sbm, behind: Arranged) -> None:
    schedule = behind.schedule()
    pregnancy, baby = (behind.messageset(name, schedule) for name in ("pregnancy", "baby"))
    unreached = stuck(behind, pregnancy, STUCK, -1)
    broken = stuck(behind, baby, 2, -2)
    (completed,) = stuck(behind, baby, 1, -1)
    behind.rows("UPDATE subscriptions SET completed = true WHERE id = %s", completed)

    outcome = sbm(*RESET, "--dry-run")
    assert [line.split() for line in outcome.out.splitlines()[1:]] == [
        ["baby", "-2", "2"],
        ["pregnancy", "-1", str(STUCK)],
        [str(STUCK + 2), "would", "be", "reset"],
    ]
    assert ready(behind) == set()

    assert sbm(*RESET, "--status", "-2", "--by", "ann", "--reason", "mended").out == "2 reset\n"
    assert ready(behind) == broken
    (entry,) = behind.rows("SELECT actor, command, reason, details FROM audit")
    told = entry["details"].pop("subscriptions")
    assert set(map(UUID, told)) == broken
    assert entry == {
        "actor": "ann",
        "command": " ".join(RESET),
        "reason": "mended",
        "details": {"all": True, "status": -2, "count": 2},
    }

    assert sbm(*RESET, "--message-set", "1", "--limit", "5").out == "5 reset\n"
    assert len(ready(behind) & unreached) == 5
    assert sbm(*RESET, "--all").out == f"{STUCK - 5} reset\n"
    assert ready(behind) == unreached | broken
    numbers = [row["details"]["count"] for row in behind.rows("SELECT details FROM audit")]
    assert sum(numbers) == STUCK + 2
    assert max(numbers) == CHUNK


@pytest.mark.parametrize("options", [(), ("--all", "--status", "1")])
def test_what_cannot_be_meant_is_misuse(options: tuple[str, ...]) -> None:
    assert misused(*RESET, *options)

"""``sbm delivery``, as an operator runs it."""

from __future__ import annotations

from pytest_twisted import ensureDeferred

from sbm.commands.running import OK
from tests.arrange import Arranged
from tests.commands.operator import Sbm


@ensureDeferred
async def test_counts_and_places_are_printed(sbm: Sbm, direct: Arranged) -> None:
    direct.rows(
        "INSERT INTO delivery_counts (day, messageset_id, lang, seen, delivered, final)"
        " VALUES ('2026-11-01', 1, 'eng', 8, 6, 8), ('2026-11-02', 1, 'zul', 0, 0, 0)"
    )
    direct.rows("UPDATE delivery_places SET place = '2026-11-03T00:00:00Z' WHERE look = 'last'")

    outcome = await sbm("delivery", "counts", "--before", "2026-11-01")

    assert outcome.status == OK
    lines = outcome.out.splitlines()
    assert lines[1].split() == ["2026-11-01", "1", "eng", "8", "6", "75.0%", "8"]
    assert lines[2:] == ["first look: not begun", "last look: 2026-11-03 00:00:00+00:00"]


@ensureDeferred
async def test_people_are_printed(sbm: Sbm, direct: Arranged) -> None:
    direct.rows(
        "INSERT INTO undelivered_people (identity, in_row, since, last_at)"
        " VALUES ('a', 1, now(), now()), ('b', 4, now(), now())"
    )
    lines = (await sbm("delivery", "people", "--in-row", "2")).out.splitlines()
    assert lines[1].startswith("b ")
    assert lines[2] == "1 people"

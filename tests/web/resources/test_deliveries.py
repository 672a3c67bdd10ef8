"""``/api/v1/deliveries/`` and ``/api/v1/undelivered-people/``."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.arrange import Arranged
from tests.web.conftest import Api

COUNTS = "/api/v1/deliveries/"
PEOPLE = "/api/v1/undelivered-people/"


async def listed(api: Api, path: str) -> list[Any]:
    rows: list[Any] = []
    while path:
        answer = await api.get(path)
        assert answer.status == 200, answer.text
        rows += answer.json["results"]
        path = (answer.json["next"] or "").replace(api.base, "")
    return rows


@pytest_twisted.ensureDeferred
async def test_counts_are_listed_by_day_and_filtered(api: Api, direct: Arranged) -> None:
    direct.rows(
        "INSERT INTO delivery_counts (day, messageset_id, lang, seen, delivered, final)"
        " SELECT date '2026-11-01' + n / 2, 1 + n %% 2, 'eng', 10, n, 5"
        " FROM generate_series(0, 9) n WHERE %s",
        True,
    )
    rows = await listed(api, f"{COUNTS}?limit=3")
    assert [(row["day"], row["messageset"]) for row in rows] == sorted(
        ((row["day"], row["messageset"]) for row in rows), reverse=True
    )
    assert len(rows) == 10
    assert rows[0] == {
        "day": "2026-11-05",
        "messageset": 2,
        "lang": "eng",
        "seen": 10,
        "delivered": 9,
        "final": 5,
    }
    some = await listed(api, f"{COUNTS}?messageset=1&after=2026-11-02&before=2026-11-03&lang=eng")
    assert [row["day"] for row in some] == ["2026-11-03", "2026-11-02"]
    assert (await api.get(f"{COUNTS}?after=yesterday")).status == 400


@pytest_twisted.ensureDeferred
async def test_people_are_listed_by_how_many_in_a_row(api: Api, direct: Arranged) -> None:
    direct.rows(
        "INSERT INTO undelivered_people (identity, in_row, since, last_at)"
        " SELECT 'p' || n, 1 + n / 3, now(), now() FROM generate_series(0, 8) n"
    )
    rows = await listed(api, f"{PEOPLE}?in_row=2&limit=2")
    assert [row["in_row"] for row in rows] == [3, 3, 3, 2, 2, 2]
    assert len({row["identity"] for row in rows}) == 6
    (one,) = await listed(api, f"{PEOPLE}?identity=p8")
    assert (one["identity"], one["in_row"]) == ("p8", 3)


@pytest.mark.parametrize("path", [COUNTS, PEOPLE])
@pytest_twisted.ensureDeferred
async def test_people_read_is_needed(api: Api, direct: Arranged, path: str) -> None:
    direct.rows("UPDATE users SET is_limited = true WHERE NOT is_admin")
    assert (await api.get(path, token=api.user_token)).status == 403

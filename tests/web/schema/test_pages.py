"""Lists, followed page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import LoopingCall

from sbm.runtime import time_slices
from tests.arrange import Arranged
from tests.web.conftest import Api

SUBSCRIPTIONS = "/api/v1/subscriptions/"


def some(direct: Arranged, count: int) -> list[str]:
    """The ids of so many subscriptions, newest first."""
    schedule = direct.schedule()
    messageset = direct.messageset("set", schedule, messages=0)
    direct.subscriptions(count, messageset, schedule)
    rows = direct.rows("SELECT id FROM subscriptions ORDER BY created_at DESC, id DESC")
    return [str(row["id"]) for row in rows]


async def page(api: Api, url: str) -> Any:
    answer = await api.get(url.removeprefix(api.base))
    assert answer.status == 200, answer.text
    return answer.json


def ids(page: Any) -> list[Any]:
    return [row["id"] for row in page["results"]]


def asked(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


@pytest_twisted.ensureDeferred
async def test_pages_are_linked_by_limit_and_offset_and_keep_all_that_was_asked(api: Api) -> None:
    for _ in range(3):
        await api.made("schedule")
    shown = await page(api, "/api/v1/schedule/?zz=1&limit=1&offset=1&x=%20y&zz=3")
    assert (shown["count"], ids(shown)) == (3, [2])
    for url, offset in ((shown["next"], ["2"]), (shown["previous"], None)):
        assert url.startswith(f"{api.base}/api/v1/schedule/?cursor=")
        query = asked(url)
        assert query.pop("cursor")
        assert query.pop("offset", None) == offset
        assert query == {"limit": ["1"], "x": [" y"], "zz": ["1", "3"]}
    assert ids(await page(api, shown["next"])) == [3]
    assert ids(await page(api, shown["previous"])) == [1]


@pytest_twisted.ensureDeferred
async def test_the_ends_have_no_neighbours(api: Api) -> None:
    for _ in range(3):
        await api.made("schedule")
    first = await page(api, "/api/v1/schedule/?limit=2")
    last = await page(api, first["next"])
    assert (first["previous"], last["next"]) == (None, None)
    again = await page(api, last["previous"])
    assert (again["previous"], again["results"]) == (None, first["results"])
    assert ids(await page(api, again["next"])) == [3]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=junk", [1, 2, 3]),
        ("limit=-1", [1, 2, 3]),
        ("limit=0", [1, 2, 3]),
        ("limit=", [1, 2, 3]),
        ("limit=%202", [1, 2]),
        ("limit=" + "9" * 2000, [1, 2, 3]),
        ("offset=-1", [1, 2, 3]),
        ("offset=junk", [1, 2, 3]),
        ("offset=2", [3]),
        ("offset=" + "9" * 2000, []),
        ("cursor=", [1, 2, 3]),
        # A cursor of the replaced service: p=2026-02-01.
        ("cursor=cD0yMDI2LTAyLTAx", [1, 2, 3]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_number_is_as_if_it_were_not_there(
    api: Api, query: str, expected: list[int]
) -> None:
    for _ in range(3):
        await api.made("schedule")
    shown = await page(api, f"/api/v1/schedule/?{query}")
    assert (shown["count"], ids(shown)) == (3, expected)


@pytest_twisted.ensureDeferred
async def test_a_page_has_a_thousand_rows_unless_fewer_are_asked_for(
    api: Api, direct: Arranged
) -> None:
    expected = some(direct, 2001)
    seen, sizes = [], []
    url = SUBSCRIPTIONS + "?limit=5000"
    while url:
        shown = await page(api, url)
        assert shown["count"] == 2001
        sizes.append(len(shown["results"]))
        seen += ids(shown)
        url = shown["next"]
    assert (sizes, seen) == ([1000, 1000, 1], expected)


@pytest_twisted.ensureDeferred
async def test_the_count_is_taken_on_the_first_page(api: Api, direct: Arranged) -> None:
    some(direct, 5)
    first = await page(api, SUBSCRIPTIONS + "?limit=2")
    direct.rows("DELETE FROM subscriptions WHERE id = %s", ids(first)[0])
    assert (await page(api, first["next"]))["count"] == 5
    assert (await page(api, SUBSCRIPTIONS + "?limit=2"))["count"] == 4


@pytest_twisted.ensureDeferred
async def test_a_cursor_is_good_for_its_own_list_alone(api: Api, direct: Arranged) -> None:
    some(direct, 5)
    following = (await page(api, SUBSCRIPTIONS + "?limit=2&lang=eng_ZA"))["next"]
    path = following.removeprefix(api.base)
    assert (await api.get(path + "&format=json")).status == 200
    for changed in (
        path.replace("eng_ZA", "zul_ZA"),
        path + "&active=true",
        path.replace("subscriptions", "schedule"),
        path.replace("cursor=", "cursor=A"),
        path[: path.index("cursor=")] + "cursor=abc",
        path[: path.index("cursor=")] + "cursor=%00%C3%A9",
        path[: path.index("cursor=")] + "cursor=" + "A" * 3000,
    ):
        answer = await api.get(changed)
        assert (answer.status, list(answer.json)) == (400, ["detail"]), changed
        assert answer.json["detail"].startswith("Invalid cursor")


@pytest_twisted.ensureDeferred
async def test_an_offset_of_ones_own_goes_before_a_position(api: Api, direct: Arranged) -> None:
    expected = some(direct, 5)
    following = (await page(api, SUBSCRIPTIONS + "?limit=1"))["next"]
    assert ids(await page(api, following)) == expected[1:2]
    assert ids(await page(api, following.replace("offset=1", "offset=3"))) == expected[3:4]


@pytest_twisted.ensureDeferred
async def test_what_was_deleted_around_a_cursor_leaves_a_way_on_and_a_way_back(
    api: Api, direct: Arranged
) -> None:
    some(direct, 4)
    first = await page(api, SUBSCRIPTIONS + "?limit=2")
    second = await page(api, first["next"])
    direct.rows("DELETE FROM subscriptions WHERE id = ANY(%s::uuid[])", ids(second))
    empty = await page(api, first["next"])
    assert (empty["next"], empty["results"]) == (None, [])
    assert ids(await page(api, empty["previous"])) == ids(first)
    direct.rows("DELETE FROM subscriptions")
    empty = await page(api, second["previous"])
    assert (empty["previous"], empty["results"]) == (None, [])
    assert ids(await page(api, empty["next"])) == []


@pytest_twisted.ensureDeferred
async def test_others_have_their_turn_while_a_page_is_read_made_and_written(
    api: Api, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(direct, 200)
    monkeypatch.setattr(time_slices, "SECONDS", 0.0)
    rounds = 0

    def others() -> None:
        nonlocal rounds
        rounds += 1

    beat = LoopingCall(others)
    beat.start(0)
    shown = await page(api, SUBSCRIPTIONS)
    beat.stop()
    assert len(shown["results"]) == 200
    # One turn for each row that is read and made, and one for each that is written.
    assert rounds >= 2 * 200


class ChangingList:
    """Subscriptions that come and go; ``keys`` remembers where each of them stood."""

    def __init__(self, direct: Arranged, minutes: list[int]) -> None:
        self._direct = direct
        direct.rows("TRUNCATE messagesets, schedules CASCADE")
        self._schedule = direct.schedule()
        self._messageset = direct.messageset("set", self._schedule, messages=0)
        self.keys: dict[str, Any] = {}
        for minute in minutes:
            self.insert(minute)

    def insert(self, minute: int) -> None:
        self._direct.rows(
            "INSERT INTO subscriptions (identity, lang, messageset_id, schedule_id, created_at)"
            " VALUES ('x', 'eng', %s, %s, '2026-01-01Z'::timestamptz + %s * interval '1 minute')",
            *(self._messageset, self._schedule, minute),
        )

    def delete(self, number: int) -> None:
        there = sorted(self.present())
        if there:
            statement = "DELETE FROM subscriptions WHERE id = %s"
            self._direct.rows(statement, there[number % len(there)])

    def present(self) -> set[str]:
        rows = self._direct.rows("SELECT created_at, id FROM subscriptions")
        now = {str(row["id"]): (row["created_at"], str(row["id"])) for row in rows}
        self.keys |= now
        return set(now)


async def followed(
    api: Api, crowd: ChangingList, url: str, link: str, events: Iterator[Any]
) -> tuple[str, list[str], set[str]]:
    """The last page's URL, what was seen in this direction, and who was there all the time."""
    staying, seen = crowd.present(), list[str]()
    while True:
        shown = await page(api, url)
        found = ids(shown)
        assert not set(found) & set(seen)
        seen += found if link == "next" else found[::-1]
        for what, number in next(events, []):
            getattr(crowd, what)(number)
            staying &= crowd.present()
        if shown[link] is None:
            return url, seen, staying
        url = shown[link]


# What happens between two pages: somebody is subscribed at this minute, or somebody goes.
_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 99)),
    ),
    max_size=3,
)


@given(
    minutes=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    limit=st.integers(1, 4),
    between=st.lists(_EVENTS, max_size=8),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@pytest_twisted.ensureDeferred
async def test_whoever_follows_the_links_sees_all_that_stays_once_and_in_order(
    api: Api, direct: Arranged, minutes: list[int], limit: int, between: list[Any]
) -> None:
    crowd, events = ChangingList(direct, minutes), iter(between)
    url = f"{SUBSCRIPTIONS}?limit={limit}&lang=eng"
    url, seen, staying = await followed(api, crowd, url, "next", events)
    assert seen == sorted(set(seen), key=crowd.keys.__getitem__, reverse=True)
    assert staying <= set(seen)
    _, seen, staying = await followed(api, crowd, url, "previous", events)
    assert seen == sorted(set(seen), key=crowd.keys.__getitem__)
    # What came in behind the last page since then does not stand before it.
    first = crowd.keys[seen[0]] if seen else None
    assert {one for one in staying if first and crowd.keys[one] >= first} <= set(seen)

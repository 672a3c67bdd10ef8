"""Failures by filter, and requeueing them by filter and one by one."""

from __future__ import annotations

from uuid import UUID

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from sbm.model.failed_task import MAX_IDENTITY, MAX_REASON
from tests.arrange import Arranged
from tests.web.conftest import Answer, Api

PATH = "/api/v1/failed-tasks/"
ANN = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
REQUEUED = {"requeued_failed_tasks": True}

NO_TIME = ["Enter a valid date/time."]
NO_UUID = ["Enter a valid UUID."]
NO_NUL = ["Null characters are not allowed."]
NO_FILTER = ["There is no such filter."]
BLANK = ["This field may not be blank."]
ALL = "321"

# A query, and which of the failures match it, newest first.
FOUND = [
    ("kind=next", "31"),
    ("kind=resend", "2"),
    ("stage=content", "3"),
    ("stage=address", ""),
    (f"subscription_id={UUID(int=1)}", "1"),
    (f"subscription_id={UUID(int=1).hex.upper()}", "1"),
    (f"subscription_id={UUID(int=9)}", ""),
    (f"identity={ANN}", "1"),
    (f"identity=+{ANN.upper()}+", "1"),
    ("identity=nobody", ""),
    ("reason_contains=CHANNEL", "1"),
    ("reason_contains=%25", "2"),
    ("reason_contains=_", ""),
    ("reason_contains=+channel+", "1"),
    ("initiated_after=2026-01-02T10:00:00.123456Z", "32"),
    ("initiated_after=2026-01-02T10:00:00.123457Z", "3"),
    ("initiated_before=2026-01-02T12:00:00.123456%2B02:00", "21"),
    ("initiated_after=2026-01-02T10:00&initiated_before=2026-01-02T11:00", "2"),
    ("kind=next&stage=post", "1"),
    ("kind=resend&kind=next", "31"),
]

# A query, and what is wrong with it, whether failures are listed or requeued.
REFUSED = [
    ("kind=Next", {"kind": ["Select a valid choice. Next is not one of the available choices."]}),
    ("stage=x", {"stage": ["Select a valid choice. x is not one of the available choices."]}),
    ("subscription_id=zzz", {"subscription_id": NO_UUID}),
    ("initiated_after=2026-01-02", {"initiated_after": NO_TIME}),
    ("initiated_before=x", {"initiated_before": NO_TIME}),
    ("reason_contains=%00", {"reason_contains": NO_NUL}),
    (
        "reason_contains=" + "x" * (MAX_REASON + 1),
        {"reason_contains": [f"Ensure this field has no more than {MAX_REASON} characters."]},
    ),
    (
        "identity=" + "x" * (MAX_IDENTITY + 1),
        {"identity": [f"Ensure this field has no more than {MAX_IDENTITY} characters."]},
    ),
    (
        "initiated_after=x&subscription_id=x&kind=next",
        {"initiated_after": NO_TIME, "subscription_id": NO_UUID},
    ),
]


def three(direct: Arranged) -> dict[int, str]:
    """Three failures, that differ in everything: their ids, and what they are called here."""
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    for number in (1, 2, 3):
        (made,) = direct.subscriptions(1, messageset, schedule)
        direct.rows("UPDATE subscriptions SET id = %s WHERE id = %s", UUID(int=number), made)
    direct.rows("UPDATE subscriptions SET identity = %s WHERE id = %s", ANN, UUID(int=1))
    day = "2026-01-0{}T10:00:00.123456Z"
    ids = [
        *direct.failures([UUID(int=1)], initiated_at=day.format(1)),
        *direct.failures(
            [UUID(int=2)], kind="resend", reason="100% refused", initiated_at=day.format(2)
        ),
        *direct.failures(
            [UUID(int=3)], stage="content", reason="no message", initiated_at=day.format(3)
        ),
    ]
    return {row_id: str(number) for number, row_id in enumerate(ids, start=1)}


def left(direct: Arranged, names: dict[int, str]) -> str:
    rows = direct.rows("SELECT id FROM failed_tasks ORDER BY id DESC")
    return "".join(names[row["id"]] for row in rows)


@pytest_twisted.ensureDeferred
async def test_those_that_match_are_listed(api: Api, direct: Arranged) -> None:
    names = three(direct)
    found: list[object] = []
    expected: list[object] = []
    for query, numbers in [*FOUND, ("", ALL), ("kind=", ALL), ("identity=%20&knd=x", ALL)]:
        answer = await api.get(f"{PATH}?{query}")
        rows = "".join(names[row["id"]] for row in answer.json.get("results", []))
        found.append((query, answer.status, rows, answer.json.get("count")))
        expected.append((query, 200, numbers, len(numbers)))
    for query, errors in REFUSED:
        answer = await api.get(f"{PATH}?{query}")
        found.append((query, answer.status, answer.json))
        expected.append((query, 400, errors))
    assert found == expected


@pytest_twisted.ensureDeferred
async def test_links_to_other_pages_keep_the_filter(api: Api, direct: Arranged) -> None:
    names = three(direct)
    page = (await api.get(f"{PATH}?kind=next&limit=1")).json
    following = (await api.get(page["next"].removeprefix(api.base))).json
    assert [names[row["id"]] for row in page["results"] + following["results"]] == ["3", "1"]
    assert following["next"] is None


@pytest.mark.parametrize(("query", "numbers"), [*FOUND, ("", ALL)])
@pytest_twisted.ensureDeferred
async def test_those_that_match_are_requeued_and_no_others(
    api: Api, direct: Arranged, query: str, numbers: str
) -> None:
    names = three(direct)
    answer = await api.post(f"{PATH}?{query}", "{nope")
    assert (answer.status, answer.json) == (201, REQUEUED)
    assert answer.header("Allow") == "GET, POST, HEAD, OPTIONS"
    assert left(direct, names) == "".join(name for name in ALL if name not in numbers)
    assert direct.value("SELECT count(*) FROM sends") == len(numbers)
    assert direct.unbalanced_ticks() == []
    assert api.wakes == ["sends"]


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        *REFUSED,
        ("knd=next", {"knd": NO_FILTER}),
        (f"subscription={UUID(int=1)}", {"subscription": NO_FILTER}),
        ("kind=next&limit=1", {"limit": NO_FILTER}),
        ("kind", {"kind": BLANK}),
        ("kind=", {"kind": BLANK}),
        ("subscription_id=%20", {"subscription_id": BLANK}),
        ("reason_contains=+&x=1&stage=x", {"reason_contains": BLANK, "x": NO_FILTER}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_requeue_that_may_mean_something_else_does_nothing(
    api: Api, direct: Arranged, query: str, errors: dict[str, list[str]]
) -> None:
    names = three(direct)
    answer = await api.post(f"{PATH}?{query}")
    assert answer.status == 400
    assert answer.json.items() >= errors.items()
    assert left(direct, names) == ALL
    assert direct.value("SELECT count(*) FROM ticks") == 0
    assert api.wakes == []


@pytest_twisted.ensureDeferred
async def test_what_is_too_long_for_an_answer_is_left_to_a_task_with_the_filter(
    api: Api, direct: Arranged
) -> None:
    schedule = direct.schedule()
    mothers = direct.subscriptions(201, direct.messageset("pregnancy", schedule), schedule)
    direct.failures(mothers)
    assert (await api.post(f"{PATH}?kind=next&initiated_before=2026-02-01T00:00Z")).status == 201
    (task,) = direct.rows("SELECT state, wanted, requested_by FROM tasks")
    assert task["state"] == "waiting"
    assert task["wanted"] == {"kind": "next", "initiated_before": "2026-02-01T00:00:00+00:00"}
    assert task["requested_by"] is not None


@pytest.mark.parametrize("end", ["", "/"])
@pytest_twisted.ensureDeferred
async def test_one_is_requeued_alone(api: Api, direct: Arranged, end: str) -> None:
    names = three(direct)
    first, second, _ = names
    answer = await api.post(f"{PATH}{second}/requeue{end}", "{nope", Content_Type="text/plain")
    assert (answer.status, answer.json) == (201, {"accepted": True})
    assert answer.header("Allow") == "POST, OPTIONS"
    assert api.wakes == ["sends"]
    assert left(direct, names) == "31"
    assert direct.rows("SELECT kind, lane FROM sends") == [{"kind": "resend", "lane": "single"}]
    assert (await api.get(f"{PATH}{first}/requeue{end}")).status == 405
    assert (await api.post(f"{PATH}{first}/requeue{end}", token="")).status == 401


@pytest_twisted.ensureDeferred
async def test_one_that_is_skipped_is_answered_with_the_reason(api: Api, direct: Arranged) -> None:
    first, *_ = three(direct)
    direct.rows("UPDATE subscriptions SET active = false")
    answer = await api.post(f"{PATH}{first}/requeue")
    reason = "the subscription is not active"
    assert (answer.status, answer.json) == (200, {"accepted": False, "reason": reason})
    assert [entry["reason"] for entry in direct.ledger()] == [reason]
    assert api.wakes == []


@pytest.mark.parametrize("number", ["4711", "0", "abc", "2147483648", "-1"])
@pytest_twisted.ensureDeferred
async def test_what_is_not_there_cannot_be_requeued(api: Api, number: str) -> None:
    answer = await api.post(f"{PATH}{number}/requeue")
    assert (answer.status, answer.json) == (404, {"detail": "Not found."})
    assert api.wakes == []


@pytest_twisted.ensureDeferred
async def test_asked_for_many_times_at_once_it_is_requeued_once(api: Api, direct: Arranged) -> None:
    first, *_ = three(direct)
    answers: list[Answer] = await gatherResults(
        [Deferred.fromCoroutine(api.post(f"{PATH}{first}/requeue")) for _ in range(6)]
    )
    assert sorted(answer.status for answer in answers) == [201, *[404] * 5]
    assert direct.value("SELECT count(*) FROM sends") == 1
    assert direct.value("SELECT sum(triggers) FROM ticks") == 1
    assert direct.unbalanced_ticks() == []

"""``sbm check``, as an operator runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.commands.running import MISUSED
from sbm.operations import checks
from tests.arrange import Arranged
from tests.commands.operator import Sbm

Check = Callable[..., Awaitable[tuple[int, list[str]]]]

EXAMPLES = (
    {"minute": "0", "hour": "9", "day_of_month": "1-7", "day_of_week": "1"},
    {"minute": "0", "hour": "9", "day_of_month": "*/2", "day_of_week": "7"},
    {"day_of_month": "31", "month_of_year": "4"},
    {"day_of_month": "30", "month_of_year": "2", "day_of_week": "1"},
    {"minute": "61"},
    {"minute": "1/15,7/27,5/16,14/14,12/13,10/11,13/11,17/15,8/9,23/28,4/11"},
    {"minute": "0", "hour": "9", "day_of_week": "1"},
)


@pytest.fixture(params=["whole", "small"])
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages as they are; and so small that a few rows are many pages."""
    if request.param == "small":
        for name in ("TICKS_PER_PAGE", "TRIGGERS_PER_STATEMENT", "ROWS_PER_PAGE", "SENDS_PER_PAGE"):
            monkeypatch.setattr(checks, name, 2)


@pytest.fixture
def check(sbm: Sbm) -> Check:
    """Run ``sbm check``; returns its status and what it printed."""

    async def run(subject: str = "ledger", **environ: str) -> tuple[int, list[str]]:
        outcome = await sbm("check", subject, **environ)
        assert outcome.stderr == ""
        return outcome.status, outcome.out.splitlines()

    return run


def tick(direct: Arranged, triggers: int, created_at: str = "now") -> int:
    return int(
        direct.value(
            "INSERT INTO ticks (source, state, schedule_id, triggers, due_at, created_at) VALUES"
            " ('post-back', 'expanded', 1, %s, '2024-05-01 12:00+00', %s) RETURNING id",
            triggers,
            created_at,
        )
    )


def settled(direct: Arranged, tick_id: int, *, send_id: UUID, outbound: str | None) -> None:
    direct.rows(
        "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity,"
        " outbound_id) VALUES (%s, %s, 'next', %s, 'post', %s, 'i', %s)",
        send_id,
        tick_id,
        "sent" if outbound else "refused",
        send_id,
        outbound,
    )


def live(direct: Arranged, tick_id: int) -> UUID:
    send_id: UUID = direct.value(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " VALUES ('next', 'tick', gen_random_uuid(), 'i', %s) RETURNING id",
        tick_id,
    )
    return send_id


@ensureDeferred
async def test_where_there_is_nothing_the_ledger_is_balanced(check: Check) -> None:
    assert await check() == (
        0,
        [
            "0 of 0 ticks are unbalanced",
            "0 live sends have no tick",
            "0 sends were sent more than once",
            "the ledger is balanced",
        ],
    )


@pytest.mark.usefixtures("pages")
@ensureDeferred
async def test_all_is_looked_at_and_all_that_is_whole_is_fine(
    check: Check, direct: Arranged
) -> None:
    for triggers in range(5):
        one = tick(direct, triggers)
        for number in range(triggers):
            if number % 2:
                live(direct, one)
            else:
                settled(direct, one, send_id=uuid4(), outbound=str(number))
    requeued = uuid4()
    settled(direct, tick(direct, 1), send_id=requeued, outbound=None)
    settled(direct, tick(direct, 1), send_id=requeued, outbound="x")
    status, lines = await check()
    assert (status, lines[0], lines[-1]) == (
        0,
        "0 of 7 ticks are unbalanced",
        "the ledger is balanced",
    )


@pytest.mark.usefixtures("pages")
@ensureDeferred
async def test_everything_that_is_unbalanced_is_printed_and_counted(
    check: Check, direct: Arranged
) -> None:
    less, more, whole = tick(direct, 3), tick(direct, 0), tick(direct, 2)
    stray = live(direct, whole + 1)
    live(direct, more)
    twice = uuid4()
    for outbound in ("one", "two"):
        settled(direct, whole, send_id=twice, outbound=outbound)
    status, lines = await check()
    name = "(post-back, 2024-05-01 12:00:00+00:00)"
    assert status == 1
    # Within a page, small ticks come first.
    assert [*sorted(lines[:2]), *lines[2:]] == [
        f"tick {less} {name}: 3 triggers, 0 in the ledger, 0 live: 3 missing",
        f"tick {more} {name}: 0 triggers, 0 in the ledger, 1 live: 1 too many",
        f"send {stray}: there is no tick {whole + 1}",
        f"send {twice}: sent 2 times, to subscription {twice}: outbounds one, two",
        "2 of 3 ticks are unbalanced",
        "1 live sends have no tick",
        "1 sends were sent more than once",
        "the ledger is unbalanced",
    ]


@ensureDeferred
async def test_a_send_without_a_tick_is_enough_to_be_unbalanced(
    check: Check, direct: Arranged
) -> None:
    live(direct, 1)
    assert (await check())[0] == 1


@ensureDeferred
async def test_a_send_that_was_sent_twice_is_enough_to_be_unbalanced(
    check: Check, direct: Arranged
) -> None:
    whole, twice = tick(direct, 2), uuid4()
    for outbound in ("one", "two"):
        settled(direct, whole, send_id=twice, outbound=outbound)
    assert (await check())[0] == 1


def double(direct: Arranged, send_id: UUID, outbound: str) -> None:
    direct.rows(
        "INSERT INTO doubles (send_id, subscription_id, outbound_id, noticed_at)"
        " VALUES (%s, %s, %s, '2024-05-01 12:00+00')",
        send_id,
        send_id,
        outbound,
    )


@pytest.mark.usefixtures("pages")
@ensureDeferred
async def test_outbounds_beside_those_of_the_ledger_are_told_and_unbalance_it(
    check: Check, direct: Arranged
) -> None:
    whole = tick(direct, 3)
    once, again, refused, forgotten = uuid4(), uuid4(), uuid4(), uuid4()
    settled(direct, whole, send_id=once, outbound="one")
    settled(direct, whole, send_id=again, outbound="three")
    settled(direct, whole, send_id=refused, outbound=None)
    for send_id, outbound in (
        (once, "two"),
        (again, "four"),
        (again, "five"),
        (refused, "six"),
        (forgotten, "seven"),
    ):
        double(direct, send_id, outbound)
    status, lines = await check()
    end = "noticed 2024-05-01 12:00:00+00:00"
    none = "none that the ledger names"
    assert (status, lines) == (
        1,
        [
            f"send {once}: outbound two went out beside one, to subscription {once}, {end}",
            f"send {again}: outbound four went out beside three, to subscription {again}, {end}",
            f"send {again}: outbound five went out beside three, to subscription {again}, {end}",
            f"send {refused}: outbound six went out beside {none}, to subscription {refused},"
            f" {end}",
            f"send {forgotten}: outbound seven went out beside {none}, to subscription {forgotten},"
            f" {end}",
            "0 of 1 ticks are unbalanced",
            "0 live sends have no tick",
            "3 sends were sent more than once",
            "5 outbounds are doubles, beside those that the ledger names:"
            " they are in the table doubles",
            "the ledger is unbalanced",
        ],
    )
    direct.rows("DELETE FROM doubles")
    assert (await check())[0] == 0


@ensureDeferred
async def test_a_send_that_is_doubled_in_both_ways_is_counted_once(
    check: Check, direct: Arranged
) -> None:
    whole, twice = tick(direct, 2), uuid4()
    for outbound in ("one", "two"):
        settled(direct, whole, send_id=twice, outbound=outbound)
    double(direct, twice, "three")
    status, lines = await check()
    assert (status, "1 sends were sent more than once" in lines) == (1, True)


@ensureDeferred
async def test_ticks_whose_part_of_the_ledger_was_dropped_are_counted_apart(
    check: Check, direct: Arranged
) -> None:
    tick(direct, 3, created_at="2001-01-01")
    status, lines = await check()
    assert status == 0
    assert lines[:2] == [
        "0 of 0 ticks are unbalanced",
        "1 more cannot be checked: their part of the ledger was dropped",
    ]


@pytest.mark.parametrize("zone", ["SBM_TIMEZONE", "SBM_SCHEDULER_TIMEZONE"])
@ensureDeferred
async def test_next_ticks_are_told_in_the_time_zone_of_whoever_ticks(
    check: Check, direct: Arranged, zone: str
) -> None:
    direct.schedule(**EXAMPLES[0])
    mode = "builtin" if zone == "SBM_TIMEZONE" else "schedule"
    others = {"SBM_TIMEZONE": "UTC", "SBM_SCHEDULER_TIMEZONE": "UTC", "SBM_SCHEDULING": mode}
    _, lines = await check("schedules", **others | {zone: "Africa/Johannesburg"})
    assert lines[0].count("+02:00") == 3


@ensureDeferred
async def test_schedules_with_both_days_are_listed_with_their_next_ticks_and_others_by_their_fault(
    check: Check, direct: Arranged
) -> None:
    first, second, april, february, broken, untold, _ = (
        direct.schedule(**fields) for fields in EXAMPLES
    )
    status, lines = await check("schedules", SBM_TIMEZONE="Africa/Johannesburg")
    assert status == 1
    ticks = [line.partition("; next ticks ") for line in lines[:2]]
    assert [before for before, _, _ in ticks] == [
        f"schedule {first}: a day must match day_of_month 1-7 and day_of_week 1"
        " (Unix cron would take either)",
        f"schedule {second}: a day must match day_of_month */2 and day_of_week 7",
    ]
    for (_, _, listed), weekday in zip(ticks, (1, 7), strict=True):
        moments = [datetime.fromisoformat(text) for text in listed.split(", ")]
        assert len(moments) == 3
        assert sorted(moments) == moments
        for moment in moments:
            assert (moment.isoweekday(), moment.hour) == (weekday, 9)
            assert moment.utcoffset() == timedelta(hours=2)
    assert lines[2:] == [
        f"schedule {april}: there is no day_of_month 31 in month_of_year 4: it is never due, and"
        " the Scheduler is not told of it",
        f"schedule {february}: a day must match day_of_month 30 and day_of_week 1"
        " (Unix cron would take either)",
        f"schedule {february}: there is no day_of_month 30 in month_of_year 2: it is never due, and"
        " the Scheduler is not told of it",
        f"schedule {broken}: its fields cannot be read: it is never due",
        f"schedule {untold}: a field of it has no form of 64 characters that the Scheduler"
        " understands: it is not told of it",
        "3 of 7 schedules restrict both day fields",
        "4 of 7 schedules cannot work as they were meant to",
    ]


@ensureDeferred
async def test_both_day_fields_are_no_fault(check: Check, direct: Arranged) -> None:
    for fields in EXAMPLES[:2]:
        direct.schedule(**fields)
    status, lines = await check("schedules")
    assert (status, lines[2:]) == (
        0,
        [
            "2 of 2 schedules restrict both day fields",
            "0 of 2 schedules cannot work as they were meant to",
        ],
    )


@ensureDeferred
async def test_without_a_subject_all_is_checked(check: Check, direct: Arranged, sbm: Sbm) -> None:
    direct.schedule(**EXAMPLES[2])
    outcome = await sbm("check")
    assert outcome.status == 1
    lines = outcome.out.splitlines()
    assert "the ledger is balanced" in lines
    assert "1 of 1 schedules cannot work as they were meant to" in lines
    assert lines[-1] == "0 users have a token of the Scheduler"
    assert (await check())[0] == 0
    direct.rows("DELETE FROM schedules")
    assert (await sbm("check")).status == 0
    live(direct, 1)
    assert (await sbm("check")).status == 1


@ensureDeferred
async def test_a_time_zone_that_does_not_exist_is_told(
    sbm: Sbm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBM_TIMEZONE", "Mars/Olympus")
    for arguments in (("check",), ("check", "schedules"), ("import-django", "postgres://h/db")):
        outcome = await sbm(*arguments)
        assert (outcome.status, outcome.out) == (MISUSED, "")
        assert "SBM_TIMEZONE must be the IANA name of a time zone" in outcome.stderr


@ensureDeferred
async def test_a_user_with_the_token_of_the_scheduler_is_named(sbm: Sbm, check: Check) -> None:
    token = (await sbm("token", "create", "hub")).out.strip()
    assert await check("tokens") == (0, ["0 users have a token of the Scheduler"])
    status, lines = await check("tokens", SCHEDULER_INBOUND_API_TOKEN=f"other,{token}")
    assert (status, lines[-1]) == (0, "1 users have a token of the Scheduler")
    assert lines[0].startswith("user 'hub' has the token of the Scheduler")
    whole = await sbm("check", SCHEDULER_INBOUND_API_TOKEN=token)
    assert "user 'hub' has the token of the Scheduler" in whole.out

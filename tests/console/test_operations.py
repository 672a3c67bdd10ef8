"""Operations: what is wrong, pauses, and the pages that say what to do."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.console.screens.help_pages import TOPICS
from sbm.telemetry import Latency
from tests.console.conftest import Served
from tests.console.content import MOTHERS, NOBODY, THANDI, THANDIS_SUBSCRIPTION
from tests.console.reader import Reader

PLACE = "/console/operations/"
DAEMON = (
    "INSERT INTO daemons (id, role, version, commit, host, pid, since, seen_at, pause, services)"
    " VALUES (gen_random_uuid(), 'all', '1.2.3', 'abcdef', 'one', 7, now() - interval '1 day',"
    " now() - %s::interval, %s, %s)"
)
WELL = '{"message_sender": {"is_away": false, "reason": "", "next_try": null}}'
AWAY = (
    '{"message_sender": {"is_away": true, "reason": "answered 503",'
    ' "next_try": "2030-01-01T00:00:00+00:00"}}'
)


def owe(site: Served, state: str = "owed", age: str = "1 minute") -> None:
    """A send to Thandi."""
    tick = site.direct.value(
        "INSERT INTO ticks (source, state, schedule_id) VALUES ('post-back', 'expanded', 1)"
        " RETURNING id"
    )
    site.direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id, owed_at)"
        " VALUES ('next', 'tick', %s, %s, %s, now() - %s::interval)",
        *(THANDIS_SUBSCRIPTION, str(THANDI), tick, age),
    )
    if state == "unknown":
        site.direct.rows(
            "UPDATE sends SET state = 'unknown', attempt = 1, first_attempt_at = now(),"
            " unknown_since = now() - %s::interval",
            age,
        )


def wrong(reader: Reader) -> list[str]:
    """The red lines of the page that was read last."""
    assert reader.page is not None
    lists = reader.page.main.all("ul", class_="red-lines")
    return [one.text for one in lists[0].all("li")] if lists else []


@ensureDeferred
async def test_if_nothing_is_wrong_it_says_so(site: Served) -> None:
    site.direct.rows(DAEMON, "1 second", "", WELL)
    reader = site.reader(NOBODY)
    page = await reader.get(PLACE)
    assert (page.status, page.heading) == (200, "Operations")
    assert page.says("Nothing is wrong.")
    assert page.says("Nothing is owed")
    assert page.says("Nothing is paused")
    assert page.says("one 7 1.2.3 abcdef answers requests, and sends")
    assert page.says("Message Sender one 7 answers")
    assert page.says("No task is under way, and none has failed.")
    assert "Pause sends …" not in page.links()


@ensureDeferred
async def test_what_is_wrong_comes_first_with_what_to_do(site: Served, reader: Reader) -> None:
    site.direct.rows(DAEMON, "2 minutes", "", WELL)
    site.direct.rows(DAEMON, "1 second", "", AWAY)
    owe(site, "unknown", "2 hours")
    site.direct.rows(
        "INSERT INTO scheduler_calls (kind, target, state) VALUES ('schedule', '9', 'refused')"
    )
    page = await reader.get(PLACE)
    told = wrong(reader)
    assert [one.partition(" What to do")[0] for one in told] == [
        "Wrong: The daemon 7 on one has been silent for more than a minute.",
        "Wrong: Message Sender is away for 1 daemon: answered 503",
        "Wrong: The outcome of 1 send is unknown, the oldest for more than an hour.",
        "Wrong: The Scheduler has refused 1 call.",
    ]
    (lines,) = page.main.all("ul", class_="red-lines")
    for link in lines.all("a"):
        assert (await reader.get(link["href"])).status == 200


@ensureDeferred
async def test_without_a_daemon_nothing_is_sent(reader: Reader) -> None:
    page = await reader.get(PLACE)
    assert wrong(reader)[0].startswith("Wrong: No daemon sends")
    assert page.says("No daemon has written its row.")


@ensureDeferred
async def test_the_database_says_what_is_wrong_with_it(site: Served, reader: Reader) -> None:
    next_month = site.direct.value(
        "SELECT 'intake' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC')"
        " + interval '1 month', '_YYYY_MM')"
    )
    site.direct.rows(f"DROP TABLE {next_month}")
    site.direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_of_tomorrow')")
    page = await reader.get(PLACE)
    assert "Wrong: The table “intake” lacks a partition of this month or the next." in [
        one.partition(" What to do")[0] for one in wrong(reader)
    ]
    assert page.says("The schema is not that of this release.")
    assert page.says("of another release 9999_of_tomorrow")
    assert page.says("intake there missing none")


@pytest.mark.parametrize("topic", TOPICS)
@ensureDeferred
async def test_each_topic_says_what_to_do(site: Served, topic: str) -> None:
    page = await site.reader(NOBODY).get(f"/console/help/{topic}/")
    assert page.status == 200
    assert page.heading == TOPICS[topic]
    assert page.main.all("li")


@ensureDeferred
async def test_there_is_a_list_of_topics_and_no_other_topic(reader: Reader) -> None:
    page = await reader.get("/console/help/")
    assert set(TOPICS.values()) <= set(page.links())
    assert (await reader.get("/console/help/cooking/")).status == 404


async def pause(reader: Reader, **choices: Any) -> None:
    page = await reader.submit(await reader.get(f"{PLACE}pauses/new/"), **choices)
    assert page.heading == "Pause sends"
    await reader.submit(page, "Pause", reason="wrong texts")


@ensureDeferred
async def test_a_pause_says_what_it_holds_back_and_is_ended(site: Served, reader: Reader) -> None:
    owe(site)
    page = await reader.submit(
        await reader.get(f"{PLACE}pauses/new/"), messageset=str(MOTHERS), on_ticks="skip"
    )
    assert page.says("It pauses: the message set “pregnancy.text”.")
    assert page.says("1 message of it waits now, and stays owed.")
    assert page.says("these people miss those messages")
    done = await reader.submit(page, "Pause", reason="wrong texts")
    assert done.done.startswith("The pause has begun.")
    assert site.direct.rows("SELECT messageset_id, on_ticks, reason, paused_by FROM pauses") == [
        {"messageset_id": MOTHERS, "on_ticks": "skip", "reason": "wrong texts", "paused_by": "ann"}
    ]
    (entry,) = site.direct.rows("SELECT actor, reason FROM audit WHERE table_name = 'pauses'")
    assert entry == {"actor": "ann", "reason": "wrong texts"}
    ending = await reader.get(f"{PLACE}pauses/1/end/")
    assert ending.says("1 message of it is owed")
    done = await reader.submit(ending, "End the pause", reason="corrected")
    assert done.done.startswith("The pause has ended.")
    assert done.says("Nothing is paused")
    assert site.direct.value("SELECT ended_by FROM pauses") == "ann"


@ensureDeferred
async def test_a_pause_is_begun_once(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{PLACE}pauses/begin/")
    for _ in range(2):
        assert (await reader.submit(page, "Pause", reason="once")).status == 200
    assert site.direct.value("SELECT count(*) FROM pauses") == 1


@ensureDeferred
async def test_a_pause_that_others_have_begun_meanwhile_is_shown(
    site: Served, reader: Reader
) -> None:
    page = await reader.get(f"{PLACE}pauses/begin/")
    await pause(site.reader("operate"), lane="tick")
    refused = await reader.submit(page, "Pause", reason="me, too")
    assert refused.status == 409
    assert refused.says("it has changed since you looked")
    assert site.direct.value("SELECT count(*) FROM pauses") == 1


@ensureDeferred
async def test_the_same_is_not_paused_twice(site: Served, reader: Reader) -> None:
    await pause(reader)
    page = await reader.get(f"{PLACE}pauses/begin/")
    assert page.says("This is paused already.")


@ensureDeferred
async def test_a_pause_needs_a_reason_and_may_end_by_itself(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{PLACE}pauses/begin/?until=2030-01-01T06:00")
    assert page.says("It ends by itself: 2030-01-01 06:00 SAST.")
    refused = await reader.submit(page, "Pause", reason=" ")
    assert refused.status == 400
    assert refused.says("Say why: it is kept in the audit.")
    await reader.submit(refused, "Pause", reason="the night")
    until = site.direct.value("SELECT until FROM pauses")
    assert until == datetime(2030, 1, 1, 4, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "query", ["lane=x", "on_ticks=x", "until=x", "schedule=x", "schedule=99", "messageset=99"]
)
@ensureDeferred
async def test_a_pause_of_nothing_is_refused(reader: Reader, query: str) -> None:
    assert (await reader.get(f"{PLACE}pauses/begin/?{query}")).status in (400, 404)


@pytest.mark.parametrize("path", ["pauses/new/", "pauses/begin/", "pauses/1/end/"])
@ensureDeferred
async def test_only_those_who_operate_may_pause(site: Served, path: str) -> None:
    reader = site.reader("people.read")
    assert (await reader.get(PLACE + path)).status == 403
    await reader.get(PLACE)
    assert (await reader.post(PLACE + path, once="1", seen="", reason="x")).status in (403, 405)
    assert site.direct.value("SELECT count(*) FROM pauses") == 0


def test_a_latency_tells_the_usual_and_the_longest() -> None:
    latency = Latency()
    assert (latency.count, latency.usual, latency.longest) == (0, 0.0, 0.0)
    for seconds in (0.1, 0.3, 0.2):
        latency.note(seconds)
    assert (latency.count, latency.usual, latency.longest) == (3, 0.2, 0.3)

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted

from sbm.model.metrics import names, of_week, part
from sbm.telemetry import Telemetry
from tests.arrange import arranged
from tests.web.conftest import Api, served


@pytest.mark.parametrize(
    ("short_name", "named"),
    [
        ("pregnancy", "pregnancy"),
        ("a set.of - three", "a_set_of_three"),
        ("(x)", "x"),
        ("…", ""),
        ("nähe 2", "nähe_2"),
    ],
)
def test_a_run_of_characters_that_are_no_word_characters_is_one_underscore(
    short_name: str, named: str
) -> None:
    assert part(short_name) == named


def test_every_name_is_told_once() -> None:
    listed = names([("text", "one"), ("audio", "two"), ("text", "three")])
    assert listed[-5:] == [
        "message.text.one.sum",
        "message.text.sum",
        "message.audio.two.sum",
        "message.audio.sum",
        "message.text.three.sum",
    ]
    assert [name for name in listed if "estimate" in name] == [
        f"subscriptions.send.estimate.{weekday}.last" for weekday in range(7)
    ]
    assert "sbm.send_next_message.http_error.403.sum" in listed


def test_the_days_of_the_next_week_are_not_told() -> None:
    thursday = date(2026, 11, 26)
    week = {thursday + timedelta(days=days): days + 1 for days in range(7)}
    assert of_week(week, thursday) == {
        "subscriptions.send.estimate.3.last": 1,
        "subscriptions.send.estimate.4.last": 2,
        "subscriptions.send.estimate.5.last": 3,
        "subscriptions.send.estimate.6.last": 4,
    }


@pytest_twisted.ensureDeferred
async def test_metrics_are_listed_and_can_be_fired(api: Api) -> None:
    await api.subscription()
    listed = await api.get("/api/metrics/")
    assert (listed.status, listed.header("Allow")) == (200, "GET, POST, HEAD, OPTIONS")
    assert listed.json == {"metrics_available": names([("text", "set0")])}
    fired = await api.post("/api/metrics", "{nope", token=api.user_token)
    assert (fired.status, fired.json) == (200, {"scheduled_metrics_initiated": True})
    assert (await api.get("/api/metrics/whatever")).status == 404


@pytest_twisted.ensureDeferred
async def test_the_week_is_told_if_it_is_estimated_and_else_it_is_estimated_first(
    database_uri: str, tmp_path: Path
) -> None:
    telemetry, zone = Telemetry(), ZoneInfo("Africa/Johannesburg")
    async with served(database_uri, tmp_path, telemetry=telemetry, timezone=zone) as api:
        with arranged(database_uri) as direct:
            messageset = (await api.subscription())["messageset"]
            await api.post("/api/metrics/")
            waiting = "SELECT count(*) FROM tasks WHERE kind = 'estimate-sends'"
            assert direct.value(waiting) == 0, "asked for, though there is nobody to be told"
            telemetry.pending_metrics.is_kept = True
            add = (
                "INSERT INTO estimated_sends (send_date, messageset_id, estimate_subscriptions,"
                " estimate_identities) SELECT (now() AT TIME ZONE 'Africa/Johannesburg')::date + n,"
                " %s, n, 0 FROM generate_series(%s, %s) AS n"
            )
            direct.rows(add, messageset, 0, 5)  # as they are on the day after they were made
            await api.post("/api/metrics/")
            assert (direct.value(waiting), telemetry.pending_metrics.values) == (1, {})
            direct.rows(add, messageset, 6, 6)
            await api.post("/api/metrics/")
            assert direct.value(waiting) == 1
            today = direct.value("SELECT now()").astimezone(zone).weekday()
            assert telemetry.pending_metrics.values == {
                f"subscriptions.send.estimate.{today + days}.last": days
                for days in range(7 - today)
            }


@pytest_twisted.ensureDeferred
async def test_the_languages_of_each_message_set_are_told_in_order(api: Api) -> None:
    first = (await api.subscription())["messageset"]
    second = (await api.subscription())["messageset"]
    for number, lang in enumerate(("zul_ZA", "eng_ZA", "eng_ZA"), start=1):
        await api.made(
            "message", messageset=first, sequence_number=number, lang=lang, text_content="x"
        )
    answer = await api.get("/api/v1/messageset_languages/")
    assert answer.json == {str(first): ["eng_ZA", "zul_ZA"], str(second): []}
    assert answer.header("Allow") == "GET, HEAD, OPTIONS"
    assert (await api.post("/api/v1/messageset_languages", {})).status == 405


@pytest_twisted.ensureDeferred
async def test_a_process_that_answers_is_alive_for_anybody(api: Api) -> None:
    for method, path in (("GET", "/livez"), ("GET", "/livez/"), ("HEAD", "/livez")):
        answer = await api.send(method, path, None, {"Accept": "text/plain"})
        assert (answer.status, answer.text) == (200, "")
    refused = await api.send("POST", "/livez", None, {})
    assert (refused.status, refused.header("Allow")) == (405, "GET, HEAD, OPTIONS")

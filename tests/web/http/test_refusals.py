"""Refused requests are counted by path, status and reason, and logged at a bounded rate."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from sbm.operations.refusals import CannotBeSent, NoSuchRow
from sbm.telemetry import Labels, Telemetry
from sbm.web.description import describe
from sbm.web.http.connection_limits import Limits
from sbm.web.http.http_errors import KINDS, STATUSES, Invalid, NotFound, Reason
from sbm.web.http.refused_requests import CUT_OFF, LOG_SECONDS, NOT_DONE, REFUSED, Refusals
from sbm.web.http.targets import Paths
from sbm.web.resources.media import PIECE_BYTES
from tests.arrange import arranged
from tests.web.conftest import IDENTITY, SCHEDULER_TOKEN, Api, a_scheduling, served
from tests.web.resources.test_exposition import samples
from tests.web.sockets import asked, comes_true, connected, head

WEBHOOK = "/api/v1/subscriptions/request"
SEND = "/api/v1/schedule/{id}/send/"
JSON = "Content-Type: application/json"


@define
class Seen:
    """An API, and what it counts."""

    api: Api
    telemetry: Telemetry

    def counted(self, name: str) -> dict[tuple[str, ...], int]:
        """What was counted under this name, by the values of the labels in their own order."""
        counts: Mapping[Labels, int] = self.telemetry.labelled.get(name, {})
        return {
            tuple(value for _, value in labels): count for labels, count in counts.items() if count
        }

    @property
    def refused(self) -> dict[tuple[str, ...], int]:
        """By path, reason and status."""
        return self.counted(REFUSED)


def unnumbered(event: Any) -> str:
    """A line of the log, without the id of the request."""
    line, found = re.subn(r" \(request [0-9a-f]{32}\)$", "", formatEvent(event))
    assert found == 1
    return line


@contextmanager
def listening() -> Iterator[list[dict[str, Any]]]:
    """The events of the log that are about requests."""
    publisher: Any = globalLogPublisher
    events: list[dict[str, Any]] = []

    def hear(event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "sbm.web.http.refused_requests":
            events.append(event)

    publisher.addObserver(hear)
    try:
        yield events
    finally:
        publisher.removeObserver(hear)


@pytest_twisted.async_yield_fixture
async def seen(database_uri: str, tmp_path: Path) -> AsyncIterator[Seen]:
    telemetry = Telemetry()
    async with served(database_uri, tmp_path, telemetry=telemetry) as api:
        yield Seen(api, telemetry)


def test_every_error_with_a_status_has_a_reason_and_only_the_same_fault_has_the_same() -> None:
    assert set(STATUSES) <= set(KINDS)
    same = [[NotFound, NoSuchRow], [Invalid, CannotBeSent]]
    kinds = [KINDS[error] for error in KINDS if error not in (NoSuchRow, CannotBeSent)]
    assert len(set(kinds)) == len(kinds)
    for error, other in same:
        assert (KINDS[error], STATUSES[error]) == (KINDS[other], STATUSES[other])


# What is counted


@ensureDeferred
async def test_a_post_back_with_a_wrong_token_is_in_the_metrics_and_in_the_log(seen: Seen) -> None:
    with listening() as events:
        answer = await seen.api.post("/api/v1/schedule/7/send/", {}, token="x" * 40)
    assert answer.status == 401
    assert seen.refused == {(SEND, "wrong-token", "401"): 1}
    told = samples(await seen.api.get("/metrics", token=""))
    assert told["sbm_http_refused_total", (SEND, "wrong-token", "401")] == 1
    assert [unnumbered(event) for event in events] == [
        f"refused a request to {SEND}: 401, wrong-token"
    ]


@ensureDeferred
async def test_a_refused_webhook_is_logged_with_its_fields_and_without_what_was_sent(
    seen: Seen,
) -> None:
    data = {"identity": IDENTITY, "lang": "no language", "messageset": 4711, "schedule": None}
    with listening() as events:
        assert (await seen.api.post(WEBHOOK, {"data": data})).status == 400
        assert (await seen.api.post(WEBHOOK, data)).status == 400
        assert (await seen.api.post(WEBHOOK, "{nope")).status == 400
    assert seen.refused == {(WEBHOOK, "invalid", "400"): 2, (WEBHOOK, "unreadable-body", "400"): 1}
    assert [unnumbered(event) for event in events] == [
        f"refused a request to {WEBHOOK}: 400, invalid (lang, messageset, schedule)",
        f"refused a request to {WEBHOOK}: 400, unreadable-body",
    ]


@ensureDeferred
async def test_what_services_call_is_shown_before_anything_is_refused(seen: Seen) -> None:
    told = samples(await seen.api.get("/metrics", token=""))
    for path in (WEBHOOK, SEND, "/api/v1/subscriptions/{id}/send"):
        for reason, status in (("wrong-token", "401"), ("invalid", "400")):
            assert told["sbm_http_refused_total", (path, reason, status)] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "counted"),
    [
        ("GET", "/api/v1/", None, {"token": ""}, ("/api/v1/", "no-credentials", "401")),
        (
            *("GET", "/api/v1/", None, {"Authorization": "Token a b"}),
            ("/api/v1/", "malformed-credentials", "401"),
        ),
        (
            *("GET", "/api/v1/", None, {"Authorization": "Basic eDp5"}),
            ("/api/v1/", "wrong-password", "401"),
        ),
        ("GET", "/api/v1/", None, {"Accept": "a/b"}, ("/api/v1/", "accept", "406")),
        ("GET", "/nowhere/7", None, {}, ("unknown", "unknown-path", "404")),
        (
            *("GET", "/api/v1/schedule/99/", None, {}),
            ("/api/v1/schedule/{id}/", "not-found", "404"),
        ),
        ("BREW", "/api/v1/schedule", None, {}, ("/api/v1/schedule/", "method", "405")),
        ("POST", "/metrics", {}, {}, ("/metrics", "method", "405")),
        ("POST", "/livez", {}, {}, ("/livez", "method", "405")),
        ("POST", "/docs/", {}, {}, ("/docs/", "method", "405")),
        ("GET", "/media/x.png", None, {}, ("/media/{name}", "not-found", "404")),
        (
            *("POST", "/api/v1/schedule/", "x", {"Content_Type": "text/x"}),
            ("/api/v1/schedule/", "media-type", "415"),
        ),
        (
            *("POST", WEBHOOK, {"data": {}}, {"Idempotency_Key": "a b"}),
            (WEBHOOK, "idempotency-key", "400"),
        ),
        (
            *("POST", f"/api/v1/subscriptions/{IDENTITY}/send", {}, {}),
            ("/api/v1/subscriptions/{id}/send", "unknown-subscription", "400"),
        ),
        (
            *("POST", "/api/v1/subscriptions/a/b/c/resend/", {}, {}),
            ("/api/v1/subscriptions/{id}/resend", "unknown-subscription", "400"),
        ),
        (
            *("POST", "/api/token-auth/", {"username": "x", "password": "y"}, {"token": ""}),
            ("/api/token-auth/", "wrong-password", "400"),
        ),
        (
            *("GET", "/api/v1/subscriptions/?cursor=x", None, {}),
            ("/api/v1/subscriptions/", "cursor", "400"),
        ),
    ],
)
@ensureDeferred
async def test_every_refusal_is_counted_by_pattern_and_reason(
    seen: Seen, method: str, path: str, body: Any, headers: dict[str, str], counted: Any
) -> None:
    answer = await seen.api.call(method, path, body, **headers)
    assert (str(answer.status), seen.refused) == (counted[-1], {counted: 1})


@ensureDeferred
async def test_a_user_without_permission_and_a_range_beyond_the_end_are_counted(
    seen: Seen,
) -> None:
    (seen.api.media_root / "a.png").write_bytes(b"x")
    await seen.api.post("/api/v1/user/token/", {}, token=seen.api.user_token)
    await seen.api.get("/media/a.png", Range="bytes=9-")
    assert seen.refused == {
        ("/api/v1/user/token/", "forbidden", "403"): 1,
        ("/media/{name}", "range", "416"): 1,
    }


@ensureDeferred
async def test_a_row_in_use_and_a_key_that_was_used_are_counted(seen: Seen) -> None:
    made = await seen.api.subscription()
    await seen.api.call("DELETE", f"/api/v1/schedule/{made['schedule']}/")
    data = {name: made[name] for name in ("identity", "lang", "messageset", "schedule")}
    for lang in ("eng", "zul"):
        await seen.api.post(WEBHOOK, {"data": data | {"lang": lang}}, Idempotency_Key="k")
    assert seen.refused == {
        ("/api/v1/schedule/{id}/", "in-use", "409"): 1,
        (WEBHOOK, "key-reused", "422"): 1,
    }


@ensureDeferred
async def test_without_the_database_all_is_counted_as_such(seen: Seen) -> None:
    seen.api.database.stopService()
    await seen.api.get("/api/v1/schedule/")
    await seen.api.get("/api/health/")
    assert seen.refused == {
        ("/api/v1/schedule/", "database", "503"): 1,
        ("/api/health/", "database", "503"): 1,
    }


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        (b"NONSENSE\r\n\r\n", ("none", "unreadable", "400")),
        (b"GET / HTTP/9.9\r\n\r\n", ("none", "unreadable", "400")),
        (b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", ("/livez", "unreadable", "400")),
        (b"GET /livez HTTP/1.1\r\n\r\n", ("/livez", "host", "400")),
        (b"GET http://x/livez HTTP/1.1\r\nHost: a/b\r\n\r\n", ("/livez", "host", "400")),
        (
            b"POST /livez HTTP/1.1\r\nHost: h\r\nContent-Length: " + b"9" * 50 + b"\r\n\r\n",
            ("/livez", "too-large", "413"),
        ),
        (
            b"POST /livez HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            ("/livez", "unreadable", "400"),
        ),
    ],
)
@ensureDeferred
async def test_what_is_refused_before_it_is_routed_is_counted(
    seen: Seen, sent: bytes, counted: tuple[str, ...]
) -> None:
    status, _ = await (await asked(seen.api, sent)).answer()
    assert (str(status), seen.refused) == (counted[-1], {counted: 1})


@ensureDeferred
async def test_what_is_too_long_to_be_routed_is_counted(seen: Seen) -> None:
    await (await asked(seen.api, b"GET /?x=" + b"y" * 9000)).answer()
    start = b"GET /api/v1/schedule/?x HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 9000
    await (await asked(seen.api, start)).answer()
    assert seen.refused == {
        ("none", "line-too-long", "400"): 1,
        ("/api/v1/schedule/", "header-too-large", "400"): 1,
    }


@ensureDeferred
async def test_a_body_that_turns_out_to_be_too_large_is_counted_once(seen: Seen) -> None:
    assert (await seen.api.post("/api/v1/schedule/", " " * 2**20 + "x")).status == 413
    assert seen.refused == {("/api/v1/schedule/", "too-large", "413"): 1}


@ensureDeferred
async def test_a_body_that_is_announced_as_too_large_is_counted_once(seen: Seen) -> None:
    start = head(seen.api, "POST /api/v1/schedule/", JSON, "Content-Length: 99999999")
    assert (await (await asked(seen.api, start)).answer())[0] == 413
    assert seen.refused == {("/api/v1/schedule/", "too-large", "413"): 1}


@ensureDeferred
async def test_connections_over_the_limit_are_counted(database_uri: str, tmp_path: Path) -> None:
    telemetry = Telemetry()
    limits = Limits(connections=1, new_seconds=0)
    async with served(database_uri, tmp_path, telemetry=telemetry, limits=limits) as api:
        seen = Seen(api, telemetry)
        start = head(api, "POST /api/v1/schedule/", JSON, "Content-Length: 9")
        first = await asked(api, start)
        await comes_true(lambda: any(one.phase.name == "BODY" for one in channels(api)))
        await connected(api)  # makes room for itself
        await first.rest()
        assert seen.counted(CUT_OFF) == {("connections", "/api/v1/schedule/"): 1}


def channels(api: Api) -> list[Any]:
    """The connections of a running API."""
    from tests.web.conftest import reactor

    factories = [one.factory for one in reactor.getReaders() if hasattr(one, "factory")]
    sites = [one for one in factories if hasattr(one, "refusals")]
    return [channel for site in sites for channel in site._crowd.all]


@ensureDeferred
async def test_a_client_that_hangs_up_within_its_request_is_counted(seen: Seen) -> None:
    start = head(seen.api, "POST /api/v1/schedule/", JSON, "Content-Length: 100")
    conversation = await asked(seen.api, start + b"{")
    await comes_true(lambda: any(one.phase.name == "BODY" for one in channels(seen.api)))
    conversation.hang_up()
    await comes_true(lambda: bool(seen.counted(CUT_OFF)))
    assert seen.counted(CUT_OFF) == {("client", "/api/v1/schedule/"): 1}
    assert seen.refused == {}


@ensureDeferred
async def test_a_file_that_becomes_shorter_while_it_is_sent_is_counted(seen: Seen) -> None:
    path = seen.api.media_root / "a.png"
    with path.open("wb") as file:
        file.truncate(400 * PIECE_BYTES)  # more than sockets hold
    conversation = await asked(seen.api, head(seen.api, "GET /media/a.png"))
    await conversation.until(b"\r\n\r\n")
    conversation.transport.pauseProducing()
    os.truncate(path, 0)
    conversation.transport.resumeProducing()
    await conversation.rest()
    assert seen.counted(CUT_OFF) == {("file", "/media/{name}"): 1}


# What is answered with success, and is not done


@ensureDeferred
async def test_requests_that_change_nothing_are_counted(database_uri: str, tmp_path: Path) -> None:
    telemetry = Telemetry()
    options: dict[str, Any] = {
        "telemetry": telemetry,
        "scheduling": a_scheduling("builtin"),
        "duplicate_window": timedelta(minutes=5),
    }
    async with served(database_uri, tmp_path, **options) as api:
        seen = Seen(api, telemetry)
        made = await api.subscription(active=False)
        send = f"/api/v1/subscriptions/{made['id']}/send"
        data = {name: made[name] for name in ("identity", "lang", "messageset", "schedule")}
        for _ in range(2):
            await api.post(WEBHOOK, {"data": data}, Idempotency_Key="k")
            await api.post(WEBHOOK, {"data": data})
        await api.post(send)
        await api.post(send, token=SCHEDULER_TOKEN)
        with arranged(database_uri) as direct:
            direct.rows(
                "INSERT INTO scheduler_schedules"
                " (kind, target, remote_id, cron_definition, enabled)"
                " VALUES ('schedule', %s, gen_random_uuid(), '* * * * *', true)",
                str(made["schedule"]),
            )
        await api.post(f"/api/v1/schedule/{made['schedule']}/send/", token=SCHEDULER_TOKEN)
    pattern = "/api/v1/subscriptions/{id}/send"
    assert seen.refused == {}
    assert seen.counted(NOT_DONE) == {
        (WEBHOOK, "replayed"): 1,
        (WEBHOOK, "duplicate"): 1,
        (pattern, "nothing-to-do"): 1,
        (pattern, "not-called-for"): 1,
        (SEND, "not-called-for"): 1,
    }


# The log


class Rates:
    """Refusals on a clock that the test moves, and what they log."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.refusals = Refusals(reactor=self.clock, paths=Paths(describe("0")["paths"]))

    def refuse(self, path: str, *fields: str, kind: str = "invalid", times: int = 1) -> None:
        for _ in range(times):
            self.refusals.refused(path.encode(), 400, Reason(kind=kind, fields=fields))


def test_of_a_flood_one_line_is_logged_at_once_and_one_in_a_while() -> None:
    rates = Rates()
    with listening() as events:
        rates.refuse(WEBHOOK, "lang", times=1000)
        assert len(events) == 1
        rates.clock.advance(LOG_SECONDS)
        rates.refuse(WEBHOOK, "identity", times=5)
        rates.refuse(WEBHOOK, "lang", times=5)
        rates.clock.advance(LOG_SECONDS)
        rates.clock.advance(LOG_SECONDS)
        rates.refuse(WEBHOOK)
    one = f"{WEBHOOK}: 400, invalid"
    assert [formatEvent(event) for event in events] == [
        f"refused a request to {one} (lang)",
        f"refused 999 more requests to {one} (lang)",
        f"refused 10 more requests to {one} (identity, lang)",
        f"refused a request to {one}",
    ]


def test_other_paths_and_reasons_have_lines_of_their_own() -> None:
    rates = Rates()
    with listening() as events:
        for number in range(50):
            rates.refuse(f"/api/v1/schedule/{number}/")
            rates.refuse(f"/api/v1/schedule/{number}/", kind="in-use")
            rates.refuse(f"/{number}")
    assert sorted(formatEvent(event) for event in events) == [
        "refused a request to /api/v1/schedule/{id}/: 400, in-use",
        "refused a request to /api/v1/schedule/{id}/: 400, invalid",
        "refused a request to unknown: 400, invalid",
    ]
    rates.refusals.flush()
    assert rates.clock.getDelayedCalls() == []


def test_what_was_left_out_is_told_at_the_end() -> None:
    rates = Rates()
    with listening() as events:
        rates.refuse(WEBHOOK, times=3)
        rates.refusals.flush()
    assert [formatEvent(event) for event in events][1:] == [
        f"refused 2 more requests to {WEBHOOK}: 400, invalid"
    ]


def test_defects_are_logged_with_their_traceback_at_the_same_rate() -> None:
    from sbm.web.http.http_errors import reason_of

    rates = Rates()
    with listening() as events:
        for error in (RuntimeError("x"), RuntimeError("y"), KeyError("z")):
            rates.refusals.refused(b"/livez", 500, reason_of(error))
        rates.refusals.flush()
    assert [event["log_level"] for event in events] == [
        *(LogLevel.critical, LogLevel.critical, LogLevel.warn)
    ]
    assert "1 more" in formatEvent(events[2])


@ensureDeferred
async def test_names_that_clients_make_up_are_not_logged(seen: Seen) -> None:
    with listening() as events:
        answer = await seen.api.post("/api/v1/failed-tasks/?themba=1&kind=x")
    assert (answer.status, "themba" in answer.text) == (400, True)
    assert [unnumbered(event) for event in events] == [
        "refused a request to /api/v1/failed-tasks/: 400, invalid (kind)"
    ]


# Patterns


@pytest.mark.parametrize(
    ("target", "pattern"),
    [
        (b"/api/v1/schedule", "/api/v1/schedule/"),
        (b"/api/v1/schedule/7/?x=/", "/api/v1/schedule/{id}/"),
        (b"/api/v1/subscriptions/request/", WEBHOOK),
        (b"/api/v1/subscriptions/requests", "/api/v1/subscriptions/{id}/"),
        (b"/api/v1/schedule/7/send//", "unknown"),
        (b"/api/v1/schedule//", "unknown"),
        (b"/api/v1/\xff\r\nx", "unknown"),
        (b"/media/27820001001.png", "/media/{name}"),
        (b"", "unknown"),
        (None, "none"),
    ],
)
def test_a_path_is_known_by_its_pattern(target: bytes | None, pattern: str) -> None:
    assert Paths(describe("0")["paths"]).pattern_of(target) == pattern

"""Failures of real daemons are reported to Sentry, which never keeps a daemon from ending."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

import sbm
from tests.e2e.daemons import DaemonProcess, processes
from tests.e2e.end_to_end import World
from tests.ports import free_port
from tests.sentry_server import KEY, sentry_server

IDENTITY = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
TEXT = "text of a message"

# The SDK gives up a request after 30 seconds. A stop that waited for that would take as long.
LESS_THAN_A_REQUEST = 20.0


def sentry_at(port: int) -> dict[str, str]:
    return {"STAGE_BASED_MESSAGING_SENTRY_DSN": f"http://{KEY}@127.0.0.1:{port}/7"}


async def fail(seed: World, daemon: DaemonProcess) -> str:
    """Make a request fail by an error that quotes a row; returns the token of the request."""
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.direct.value(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE 'row (%, {TEXT})', NEW.identity; END $$;"
        "CREATE TRIGGER spoil BEFORE INSERT ON subscriptions FOR EACH ROW EXECUTE FUNCTION spoil();"
        "SELECT 1"
    )
    token = await seed.token()
    body = {
        "identity": IDENTITY,
        "messageset": messageset,
        "schedule": schedule,
        "lang": "eng_ZA",
        "metadata": {"text": TEXT},
    }
    status, _ = await seed.call(
        "POST", "/api/v1/subscriptions/?secret=query", body, token=token, at=daemon.url
    )
    assert status == 500
    return token


@ensureDeferred
async def test_a_defect_is_reported_without_identities_texts_and_tokens(seed: World) -> None:
    with sentry_server() as sentry, processes(seed, 1, **sentry_at(sentry.port)) as (daemon,):
        await daemon.start()
        token = await fail(seed, daemon)
        assert await daemon.end() == 0
        (report,) = sentry.reports()
        (request,) = sentry.requests
        output = daemon.output
    # The log has the message of the error.
    assert f"row ({IDENTITY}, {TEXT})" in output
    for secret in (IDENTITY, TEXT, token, "secret=query", KEY, seed.database_uri, "127.0.0.1"):
        assert secret not in request
    assert report["release"].startswith("sbm@")
    assert set(report["tags"]) == {"host", "role", "commit"}
    assert report["logentry"] == {
        "message": "a request to {path} failed: answered with {status}{request}"
    }
    value = report["exception"]["values"][-1]
    assert (value["type"], value["value"]) == ("RaiseException", "SQLSTATE P0001")
    frames = value["stacktrace"]["frames"]
    assert "sbm.operations.subscribing" in [frame["module"] for frame in frames]
    assert not [frame for frame in frames if "vars" in frame or "context_line" in frame]


@ensureDeferred
async def test_services_that_are_away_and_requests_that_are_refused_are_not_reported(
    seed: World,
) -> None:
    with sentry_server() as sentry, processes(seed, 1, **sentry_at(sentry.port)) as (daemon,):
        schedule = seed.direct.schedule()
        seed.subscribe(3, seed.direct.messageset("postbirth", schedule), schedule)
        await seed.identity_store.close()
        await daemon.start()
        await seed.call("POST", f"/api/v1/schedule/{schedule}/send/", at=daemon.url)
        status, _ = await seed.call("GET", "/api/v1/subscriptions/", token="no", at=daemon.url)
        assert status == 401
        await seed.until(lambda: "is away" in daemon.output)
        await fail(seed, daemon)
        assert await daemon.end() == 0
        (report,) = sentry.reports()
    assert report["logger"].startswith("sbm.web.")


@pytest.mark.parametrize("is_away", [True, False])
@ensureDeferred
async def test_a_daemon_ends_soon_though_sentry_does_not_answer(seed: World, is_away: bool) -> None:
    with sentry_server(is_open=False) as sentry:
        port = free_port() if is_away else sentry.port
        with processes(seed, 1, **sentry_at(port)) as (daemon,):
            await daemon.start()
            await fail(seed, daemon)
            told = "could not be sent to Sentry: network"
            await seed.until(lambda: told in daemon.output if is_away else sentry.requests)
            begun = time.monotonic()
            assert await daemon.end() == 0
            assert time.monotonic() - begun < LESS_THAN_A_REQUEST
            assert ("Sentry did not accept the last reports" in daemon.output) is not is_away


@ensureDeferred
async def test_a_daemon_runs_without_the_sdk_and_says_so(seed: World, tmp_path: Path) -> None:
    package = tmp_path / "sentry_sdk"
    package.mkdir()
    package.joinpath("__init__.py").write_text(
        "raise ImportError(\"No module named 'sentry_sdk'\")"
    )
    path = f"{tmp_path}:{Path(sbm.__file__).parent.parent}"
    with processes(seed, 1, **sentry_at(free_port()), PYTHONPATH=path) as (daemon,):
        await daemon.start()
        assert (
            "STAGE_BASED_MESSAGING_SENTRY_DSN is ignored: No module named 'sentry_sdk'. Install the"
            " extra sentry: pip install 'sbm[sentry]'."
        ) in daemon.output
        await fail(seed, daemon)
        assert await daemon.end() == 0


@ensureDeferred
async def test_a_daemon_does_not_start_with_a_dsn_that_is_malformed(seed: World) -> None:
    settings = {"STAGE_BASED_MESSAGING_SENTRY_DSN": f"https://{KEY}@sentry.example.org/project"}
    with processes(seed, 1, **settings) as (daemon,):
        daemon.begin()
        assert await daemon.ended() == 1
        assert "STAGE_BASED_MESSAGING_SENTRY_DSN must be a DSN" in daemon.output
        assert KEY not in daemon.output

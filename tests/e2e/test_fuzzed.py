"""Schemathesis reads the description, and asks the daemon whatever comes to its mind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.utils import getProcessOutputAndValue

from tests.e2e.end_to_end import World, reactor

# Answers are as described, and nobody gets in without a token. That it is refused what the
# description does not allow is no promise: values are taken leniently.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
)


async def fuzz(seed: World, folder: Path, *options: str) -> None:
    """Run Schemathesis against a daemon with a few rows, and fail with what it tells."""
    url = seed.start(SBM_MEDIA_ROOT=str(folder))
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(3, messageset, schedule)
    arguments = [
        *("-m", "schemathesis.cli", "run", f"{url}/api/v1/openapi.json"),
        *("--header", f"Authorization: Token {await seed.token()}"),
        *("--checks", ",".join(CHECKS)),
        *("--continue-on-failure", "--warnings", "off"),
        *options,
    ]
    # Without COVERAGE_..., which would measure Schemathesis, and slow it down by half.
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "COLUMNS": "100"}
    out, _, code = await getProcessOutputAndValue(
        sys.executable, arguments, env=environ, path=str(folder), reactor=reactor
    )
    assert code == 0, out.decode("utf-8", "replace")


# At the edges of what each field may be, which takes four times as long as all else. HEAD is
# answered as GET is, and OPTIONS is the same everywhere: their edges are for the long form.
EDGES = ("--phases", "coverage", "--exclude-method", "HEAD", "--exclude-method", "OPTIONS")
ALL_ELSE = ("--phases", "examples,fuzzing,stateful", "--max-examples", "5")


@pytest.mark.slow
@pytest.mark.parametrize("options", [EDGES, ALL_ELSE], ids=["edges", "all else"])
@ensureDeferred
async def test_the_daemon_answers_as_described(
    seed: World, tmp_path: Path, options: tuple[str, ...]
) -> None:
    await fuzz(seed, tmp_path, *options, "--seed", "1")


# OPTIONS is the same for a row that was deleted, as in the old service.
ONE_REQUEST = ("--phases", "examples,coverage,fuzzing")
SEVERAL_REQUESTS = ("--phases", "stateful", "--exclude-method", "OPTIONS")


@pytest.mark.long
@pytest.mark.parametrize(
    "options", [ONE_REQUEST, SEVERAL_REQUESTS], ids=["one request", "several requests"]
)
@ensureDeferred
async def test_the_daemon_answers_as_described_whatever_it_is_asked(
    seed: World, tmp_path: Path, options: tuple[str, ...]
) -> None:
    await fuzz(seed, tmp_path, *options, "--max-examples", "200")

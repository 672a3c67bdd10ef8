"""``sbm``, as operators and their scripts see it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from uuid import uuid4

import psycopg2
import pytest
from pytest_twisted import ensureDeferred

from sbm import cli
from sbm.commands.running import MISUSED
from sbm.store.postgres import migrations
from tests.arrange import Arranged, arranged
from tests.commands.operator import run_here
from tests.db.databases import Databases
from tests.patience import patience

SETTING = "STAGE_BASED_MESSAGING_DATABASE"
NOWHERE = "postgresql://nobody@/nothing?host=/nowhere"


@pytest.fixture
def empty_uri(databases: Databases) -> Iterator[str]:
    name = f"sbm_test_{uuid4().hex[:12]}"
    yield databases.create(name)
    databases.drop(name)


Captured = pytest.CaptureFixture[str]


def sbm(*arguments: str, first: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, which does something else ``first``."""
    started = [sys.executable, "-c", f"{first}from sbm.cli import main; main()", *arguments]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        started,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(),
    )


def test_migrate_tells_what_it_applied(empty_uri: str, capsys: Captured) -> None:
    assert cli.run(["migrate"], {SETTING: empty_uri}) == 0
    names = migrations.names()
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        *(f"applied {name}" for name in names),
        f"{len(names)} applied; the schema is up to date",
    ]
    assert told.err == ""


def test_migrate_a_second_time_applies_nothing(database_uri: str, capsys: Captured) -> None:
    assert cli.run(["migrate"], {SETTING: database_uri}) == 0
    assert capsys.readouterr().out == "0 applied; the schema is up to date\n"


def test_status_fails_while_something_is_pending_and_applies_nothing(
    empty_uri: str, capsys: Captured
) -> None:
    for _ in range(2):
        assert cli.run(["migrate", "--status"], {SETTING: empty_uri}) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines == [f"pending  {name}" for name in migrations.names()]


def test_status_of_a_schema_that_is_up_to_date(database_uri: str, capsys: Captured) -> None:
    assert cli.run(["migrate", "--status"], {SETTING: database_uri}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"applied  {name}" for name in migrations.names()]


def test_status_shows_what_this_release_does_not_know(
    database_uri: str, direct: Arranged, capsys: Captured
) -> None:
    direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')")
    assert cli.run(["migrate", "--status"], {SETTING: database_uri}) == 1
    assert "unknown  9999_from_the_future" in capsys.readouterr().out


def test_migrate_of_an_older_release_says_that_the_schema_is_newer(
    database_uri: str, direct: Arranged, capsys: Captured
) -> None:
    direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')")
    assert cli.run(["migrate"], {SETTING: database_uri}) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "sbm: the schema is of a newer release: it has 9999_from_the_future: nothing was applied."
        " Use `sbm migrate` of that release\n"
    )


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--status"], ["check"]])
@ensureDeferred
async def test_a_database_of_another_encoding_is_told_on_stderr(
    databases: Databases, encoding: str, command: list[str]
) -> None:
    name = f"sbm_test_{uuid4().hex[:12]}"
    try:
        uri = databases.create(name, encoding=encoding)
        ran = await run_here(*command, database_uri=uri)
    finally:
        databases.drop(name)
    assert (ran.status, ran.out) == (1, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"sbm: the database's encoding is {encoding}, and it must be UTF8")


def test_migrate_says_on_stderr_for_whom_it_waits(
    empty_uri: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = psycopg2.connect(empty_uri, application_name="holder")
    holder.autocommit = True

    def let_go(_: float) -> None:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")

    monkeypatch.setattr(migrations, "migrate", partial(migrations.migrate, pause=let_go))
    with closing(holder), holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(736266, 1)")
        assert cli.run(["migrate"], {SETTING: empty_uri}) == 0
    assert re.fullmatch(
        r"sbm: the lock of migrations waits for .*; it will be tried again\n",
        capsys.readouterr().err,
    )


def test_the_option_overrides_the_environment(database_uri: str, capsys: Captured) -> None:
    arguments = ["--database", database_uri, "migrate", "--status"]
    assert cli.run(arguments, {SETTING: NOWHERE}) == 0


def test_a_migration_that_fails_is_told_on_stderr(empty_uri: str, capsys: Captured) -> None:
    with arranged(empty_uri) as direct:
        direct.rows("CREATE TABLE users ()")
    assert cli.run(["migrate"], {SETTING: empty_uri}) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("sbm: 0002_create_users.sql: ")


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--status"]])
def test_a_database_that_is_not_there_is_told_on_stderr(
    command: list[str], capsys: Captured
) -> None:
    assert cli.run(command, {SETTING: NOWHERE}) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("sbm: ")
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize("environ", [{}, {SETTING: ""}, {SETTING: "mysql://u@h/d"}])
def test_a_setting_that_is_missing_or_wrong_is_misuse(
    environ: dict[str, str], capsys: Captured
) -> None:
    assert cli.run(["migrate"], environ) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert SETTING in told.err


@pytest.mark.parametrize(
    "arguments", [[], ["token"], ["token", "create"], ["migrate", "--nonsense"], ["nonsense"]]
)
def test_a_command_that_is_none_is_misuse(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.run(arguments, {})
    assert caught.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "usage: sbm" in told.err


@pytest.mark.parametrize("admin", [False, True])
def test_a_token_is_all_that_is_printed_and_it_is_stored_as_a_digest(
    database_uri: str, direct: Arranged, admin: bool
) -> None:
    option = ["--admin"] if admin else []
    ran = sbm("token", "create", "mother@example.org", *option, **{SETTING: database_uri})
    assert (ran.returncode, ran.stderr) == (0, "")
    token = ran.stdout.removesuffix("\n")
    assert len(token) == 40
    assert ran.stdout == f"{token}\n"
    (user,) = direct.rows(
        "SELECT username, email, is_admin FROM users JOIN tokens ON user_id = users.id"
        " WHERE digest = sha256(convert_to(%s, 'UTF8'))",
        token,
    )
    assert user == {
        "username": "mother@example.org",
        "email": "mother@example.org",
        "is_admin": admin,
    }


@ensureDeferred
async def test_a_second_token_is_another_of_the_same_user(
    database_uri: str, direct: Arranged
) -> None:
    first, second = [
        await run_here("token", "create", "a@example.org", database_uri=database_uri)
        for _ in range(2)
    ]
    assert first.out != second.out
    counts = direct.rows(
        "SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM tokens) AS tokens"
    )
    assert counts == [{"users": 1, "tokens": 2}]


@pytest.mark.parametrize("email", ["", "x" * 151])
@ensureDeferred
async def test_an_e_mail_that_does_not_fit_is_told(database_uri: str, email: str) -> None:
    ran = await run_here("token", "create", email, database_uri=database_uri)
    assert (ran.status, ran.out) == (1, "")
    assert ran.stderr == "sbm: NAME must have 1 to 150 characters\n"


@pytest.mark.parametrize("which", ["nowhere", "empty"])
def test_no_token_without_a_database_that_fits(which: str, empty_uri: str) -> None:
    uri = NOWHERE if which == "nowhere" else empty_uri
    ran = sbm("token", "create", "a@example.org", **{SETTING: uri})
    assert (ran.returncode, ran.stdout) == (1, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("sbm: ")
    assert ("sbm migrate" in line) == (which == "empty")


def test_bytes_that_are_no_text_are_misuse(capsys: Captured) -> None:
    environ = {"STAGE_BASED_MESSAGING_DATABASE": "postgres://h/d"}
    arguments = ["subscription", "reset-stuck", "--all", "--reason", os.fsdecode(b"a\xff")]
    assert cli.run(arguments, environ) == MISUSED
    assert capsys.readouterr().err == "sbm: the arguments must be text in UTF-8\n"


def test_the_version_is_told(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        cli.run(["--version"], {})
    assert capsys.readouterr().out.startswith("sbm ")


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_of_the_list_tells_of_itself(
    command: cli.ListedCommand, capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.run([command.name, "--help"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: sbm {command.name} [-h]")


def test_a_daemon_without_a_voice_vendor_imports_no_ssh() -> None:
    tell = "print(*(one for one in sys.modules if one.startswith('twisted.conch')))"
    ran = sbm("--help", first=f"import sys, sbm.tap; {tell}; sys.exit(); ")
    assert (ran.returncode, ran.stdout.split()) == (0, [])


# What takes long to import, and only a few commands need.
HEAVY = ("treq", "twisted.web", "OpenSSL", "sbm.clients")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], []),
        (["token", "--help"], []),
        (["token", "list"], ["OpenSSL"]),  # by the reactor
        (["scheduler", "--help"], list(HEAVY)),
    ],
)
def test_a_command_imports_what_it_needs(
    database_uri: str, arguments: list[str], expected: list[str]
) -> None:
    tell = f"print(*(one for one in {HEAVY} if one in sys.modules), file=sys.stderr)"
    begin = f"import atexit, sys; atexit.register(lambda: {tell})"
    ran = sbm(*arguments, first=f"{begin}; ", **{SETTING: database_uri})
    assert (ran.returncode, ran.stderr.split()) == (0, expected)

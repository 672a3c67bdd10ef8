"""``sbm import-django``, as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from sbm import cli
from sbm.commands.running import FAILED, MISUSED
from tests.arrange import Arranged, arranged
from tests.commands.test_users import ROOT, Sbm
from tests.commands.test_users import behind as behind
from tests.commands.test_users import sbm as sbm
from tests.db.databases import Databases
from tests.store.django.old import Old, make, subscribe
from tests.store.django.old import empty_old as empty_old
from tests.store.django.old import old as old
from tests.store.test_sessions import ODD, alter


def test_everything_comes_with_its_files_and_a_report_and_only_once(
    sbm: Sbm, old: Old, behind: Arranged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media, root, report = tmp_path / "media", tmp_path / "root", tmp_path / "report.jsonl"
    media.mkdir()
    root.mkdir()
    (media / "20170101.mp3").write_bytes(b"one")
    monkeypatch.setenv("SBM_MEDIA_ROOT", str(root))
    monkeypatch.setenv("STAGE_BASED_MESSAGING_URL", "http://new.example.org/api/v1")
    options = ("--media", str(media), "--report", str(report), "--by", "ann", "--reason", "move")
    outcome = sbm("import-django", old.uri, *options)
    assert (outcome.status, outcome.complaint) == (0, "")
    *told, called, never, files, host, last = outcome.out.splitlines()
    assert called.startswith("the Scheduler calls 1 of the schedules: set SBM_SCHEDULING=schedule")
    assert told[0] == "the old service's release: 0.12.1 or newer"
    assert told[-5].split()[:5] == ["subscriptions", "1", "1", "0", "0"]
    assert never.startswith(
        "schedule 5: there is no day_of_month 31 in month_of_year 2: it is never"
    )
    assert files == "files: 2 copied, 0 there already, 1 missing"
    assert "old.example.org, this one does so at new.example.org" in host
    assert last == "imported"
    assert {path.name for path in root.iterdir()} == {"20170101.mp3", "3-20170101.mp3"}
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["id"] for line in lines if line.get("fate") == "without its file"} == {"2"}
    assert {line["id"] for line in lines if line["table"] == "schedules" and "id" in line} == {
        *("3", "4", "5")
    }
    assert lines[-5]["table"] == "subscriptions"
    assert lines[-5]["read"] == 1
    assert report.stat().st_mode & 0o777 == 0o600
    assert behind.value("SELECT actor FROM audit") == "ann"

    again = sbm("import-django", old.uri)
    assert (again.status, again.out) == (FAILED, "")
    assert "the database is not empty: it has schedules, messagesets," in again.complaint


def test_what_python_cannot_read_is_reported_as_it_was(sbm: Sbm, old: Old, tmp_path: Path) -> None:
    report, digits, deep = tmp_path / "report.jsonl", "9" * 5000, "[" * 2000 + "]" * 2000
    for metadata in (digits, deep):
        subscribe(old.behind, uuid4(), identity="", metadata=metadata)
    outcome = sbm("import-django", old.uri, "--report", str(report), "--dry-run")
    assert (outcome.status, outcome.complaint) == (0, "")
    left = [line for line in report.read_text().splitlines() if "it has no identity" in line]
    assert sorted(f'"metadata": {value},' in line for line in left for value in (digits, deep)) == [
        *(False, False, True, True)
    ]


def test_schedules_that_restrict_both_days_or_are_never_due_are_kept_and_reported(
    sbm: Sbm, old: Old, behind: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBM_TIMEZONE", "Africa/Johannesburg")
    untellable = "1/15,7/27,5/16,14/14,12/13,10/11,13/11,17/15,8/9,23/28,4/11"
    old.behind.rows(
        "INSERT INTO contentstore_schedule VALUES"
        " (11, '0', '9', '1', '1 - 7', '*', NULL), (12, '0', '9', '*', '31', 'apr', NULL),"
        " (13, %s, '*', '*', '*', '*', NULL), (14, '0', '9', '1', '*', '*', NULL)",
        untellable,
    )
    outcome = sbm("import-django", old.uri)
    assert outcome.status == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    found = {line["id"]: line for line in lines if "next_ticks" in line}
    assert {number: line["fate"] for number, line in found.items()} == {
        "5": "never due",
        "11": "both days",
        "12": "never due",
        "13": "never told",
    }
    assert "a day must match day_of_month 1-7 and day_of_week 1" in found["11"]["reason"]
    assert len(found["11"]["next_ticks"]) == 3
    for text in found["11"]["next_ticks"]:
        moment = datetime.fromisoformat(text)
        assert (moment.hour, moment.isoweekday(), moment.day <= 7) == (9, 1, True)
        assert f"{moment:%z}" == "+0200"
        assert text in outcome.complaint
    assert "there is no day_of_month 31 in month_of_year 4" in found["12"]["reason"]
    assert found["12"]["next_ticks"] == found["13"]["next_ticks"] == []
    kept = behind.rows("SELECT day_of_month, month_of_year FROM schedules WHERE id = 12")
    assert kept == [{"day_of_month": "31", "month_of_year": "4"}]
    assert behind.value("SELECT minute FROM schedules WHERE id = 13") == untellable
    checked = sbm("check", "schedules")
    assert (checked.status, [line.split(":")[0] for line in checked.out.splitlines()[:4]]) == (
        FAILED,
        [f"schedule {number}" for number in (5, 11, 12, 13)],
    )


def test_a_dry_run_tells_the_same_and_changes_nothing(sbm: Sbm, old: Old, behind: Arranged) -> None:
    outcome = sbm("import-django", old.uri, "--dry-run")
    assert outcome.status == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert sum(line["taken"] for line in lines if "taken" in line) == 25
    assert outcome.complaint.endswith("nothing was imported: --dry-run\n")
    assert behind.value("SELECT count(*) FROM messages") == 0


def test_an_import_that_is_killed_leaves_nothing_behind(
    sbm: Sbm, old: Old, behind: Arranged, database_uri: str
) -> None:
    behind.rows(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END $$;"
        " CREATE TRIGGER wait BEFORE INSERT ON subscriptions"
        " FOR EACH ROW EXECUTE FUNCTION wait();"
        " SELECT pg_advisory_lock(4711)"
    )
    command = [sys.executable, "-c", "from sbm.cli import main; main()", "import-django", old.uri]
    environ = os.environ | {
        "PYTHONPATH": str(ROOT),
        "STAGE_BASED_MESSAGING_DATABASE": database_uri,
    }
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as killed:
        until(behind, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND objid = 4711)")
        killed.kill()
    behind.rows("SELECT pg_advisory_unlock(4711)")
    until(behind, "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()")
    assert behind.value("SELECT count(*) FROM messages") == 0
    assert sbm("import-django", old.uri).status == 0
    assert behind.value("SELECT count(*) FROM subscriptions") == 1


def until(behind: Arranged, condition: str) -> None:
    """Return when the database says that it is so; what hangs is interrupted from outside."""
    while not behind.value(condition):
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("nowhere",), "argument DSN: must be a URL"),
        (("postgres://h/db", "--media", "/nowhere/at/all"), "must be a folder that exists"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["import-django", *options], {"STAGE_BASED_MESSAGING_DATABASE": "postgres://h/d"})
    assert ended.value.code == MISUSED
    assert complaint in capsys.readouterr().err


def test_files_need_a_folder_to_be_copied_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["import-django", "postgres://h/db", "--media", str(tmp_path)]
    environ = {"STAGE_BASED_MESSAGING_DATABASE": "postgres://h/d"}
    assert cli.run(arguments, environ) == MISUSED
    assert "SBM_MEDIA_ROOT is missing" in capsys.readouterr().err


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def elsewhere(databases: Databases, encoding: str) -> Iterator[str]:
    """An empty database of another encoding."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    yield databases.create(name, encoding=encoding)
    databases.drop(name)


def test_nothing_is_imported_into_a_database_of_another_encoding(
    sbm: Sbm, old: Old, elsewhere: str, encoding: str
) -> None:
    outcome = sbm("--database", elsewhere, "import-django", old.uri)
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert f"encoding is {encoding}, and it must be UTF8" in outcome.complaint


@pytest.mark.parametrize("text", ["é ÿ", "plain"])
def test_an_old_database_may_have_another_encoding(
    sbm: Sbm, behind: Arranged, elsewhere: str, encoding: str, text: str
) -> None:
    with arranged(f"{elsewhere}&client_encoding=UTF8") as there:
        make(there)
        there.rows(
            "INSERT INTO contentstore_schedule VALUES (1, '0', '8', '*', '*', '*', NULL);"
            " INSERT INTO contentstore_messageset VALUES"
            " (1, %s, %s, now(), now(), 1, NULL, 'text', NULL, '');"
            " INSERT INTO contentstore_message VALUES"
            " (1, 1, 'eng_ZA', %s, now(), now(), NULL, 1, jsonb_build_object('a', %s::text))",
            *("one", text, text, text),
        )
    outcome = sbm("import-django", elsewhere)
    assert (outcome.status, outcome.complaint.splitlines()[-1]) == (0, "imported")
    assert behind.rows("SELECT text_content, metadata FROM messages") == [
        {"text_content": text, "metadata": {"a": text}}
    ]


def test_an_old_database_that_holds_bytes_that_are_no_text_is_refused(
    sbm: Sbm, behind: Arranged, databases: Databases
) -> None:
    name = f"sbm_test_{uuid4().hex[:12]}"
    uri = databases.create(name, encoding="SQL_ASCII")
    try:
        with arranged(uri) as there:
            make(there)
            there.rows("INSERT INTO contentstore_schedule VALUES (1, '0', '8', '*', '*', E'\\xe9')")
        outcome = sbm("import-django", uri)
    finally:
        databases.drop(name)
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert 'invalid byte sequence for encoding "UTF8"' in outcome.complaint
    assert "nothing was imported" in outcome.complaint
    assert behind.value("SELECT count(*) FROM schedules") == 0


def test_an_import_goes_its_way_whatever_sessions_begin_with(
    sbm: Sbm, old: Old, behind: Arranged
) -> None:
    alter(old.behind, ODD)
    alter(behind, ODD)
    outcome = sbm("import-django", old.uri)
    assert (outcome.status, outcome.complaint.splitlines()[-1]) == (0, "imported")

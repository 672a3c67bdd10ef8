"""``sbm import-django``, as an operator runs it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm import cli
from sbm.commands.running import FAILED, MISUSED
from tests.arrange import Arranged, arranged
from tests.commands.operator import COMMAND, Sbm, SbmAtOnce, process_environ
from tests.db.databases import Databases
from tests.operations.django_import.old import Old, make, subscribe
from tests.operations.django_import.old import empty_old as empty_old
from tests.operations.django_import.old import old as old
from tests.store.postgres.test_sessions import ODD, alter


def test_everything_comes_with_its_files_and_a_report_and_only_once(
    sbm_at_once: SbmAtOnce,
    old: Old,
    direct: Arranged,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    media, root, report = tmp_path / "media", tmp_path / "root", tmp_path / "report.jsonl"
    media.mkdir()
    root.mkdir()
    (media / "20170101.mp3").write_bytes(b"one")
    monkeypatch.setenv("SBM_MEDIA_ROOT", str(root))
    monkeypatch.setenv("STAGE_BASED_MESSAGING_URL", "http://new.example.org/api/v1")
    options = ("--media", str(media), "--report", str(report), "--by", "ann", "--reason", "move")
    outcome = sbm_at_once("import-django", old.uri, *options)
    assert (outcome.status, outcome.stderr) == (0, "")
    *told, called, never, files, host, unsendable, last = outcome.out.splitlines()
    assert called.startswith("the Scheduler calls 1 of the schedules: set SBM_SCHEDULING=schedule")
    assert told[0] == "the old service's release: 0.12.1 or newer"
    assert told[-5].split()[:5] == ["subscriptions", "1", "1", "0", "0"]
    assert never.startswith(
        "schedule 5: there is no day_of_month 31 in month_of_year 2: it is never"
    )
    assert files == "files: 2 copied, 0 there already, 1 missing"
    assert "old.example.org, the URLs of sbm have new.example.org" in host
    assert (unsendable, last) == ("messages that cannot be sent as they are: 1", "imported")
    assert {path.name for path in root.iterdir()} == {"20170101.mp3", "3-20170101.mp3"}
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["id"] for line in lines if line.get("fate") == "without its file"} == {"2"}
    assert {line["id"] for line in lines if line["table"] == "schedules" and "id" in line} == {
        "3",
        "4",
        "5",
    }
    assert lines[-5]["table"] == "subscriptions"
    assert lines[-5]["read"] == 1
    assert report.stat().st_mode & 0o777 == 0o600
    assert direct.value("SELECT actor FROM audit") == "ann"

    again = sbm_at_once("import-django", old.uri)
    assert (again.status, again.out) == (FAILED, "")
    assert "the database is not empty: it has schedules, messagesets," in again.stderr


def test_what_python_cannot_read_is_reported_as_it_was(
    sbm_at_once: SbmAtOnce, old: Old, tmp_path: Path
) -> None:
    report, digits, deep = tmp_path / "report.jsonl", "9" * 5000, "[" * 2000 + "]" * 2000
    for metadata in (digits, deep):
        subscribe(old.direct, uuid4(), identity="", metadata=metadata)
    outcome = sbm_at_once("import-django", old.uri, "--report", str(report), "--dry-run")
    assert (outcome.status, outcome.stderr) == (0, "")
    left = [line for line in report.read_text().splitlines() if "it has no identity" in line]
    assert sorted(f'"metadata": {value},' in line for line in left for value in (digits, deep)) == [
        False,
        False,
        True,
        True,
    ]


@ensureDeferred
async def test_schedules_that_restrict_both_days_or_are_never_due_are_kept_and_reported(
    sbm: Sbm,
    sbm_at_once: SbmAtOnce,
    old: Old,
    direct: Arranged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SBM_TIMEZONE", "Africa/Johannesburg")
    untellable = "1/15,7/27,5/16,14/14,12/13,10/11,13/11,17/15,8/9,23/28,4/11"
    old.direct.rows(
        "INSERT INTO contentstore_schedule VALUES"
        " (11, '0', '9', '1', '1 - 7', '*', NULL), (12, '0', '9', '*', '31', 'apr', NULL),"
        " (13, %s, '*', '*', '*', '*', NULL), (14, '0', '9', '1', '*', '*', NULL)",
        untellable,
    )
    outcome = sbm_at_once("import-django", old.uri)
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
        assert text in outcome.stderr
    assert "there is no day_of_month 31 in month_of_year 4" in found["12"]["reason"]
    assert found["12"]["next_ticks"] == found["13"]["next_ticks"] == []
    kept = direct.rows("SELECT day_of_month, month_of_year FROM schedules WHERE id = 12")
    assert kept == [{"day_of_month": "31", "month_of_year": "4"}]
    assert direct.value("SELECT minute FROM schedules WHERE id = 13") == untellable
    checked = await sbm("check", "schedules")
    assert (checked.status, [line.split(":")[0] for line in checked.out.splitlines()[:4]]) == (
        FAILED,
        [f"schedule {number}" for number in (5, 11, 12, 13)],
    )


def test_what_cannot_be_sent_is_kept_and_reported(
    sbm_at_once: SbmAtOnce, old: Old, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBM_MAX_TEXT_LENGTH", "20")
    old.direct.rows(
        "INSERT INTO contentstore_message (id, sequence_number, lang, text_content, created_at,"
        " updated_at, messageset_id) VALUES (21, 4, 'eng_ZA', %s, now(), now(), 1),"
        " (22, 1, 'eng_ZA', E'a\\nb', now(), now(), 6), (23, 3, 'eng_ZA', 'x', now(), now(), 2),"
        " (24, 5, 'eng_ZA', %s, now(), now(), 1), (25, 6, 'eng_ZA', 'fine', now(), now(), 1)",
        "x" * 21,
        "\u200b\ufeff",
    )
    old.direct.rows("UPDATE contentstore_message SET text_content = 'a text' WHERE id = 1")
    long, texts_set, sounds, whatsapp = f'"{"x" * 18}"', 1, 2, 6
    waiting = {
        uuid4(): given
        for given in (
            *((value, texts_set) for value in ("false", "{}", '"  "', '"Hi"', '""', "null", long)),
            *((value, sounds) for value in ('"Hi"', '"https://x/a.mp3"', "5")),
            ('"Hi"', whatsapp),
        )
    }
    for one, (prepend, messageset) in waiting.items():
        metadata = f'{{"prepend_next_delivery": {prepend}}}'
        place = {"messageset_id": messageset, "next_sequence_number": 1}
        subscribe(old.direct, one, metadata=metadata, **place)
    outcome = sbm_at_once("import-django", old.uri)
    assert outcome.status == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    found = [line for line in lines if line.get("fate") == "cannot be sent"]
    texts = {int(one["id"]): one["reason"] for one in found if one["table"] == "messages"}
    assert sorted(texts) == [21, 22, 23, 24]
    assert texts[21] == "message 4 of pregnancy.1 in eng_ZA has 21 characters, more than 20"
    assert texts[23] == "message 3 of baby.1 in eng_ZA has no audio"
    prepends = {
        waiting[UUID(one["id"])]: one["reason"].removeprefix("prepend_next_delivery ")
        for one in found
        if one["table"] == "subscriptions"
    }
    assert prepends == {
        ("false", texts_set): "is not a text",
        ("{}", texts_set): "is not a text",
        ('"  "', texts_set): "is blank",
        (long, texts_set): "and the message have 25 characters together, more than 20",
        ('"Hi"', sounds): "is not the URL of a sound",
        ("5", sounds): "is not the URL of a sound",
        ('"Hi"', whatsapp): "would be separated from the text by a newline, which WhatsApp does not"
        " accept",
    }
    assert direct.value("SELECT count(*) FROM messages") == 10
    for one, (prepend, _) in waiting.items():
        kept = direct.subscription(one)["metadata"]
        assert kept == {"prepend_next_delivery": json.loads(prepend)}
    assert "messages that cannot be sent as they are: 4" in outcome.stderr
    assert "subscriptions whose prepend_next_delivery cannot be sent: 7" in outcome.stderr


def test_metadata_that_are_too_large_are_kept_and_reported(
    sbm_at_once: SbmAtOnce, old: Old, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBM_MAX_METADATA_BYTES", "5000")
    ids = {name: uuid4() for name in ("fitting", "bytes", "values")}
    metadata = {
        "fitting": {"a": [0] * 999},
        "bytes": {"a": "x" * 5000},
        "values": {"a": [0] * 1000},
    }
    for name, one in ids.items():
        subscribe(old.direct, one, metadata=json.dumps(metadata[name]))
    large = json.dumps(metadata["bytes"])
    old.direct.rows("UPDATE contentstore_message SET metadata = %s WHERE id = 1", large)
    outcome = sbm_at_once("import-django", old.uri)
    assert outcome.status == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    found = {line["id"]: line for line in lines if line.get("fate") == "large metadata"}
    kept = "they are kept, and can be written back unchanged only"
    assert {one: line["reason"] for one, line in found.items()} == {
        "1": f"its metadata have 5009 bytes and 1 values: {kept}",
        str(ids["bytes"]): f"its metadata have 5009 bytes and 1 values: {kept}",
        str(ids["values"]): f"its metadata have 3007 bytes and 1001 values: {kept}",
    }
    assert "rows whose metadata are too large to be written anew: 3" in outcome.stderr
    for name, one in ids.items():
        assert direct.subscription(one)["metadata"] == metadata[name]


@pytest.mark.parametrize("options", [(), ("--go-on",), ("--go-on", "--dry-run")])
def test_those_beyond_the_end_are_reported_and_go_on_if_that_is_wanted(
    sbm_at_once: SbmAtOnce, old: Old, direct: Arranged, options: tuple[str, ...]
) -> None:
    goes, errs, last, ended, other, empty, inactive = (uuid4() for _ in range(7))
    subscribe(old.direct, goes, next_sequence_number=4)
    subscribe(old.direct, errs, next_sequence_number=9, process_status=-1)
    old.direct.rows("UPDATE contentstore_messageset SET next_set_id = NULL WHERE id = 2")
    subscribe(old.direct, last, messageset_id=2, next_sequence_number=3)
    subscribe(old.direct, ended, next_sequence_number=4, completed=True, active=False)
    subscribe(old.direct, other, next_sequence_number=3)
    subscribe(old.direct, empty, next_sequence_number=4, lang="zul_ZA")
    subscribe(old.direct, inactive, next_sequence_number=4, active=False)
    outcome = sbm_at_once("import-django", old.uri, *options)
    assert outcome.status == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    told = {line["id"]: line["reason"] for line in lines if line.get("fate") == "beyond the end"}
    assert set(told) == set(map(str, (goes, errs, last)))
    before = "it is at 4, beyond the end of pregnancy.1 in eng_ZA: it"
    followers = direct.rows("SELECT * FROM subscriptions WHERE chained_from IS NOT NULL")
    if not options:
        assert told[str(goes)] == f"{before} completes at a tick, and does not go on to baby.1"
        assert not direct.subscription(goes)["completed"]
        assert "which do not go on: 3" in outcome.stderr
    else:
        assert told[str(goes)].startswith(f"{before} is completed, and goes on to baby.1 as ")
        assert told[str(errs)].endswith("it is in error, and is left as it is")
        assert told[str(last)].endswith("the end of baby.1 in eng_ZA: it completes at a tick")
        assert "which go on to the next set: 1" in outcome.stderr
    if options != ("--go-on",):
        assert followers == []
        return
    (follower,) = followers
    assert (follower["chained_from"], follower["messageset_id"]) == (goes, 2)
    assert (follower["schedule_id"], follower["next_sequence_number"]) == (3, 1)
    done = direct.subscription(goes)
    assert (done["completed"], done["active"], done["process_status"]) == (True, False, 2)
    assert not direct.subscription(errs)["completed"]
    details = direct.value("SELECT details FROM audit WHERE operation IS NULL")
    assert details["beyond_the_end"] == {"found": 3, "gone_on": 1}


def test_a_dry_run_tells_the_same_and_changes_nothing(
    sbm_at_once: SbmAtOnce, old: Old, direct: Arranged
) -> None:
    outcome = sbm_at_once("import-django", old.uri, "--dry-run")
    assert outcome.status == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert sum(line["taken"] for line in lines if "taken" in line) == 25
    assert outcome.stderr.endswith("nothing was imported: --dry-run\n")
    assert direct.value("SELECT count(*) FROM messages") == 0


def test_an_import_that_is_killed_leaves_nothing_behind(
    sbm_apart: SbmAtOnce, old: Old, direct: Arranged, database_uri: str
) -> None:
    direct.rows(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END $$;"
        " CREATE TRIGGER wait BEFORE INSERT ON subscriptions"
        " FOR EACH ROW EXECUTE FUNCTION wait();"
        " SELECT pg_advisory_lock(4711)"
    )
    command = [*COMMAND, "import-django", old.uri]
    environ = process_environ(database_uri)
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as killed:
        until(direct, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND objid = 4711)")
        killed.kill()
    direct.rows("SELECT pg_advisory_unlock(4711)")
    until(direct, "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()")
    assert direct.value("SELECT count(*) FROM messages") == 0
    assert sbm_apart("import-django", old.uri).status == 0
    assert direct.value("SELECT count(*) FROM subscriptions") == 1


def until(direct: Arranged, condition: str) -> None:
    """Return when the database says that it is so; what hangs is interrupted from outside."""
    while not direct.value(condition):
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "stderr"),
    [
        (("nowhere",), "argument DSN: must be a URL"),
        (("postgres://h/db", "--media", "/nowhere/at/all"), "must be a folder that exists"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: tuple[str, ...], stderr: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["import-django", *options], {"STAGE_BASED_MESSAGING_DATABASE": "postgres://h/d"})
    assert ended.value.code == MISUSED
    assert stderr in capsys.readouterr().err


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
    sbm_at_once: SbmAtOnce, old: Old, elsewhere: str, encoding: str
) -> None:
    outcome = sbm_at_once("--database", elsewhere, "import-django", old.uri)
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert f"encoding is {encoding}, and it must be UTF8" in outcome.stderr


@pytest.mark.parametrize("text", ["é ÿ", "plain"])
def test_an_old_database_may_have_another_encoding(
    sbm_at_once: SbmAtOnce, direct: Arranged, elsewhere: str, encoding: str, text: str
) -> None:
    first = "&" if "?" in elsewhere else "?"
    with arranged(f"{elsewhere}{first}client_encoding=UTF8") as there:
        make(there)
        there.rows(
            "INSERT INTO contentstore_schedule VALUES (1, '0', '8', '*', '*', '*', NULL);"
            " INSERT INTO contentstore_messageset VALUES"
            " (1, %s, %s, now(), now(), 1, NULL, 'text', NULL, '');"
            " INSERT INTO contentstore_message VALUES"
            " (1, 1, 'eng_ZA', %s, now(), now(), NULL, 1, jsonb_build_object('a', %s::text))",
            "one",
            text,
            text,
            text,
        )
    outcome = sbm_at_once("import-django", elsewhere)
    assert (outcome.status, outcome.stderr.splitlines()[-1]) == (0, "imported")
    assert direct.rows("SELECT text_content, metadata FROM messages") == [
        {"text_content": text, "metadata": {"a": text}}
    ]


def test_an_old_database_that_holds_bytes_that_are_no_text_is_refused(
    sbm_at_once: SbmAtOnce, direct: Arranged, databases: Databases
) -> None:
    name = f"sbm_test_{uuid4().hex[:12]}"
    uri = databases.create(name, encoding="SQL_ASCII")
    try:
        with arranged(uri) as there:
            make(there)
            there.rows("INSERT INTO contentstore_schedule VALUES (1, '0', '8', '*', '*', E'\\xe9')")
        outcome = sbm_at_once("import-django", uri)
    finally:
        databases.drop(name)
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert 'invalid byte sequence for encoding "UTF8"' in outcome.stderr
    assert "nothing was imported" in outcome.stderr
    assert direct.value("SELECT count(*) FROM schedules") == 0


def test_an_import_goes_its_way_whatever_sessions_begin_with(
    sbm_at_once: SbmAtOnce, old: Old, direct: Arranged
) -> None:
    alter(old.direct, ODD)
    alter(direct, ODD)
    outcome = sbm_at_once("import-django", old.uri)
    assert (outcome.status, outcome.stderr.splitlines()[-1]) == (0, "imported")

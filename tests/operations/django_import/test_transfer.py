"""Taking over the old service's data, as a whole and by its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2 import sql
from pytest_twisted import ensureDeferred

from sbm.model import password
from sbm.model.failed_task import EVERYTHING
from sbm.model.signature import Signature
from sbm.operations import requeue
from sbm.operations.django_import.transfer import ImportedData, transfer
from sbm.operations.progress import no_progress
from sbm.store.django.report import ImportFailed, Note
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.operations.django_import.old import (
    ADMIN_TOKEN,
    CLIENT_TOKEN,
    IDENTITY,
    MOTHER,
    OTHER,
    PASSWORD,
    RELEASES,
    Old,
    fill,
    make,
    subscribe,
)

Outcome = tuple[ImportedData, list[Note]]
Import = Callable[..., Outcome]


@pytest.fixture
def bring(database_uri: str) -> Import:
    """Take over an old database; returns what was told of it."""

    def run(old: Old, *, stays: bool = True) -> Outcome:
        told: list[Outcome] = []

        def conclude(taken: ImportedData) -> bool:
            told.append((taken, list(taken.notes)))
            return stays

        transfer(
            old.uri,
            database_uri,
            progress=no_progress,
            conclude=conclude,
            signature=Signature(actor="tester", reason="we move"),
        )
        (outcome,) = told
        return outcome

    return run


def fates(notes: list[Note], table: str, fate: str) -> dict[str, str]:
    """The notes about the rows of a table with this fate."""
    return {one.id: one.reason for one in notes if (one.table, one.fate) == (table, fate)}


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_comes_over_out_of_a_database_that_cannot_be_written_to(
    bring: Import, empty_old: Old, direct: Arranged, release: str
) -> None:
    make(empty_old.direct, release)
    fill(empty_old.direct)
    for setting in (
        "default_transaction_read_only = on",
        "timezone = 'Asia/Kolkata'",
        "datestyle = 'German'",
    ):
        change = sql.SQL("ALTER DATABASE {} SET {}")
        name = sql.Identifier(empty_old.direct.value("SELECT current_database()"))
        empty_old.direct.rows(change.format(name, sql.SQL(setting)))
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    before = direct.rows(indexes)
    taken, _ = bring(empty_old)
    assert direct.rows(indexes) == before
    assert release in taken.origin.release or release == "0.13"
    assert taken.origin.domain == "old.example.org"
    assert {one.table: one.read for one in taken.counts_by_table} == {
        "users": 4,
        "permissions": 3,
        "tokens": 2,
        "schedules": 4,
        "messagesets": 3,
        "binary_contents": 3,
        "messages": 5,
        "subscriptions": 1,
        "failed_tasks": 0,
        "resend_requests": 0,
        "estimated_sends": 0,
        "behind_subscriptions": 0,
    }
    assert all(one.read == one.taken for one in taken.counts_by_table)
    row = direct.subscription(MOTHER)
    assert row["created_at"].isoformat() == "2018-03-24T23:30:00.123456+00:00"
    assert (row["created_by"], row["metadata"]) == (2, {"source": "hub"})
    sets = direct.rows("SELECT id, next_set_id, channel FROM messagesets ORDER BY id")
    assert [tuple(one.values()) for one in sets] == [(1, 2, None), (2, 1, None), (6, 6, "WHATSAPP")]
    assert direct.value("SELECT text_content FROM messages WHERE id = 1") == "one\n\t“☃” \\"
    assert direct.schedule() == 6
    (entry,) = direct.rows("SELECT actor, action, reason FROM audit")
    assert tuple(entry.values()) == ("tester", "import-django", "we move")


def test_users_keep_their_passwords_rights_and_tokens(
    bring: Import, old: Old, direct: Arranged
) -> None:
    bring(old)
    root, hub, gone, bc = direct.rows("SELECT * FROM users ORDER BY id")
    assert password.verify(PASSWORD, root["password"])
    assert [one["is_admin"] for one in (root, hub, gone, bc)] == [True, False, False, True]
    assert [one["is_active"] for one in (root, hub, gone, bc)] == [True, True, False, True]
    assert (gone["password"], bc["password"]) == (None, None)
    permissions = direct.rows("SELECT * FROM user_permissions ORDER BY permission")
    assert [(one["user_id"], one["permission"]) for one in permissions] == [
        (2, "add_message"),
        (2, "can_find_behind_subscriptions"),
        (2, "view_behindsubscription"),
    ]
    digests = {one["user_id"]: bytes(one["digest"]) for one in direct.rows("SELECT * FROM tokens")}
    assert digests == {
        1: sha256(ADMIN_TOKEN.encode()).digest(),
        2: sha256(CLIENT_TOKEN.encode()).digest(),
    }


def test_users_who_were_here_first_keep_their_tokens_but_not_their_ids(
    bring: Import, old: Old, direct: Arranged
) -> None:
    direct.rows(
        "INSERT INTO users (username, is_admin, is_limited) VALUES ('me', true, false),"
        " ('hub', true, true);"
        " INSERT INTO tokens (user_id, digest, name, expires_at, last_used_at) VALUES"
        " (1, sha256('mine'), 'mine', now(), now()), (2, sha256('hub''s'), 'hub', now(), now());"
        " INSERT INTO user_permissions VALUES (1, 'view_behindsubscription');"
        " INSERT INTO tasks (kind, requested_by) VALUES ('estimate-sends', 1);"
        " INSERT INTO idempotency_keys (request, user_id, path, key, fingerprint, status, headers,"
        " body) VALUES (sha256('r'), 1, '/api/v1/schedule/', 'k', sha256('f'), 201, '[]', '');"
        " INSERT INTO scheduler_callbacks (kind, target, moment, status, body)"
        " VALUES ('schedule', '1', now(), 202, '{}')"
    )
    taken, _ = bring(old)
    assert direct.value("SELECT count(*) FROM idempotency_keys") == 0
    assert direct.value("SELECT count(*) FROM scheduler_callbacks") == 0
    assert taken.merged == ("hub",)
    holders = direct.rows(
        "SELECT users.id, username, is_admin, is_active FROM tokens JOIN users"
        " ON users.id = user_id WHERE digest IN (sha256('mine'), sha256('hub''s')) ORDER BY 1"
    )
    assert [tuple(one.values()) for one in holders] == [
        (2, "hub", True, True),
        (9, "me", True, True),
    ]
    kept = "SELECT name FROM tokens WHERE expires_at = last_used_at ORDER BY name"
    assert [one["name"] for one in direct.rows(kept)] == ["hub", "mine"]
    assert direct.value("SELECT username FROM users WHERE is_limited") == "hub"
    assert password.verify(PASSWORD, direct.value("SELECT password FROM users WHERE id = 2"))
    assert direct.value("SELECT user_id FROM user_permissions ORDER BY user_id DESC") == 9
    assert direct.value("SELECT requested_by FROM tasks") == 9


def test_schedules_are_mended_where_that_is_possible_and_never_due_where_it_is_not(
    bring: Import, old: Old, direct: Arranged
) -> None:
    # A table of another release of ours, if this one has none.
    direct.rows(
        "CREATE TABLE IF NOT EXISTS scheduler_schedules (kind text, target text, remote_id text,"
        " cron_definition text, enabled boolean)"
    )
    old.direct.rows(
        "UPDATE contentstore_schedule SET minute = E'0\\u00a0' WHERE id = 1;"
        " INSERT INTO contentstore_schedule VALUES (6, '5', '22-2', 'Fri-mon', '*', '11-2,5')"
    )
    _, notes = bring(old)
    rows = direct.rows(
        "SELECT id, minute, hour, day_of_month AS day, month_of_year AS month, day_of_week"
        " FROM schedules ORDER BY id"
    )
    assert [" ".join(map(str, one.values())) for one in rows] == [
        "1 0 8 * * 1,3,5",
        "3 0 8,9 * * *",
        "4 0 8 * 1 1-5",
        "5 0 0 31 2 *",
        "6 5 22-23,0-2 * 11-12,1-2,5 5-6,0-1",
    ]
    assert set(fates(notes, "schedules", "changed")) == {"1", "3", "4", "5", "6"}
    assert "hour 'noon'" in fates(notes, "schedules", "changed")["5"]
    remote = direct.rows("SELECT kind, target, remote_id FROM scheduler_schedules")
    assert [tuple(one.values()) for one in remote] == [
        ("schedule", "1", "11111111-0000-4000-8000-000000000001")
    ]


# process_status, completed and active, as they are found and as they are stored.
STATUSES = {
    (0, False, True): (0, False, True),
    (1, False, True): (0, False, True),
    (5, False, True): (0, False, True),
    (5, True, False): (2, True, False),
    (0, True, True): (2, True, True),
    (2, False, True): (2, True, False),
    (2, True, True): (2, True, True),
    (-1, False, True): (-1, False, True),
    (-2, False, False): (-2, False, False),
    (-7, False, True): (-2, False, True),
}


def test_the_statuses_of_subscriptions_agree(bring: Import, old: Old, direct: Arranged) -> None:
    names = ("process_status", "completed", "active")
    ids = {given: uuid4() for given in STATUSES}
    for given, subscription in ids.items():
        subscribe(old.direct, subscription, **dict(zip(names, given, strict=True)))
    _, notes = bring(old)
    rows = {given: direct.subscription(one) for given, one in ids.items()}
    found = {given: tuple(row[name] for name in names) for given, row in rows.items()}
    assert found == STATUSES
    assert set(fates(notes, "subscriptions", "changed")) == {
        str(ids[given]) for given, expected in STATUSES.items() if given != expected
    }


def test_odd_subscriptions_come_as_they_are(bring: Import, old: Old, direct: Arranged) -> None:
    odd: dict[UUID, dict[str, Any]] = {
        uuid4(): {"metadata": metadata, "identity": identity}
        for metadata, identity in (
            (None, "+27820001001"),
            ("[1, 2.50, null]", "not a uuid"),
            ('"text"', IDENTITY),
            ("null", "6fb30d6b-ba06-4964-825e-20f93388b9f"),
        )
    }
    for one, fields in odd.items():
        subscribe(old.direct, one, next_sequence_number=99, **fields)
    spelt = uuid4()
    subscribe(old.direct, spelt, identity=IDENTITY.upper().replace("-", ""))
    _, notes = bring(old)
    for one, fields in odd.items():
        row = direct.rows("SELECT *, metadata::text AS told FROM subscriptions WHERE id = %s", one)
        assert {name: row[0][name] for name in ("next_sequence_number", "identity")} == {
            "next_sequence_number": 99,
            "identity": fields["identity"],
        }
        assert row[0]["told"] == fields["metadata"]
    assert direct.subscription(spelt)["identity"] == IDENTITY
    assert set(fates(notes, "subscriptions", "changed")) == {str(spelt)}


def test_times_that_python_cannot_hold_come_as_the_nearest_ones(
    bring: Import, empty_old: Old, direct: Arranged
) -> None:
    make(empty_old.direct, "0.10.0")
    fill(empty_old.direct)
    odd = {uuid4(): moment for moment in ("-infinity", "infinity", "0044-03-15 BC", "20000-01-01")}
    for one, moment in odd.items():
        subscribe(empty_old.direct, one, created_at=moment)
    empty_old.direct.rows(
        "UPDATE authtoken_token SET created = 'infinity' WHERE user_id = 2;"
        " UPDATE contentstore_message SET updated_at = '0044-03-15 BC' WHERE id = 1"
    )
    taken, notes = bring(empty_old)
    years = [direct.subscription(one)["created_at"].year for one in odd]
    assert years == [1, 9999, 1, 9999]
    assert direct.subscription(MOTHER)["created_at"].year == 2018
    assert set(fates(notes, "subscriptions", "changed")) == set(map(str, odd))
    assert set(fates(notes, "tokens", "changed")) == {"2"}
    assert set(fates(notes, "messages", "changed")) == {"1"}
    assert all(one.read == one.taken for one in taken.counts_by_table)


def test_what_cannot_be_taken_over_is_told_and_leaves_nothing_dangling(
    bring: Import, old: Old, direct: Arranged
) -> None:
    subscribe(old.direct, OTHER, identity="")
    old.direct.rows(
        "ALTER TABLE subscriptions_subscription"
        " DROP CONSTRAINT subscriptions_subscription_created_by_id_fkey;"
        " UPDATE subscriptions_subscription SET created_by_id = 77 WHERE identity <> '';"
        " INSERT INTO contentstore_binarycontent VALUES (9, '', now(), now());"
        " INSERT INTO contentstore_message (id, sequence_number, lang, text_content, created_at,"
        " updated_at, binary_content_id, messageset_id) VALUES"
        " (20, 1, 'eng_ZA', 'again', now(), now(), NULL, 1),"
        " (21, 9, '', 'no language', now(), now(), NULL, 1),"
        " (22, 9, 'eng_ZA', 'no file', now(), now(), 9, 1);"
        " INSERT INTO subscriptions_estimatedsend (send_date, estimate_subscriptions,"
        " estimate_identities, messageset_id) VALUES ('2018-01-01', 5, 4, 1),"
        " ('2018-01-01', 6, 5, 1), ('2018-01-01', 7, 6, 2)"
    )
    old.direct.rows(
        "INSERT INTO subscriptions_resendrequest (received_at, outbound, message_id,"
        " subscription_id) SELECT now(), gen_random_uuid(), message, subscription"
        " FROM (VALUES (1, %s), (20, %s), (1, %s)) AS given (message, subscription)",
        MOTHER,
        MOTHER,
        OTHER,
    )
    old.direct.rows(
        "INSERT INTO subscriptions_behindsubscription (messages_behind, current_sequence_number,"
        " expected_sequence_number, created_at, current_messageset_id, expected_messageset_id,"
        " subscription_id) SELECT 1, 1, 2, now(), 1, 2, given.id"
        " FROM unnest(ARRAY[%s, %s, %s]::uuid[]) AS given (id)",
        MOTHER,
        MOTHER,
        OTHER,
    )
    old.direct.rows(
        "INSERT INTO subscriptions_subscriptionsendfailure (task_id, initiated_at, reason,"
        " subscription_id) VALUES (gen_random_uuid(), now(), '', %s)",
        OTHER,
    )
    taken, notes = bring(old)
    assert {one.table: fates(notes, one.table, "left behind") for one in taken.counts_by_table} == {
        "users": {},
        "permissions": {},
        "tokens": {},
        "schedules": {},
        "messagesets": {},
        "binary_contents": {"9": "it names no file"},
        "messages": {
            "20": "an older one has the same set, number and language",
            "21": "it has no language",
        },
        "subscriptions": {str(OTHER): "it has no identity"},
        "failed_tasks": {"1": f"there is no subscription {OTHER}"},
        "resend_requests": {"3": f"there is no subscription {OTHER}"},
        "estimated_sends": {"1": "a later one is of the same day and set"},
        "behind_subscriptions": {
            "1": "a later one is of the same subscription",
            "3": f"there is no subscription {OTHER}",
        },
    }
    (left,) = [one for one in notes if (one.table, one.id) == ("messages", "21")]
    assert left.was is not None
    assert json.loads(left.was)["text_content"] == "no language"
    assert direct.subscription(MOTHER)["created_by"] is None
    assert direct.value("SELECT binary_content_id FROM messages WHERE id = 22") is None
    assert direct.value("SELECT message_id FROM resend_requests WHERE id = 2") is None
    assert set(fates(notes, "subscriptions", "changed")) == {str(MOTHER)}
    assert set(fates(notes, "messages", "changed")) == {"22"}
    assert set(fates(notes, "resend_requests", "changed")) == {"2"}


def test_numbering_goes_on_where_there_is_room(bring: Import, old: Old, direct: Arranged) -> None:
    last = 2**31 - 1
    old.direct.rows(
        "UPDATE contentstore_message SET id = %s WHERE id = 5; UPDATE auth_user SET id = %s"
        " WHERE id = 8;"
        " DELETE FROM contentstore_message WHERE id BETWEEN 1 AND 4",
        -5,
        last,
    )
    bring(old)
    assert direct.value("INSERT INTO users (username) VALUES ('new') RETURNING id") == 8
    made = "INSERT INTO messages (messageset_id, sequence_number, lang) VALUES (1, 1, 'zul_ZA')"
    assert direct.value(f"{made} RETURNING id") == 1


def test_files_lie_in_one_folder_each_with_a_name_of_its_own(
    bring: Import, old: Old, direct: Arranged
) -> None:
    old.direct.rows(
        "INSERT INTO contentstore_binarycontent VALUES (4, 'audio_b.mp3', now(), now()),"
        " (5, '4-audio_b.mp3', now(), now())"
    )
    bring(old)
    names = direct.rows("SELECT content FROM binary_contents ORDER BY id")
    *others, fourth, last = [one["content"] for one in names]
    assert others == ["20170101.mp3", "audio_b.mp3", "3-20170101.mp3"]
    assert (fourth[32:], last) == ("-audio_b.mp3", "4-audio_b.mp3")


@ensureDeferred
async def test_failures_are_requeued_only_where_nothing_has_happened_since(
    bring: Import, old: Old, direct: Arranged, database: Database
) -> None:
    moved, resent = OTHER, uuid4()
    subscribe(old.direct, moved, updated_at="2018-06-02T00:00:00Z")
    subscribe(old.direct, resent)
    task = uuid4()
    for subscription in (MOTHER, MOTHER, moved, resent):
        old.direct.rows(
            "INSERT INTO subscriptions_subscriptionsendfailure (task_id, initiated_at, reason,"
            " subscription_id) VALUES (%s, '2018-06-01', 'Read timed out', %s)",
            task if subscription == MOTHER else uuid4(),
            subscription,
        )
    old.direct.rows(
        "INSERT INTO subscriptions_resendrequest (received_at, subscription_id)"
        " VALUES ('2018-05-31', %s)",
        resent,
    )
    bring(old)
    assert direct.value("SELECT send_id FROM failed_tasks WHERE id = 2") == task
    signature = Signature(actor="tester")
    done = await database.transact(requeue.requeue_all, wanted=EVERYTHING, signature=signature)
    assert (done.taken, done.owed) == (4, 1)
    assert direct.value("SELECT subscription_id FROM sends") == MOTHER
    assert {row["reason"] for row in direct.ledger()} == {
        "a message is already owed to the subscription",
        "the subscription has moved on",
    }
    assert direct.unbalanced_ticks() == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO schedules DEFAULT VALUES",
        "INSERT INTO ticks (source, state, schedule_id) VALUES ('post-back', 'expanded', 1)",
    ],
)
def test_a_database_that_is_not_empty_is_left_alone(
    bring: Import, old: Old, direct: Arranged, statement: str
) -> None:
    direct.rows(statement)
    with pytest.raises(ImportFailed, match=r"not empty: it has (schedules|ticks)\."):
        bring(old)
    assert direct.value("SELECT count(*) FROM users") == 0


def test_a_database_of_another_kind_is_refused(bring: Import, empty_old: Old) -> None:
    with pytest.raises(ImportFailed, match="not a database of the old service"):
        bring(empty_old)


@pytest.mark.parametrize(
    "does",
    [
        "NEW.created_at := date_trunc('milliseconds', NEW.created_at); RETURN NEW",
        "RETURN NULL",
    ],
)
def test_nothing_stays_where_the_checksums_differ(
    bring: Import, old: Old, direct: Arranged, does: str
) -> None:
    direct.rows(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {does}; END $$;"
        " CREATE TRIGGER spoil BEFORE INSERT ON subscriptions FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    with pytest.raises(ImportFailed, match="subscriptions: the checksums differ"):
        bring(old)
    assert direct.value("SELECT count(*) FROM messages") == 0


def test_nothing_stays_where_the_operator_does_not_want_it(
    bring: Import, old: Old, direct: Arranged
) -> None:
    direct.rows("INSERT INTO users (username) VALUES ('me')")
    taken, _ = bring(old, stays=False)
    assert sum(one.taken for one in taken.counts_by_table) == 25
    assert direct.value("SELECT string_agg(username, ',') FROM users") == "me"
    assert direct.value("SELECT count(*) FROM subscriptions") == 0

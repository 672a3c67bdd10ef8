"""The old service's database, as its releases made it, and rows as they are found in the field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from attrs import frozen
from psycopg2.sql import SQL, Identifier, Literal

from tests.arrange import Arranged, arranged
from tests.db.databases import Databases

ADMIN_TOKEN = "a" * 40
CLIENT_TOKEN = "c" * 40
PASSWORD = "the old password"
# Of PASSWORD, as Django writes it; few iterations, for the tests' sake.
HASH = "pbkdf2_sha256$1000$saltsaltsalt$R288M0w7hRNxfnrh7p08/LZfhj7/dKS2AfKC9wQeLBM="

MOTHER = UUID("0a1b2c3d-0000-4000-8000-000000000001")
OTHER = UUID("0a1b2c3d-0000-4000-8000-000000000002")
IDENTITY = "6fb30d6b-ba06-4964-825e-20f93388b9fe"

TABLES = """
CREATE TABLE contentstore_schedule (
    id serial PRIMARY KEY, minute varchar(64) NOT NULL, hour varchar(64) NOT NULL,
    day_of_week varchar(64) NOT NULL, day_of_month varchar(64) NOT NULL,
    month_of_year varchar(64) NOT NULL, scheduler_schedule_id uuid);
CREATE TABLE contentstore_messageset (
    id serial PRIMARY KEY, short_name varchar(100) NOT NULL UNIQUE, notes text,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    default_schedule_id integer NOT NULL REFERENCES contentstore_schedule,
    next_set_id integer REFERENCES contentstore_messageset, content_type varchar(20) NOT NULL,
    channel varchar(64), label varchar(100) NOT NULL DEFAULT '');
CREATE TABLE contentstore_binarycontent (
    id serial PRIMARY KEY, content varchar(100) NOT NULL, created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL);
CREATE TABLE contentstore_message (
    id serial PRIMARY KEY, sequence_number integer NOT NULL, lang varchar(6) NOT NULL,
    text_content text, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    binary_content_id integer REFERENCES contentstore_binarycontent,
    messageset_id integer NOT NULL REFERENCES contentstore_messageset,
    metadata jsonb NOT NULL DEFAULT '{}');
CREATE TABLE auth_user (
    id serial PRIMARY KEY, password varchar(128) NOT NULL, last_login timestamptz,
    is_superuser boolean NOT NULL, username varchar(150) NOT NULL UNIQUE,
    first_name varchar(30) NOT NULL DEFAULT '', last_name varchar(150) NOT NULL DEFAULT '',
    email varchar(254) NOT NULL, is_staff boolean NOT NULL, is_active boolean NOT NULL,
    date_joined timestamptz NOT NULL);
CREATE TABLE subscriptions_subscription (
    id uuid PRIMARY KEY, identity varchar(36) NOT NULL, version integer NOT NULL,
    next_sequence_number integer NOT NULL, lang varchar(6) NOT NULL, active boolean NOT NULL,
    completed boolean NOT NULL,
    schedule_id integer NOT NULL REFERENCES contentstore_schedule, process_status integer NOT NULL,
    metadata jsonb, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    created_by_id integer REFERENCES auth_user, updated_by_id integer REFERENCES auth_user,
    messageset_id integer NOT NULL REFERENCES contentstore_messageset,
    initial_sequence_number integer NOT NULL);
CREATE TABLE subscriptions_subscriptionsendfailure (
    id serial PRIMARY KEY, task_id uuid NOT NULL, initiated_at timestamptz NOT NULL,
    reason text NOT NULL, subscription_id uuid NOT NULL REFERENCES subscriptions_subscription);
CREATE TABLE subscriptions_resendrequest (
    id serial PRIMARY KEY, received_at timestamptz NOT NULL, outbound uuid,
    message_id integer REFERENCES contentstore_message,
    subscription_id uuid NOT NULL REFERENCES subscriptions_subscription);
CREATE TABLE subscriptions_estimatedsend (
    id serial PRIMARY KEY, send_date date NOT NULL, estimate_subscriptions integer NOT NULL,
    estimate_identities integer NOT NULL,
    messageset_id integer NOT NULL REFERENCES contentstore_messageset);
CREATE TABLE subscriptions_behindsubscription (
    id serial PRIMARY KEY, messages_behind integer NOT NULL,
    current_sequence_number integer NOT NULL, expected_sequence_number integer NOT NULL,
    created_at timestamptz NOT NULL,
    current_messageset_id integer NOT NULL REFERENCES contentstore_messageset,
    expected_messageset_id integer NOT NULL REFERENCES contentstore_messageset,
    subscription_id uuid NOT NULL REFERENCES subscriptions_subscription);
CREATE TABLE auth_group (id serial PRIMARY KEY, name varchar(80) NOT NULL);
CREATE TABLE auth_permission (
    id serial PRIMARY KEY, name varchar(255) NOT NULL, content_type_id integer NOT NULL,
    codename varchar(100) NOT NULL);
CREATE TABLE auth_user_groups (
    id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES auth_user,
    group_id integer NOT NULL REFERENCES auth_group);
CREATE TABLE auth_group_permissions (
    id serial PRIMARY KEY, group_id integer NOT NULL REFERENCES auth_group,
    permission_id integer NOT NULL REFERENCES auth_permission);
CREATE TABLE auth_user_user_permissions (
    id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES auth_user,
    permission_id integer NOT NULL REFERENCES auth_permission);
CREATE TABLE authtoken_token (
    key varchar(40) PRIMARY KEY, created timestamptz NOT NULL,
    user_id integer NOT NULL UNIQUE REFERENCES auth_user);
CREATE TABLE django_site (id serial PRIMARY KEY, domain varchar(100) NOT NULL, name varchar(50));
CREATE TABLE django_migrations (
    id serial PRIMARY KEY, app varchar(255) NOT NULL, name varchar(255) NOT NULL);
INSERT INTO django_site (domain, name) VALUES ('old.example.org', 'old');
"""

# The tables and columns that each release lacks, and its last migration.
RELEASES = {
    "0.13": ("", "0011_message_metadata"),
    "0.12.1": ("", "0011_message_metadata"),
    "0.10.1": (
        "ALTER TABLE contentstore_message DROP COLUMN metadata;"
        " DROP TABLE subscriptions_behindsubscription",
        "0009_messageset_label",
    ),
    "0.10.0": (
        "ALTER TABLE contentstore_message DROP COLUMN metadata;"
        " ALTER TABLE contentstore_messageset DROP COLUMN label;"
        " DROP TABLE subscriptions_behindsubscription",
        "0008_schedule_scheduler_schedule_id",
    ),
}

ROWS = """
INSERT INTO auth_user (id, password, is_superuser, username, email, is_staff, is_active,
                       date_joined)
VALUES (1, %s, true, 'root', 'root@example.org', false, true, '2016-01-01 10:00:00.000001+02'),
       (2, %s, false, 'hub', 'hub@example.org', false, true, '2016-01-02T10:00:00.123456Z'),
       (7, '!x', false, 'gone', '', false, false, '2016-01-03T10:00:00Z'),
       (8, 'bcrypt$x', false, 'bc', '', true, true, '2016-01-03T10:00:00Z');
INSERT INTO auth_group VALUES (1, 'monitors');
INSERT INTO auth_permission VALUES (1, 'a', 1, 'view_behindsubscription'),
    (2, 'b', 1, 'can_find_behind_subscriptions'), (3, 'c', 2, 'add_message');
INSERT INTO auth_user_groups (user_id, group_id) VALUES (2, 1);
INSERT INTO auth_group_permissions (group_id, permission_id) VALUES (1, 1), (1, 2);
INSERT INTO auth_user_user_permissions (user_id, permission_id) VALUES (2, 1), (2, 3);
INSERT INTO authtoken_token VALUES (%s, '2016-01-01T10:00:00Z', 1), (%s, '2016-01-01T11:00Z', 2);

INSERT INTO contentstore_schedule VALUES
    (1, '0', '8', '1,3,5', '*', '*', '11111111-0000-4000-8000-000000000001'),
    (3, ' 0 ', '8, 9', '', '*', '*', NULL),
    (4, '0', '8', 'mon-fri', '*', 'JAN', NULL),
    (5, '0', 'noon', '*', '*', '*', NULL);
INSERT INTO contentstore_messageset (id, short_name, notes, created_at, updated_at,
                                     default_schedule_id, next_set_id, content_type, channel)
VALUES (1, 'pregnancy.1', 'n', '2017-01-01T00:00:00.000001Z', '2017-01-02T00:00Z', 1, 2, 'text',
        NULL),
       (2, 'baby.1', NULL, '2017-01-01T00:00Z', '2017-01-02T00:00Z', 3, 1, 'audio', ''),
       (6, 'circle', NULL, '2017-01-01T00:00Z', '2017-01-02T00:00Z', 5, 6, 'text', 'WHATSAPP');
INSERT INTO contentstore_binarycontent VALUES
    (1, '20170101.mp3', '2017-01-01T00:00Z', '2017-01-01T00:00Z'),
    (2, 'audio/b.mp3', '2017-01-01T00:00Z', '2017-01-01T00:00Z'),
    (3, '20170101.mp3', '2017-01-01T00:00Z', '2017-01-01T00:00Z');
INSERT INTO contentstore_message (id, sequence_number, lang, text_content, created_at, updated_at,
                                  binary_content_id, messageset_id)
VALUES (1, 1, 'eng_ZA', E'one\\n\\t“☃” \\\\', '2017-01-01T00:00Z', '2017-01-01T00:00Z', NULL, 1),
       (2, 2, 'eng_ZA', 'two', '2017-01-01T00:00Z', '2017-01-01T00:00Z', NULL, 1),
       (3, 3, 'eng_ZA', NULL, '2017-01-01T00:00Z', '2017-01-01T00:00Z', 1, 1),
       (4, 1, 'eng_ZA', NULL, '2017-01-01T00:00Z', '2017-01-01T00:00Z', 2, 2),
       (5, 2, 'eng_ZA', NULL, '2017-01-01T00:00Z', '2017-01-01T00:00Z', 3, 2);
"""

DEFAULTS = {
    "identity": IDENTITY,
    "version": 1,
    "next_sequence_number": 2,
    "lang": "eng_ZA",
    "active": True,
    "completed": False,
    "schedule_id": 1,
    "process_status": 0,
    "metadata": '{"source": "hub"}',
    "created_at": "2018-03-25T01:30:00.123456+02:00",
    "updated_at": "2018-04-01T00:00:00Z",
    "created_by_id": 2,
    "updated_by_id": None,
    "messageset_id": 1,
    "initial_sequence_number": 1,
}


def make(old: Arranged, release: str = "0.13") -> None:
    """The tables of a release, with nothing but a site in them."""
    lacks, migration = RELEASES[release]
    old.rows(TABLES)
    if lacks:
        old.rows(lacks)
    old.rows("INSERT INTO django_migrations (app, name) VALUES ('contentstore', %s)", migration)


def fill(old: Arranged) -> None:
    """Users, content, and one subscription as it should be."""
    old.rows(ROWS, HASH, HASH, ADMIN_TOKEN, CLIENT_TOKEN)
    subscribe(old, MOTHER)


def subscribe(old: Arranged, subscription_id: UUID, **fields: Any) -> None:
    """A subscription with these fields, and otherwise as it should be."""
    row = DEFAULTS | fields | {"id": subscription_id}
    old.rows(
        SQL("INSERT INTO subscriptions_subscription ({}) VALUES ({})").format(
            SQL(", ").join(map(Identifier, row)), SQL(", ").join(map(Literal, row.values()))
        )
    )


@frozen
class Old:
    """The old database: where it is, and what is in it."""

    uri: str
    direct: Arranged


@pytest.fixture
def empty_old(databases: Databases) -> Iterator[Old]:
    """A database in which there is not a table yet."""
    name = f"sbm_test_old_{uuid4().hex[:12]}"
    uri = databases.create(name)
    with arranged(uri) as direct:
        yield Old(uri, direct)
    databases.drop(name)


@pytest.fixture
def old(empty_old: Old) -> Old:
    """The newest release, and a little of everything in it."""
    make(empty_old.direct)
    fill(empty_old.direct)
    return empty_old

"""Everything about a person is exported, and nothing of it is left when they are forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import psycopg2
import pytest
from attrs import define, field
from psycopg2.extras import Json
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.author import Author
from sbm.model.marked_texts import without
from sbm.model.person import Person
from sbm.model.personal_data import IMPERSONAL_TABLES, SUBSCRIBER_TABLES, USER_TABLES
from sbm.model.send import Settled
from sbm.operations import privacy
from sbm.operations.privacy import Forgotten
from sbm.operations.undoing import NotUndoable, UndoRules, undo_entry
from sbm.store import lost_sends, sends
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

IDENTITY = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
AUTHOR = Author(actor="ann", action="sbm forget", request_id="forgetting")
NOW = timedelta(0)

# Values shorter than this may be anywhere by chance.
TELLING = 12


async def forget(database: Database, identity: str = IDENTITY, **more: Any) -> Forgotten:
    return await privacy.forget(
        database, person=Person(identity=identity), author=AUTHOR, **{"wait": NOW, **more}
    )


async def exported(database: Database, identity: str = IDENTITY) -> dict[str, list[Any]]:
    tables: dict[str, list[Any]] = {}
    async for table, row in privacy.rows_of(database, person=Person(identity=identity)):
        tables.setdefault(table, []).append(row)
    return tables


@define(eq=False)
class Seeds:
    """One person, of whom each table tells; the values of each column that does."""

    direct: Arranged
    identity: str
    schedule: int = field(init=False)
    messageset: int = field(init=False)
    subscription: UUID = field(factory=uuid4)
    values: dict[str, dict[str, Any]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule()
        self.messageset = self.direct.messageset(f"set {uuid4()}", self.schedule)
        for one in SUBSCRIBER_TABLES:
            getattr(self, f"_{one.name}")()

    def _insert(self, table: str, **columns: Any) -> None:
        marks = ", ".join(["%s"] * len(columns))
        values = [Json(one) if isinstance(one, dict) else one for one in columns.values()]
        (row,) = self.direct.rows(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) RETURNING *",  # noqa: S608
            *values,
        )
        (listed,) = (one for one in SUBSCRIBER_TABLES if one.name == table)
        told = self.values.setdefault(table, {})
        told |= {name: row[name] for name in listed.subscriber if row[name] is not None}

    def _secret(self, what: str) -> str:
        return f"{what} {uuid4().hex}"

    def _subscriptions(self) -> None:
        self._insert(
            "subscriptions",
            id=self.subscription,
            identity=self.identity,
            messageset_id=self.messageset,
            schedule_id=self.schedule,
            lang="eng_ZA",
            metadata={"name": self._secret("Mary"), "scheduler_schedule_id": self._secret("r")},
            chained_from=uuid4(),
        )

    def _behind_subscriptions(self) -> None:
        place = {"messageset_id": self.messageset, "sequence_number": 1}
        self._insert(
            "behind_subscriptions",
            subscription_id=self.subscription,
            messages_behind=1,
            **{f"current_{name}": value for name, value in place.items()},
            **{f"expected_{name}": value for name, value in place.items()},
        )

    def _silent_subscriptions(self) -> None:
        self._insert("silent_subscriptions", subscription_id=self.subscription, cause="language")

    def _intake(self) -> None:
        self._insert(
            "intake",
            outcome="refused",
            reason="invalid",
            caller="ann",
            action="POST /api/v1/subscriptions/request",
            request_id=self._secret("hub"),
            idempotency_key=self._secret("key"),
            identity=self.identity,
            subscription_id=self.subscription,
            payload={"data": {"metadata": {self._secret("m"): "a text"}}},
        )

    def _sends(self) -> None:
        tick = self.direct.value(
            "INSERT INTO ticks (source, state, schedule_id, triggers)"
            " VALUES ('post-back', 'expanded', %s, 3) RETURNING id",
            self.schedule,
        )
        self._insert(
            "sends",
            id=uuid4(),
            kind="resend",
            lane="tick",
            tick_id=tick,
            subscription_id=self.subscription,
            identity=self.identity,
            asked_identity=None,
            messageset_id=self.messageset,
            lang="eng_ZA",
            next_sequence_number=1,
            sequence_number=1,
            message_id=self.direct.value("SELECT min(id) FROM messages"),
            prepend=self._secret("Dear Mary"),
            reason=self._secret("no number"),
            answers=[self._secret("400")],
            first_attempt_at="2026-01-01T00:00:00Z",
        )

    def _ledger(self) -> None:
        for outcome in ("sent", "failed"):
            self._insert(
                "ledger",
                send_id=uuid4(),
                tick_id=self.direct.value("SELECT max(id) FROM ticks"),
                kind="next",
                outcome=outcome,
                stage="post",
                reason=self._secret("+27820"),
                subscription_id=self.subscription,
                identity=self.identity,
                outbound_id=self._secret("o"),
                prepend=self._secret("Dear Mary"),
            )

    def _deliveries(self) -> None:
        rows = self.direct.rows("SELECT * FROM ledger WHERE identity = %s", self.identity)
        for row in rows:
            self._insert(
                "deliveries",
                settled_at=row["settled_at"],
                ledger_id=row["id"],
                messageset_id=self.messageset,
                lang="eng_ZA",
                delivered=False,
                attempts=2,
                nack_reason=self._secret("+27820"),
                is_final=True,
            )

    def _undelivered_people(self) -> None:
        self._insert(
            "undelivered_people",
            identity=self.identity,
            in_row=2,
            since="2026-01-01T00:00:00Z",
            last_at="2026-01-02T00:00:00Z",
        )

    def _failed_tasks(self) -> None:
        self._insert(
            "failed_tasks",
            send_id=uuid4(),
            kind="next",
            stage="post",
            reason=self._secret("+27820"),
            subscription_id=self.subscription,
            identity=self.identity,
            initiated_at="2026-01-01T00:00:00Z",
            first_attempt_at="2026-01-01T00:00:00Z",
            attempt=1,
            messageset_id=self.messageset,
            next_sequence_number=1,
            sequence_number=1,
            lang="eng_ZA",
            message_id=1,
        )

    def _resend_requests(self) -> None:
        self._insert(
            "resend_requests",
            subscription_id=self.subscription,
            message_id=1,
            send_id=uuid4(),
            outbound_id=self._secret("o"),
        )

    def _doubles(self) -> None:
        self._insert(
            "doubles",
            send_id=uuid4(),
            outbound_id=self._secret("o"),
            subscription_id=self.subscription,
        )

    def _recent_registrations(self) -> None:
        self._insert(
            "recent_registrations",
            fingerprint=uuid4().bytes * 2,
            subscription_id=self.subscription,
        )

    def _idempotency_keys(self) -> None:
        body = {"url": f"/api/v1/subscriptions/{self.subscription}/", "x": self._secret("Mary")}
        self._insert(
            "idempotency_keys",
            request=uuid4().bytes * 2,
            path=f"/api/v1/subscriptions/{self.subscription}",
            key="k",
            fingerprint=uuid4().bytes * 2,
            status=201,
            headers={},
            body=json.dumps(body).encode(),
        )

    def _audit(self) -> None:
        self._insert(
            "audit",
            actor="ann",
            action=f"PATCH /api/v1/subscriptions/{self.subscription}/",
            reason=self._secret("she asked"),
            request_id=self._secret("r").replace(" ", "-"),
            table_name="subscriptions",
            row_id=str(self.subscription),
            operation="update",
            before={"metadata": {"name": self._secret("Mary")}},
            after={"metadata": {"name": self._secret("Maria")}},
            identity=self.identity,
        )
        for place in (f"{self.subscription}/stop", "undo/7"):
            self._insert(
                "audit",
                actor="ann",
                action=f"console /console/people/{quote(self.identity)}/{place}",
                table_name="subscriptions",
                row_id=str(self.subscription),
                operation="update",
                before={"active": True},
                after={"active": False},
                identity=self.identity,
            )
        self._insert(
            "audit",
            actor="bob",
            action="sbm subscription remove-duplicates",
            reason=f"for {self.identity}",
            details={
                "count": 2,
                "ids": [str(self.subscription), "another"],
                "removed": [{"id": str(self.subscription), "lang": self._secret("l")}],
            },
        )

    def _tasks(self) -> None:
        self._insert("tasks", kind="requeue-failed-tasks", wanted={"identity": self.identity})

    def _scheduler_calls(self) -> None:
        self._insert(
            "scheduler_calls",
            kind="subscription",
            target=str(self.subscription),
            state="refused",
        )

    def _scheduler_schedules(self) -> None:
        self._insert(
            "scheduler_schedules",
            kind="subscription",
            target=str(self.subscription),
            remote_id=self._secret("r"),
        )

    def _scheduler_callbacks(self) -> None:
        self._insert(
            "scheduler_callbacks",
            kind="subscription",
            target=str(self.subscription),
            moment="2026-01-01T00:00:00Z",
            status=201,
            body=self._secret("body").encode(),
        )

    def _scheduler_listing(self) -> None:
        self._insert(
            "scheduler_listing",
            listing_id=uuid4(),
            remote_id=self._secret("r"),
            kind="subscription",
            target=str(self.subscription),
            enabled=True,
            created_at="2026-01-01T00:00:00Z",
        )


def texts(value: Any) -> set[str]:
    """Each text in a value, as the database shows it in JSON; short ones tell of nobody."""
    if isinstance(value, dict):
        return {text for one in value.values() for text in texts(one)}
    if isinstance(value, list):
        return {text for one in value for text in texts(one)}
    if isinstance(value, memoryview):
        value = bytes(value)
        try:
            return texts(json.loads(value))
        except ValueError:
            return {value.hex()} if len(value) == 32 else {value.decode()}
    text = str(value)
    return {text} if isinstance(value, (str, UUID)) and len(text) >= TELLING else set()


def told(seeds: Seeds) -> dict[str, set[str]]:
    """The texts of the person, by table."""
    return {
        table: {text for value in columns.values() for text in texts(value)}
        for table, columns in seeds.values.items()
    }


def dump(direct: Arranged) -> str:
    """All columns of all rows of all tables, as text."""
    tables = direct.rows(
        "SELECT c.oid::regclass::text AS name FROM pg_class c"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    whole = "\n".join(
        f"{table['name']}: {row['row']}"
        for table in tables
        for row in direct.rows(f"SELECT row_to_json(t)::text AS row FROM {table['name']} t")  # noqa: S608
    )
    bodies = [bytes.fromhex(one) for one in re.findall(r"\\x((?:[0-9a-f]{2})+)", whole)]
    return "\n".join([whole, *(one.decode("utf-8", "replace") for one in bodies)]).lower()


IDENTITIES = [IDENTITY, IDENTITY.upper(), IDENTITY.replace("-", "")]


@pytest.mark.parametrize("stored", [*IDENTITIES, "mother number 12"])
@ensureDeferred
async def test_every_value_is_exported_and_none_is_left_in_the_database(
    database: Database, direct: Arranged, stored: str
) -> None:
    other = Seeds(direct, str(uuid4()))
    seeds = Seeds(direct, stored)
    person = IDENTITY if stored in IDENTITIES else stored
    values = told(seeds)
    assert values.keys() == {one.name for one in SUBSCRIBER_TABLES}
    for one in SUBSCRIBER_TABLES:  # a column that no seed has is not tested here
        assert set(one.subscriber) - {"asked_identity"} == seeds.values[one.name].keys(), one.name

    found = await exported(database, person)
    for table, texts_of_table in values.items():
        written = json.dumps(found[table])
        assert not [text for text in texts_of_table if text not in written], table
    assert all(str(other.subscription) not in json.dumps(rows) for rows in found.values())
    counted = await privacy.count(database, person=Person(identity=person))
    assert counted.counts == {table: len(rows) for table, rows in found.items()}
    before = dump(direct)

    forgotten = await forget(database, person)
    assert forgotten.remaining == {}
    assert set(forgotten.counts) == set(counted.counts)
    left = dump(direct)
    for table, texts_of_table in values.items():
        for text in texts_of_table:
            assert text.lower() in before, (table, text)
            assert text.lower() not in left, (table, text)
    assert await exported(database, person) == {}
    # Nothing of anybody else is touched.
    of_other = {text.lower() for texts_of_table in told(other).values() for text in texts_of_table}
    assert not [text for text in of_other if text not in left]
    assert (await forget(database, person)).counts == {}


@ensureDeferred
async def test_the_balance_stays_and_the_rows_of_one_subscription_stay_together(
    database: Database, direct: Arranged
) -> None:
    Seeds(direct, IDENTITY)
    assert direct.unbalanced_ticks() == []
    forgotten = await forget(database)
    assert direct.unbalanced_ticks() == []
    rows = direct.ledger()
    assert [row["outcome"] for row in rows] == ["sent", "failed", "skipped"]
    assert {row["identity"] for row in rows} == {forgotten.mark}
    assert len({row["subscription_id"] for row in rows}) == 1
    assert {row["subscription_id"] for row in direct.rows("SELECT * FROM doubles")} == {
        rows[0]["subscription_id"]
    }
    assert {row["reason"] for row in rows} == {"the person was forgotten"}
    again = Seeds(direct, IDENTITY)
    assert (await forget(database)).mark != forgotten.mark
    assert str(again.subscription) not in dump(direct)


@ensureDeferred
async def test_the_forgetting_is_audited_without_the_person_and_its_changes_are_not_undone(
    database: Database, direct: Arranged
) -> None:
    seeds = Seeds(direct, IDENTITY)
    database.author = Author(actor="ann", action="sbm forget")
    await privacy.forget(
        database,
        person=Person(identity=IDENTITY),
        author=Author(actor="ann", action="sbm forget", reason=f"{IDENTITY} asked"),
        wait=NOW,
    )
    database.author = None
    newest = direct.rows("SELECT * FROM audit ORDER BY id DESC")[0]
    assert (newest["actor"], newest["action"], newest["table_name"]) == ("ann", "sbm forget", None)
    assert newest["details"]["mark"] == newest["reason"]
    assert newest["details"]["counts"]["subscriptions"] == 1
    assert str(seeds.subscription) not in str(newest)
    change = direct.value("SELECT id FROM audit WHERE operation = 'update'")
    with pytest.raises(NotUndoable, match="forgotten"):
        await database.transact(undo_entry, entry_id=change, rules=UndoRules())


@ensureDeferred
async def test_a_subscription_that_was_given_to_another_person_stays_that_persons(
    database: Database, direct: Arranged
) -> None:
    seeds = Seeds(direct, IDENTITY)
    heir = str(uuid4())
    direct.rows("UPDATE subscriptions SET identity = %s", heir)
    await forget(database)
    assert direct.subscription(seeds.subscription)["identity"] == heir
    assert IDENTITY not in dump(direct)


def claimed(direct: Arranged, seeds: Seeds, state: str = "claimed") -> UUID:
    """A send of the person that a daemon has in hand, or whose outcome is unknown."""
    direct.rows(
        "UPDATE sends SET state = %s, attempt = 1,"
        " owner = CASE WHEN %s = 'claimed' THEN gen_random_uuid() END,"
        " lease_until = CASE WHEN %s = 'claimed' THEN now() + interval '1 minute' END,"
        " unknown_since = CASE WHEN %s = 'unknown' THEN now() END WHERE subscription_id = %s",
        *(state, state, state, state, seeds.subscription),
    )
    return UUID(str(direct.value("SELECT id FROM sends")))


@pytest.mark.parametrize("outcome", ["sent", "failed"])
@ensureDeferred
async def test_who_settles_a_send_of_a_forgotten_person_writes_the_mark(
    database: Database, direct: Arranged, outcome: Any
) -> None:
    seeds = Seeds(direct, IDENTITY)
    values = told(seeds)
    claimed(direct, seeds, "unknown")
    forgotten = await forget(database)
    assert forgotten.remaining == {"sends": 1}
    taken = await database.transact(
        sends.take_unknown, limit=10, settle=timedelta(0), lease=timedelta(seconds=30)
    )
    (asked,) = taken
    assert asked.identity == IDENTITY  # the Message Sender has to be asked
    outbound = "42" * 20 if outcome == "sent" else None
    result = Settled(
        outcome=outcome,
        stage="post",
        reason="" if outbound else f"{IDENTITY} has no number",
        outbound_id=outbound,
        doubles=("43" * 20,),
    )
    batch = await database.transact(sends.settle, results=[(asked, result)])
    assert batch.sends == {asked.id}
    again = await database.transact(sends.settle, results=[(asked, result)])
    assert (batch.doubles, again.doubles) == ([], [])
    left = dump(direct)
    assert "42" * 20 not in left
    assert "43" * 20 not in left
    assert not [one for texts_ in values.values() for one in texts_ if one.lower() in left]
    assert direct.ledger()[-1]["identity"] == forgotten.mark
    assert direct.ledger()[-1]["outcome"] == outcome
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_send_that_is_given_back_keeps_nothing_of_a_forgotten_person(
    database: Database, direct: Arranged
) -> None:
    seeds = Seeds(direct, IDENTITY)
    claimed(direct, seeds)
    assert (await forget(database)).remaining == {"sends": 1}
    direct.rows(
        "UPDATE sends SET state = 'owed', owner = NULL, lease_until = NULL, reason = %s", IDENTITY
    )
    assert IDENTITY not in dump(direct)
    assert (await forget(database)).remaining == {}


@ensureDeferred
async def test_outbounds_of_a_forgotten_person_are_no_evidence_of_a_lost_database(
    database: Database, direct: Arranged
) -> None:
    Seeds(direct, IDENTITY)
    outbounds = [
        {"send_id": str(row["send_id"]), "identity": IDENTITY, "created_at": "2026-01-01T00:00Z"}
        for row in direct.ledger()
    ]
    assert len(outbounds) == 2

    async def lost(transaction: Any) -> Any:
        return await transaction.many(
            lost_sends.QUERIES.find_lost_outbounds, UUID, outbounds=Json(outbounds), since=None
        )

    assert await database.transact(lost) == []
    await forget(database)
    assert await database.transact(lost) == []
    direct.rows("DELETE FROM forgotten_sends")
    assert len(await database.transact(lost)) == 2


@pytest.fixture
def late(database_uri: str) -> Iterator[Any]:
    """A transaction that has read the person's rows, and writes what it has read afterwards."""
    with closing(psycopg2.connect(database_uri)) as connection:
        yield connection


@ensureDeferred
async def test_a_transaction_that_read_the_person_before_is_waited_for(
    database: Database, direct: Arranged, late: Any
) -> None:
    seeds = Seeds(direct, IDENTITY)
    direct.rows("DELETE FROM sends")
    tick = direct.value("UPDATE ticks SET triggers = 2 RETURNING id")
    with late.cursor() as cursor:  # as an expansion does that began before
        cursor.execute(
            "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
            " SELECT 'next', 'tick', id, identity, %s FROM subscriptions WHERE id = %s",
            (tick, seeds.subscription),
        )
        cursor.execute("UPDATE ticks SET triggers = 3")
    forgetting = Deferred.fromCoroutine(forget(database, wait=timedelta(minutes=1)))
    while direct.value("SELECT count(*) FROM subscriptions"):
        await _turn(database)
    assert not forgetting.called
    late.commit()
    assert (await forgetting).remaining == {}
    assert IDENTITY not in dump(direct)
    assert direct.unbalanced_ticks() == []


async def _turn(database: Database) -> None:
    from twisted.internet.task import deferLater

    await deferLater(database.reactor, 0.05)


@ensureDeferred
async def test_whoever_has_many_rows_is_forgotten_in_parts(
    database: Database, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "BATCH", 3)
    monkeypatch.setattr(privacy, "PAGE", 3)
    schedule = direct.schedule()
    messageset = direct.messageset("a", schedule)
    direct.subscriptions(10, messageset, schedule)
    direct.rows("UPDATE subscriptions SET identity = %s", IDENTITY)
    direct.rows(
        "INSERT INTO ledger (send_id, kind, outcome, stage, subscription_id, identity)"
        " SELECT gen_random_uuid(), 'move', 'moved', 'trigger', id, identity FROM subscriptions"
    )
    found = await exported(database)
    assert {table: len(rows) for table, rows in found.items()} == {
        "subscriptions": 10,
        "ledger": 10,
    }
    assert (await forget(database)).counts == {"subscriptions": 10, "ledger": 10}


def test_json_of_a_command_keeps_its_counts() -> None:
    person = Person(identity=IDENTITY)
    needles = person.needles(("aaaaaaaa-0000-0000-0000-000000000000",))
    details = {"count": 2, "ids": [IDENTITY.upper(), "b"], "rows": [{"i": IDENTITY, "n": "Mary"}]}
    assert without(details, needles, "m") == {
        "count": 2,
        "ids": ["m", "b"],
        "rows": [{"person": "m"}],
    }
    short = Person(identity="12").needles(())
    assert without({"a": "12", "b": "120"}, short, "m") == {"a": "m", "b": "120"}


def test_every_table_and_column_is_classified(direct: Arranged) -> None:
    """A new one has to be added to the list: with personal data, or without."""
    columns: dict[str, set[str]] = {}
    for row in direct.rows(
        "SELECT c.relname AS name, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
        " WHERE relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND NOT attisdropped"
        " AND relnamespace = 'public'::regnamespace"
    ):
        columns.setdefault(row["name"], set()).add(row["attname"])
    personal = (*SUBSCRIBER_TABLES, *USER_TABLES)
    names = [*(one.name for one in personal), *IMPERSONAL_TABLES]
    assert sorted(names) == sorted(columns)
    for one in personal:
        listed = [*one.subscriber, *one.user, *one.other]
        assert sorted(listed) == sorted(columns[one.name]), one.name
        assert all((one.key, one.purpose, one.retention)), one.name
    assert all(one.forgotten for one in SUBSCRIBER_TABLES)
    # Whatever has an identity or a subscription in it is about a subscriber.
    about = {"identity", "subscription_id"}
    assert {name for name, has in columns.items() if has & about} <= {
        one.name for one in SUBSCRIBER_TABLES
    }


@ensureDeferred
async def test_places_at_a_person_move_to_the_subscription_before(
    database: Database, direct: Arranged
) -> None:
    """Of expansions, and of calls to the Scheduler about all subscriptions on a schedule."""
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    first, second, _ = sorted(direct.subscriptions(3, messageset, schedule))
    direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, expanded_up_to, triggers)"
        " VALUES ('post-back', 'expanding', %s, %s, 2), ('clock', 'expanding', %s, %s, 1)",
        *(schedule, second, schedule, first),
    )
    direct.rows(
        "INSERT INTO scheduler_calls (kind, target, up_to) VALUES ('members', %s, %s)",
        *(str(schedule), second),
    )
    places = "SELECT expanded_up_to FROM ticks ORDER BY triggers DESC"
    for gone, left in ((second, [first, first]), (first, [UUID(int=0), UUID(int=0)])):
        await forget(database, direct.subscription(gone)["identity"])
        assert [row["expanded_up_to"] for row in direct.rows(places)] == left
        assert direct.value("SELECT up_to FROM scheduler_calls WHERE kind = 'members'") == left[0]

"""The hot statements keep their plans, whatever the planner believes about the tables.

What a statement reads is counted in rows and buffers, which do not depend on the machine: both have
to be bounded by the batch, never by the table.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from attrs import define, evolve, field, frozen
from twisted.internet.task import Clock

from sbm.model.send import GivenBack, Send, SendResult, Settled, Unknown, UnknownSend
from sbm.runtime.time_slices import TimeSlice
from sbm.store import clock, resends, sends, ticks
from sbm.store.postgres.prepared import BY_INDEX, Preparation
from sbm.store.postgres.statements import Query
from tests.arrange import Arranged, arranged
from tests.db.databases import Databases
from tests.model.sends import a_send

BATCH = 200
CHUNK = 1000
MINUTE = timedelta(seconds=60)
OWNER = uuid4()

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
REFUSED = Settled(outcome="refused", stage="post", reason="no")
AT_END = Settled(outcome="skipped", stage="content", reason="no more", is_at_end=True)

# The tables that grow; all others have a few rows in every installation.
LARGE = ("sends", "subscriptions", "ledger", "resend_requests", "failed_tasks")
ANALYZE = f"ANALYZE {', '.join(LARGE)}, ticks"

# Nine in ten subscriptions are in the schedule that ticks, and half of those are expanded. Each has
# had a send that was settled, in this month, and a request for a resend that was answered.
FILLED = (
    "INSERT INTO schedules SELECT FROM generate_series(1, 2)",
    "INSERT INTO messagesets (short_name, content_type, default_schedule_id)"
    " VALUES ('a', 'text', 1)",
    "INSERT INTO messages (messageset_id, sequence_number, lang, text_content)"
    " SELECT 1, number, 'eng_ZA', 'Hello' FROM generate_series(1, 100) number",
    "INSERT INTO subscriptions (id, identity, messageset_id, schedule_id, lang, created_at)"
    " SELECT md5(n::text)::uuid, n, 1, CASE WHEN n %% 10 = 0 THEN 2 ELSE 1 END, 'eng_ZA',"
    " now() - interval '1 day' FROM generate_series(1, %s) n",
    "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity)"
    " SELECT gen_random_uuid(), 1, 'next', 'sent', 'post', id, identity FROM subscriptions",
    "INSERT INTO resend_requests (subscription_id, send_id)"
    " SELECT id, gen_random_uuid() FROM subscriptions",
    "INSERT INTO ticks (source, state, schedule_id, expanded_up_to)"
    " VALUES ('post-back', 'expanding', 1, '80000000-0000-0000-0000-000000000000')",
)


@frozen(kw_only=True)
class Rows:
    """Sends to insert; ``due`` is when from now, and the end of the lease as well."""

    state: str = "owed"
    lane: str = "tick"
    due: str = "-1 minute"
    kind: str = "next"

    def insert(self, direct: Arranged, first: int, last: int) -> None:
        direct.rows(
            "INSERT INTO sends (kind, lane, state, subscription_id, identity, tick_id, due_at,"
            " owner, lease_until, unknown_since, attempt, first_attempt_at, messageset_id,"
            " next_sequence_number, sequence_number, lang)"
            " SELECT kind, lane, state, md5(n::text)::uuid, n, 1, now() + due,"
            " CASE WHEN state = 'claimed' THEN %s END,"
            " CASE WHEN state = 'claimed' THEN now() + due END,"
            " CASE WHEN state = 'unknown' THEN now() + due END, 1, now(), 1, 1, 1, 'eng_ZA'"
            " FROM generate_series(%s, %s) n,"
            " (VALUES (%s, %s, %s, %s::interval)) one (kind, lane, state, due)",
            *(OWNER, first, last, self.kind, self.lane, self.state, self.due),
        )


# Something for every statement to do, besides what the scenario is about.
BATCHES = (
    Rows(state="claimed", due="1 minute"),
    Rows(state="claimed"),
    Rows(state="unknown"),
    Rows(lane="single"),
    Rows(lane="single", kind="resend"),
    Rows(),
    Rows(due="1 hour"),
)

# What there is at last, after what was done before. Sends are added or removed, and the planner is
# told only where it says so.
LIVE = "batches"
Step = Rows | str
SCENARIOS: dict[str, tuple[Step, ...]] = {
    "statistics of empty tables": (Rows(), LIVE),
    "fresh statistics": (Rows(), LIVE, ANALYZE),
    "statistics of many sends, and few": (Rows(), ANALYZE, "TRUNCATE sends", LIVE),
    "statistics of no sends, and many": (ANALYZE, Rows(), LIVE),
    "statistics of a large and empty table": (
        *(Rows(), "DELETE FROM sends", "VACUUM (TRUNCATE false, ANALYZE) sends"),
        *(Rows(), LIVE),
    ),
    "statistics of a large table with few sends": (
        *(Rows(), LIVE, ANALYZE, "DELETE FROM sends WHERE NOT ({of_a_batch})"),
        *("VACUUM (TRUNCATE false, ANALYZE) sends", Rows()),
    ),
    "statistics of a time when all was claimed": (
        *(Rows(state="claimed"), ANALYZE, "TRUNCATE sends", Rows(), LIVE),
    ),
    "statistics of a time when all was single": (
        *(Rows(lane="single"), ANALYZE, "TRUNCATE sends", Rows(), LIVE),
    ),
    "many rows backing off": (Rows(due="1 hour"), LIVE, ANALYZE),
    "many rows backing off, statistics of a time when they were due": (
        *(Rows(), ANALYZE, "TRUNCATE sends", Rows(due="1 hour"), LIVE),
    ),
    "many rows of both lanes backing off, no statistics": (
        *(Rows(due="1 hour"), Rows(lane="single", kind="resend", due="1 hour"), LIVE),
    ),
    "many rows unknown, to be asked about later": (Rows(state="unknown", due="1 hour"), LIVE),
    "many rows claimed by others": (Rows(state="claimed", due="1 hour"), LIVE),
    "many dead rows": (Rows(), ANALYZE, "DELETE FROM sends", LIVE),
    "many dead rows, statistics of the few": (Rows(), "DELETE FROM sends", LIVE, ANALYZE),
}

# They resemble others, and are only in the long form.
LONG_SCENARIOS = {
    "statistics of no sends, and many",
    "statistics of a large and empty table",
    "statistics of a large table with few sends",
    "statistics of a time when all was claimed",
    "statistics of a time when all was single",
    "many rows of both lanes backing off, no statistics",
    "many dead rows, statistics of the few",
}

# A transaction with an id and a record in the log. Its commit waits until the log is on the disk.
COMMIT = "SELECT pg_current_xact_id()::text FROM pg_logical_emit_message(true, 'test', '')"

# Whether a transaction may still run that began before this one ended: a writing one of any
# database, as each snapshot counts those, or one of this database that reads, autovacuum's for
# example. The launcher of autovacuum has no database.
MAY_BE_SEEN = """
    SELECT pg_snapshot_xmin(pg_current_snapshot()) <= %s::xid8 OR EXISTS (
        SELECT FROM pg_stat_activity
         WHERE (datname = current_database() OR datname IS NULL) AND pid <> pg_backend_pid()
           AND age(backend_xmin) >= age(%s::xid8::xid))
"""


@frozen
class Plan:
    """The result of EXPLAIN (ANALYZE, BUFFERS) for one statement."""

    query: str
    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    @property
    def buffers(self) -> int:
        """What was read; never too little: a part that another one reads from counts twice."""
        parts = (
            node for node in self.nodes() if node is self.root or node["Node Type"] == "ModifyTable"
        )
        return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in parts)

    @property
    def rows(self) -> dict[str, float]:
        """How many rows each scan of a large table looked at."""
        found: dict[str, float] = {}
        for node in self.nodes():
            table = node.get("Relation Name", "")
            if node["Node Type"].endswith("Scan") and table.startswith(LARGE):
                dropped = node.get("Rows Removed by Filter", 0)
                dropped += node.get("Rows Removed by Index Recheck", 0)
                name = f"{node['Node Type']} {table} {node.get('Index Name', '')}"
                rows = (node["Actual Rows"] + dropped) * node["Actual Loops"]
                found[name] = max(rows, found.get(name, 0))
        return found

    @property
    def compared(self) -> float:
        """How many pairs of rows a join compared for nothing, if it compared all with all."""
        return max(
            float(node.get("Rows Removed by Join Filter", 0)) * float(node["Actual Loops"])
            for node in self.nodes()
        )


@define
class Explaining:
    """Takes the place of a transaction: explains what store functions execute, and undoes it."""

    connection: Any
    plans: list[Plan] = field(factory=list)
    settings: list[Query] = field(factory=list)

    def slices(self) -> TimeSlice:
        return TimeSlice(reactor=Clock())

    async def many(self, query: Query, make: Any, /, **parameters: Any) -> list[Any]:
        self._explain(query, parameters)
        return []

    async def maybe(self, query: Query, make: Any, /, **parameters: Any) -> None:
        self._explain(query, parameters)

    async def one(self, query: Query, make: Any, /, **parameters: Any) -> Any:
        """Its row is returned: the statements that follow work on what was locked."""
        self._explain(query, parameters)
        with self.connection.cursor() as cursor:
            cursor.execute(query.sql, parameters)
            (row,) = cursor.fetchall()
            columns = {
                column.name: value for column, value in zip(cursor.description, row, strict=True)
            }
        self.connection.rollback()
        if query.tells_transaction:
            del columns["transaction_id"], columns["pid"]
            return make(**columns)
        (value,) = columns.values()
        return value

    async def execute(self, query: Query, /, **parameters: Any) -> int:
        if query.name == "read_in_order":  # for those that follow, which each are undone
            self.settings.append(query)
            return 1
        self._explain(query, parameters)
        return 0

    def _explain(self, query: Query, parameters: dict[str, Any]) -> None:
        self._explain_once(query, query.sql, parameters)
        if query.is_prepared:  # the plan for all values, which the session may use
            preparation = Preparation.of(query.sql, "prepared")
            self._explain_once(query, preparation.execute, parameters, before=preparation.prepare)

    def _explain_once(
        self, query: Query, sql: str, parameters: dict[str, Any], *, before: str = ""
    ) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute("SET LOCAL jit = off")
            for settings in self.settings:
                cursor.execute(settings.sql)
            if before:
                cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                cursor.execute(before)
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
            cursor.execute(_indexed(query, explain), parameters)
            (([explained],),) = cursor.fetchall()
            if before:
                cursor.execute("DEALLOCATE ALL")
        self.connection.rollback()
        self.plans.append(Plan(query.name, explained["Plan"]))


@define(kw_only=True)
class PlannedLongAgo(Explaining):
    """Explains with the plans that a session made before, also in functions of the server."""

    preparations: dict[str, Preparation] = field(factory=dict)

    def plan(self, *queries: Query, **parameters: Any) -> None:
        """Prepare these statements, and plan them for all values."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute("SET plan_cache_mode = force_generic_plan; SET jit = off")
            for query in queries:
                preparation = Preparation.of(query.sql, query.name)
                cursor.execute(preparation.prepare)
                cursor.execute(_indexed(query, preparation.execute), parameters)
                self.preparations[query.name] = preparation

    def _explain(self, query: Query, parameters: dict[str, Any]) -> None:
        preparation = self.preparations.get(query.name)
        sql = query.sql if preparation is None else preparation.execute
        self._explain_once(query, sql, parameters)

    def _explain_once(
        self, query: Query, sql: str, parameters: dict[str, Any], *, before: str = ""
    ) -> None:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
        with self.connection.cursor() as cursor:
            cursor.execute(_indexed(query, explain), parameters)
            (([explained],),) = cursor.fetchall()
        self.connection.rollback()
        self.plans.append(Plan(query.name, explained["Plan"]))


def _indexed(query: Query, sql: str) -> str:
    return BY_INDEX + sql if query.is_indexed else sql


@pytest.fixture(
    scope="module", params=[20_000, pytest.param(200_000, marks=pytest.mark.long)], ids=str
)
def filled(request: Any, databases: Databases, template_database: str) -> Iterator[tuple[str, int]]:
    """A database to copy, with everything but live sends, and how many subscriptions it has.

    The planner was last told when there was nothing.
    """
    name = f"sbm_plans_{uuid4().hex[:12]}"
    with arranged(databases.create(name, template=template_database)) as direct:
        without_autovacuum(direct)
        direct.rows("ANALYZE")
        fill(direct, request.param)
    yield name, request.param
    databases.drop(name)


def without_autovacuum(direct: Arranged) -> None:
    for table in direct.rows(
        "SELECT oid::regclass::text AS name FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ):
        direct.rows(f"ALTER TABLE {table['name']} SET (autovacuum_enabled = false)")


def fill(direct: Arranged, subscriptions: int) -> None:
    for statement in FILLED:
        direct.rows(statement, *([subscriptions] if "%s" in statement else []))


# All that is explained in one scenario is explained by the process that has made it.
@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            name,
            marks=[
                pytest.mark.xdist_group(name),
                *([pytest.mark.long] if name in LONG_SCENARIOS else []),
            ],
        )
        for name in SCENARIOS
    ],
)
def uri(request: Any, databases: Databases, filled: tuple[str, int]) -> Iterator[str]:
    """A database for all the statements: to explain them changes nothing but what is dead."""
    template, subscriptions = filled
    # The last ones have no send, but for those of the batches.
    last = subscriptions - len(BATCHES) * BATCH - 1
    name = f"sbm_test_{uuid4().hex[:12]}"
    uri = databases.create(name, template=template)
    with arranged(uri) as direct:
        direct.rows("SET synchronous_commit = on")
        for step in SCENARIOS[request.param]:
            if isinstance(step, Rows):
                step.insert(direct, 1, last)
            elif step == LIVE:
                for place, batch in enumerate(BATCHES):
                    batch.insert(direct, last + place * BATCH + 1, last + (place + 1) * BATCH)
            else:
                direct.rows(step.format(of_a_batch=f"identity::integer > {last}"))
        let_dead_rows_be_marked(direct)
    yield uri
    databases.drop(name)


def let_dead_rows_be_marked(direct: Arranged) -> None:
    """Return when each reader may mark what was removed before as dead.

    No transaction may see it any more, and the commit that removed it is known to be on the disk.
    PostgreSQL keeps one place in the log for 32 transactions in a row, those of other tests among
    them, and these need not have waited for the disk.
    """
    for _ in range(32):
        ended = direct.value(COMMIT)
    while direct.value(MAY_BE_SEEN, ended, ended):
        time.sleep(0.01)
    direct.rows(COMMIT)


@pytest.fixture
def direct(uri: str) -> Iterator[Arranged]:
    with arranged(uri) as direct:
        yield direct


@pytest.fixture
def plans(uri: str) -> Iterator[Callable[..., list[Plan]]]:
    """Runs a store function with its statements explained."""

    def explained(work: Callable[..., Awaitable[Any]], **parameters: Any) -> list[Plan]:
        explaining = Explaining(connection)
        with pytest.raises(StopIteration):
            work(explaining, **parameters).__await__().__next__()
        return explaining.plans

    with contextlib.closing(psycopg2.connect(uri)) as connection:
        # A session reads the catalogue once, when it plans a function for the first time.
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT has_places(0, ''), was_sent_of(gen_random_uuid(), 0)"
                "  FROM (VALUES (1)) one LEFT JOIN next_place(0, '', 0) ON true"
            )
        yield explained


def mark_dead_rows(plans: Callable[..., list[Plan]], direct: Arranged, limit: int) -> None:
    """Let a claim read dead rows, and mark them; later claims skip them."""
    plans(sends.claim, owner=OWNER, limit=limit, lease=MINUTE)


def claims(direct: Arranged) -> list[Send]:
    """A batch of claims, the latest made."""
    return [
        evolve(a_send(), id=row["id"], subscription_id=row["subscription_id"])
        for row in direct.rows(
            "SELECT * FROM sends WHERE state = 'claimed' AND lease_until < now() + %s"
            " ORDER BY identity::integer DESC LIMIT %s",
            *(2 * MINUTE, BATCH),
        )
    ]


def questions(direct: Arranged) -> list[UnknownSend]:
    """All that may be asked about now."""
    return [
        UnknownSend(
            id=row["id"],
            attempt=row["attempt"],
            token=row["due_at"],
            subscription_id=row["subscription_id"],
            identity=row["identity"],
            first_attempt_at=row["first_attempt_at"],
            is_late=True,
        )
        for row in direct.rows("SELECT * FROM sends WHERE state = 'unknown' AND due_at <= now()")
    ]


def assert_bounded(plans: list[Plan], rows: int, *, buffers: int) -> None:
    """Each statement looked at a few times so many rows at most, in so many buffers for each."""
    assert plans
    for plan in plans:
        # A table of a few pages may be read as a whole: that is less than looking up a batch.
        most = max(3 * rows, 2 * len(BATCHES) * BATCH)
        assert all(seen <= most for seen in plan.rows.values()), (plan.query, plan.rows)
        assert plan.compared <= most, (plan.query, plan.compared)
        assert plan.buffers <= 300 + buffers * rows, (plan.query, plan.buffers, plan.rows)


@pytest.mark.parametrize("limit", [1, BATCH // 2, 3 * BATCH])
def test_a_claim_reads_what_it_claims(
    plans: Callable[..., list[Plan]], direct: Arranged, limit: int
) -> None:
    mark_dead_rows(plans, direct, limit)
    found = plans(sends.claim, owner=OWNER, limit=limit, lease=MINUTE)
    # About 26; a few dead rows may not be marked yet, because an older transaction could see them.
    assert_bounded(found, max(limit, 5), buffers=30)


@pytest.mark.parametrize("size", [1, BATCH])
@pytest.mark.parametrize(
    "result",
    [SENT, REFUSED, GivenBack(reason="no", delay=MINUTE), Unknown(reason="no")],
    ids=["sent", "refused", "given back", "unknown"],
)
def test_settling_reads_what_it_settles(
    plans: Callable[..., list[Plan]],
    direct: Arranged,
    filled: tuple[str, int],
    result: SendResult,
    size: int,
) -> None:
    batch = claims(direct)[:size]
    assert len(batch) == size
    found = plans(sends.settle, results=[(send, result) for send in batch])
    # Three tables with all their indexes, and what the next set would read counts a second time.
    # It needs about 100 buffers a send. In a large table, each index has one more level.
    _, subscriptions = filled
    assert_bounded(found, size, buffers=112 if subscriptions <= 20_000 else 150)


def test_plans_of_a_time_when_there_was_one_send_read_what_they_need_now(
    databases: Databases, template_database: str
) -> None:
    """Nothing tells a session to plan again: no autovacuum has come since."""
    name = f"sbm_plans_{uuid4().hex[:12]}"
    uri = databases.create(name, template=template_database)
    with arranged(uri) as direct, contextlib.closing(psycopg2.connect(uri)) as connection:
        session: Any = PlannedLongAgo(connection=connection)

        def explain(work: Callable[..., Awaitable[Any]], **parameters: Any) -> None:
            with pytest.raises(StopIteration):
                work(session, **parameters).__await__().__next__()

        without_autovacuum(direct)
        Rows().insert(direct, 1, 1)
        direct.rows("VACUUM (ANALYZE) sends")  # as few pages as can be
        session.plan(
            *(sends.QUERIES.claim_due_sends, sends.QUERIES.settle_sends),
            places="{}",
            owner=OWNER,
            lease=MINUTE,
            content_settle=MINUTE,
            outcomes="[]",
        )
        explain(sends.claim, owner=OWNER, limit=1, lease=MINUTE)
        direct.rows("DELETE FROM sends")
        session.plans.clear()
        fill(direct, 20_000)
        Rows().insert(direct, 1, 10_000)
        for place, batch in enumerate(BATCHES, 51):
            batch.insert(direct, place * BATCH, (place + 1) * BATCH - 1)
        explain(sends.claim, owner=OWNER, limit=BATCH, lease=MINUTE)
        explain(sends.settle, results=[(send, SENT) for send in claims(direct)])
    databases.drop(name)
    explained = {plan.query for plan in session.plans}
    assert explained >= {"lock_due_places", "claim_due_sends", "settle_sends"}
    assert_bounded(session.plans, BATCH, buffers=120)
    # It needs one or two for each send.
    locking = [plan for plan in session.plans if plan.query == "lock_due_places"]
    assert_bounded(locking, BATCH, buffers=2)


def test_a_claim_reads_few_pages_of_what_was_claimed_before(
    databases: Databases, template_database: str
) -> None:
    name = f"sbm_plans_{uuid4().hex[:12]}"
    uri = databases.create(name, template=template_database)
    with arranged(uri) as direct, contextlib.closing(psycopg2.connect(uri)) as connection:
        explaining: Any = Explaining(connection)

        def claim() -> None:
            with pytest.raises(StopIteration):
                sends.claim(explaining, owner=OWNER, limit=1, lease=MINUTE).__await__().__next__()

        direct.rows("SET synchronous_commit = on")
        without_autovacuum(direct)
        fill(direct, 20_000)
        Rows().insert(direct, 1, 20_000)
        direct.rows("DELETE FROM sends")
        let_dead_rows_be_marked(direct)
        Rows().insert(direct, 1, BATCH)
        claim()  # it marks the dead rows
        explaining.plans.clear()
        claim()
    databases.drop(name)
    (locking,) = (plan for plan in explaining.plans if plan.query == "lock_due_places")
    # About 75; it would be 250 if each send had an entry of its own in the index.
    assert locking.buffers <= 120, locking.buffers


def test_whoever_stands_at_the_end_is_looked_up_in_the_ledger_by_subscription(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    batch = claims(direct)
    direct.rows("UPDATE messages SET sequence_number = -sequence_number")
    direct.rows("UPDATE content_changes SET changed_at = '-infinity'")
    try:
        mark_dead_rows(plans, direct, BATCH)
        claimed = plans(sends.claim, owner=OWNER, limit=BATCH, lease=MINUTE)
        settled = plans(sends.settle, results=[(send, AT_END) for send in batch])
    finally:
        direct.rows("UPDATE messages SET sequence_number = -sequence_number")
    assert_bounded(claimed, BATCH, buffers=40)
    # Besides, each leaves the index of those under way, and that counts twice.
    assert_bounded(settled, BATCH, buffers=250)


def test_requests_to_resend_are_looked_up_by_their_send(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    requests = direct.rows("SELECT send_id FROM resend_requests LIMIT %s", BATCH)
    found = plans(resends.answer, outbounds={row["send_id"]: "1" for row in requests})
    assert_bounded(found, BATCH, buffers=30)


def test_late_outbounds_are_looked_for_by_subscription(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    batch = [evolve(send, id=uuid4()) for send in claims(direct)]
    found = plans(sends.settle, results=[(send, SENT) for send in batch])
    assert {plan.query for plan in found} == {"settle_sends", "keep_doubles"}
    assert_bounded(found, BATCH, buffers=40)


def test_a_renewal_reads_what_it_renews(plans: Callable[..., list[Plan]], direct: Arranged) -> None:
    ids = {send.id for send in claims(direct)}
    assert_bounded(plans(sends.renew, owner=OWNER, ids=ids, lease=MINUTE), BATCH, buffers=30)


def test_leases_expire_by_the_batch(plans: Callable[..., list[Plan]]) -> None:
    assert_bounded(plans(sends.expire, limit=BATCH), BATCH, buffers=30)


def test_questions_are_taken_by_the_batch(plans: Callable[..., list[Plan]]) -> None:
    found = plans(sends.take_unknown, limit=BATCH, settle=MINUTE, lease=MINUTE)
    assert_bounded(found, BATCH, buffers=30)


def test_answers_read_what_was_asked_about(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    asked = questions(direct)
    assert len(asked) == BATCH
    found = plans(
        sends.owe_again, absent=[(one, MINUTE) for one in asked], reason="it is not there"
    )
    found += plans(sends.ask_again_later, asked=asked, settle=MINUTE)
    assert_bounded(found, BATCH, buffers=55)


def test_a_trigger_reads_one_subscription(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    # The one after those of the batches.
    idle = direct.value("SELECT md5(count(*)::text)::uuid FROM subscriptions")
    assert direct.rows("SELECT FROM sends WHERE subscription_id = %s", idle) == []
    assert_bounded(plans(sends.owe, subscription_id=idle), 1, buffers=50)


def test_a_resend_reads_the_ledger_of_one_subscription(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    idle = direct.value("SELECT md5(count(*)::text)::uuid FROM subscriptions")
    # Each partition of the ledger is looked into, by its index.
    assert_bounded(plans(resends.owe, subscription_id=idle), 1, buffers=120)


def test_a_tick_reads_the_chunk_that_it_expands(plans: Callable[..., list[Plan]]) -> None:
    assert_bounded(plans(ticks.expand, limit=CHUNK), CHUNK, buffers=60)


def test_a_tick_reads_the_last_rows_of_those_whom_it_skips(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    before = direct.value(
        "INSERT INTO ticks (source, state, schedule_id) VALUES ('post-back', 'expanded', 1)"
        " RETURNING id"
    )
    follow = "UPDATE ticks SET follows = %s WHERE state = 'expanding'"
    direct.rows(follow, before)
    try:
        found = plans(ticks.expand, limit=CHUNK)
    finally:
        direct.rows(follow, None)
        direct.rows("DELETE FROM ticks WHERE id = %s", before)
    assert_bounded(found, CHUNK, buffers=60)


def test_room_is_looked_for_in_so_many_sends(plans: Callable[..., list[Plan]]) -> None:
    # The first scan reads dead rows and marks them; later scans skip them.
    plans(ticks.has_room, most=CHUNK)
    assert_bounded(plans(ticks.has_room, most=CHUNK), CHUNK, buffers=30)


def test_what_a_wrong_clock_wrote_is_looked_for_among_what_lies_ahead(
    plans: Callable[..., list[Plan]], direct: Arranged
) -> None:
    ahead = direct.value(
        "SELECT count(*) FROM sends WHERE state = 'claimed' AND lease_until > now()"
        " OR state = 'owed' AND due_at > now() OR state = 'unknown'"
    )
    plans(clock.repair, most=timedelta(hours=1), lease=MINUTE, limit=BATCH)
    found = plans(clock.repair, most=timedelta(hours=1), lease=MINUTE, limit=BATCH)
    assert_bounded([found[0]], max(BATCH, ahead), buffers=30)

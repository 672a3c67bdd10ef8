"""``/api/v1/ledger/`` and ``/api/v1/message-versions/``."""

from __future__ import annotations

import csv
import io
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from sbm.model.ledger_entry import OUTCOMES, REASON_KINDS, LedgerFilter
from sbm.operations import ledger as operation
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database
from sbm.web.resources.ledger import Ledger
from tests.arrange import Arranged
from tests.web.conftest import IDENTITY, Api, reactor
from tests.web.sockets import comes_true

LEDGER = "/api/v1/ledger/"

ROWS = (
    "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id, identity,"
    " messageset_id, sequence_number, lang, settled_at, message_version_id)"
    " SELECT gen_random_uuid(), n %% 3, 'next',"
    " CASE n %% 4 WHEN 0 THEN 'refused' ELSE 'sent' END, 'post',"
    " CASE n %% 4 WHEN 0 THEN 'no' ELSE '' END,"
    " md5((n %% 5)::text)::uuid, CASE n %% 5 WHEN 0 THEN %s ELSE (n %% 5)::text END, 1 + n %% 2, 7,"
    " 'eng', now() - make_interval(days => n), NULL FROM generate_series(1, %s) n"
)


async def listed(api: Api, query: str = "") -> list[Any]:
    """The rows of all pages."""
    path, rows = f"{LEDGER}?{query}", []
    while path:
        answer = await api.get(path)
        assert answer.status == 200, answer.text
        assert answer.json.keys() == {"next", "results"}
        rows += answer.json["results"]
        path = (answer.json["next"] or "").replace(api.base, "")
    return rows


@pytest_twisted.ensureDeferred
async def test_pages_have_all_rows_once_and_newest_first(api: Api, direct: Arranged) -> None:
    direct.rows(ROWS, IDENTITY, 25)

    rows = await listed(api, "limit=10")

    assert [row["id"] for row in rows] == [row["id"] for row in direct.ledger()]
    assert rows == await listed(api)


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("tick=1", "tick_id = 1"),
        ("messageset=1&sequence_number=7&lang=eng", "messageset_id = 1"),
        ("outcome=refused", "outcome = 'refused'"),
        ("outcome=refused&stage=post", "outcome = 'refused'"),
        ("outcome=refused&tick=2", "outcome = 'refused' AND tick_id = 2"),
        ("outcome=refused&messageset=1", "outcome = 'refused' AND messageset_id = 1"),
        ("reason_kind=refused", "outcome = 'refused'"),
        (f"identity={IDENTITY}", "subscription_id = md5('0')::uuid"),
        (f"identity={IDENTITY}&outcome=sent&lang=eng&tick=1", "outcome = 'sent' AND tick_id = 1"),
        ("after=2020-01-01T00:00:00Z&before=2999-01-01T00:00:00Z", "true"),
        ("before=2020-01-01T00:00:00Z", "false"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_filters_find_their_rows(
    api: Api, direct: Arranged, query: str, condition: str
) -> None:
    direct.rows(ROWS, IDENTITY, 40)
    if "identity" in query:
        condition += " AND subscription_id = md5('0')::uuid"

    found = await listed(api, f"{query}&limit=3")

    wanted = direct.rows(f"SELECT id FROM ledger WHERE {condition} ORDER BY id")  # noqa: S608
    assert [row["id"] for row in found] == [row["id"] for row in wanted]


@pytest.mark.parametrize(
    "query",
    [
        *("lang=eng", "messageset=1", "sequence_number=1&messageset=1", "stage=post"),
        *("outcome=sent", "outcome=sent&tick=1", "delivered=true", "tick=1&lang=eng"),
        *("outcome=refused&reason_kind=refused", "tick=1&delivered=false"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_filters_without_an_index_are_refused_with_a_sentence(api: Api, query: str) -> None:
    for form in ("json", "csv"):
        answer = await api.get(f"{LEDGER}?{query}&format={form}")
        assert answer.status == 400
        assert "index" in answer.json["detail"]
    assert (await api.get(f"{LEDGER}?{query}&identity={IDENTITY}")).status == 200


@pytest_twisted.ensureDeferred
async def test_wrong_filters_and_cursors_are_refused(api: Api, direct: Arranged) -> None:
    direct.rows(ROWS, IDENTITY, 5)
    assert (await api.get(f"{LEDGER}?outcome=gone")).status == 400
    assert (await api.get(f"{LEDGER}?tick=x")).status == 400
    assert (await api.get(f"{LEDGER}?cursor=x")).status == 400
    following = (await api.get(f"{LEDGER}?limit=2")).json["next"].replace(api.base, "")
    assert (await api.get(f"{following}&tick=1")).status == 400


@pytest_twisted.ensureDeferred
async def test_those_who_got_a_wrong_text_are_listed(api: Api, direct: Arranged) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("a", schedule, messages=0)
    message = direct.message(messageset, 7, "eng", "wrong")
    direct.rows("UPDATE message_versions SET made_at = now() - interval '2 hours'")
    wrong = direct.value("SELECT version_id FROM messages")
    direct.rows(ROWS, IDENTITY, 4)
    direct.rows(
        "UPDATE ledger SET messageset_id = %s,"
        " message_version_id = CASE id %% 2 WHEN 0 THEN %s END,"
        " settled_at = now() - make_interval(mins => id::integer)",
        *(messageset, wrong),
    )
    answer = await api.call("PATCH", f"/api/v1/message/{message}/", {"text_content": "right"})
    assert answer.status == 200, answer.text

    versions = (await api.get(f"/api/v1/message-versions/?message={message}")).json["results"]
    assert [one["text_content"] for one in versions] == ["right", "wrong"]
    assert versions[1]["replaced_at"] is not None
    found = await listed(api, f"version={versions[1]['id']}")

    assert {row["version"] for row in found} == {wrong}
    assert len(found) == 2
    assert await listed(api, f"version={versions[0]['id']}") == []
    assert await listed(api, "version=12345") == []
    one = await api.get(f"/api/v1/message-versions/{wrong}/")
    assert one.json == versions[1]


@pytest_twisted.ensureDeferred
async def test_csv_has_all_rows_and_no_formulas(api: Api, direct: Arranged) -> None:
    direct.rows(ROWS, IDENTITY, 1203)
    direct.rows(
        "UPDATE ledger SET reason = '=1+1', lang = '@x', prepend = '-a, \"b\"' WHERE id = 1"
    )

    answer = await api.get(f"{LEDGER}?format=csv", Accept="text/csv")

    assert answer.status == 200
    assert answer.header("content-type") == "text/csv; charset=utf-8"
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in found] == [str(row["id"]) for row in direct.ledger()]
    assert (found[0]["reason"], found[0]["lang"], found[0]["prepend"]) == (
        *("'=1+1", "'@x"),
        '\'-a, "b"',
    )
    shown = (await listed(api, "limit=1000"))[5]
    assert {name: value or "" for name, value in found[5].items()} == {
        name: "" if value is None else str(value) for name, value in shown.items()
    }


@pytest_twisted.ensureDeferred
async def test_only_csv_is_answered_to_those_who_accept_nothing_else(api: Api) -> None:
    for path, status in (
        (LEDGER, 406),
        (f"{LEDGER}?format=json", 406),
        (f"{LEDGER}?format=csv", 200),
    ):
        assert (await api.get(path, Accept="text/csv")).status == status
    assert (await api.get(f"{LEDGER}?format=csv", Accept="application/json")).status == 200


@pytest_twisted.ensureDeferred
async def test_an_unknown_format_is_refused(api: Api) -> None:
    refused = await api.get(f"{LEDGER}?format=xlsx")
    assert (refused.status, refused.json) == (400, {"format": ["It must be json or csv."]})


@pytest_twisted.ensureDeferred
async def test_csv_obeys_filters_and_head_has_no_body(api: Api, direct: Arranged) -> None:
    direct.rows(ROWS, IDENTITY, 30)
    answer = await api.get(f"{LEDGER}?format=csv&tick=1&limit=2")
    assert len(answer.text.splitlines()) == 11
    head = await api.call("HEAD", f"{LEDGER}?format=csv")
    assert (head.status, head.text) == (200, "")


@pytest_twisted.ensureDeferred
async def test_no_more_is_read_than_the_client_takes(database_uri: str, direct: Arranged) -> None:
    """The first rows, and those that the client is given next: however many there are."""
    direct.rows(ROWS, IDENTITY, 5 * operation.CHUNK)

    class Slow:
        """Takes a piece, and is full."""

        pieces = 0
        channel = None
        flow: Any = None

        def registerProducer(self, flow: Any, streaming: bool) -> None:
            assert streaming
            self.flow = flow

        def write(self, piece: bytes) -> None:
            self.pieces += 1
            self.flow.pauseProducing()

    client: Any = Slow()
    reads: list[int] = []

    class Counted(Database):
        async def read(self, *args: Any, **kwargs: Any) -> Any:
            reads.append(client.pieces)
            return await super().read(*args, **kwargs)

    database = Counted(reactor=reactor, address=DatabaseAddress.parse(database_uri), size=1)
    endpoint: Any = SimpleNamespace(database=database)
    first = await database.read(operation.list_page, wanted=LedgerFilter(), limit=operation.CHUNK)
    streaming = Deferred.fromCoroutine(
        Ledger(endpoint=endpoint)._stream(LedgerFilter(), first, client)
    )
    assert (len(reads), client.pieces) == (1, 1)

    def went_on(before: int) -> bool:
        return bool(streaming.called) or client.pieces > before

    while not streaming.called:
        before = client.pieces
        client.flow.resumeProducing()
        await comes_true(partial(went_on, before))
        assert len(reads) <= client.pieces
    await streaming
    assert (len(reads), client.pieces) == (5, 6)
    database.stopService()


@pytest_twisted.ensureDeferred
async def test_people_read_is_needed(api: Api, direct: Arranged) -> None:
    direct.rows("UPDATE users SET is_limited = true WHERE NOT is_admin")
    for form in ("json", "csv"):
        answer = await api.get(f"{LEDGER}?format={form}", token=api.user_token)
        assert answer.status == 403
        assert "people.read" in answer.json["detail"]


@pytest.mark.parametrize(
    ("kind", "outcome", "stage", "reason", "told"),
    [
        ("next", "sent", "post", "", None),
        ("move", "moved", "trigger", "from 1 to 2", "moved"),
        ("next", "skipped", "trigger", "it was paused when the tick came", "paused"),
        ("next", "skipped", "trigger", "it is older than max_age", "too-old"),
        (
            "resend",
            "skipped",
            "trigger",
            "a resend is already owed to the subscription",
            "already-owed",
        ),
        ("next", "skipped", "trigger", "the subscription is completed", "completed"),
        ("next", "skipped", "trigger", "the subscription is not active", "inactive"),
        ("next", "skipped", "trigger", "the subscription is in error", "in-error"),
        ("next", "skipped", "trigger", "the subscription was deleted", "deleted"),
        ("next", "failed", "content", "pregnancy has no message in zul_ZA", "no-language"),
        (
            *("next", "skipped", "content"),
            "message 2 of pregnancy is missing in zul_ZA: the subscription waits for it",
            "no-translation",
        ),
        ("next", "skipped", "content", "pregnancy has no further message in eng: x", "at-end"),
        ("next", "failed", "content", "message 3 of pregnancy has no text", "content"),
        ("next", "failed", "address", "the identity has no address", "no-address"),
        ("next", "refused", "post", "the Message Sender answered 400", "refused"),
        ("next", "failed", "post", "it timed out", "failed"),
        ("next", "skipped", "trigger", "the subscription was removed as a duplicate", "other"),
    ],
)
def test_each_reason_is_of_a_kind(
    direct: Arranged, kind: str, outcome: str, stage: str, reason: str, told: str | None
) -> None:
    found = direct.value("SELECT reason_kind(%s, %s, %s, %s)", kind, outcome, stage, reason)
    assert found == told
    assert told is None or told in REASON_KINDS
    assert outcome in OUTCOMES

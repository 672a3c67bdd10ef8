"""Intake: counts, the list of requests, and one of them with its personal data masked."""

from __future__ import annotations

import json

import pytest
from pytest_twisted import ensureDeferred

from tests.console.conftest import Served
from tests.console.content import THANDI, THANDIS_SUBSCRIPTION
from tests.console.reader import Reader

PLACE = "/console/intake/"


def received(
    site: Served,
    outcome: str,
    reason: str = "",
    *,
    age: str = "1 minute",
    subscription: object = None,
    payload: object = None,
    key: str | None = None,
) -> int:
    """A request of the hub for Thandi."""
    return int(
        site.direct.value(
            "INSERT INTO intake (received_at, outcome, reason, fields, caller, action, request_id,"
            " idempotency_key, identity, subscription_id, payload) VALUES (now() - %s::interval,"
            " %s, %s, %s, 'hub', 'POST /api/v1/subscriptions/request', 'r1', %s, %s, %s, %s)"
            " RETURNING id",
            *(age, outcome, reason, ["lang"] if reason else [], key, str(THANDI), subscription),
            None if payload is None else json.dumps(payload),
        )
    )


@ensureDeferred
async def test_without_requests_it_says_what_to_look_at(reader: Reader) -> None:
    page = await reader.get(PLACE)
    assert (page.status, page.heading) == (200, "Intake")
    assert page.says("look whether the hub calls us")
    assert page.says("No request matches.")


@ensureDeferred
async def test_it_counts_by_day_and_by_reason(site: Served) -> None:
    received(site, "created", subscription=THANDIS_SUBSCRIPTION)
    received(site, "twin", subscription=THANDIS_SUBSCRIPTION)
    for _ in range(2):
        received(site, "refused", "invalid", age="1 day")
    received(site, "refused", "invalid", age="20 days")
    page = await site.reader("people.read").get(PLACE)
    days = page.rows(0)[1:]
    assert len(days) in (15, 16)  # the last 14 days, and where they begin
    assert [sum(int(row[number]) for row in days) for number in (1, 2, 3)] == [1, 1, 2]
    reasons = [row[:5] for row in page.rows(1)[1:]]
    assert ["refused", "invalid", "lang", "hub", "2"] in reasons
    assert ["made a subscription", "–", "–", "hub", "1"] in reasons
    assert len(page.rows(2)) == 5
    assert str(THANDI) not in page.text


@ensureDeferred
async def test_a_count_leads_to_its_requests(site: Served, reader: Reader) -> None:
    received(site, "created", subscription=THANDIS_SUBSCRIPTION)
    entry = received(site, "refused", "invalid")
    page = await reader.get(PLACE)
    found = await reader.get(page.main.one("a", text="refused")["href"])
    assert [row[0] for row in found.rows(2)[1:]] == [str(entry)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("outcome=refused", 1),
        ("reason=invalid", 1),
        (f"identity={THANDI}", 2),
        ("caller=hub&outcome=refused", 1),
        ("request_id=r1", 1),
        ("from=2001-01-01&to=2001-01-02", 0),
    ],
)
@ensureDeferred
async def test_it_is_filtered(site: Served, reader: Reader, query: str, found: int) -> None:
    received(site, "created", subscription=THANDIS_SUBSCRIPTION)
    received(site, "refused", "invalid")
    page = await reader.get(f"{PLACE}?{query}")
    tables = page.main.all("table", aria_labelledby="requests")
    assert (len(tables[0].all("tr")) - 1 if tables else 0) == found


@pytest.mark.parametrize(
    "query",
    [
        "outcome=x",
        "from=x",
        "from=2001-01-01&to=2026-01-01",
        "caller=hub",
        "reason=%00",
        "after=-1",
    ],
)
@ensureDeferred
async def test_a_filter_that_makes_no_sense_is_refused(reader: Reader, query: str) -> None:
    page = await reader.get(f"{PLACE}?{query}")
    assert page.status == 400
    assert page.main.one("ul", id="errors").text
    assert page.links()["Show all"] == PLACE


@ensureDeferred
async def test_what_is_wrong_with_a_filter_is_told_beside_it(site: Served, reader: Reader) -> None:
    entry = received(site, "refused", "invalid")
    page = await reader.get(f"{PLACE}?caller=hub")
    field = page.main.one("input", id="caller")
    assert (field["value"], field["aria-invalid"], field["aria-describedby"]) == (
        *("hub", "true", "errors"),
    )
    assert page.says("Add another filter to the caller: an outcome, a reason or a person.")
    found = await reader.submit(page, "Filter", outcome="refused")
    assert (found.status, found.rows(2)[1][0]) == (200, str(entry))


@ensureDeferred
async def test_it_is_paged(site: Served, reader: Reader) -> None:
    for _ in range(60):
        received(site, "refused", "invalid")
    first = await reader.get(f"{PLACE}?outcome=refused")
    second = await reader.get(first.links()["Further"])
    ids = [row[0] for page in (first, second) for row in page.rows(2)[1:]]
    assert len(ids) == len(set(ids)) == 60
    assert (await reader.get(second.links()["Back"])).rows(2) == first.rows(2)


@ensureDeferred
async def test_one_request_says_what_became_of_it_and_masks_the_person(site: Served) -> None:
    payload = {"identity": "a text", "lang": "eng_ZA"}
    entry = received(site, "refused", "invalid", payload=payload, key="k-1")
    helpdesk = site.reader("people.read")
    page = await helpdesk.get(f"{PLACE}{entry}/")
    assert page.says("It was refused: it made nothing.")
    assert page.says("invalid: lang")
    assert page.says("No subscription came of it.")
    assert str(THANDI) not in page.text
    assert "k-1" not in page.text
    assert "eng_ZA" not in page.text
    shown = await helpdesk.submit(page, "Show personal data")
    for text in (str(THANDI), "k-1", '"lang": "eng_ZA"'):
        assert shown.says(text)
    assert site.direct.rows("SELECT actor, details FROM audit") == [
        {"actor": "people.read", "details": {"shown": "intake", "entry": entry}}
    ]


@ensureDeferred
async def test_a_request_that_made_a_subscription_tells_how_it_is_now(
    site: Served, reader: Reader
) -> None:
    entry = received(site, "created", subscription=THANDIS_SUBSCRIPTION)
    page = await reader.get(f"{PLACE}{entry}/")
    assert page.says(
        "A subscription to “pregnancy.text” in eng_ZA. Its next message is number 2. It is active."
    )
    site.direct.rows("DELETE FROM subscriptions WHERE id = %s", THANDIS_SUBSCRIPTION)
    assert (await reader.get(f"{PLACE}{entry}/")).says("Its subscription was deleted since.")
    assert (await reader.get(f"{PLACE}99/")).status == 404


@pytest.mark.parametrize("path", ["", "1/"])
@ensureDeferred
async def test_it_needs_the_permission_to_read_people(site: Served, path: str) -> None:
    received(site, "refused", "invalid")
    reader = site.reader("operate")
    assert (await reader.get(PLACE + path)).status == 403
    await reader.get("/console/operations/")
    assert (await reader.post(PLACE + path)).status in (403, 405)
    assert site.direct.value("SELECT count(*) FROM audit") == 0

"""The stand-in of the Identity Store."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from sbm.sandbox.stand_ins.identity_store import PAGE_SIZE, IdentityStore, IdentityStoreApp
from tests.sandbox.wire import Wire

THANDI = "bbe7936a-9a5f-4c7e-8a61-6b1ad4d5c0f1"
ADDRESSES = "/identities/{}/addresses/msisdn?default=True&use_communicate_through=True"


@pytest.fixture
def store() -> IdentityStore:
    return IdentityStore(new_id=lambda: UUID(THANDI))


@pytest.fixture
def wire(store: IdentityStore) -> Wire:
    return Wire(IdentityStoreApp(store=store).resource())


def test_the_address_of_an_identity_is_its_number(store: IdentityStore, wire: Wire) -> None:
    store.add("+27820001001", THANDI)
    assert wire.get(ADDRESSES.format(THANDI)).raw == (
        b'{"count":1,"next":null,"previous":null,"results":[{"address":"+27820001001"}]}'
    )


def test_an_identity_may_be_spelt_in_capitals(store: IdentityStore, wire: Wire) -> None:
    store.add("+27820001001", THANDI)
    assert wire.get(ADDRESSES.format(THANDI.upper())).body["count"] == 1


def test_an_identity_without_a_number_has_no_results(store: IdentityStore, wire: Wire) -> None:
    store.add(None, THANDI)
    answer = wire.get(ADDRESSES.format(THANDI))
    assert (answer.status, answer.body["results"]) == (200, [])


@pytest.mark.parametrize("identity", [THANDI, "nobody"])
def test_an_unknown_identity_has_no_addresses_but_a_server_error(wire: Wire, identity: str) -> None:
    answer = wire.ask("GET", ADDRESSES.format(identity), parse=False)
    assert (answer.status, answer.raw) == (500, b"<h1>Server Error (500)</h1>")


@pytest.mark.parametrize("identity", [THANDI, "nobody"])
def test_an_unknown_identity_is_not_found(wire: Wire, identity: str) -> None:
    answer = wire.get(f"/identities/{identity}/")
    assert (answer.status, answer.raw) == (404, b'{"detail":"Not found."}')


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_person_adds_a_subscriber_with_curl(wire: Wire, slash: str) -> None:
    details = {"addresses": {"msisdn": {"+27820001001": {"default": True}}}}
    created = wire.post("/identities" + slash, {"details": details})
    assert created.status == 201
    assert created.body == wire.get(f"/identities/{THANDI}{slash}").body
    assert created.body["details"]["addresses"] == details["addresses"]


def test_the_default_number_wins_and_the_opted_out_loses(wire: Wire) -> None:
    numbers = {"+1": {"default": True, "optedout": True}, "+2": {}, "+3": {"default": True}}
    wire.post("/identities/", {"details": {"addresses": {"msisdn": numbers}}})
    assert wire.get(ADDRESSES.format(THANDI)).body["results"] == [{"address": "+3"}]


@pytest.mark.parametrize("details", ["x", {"addresses": 1}, {"addresses": {"msisdn": ["+1"]}}])
def test_numbers_in_another_shape_are_refused(wire: Wire, details: object) -> None:
    assert wire.post("/identities/", {"details": details}).status == 400


def test_identities_are_found_by_their_number(store: IdentityStore, wire: Wire) -> None:
    store.add("+27820001001", THANDI)
    store.add("+27820001002", "6fb30d6b-ba06-4964-825e-20f93388b9fe")
    found = wire.get("/identities/search/?details__addresses__msisdn=%2B27820001001").body
    assert (found["count"], found["next"], found["previous"]) == (1, None, None)
    assert [one["id"] for one in found["results"]] == [THANDI]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("details__addresses__msisdn=27820001001", 0),
        ("details__addresses__email=a@example.org", 0),
        ("details__addresses__msisdn=%2B27820001001&include_inactive=False", 1),
        ("include_inactive=False", 1),
        ("", 1),
    ],
)
def test_a_search_takes_addresses_to_the_letter(
    store: IdentityStore, wire: Wire, query: str, count: int
) -> None:
    store.add("+27820001001", THANDI)
    assert wire.get(f"/identities/search/?{query}").body["count"] == count


def test_each_parameter_of_a_search_is_a_filter(wire: Wire) -> None:
    answer = wire.ask("GET", "/identities/search/?limit=1", parse=False)
    assert answer.status == 500


def test_a_search_has_one_page_that_can_be_read() -> None:
    store = IdentityStore()
    for _ in range(PAGE_SIZE + 1):
        store.add("+1")
    shared = Wire(IdentityStoreApp(store=store).resource())
    found = shared.get("/identities/search/?details__addresses__msisdn=%2B1").body
    assert (found["count"], len(found["results"])) == (PAGE_SIZE + 1, PAGE_SIZE)
    _, _, further = found["next"].partition("/identities/")
    assert shared.ask("GET", f"/identities/{further}", parse=False).status == 500


def test_identities_are_known_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "identities.jsonl"
    before = IdentityStore(path=path)
    identity = before.add("+1")
    before.add("+2", identity)
    before.close()
    after = IdentityStore(path=path)
    assert (len(after), after.msisdn(identity)) == (1, "+2")
    after.close()

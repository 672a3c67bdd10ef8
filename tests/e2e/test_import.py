"""A daemon that is started on what was taken over from the old service."""

from __future__ import annotations

from uuid import uuid4

from pytest_twisted import ensureDeferred

from sbm.model.signature import Signature
from sbm.operations.django_import.transfer import transfer
from sbm.operations.progress import no_progress
from tests.e2e.end_to_end import World
from tests.operations.django_import.old import (
    ADMIN_TOKEN,
    CLIENT_TOKEN,
    IDENTITY,
    MOTHER,
    PASSWORD,
    Old,
    subscribe,
)
from tests.operations.django_import.old import empty_old as empty_old
from tests.operations.django_import.old import old as old


@ensureDeferred
async def test_clients_and_subscribers_go_on_where_the_old_service_stopped(
    seed: World, old: Old
) -> None:
    odd, person = uuid4(), str(uuid4())
    subscribe(old.direct, odd, identity=person, metadata="[1]", process_status=5)
    transfer(
        *(old.uri, seed.database_uri),
        progress=no_progress,
        conclude=lambda taken: bool(list(taken.notes)),
        signature=Signature(actor="tester"),
    )
    seed.identities.add("+27820001001", IDENTITY)
    seed.identities.add("+27820009999", person)
    seed.start(SBM_SCHEDULING="schedule")

    status, page = await seed.call("GET", "/api/v1/subscriptions/", token=CLIENT_TOKEN)
    assert (status, page["count"]) == (200, 2)
    shown = {one["id"]: one for one in page["results"]}
    assert shown[str(MOTHER)]["created_at"] == "2018-03-24T23:30:00.123456Z"
    assert (shown[str(odd)]["metadata"], shown[str(odd)]["process_status"]) == ([1], 0)
    direct = "/api/v1/behind-subscriptions/"
    assert (await seed.call("GET", direct, token=CLIENT_TOKEN))[0] == 200
    made = await seed.call(
        "POST", "/api/v1/user/token/", {"email": "hub@example.org"}, token=ADMIN_TOKEN
    )
    assert made[0] == 201
    status, answer = await seed.call(
        "POST", "/api/token-auth/", {"username": "root", "password": PASSWORD}
    )
    assert status == 200
    fields = {"short_name": "new", "default_schedule": 1}
    status, new = await seed.call("POST", "/api/v1/messageset/", fields, token=answer["token"])
    assert (status, new["id"]) == (201, 7)

    await seed.tick(1)
    assert seed.received() == {IDENTITY: ["two"], person: ["two"]}
    assert seed.direct.subscription(MOTHER)["next_sequence_number"] == 3
    assert seed.direct.unbalanced_ticks() == []

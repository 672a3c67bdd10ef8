"""The Scheduler is brought in line with what it should hold."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.clients.http_connection import MAX_BODY_BYTES
from sbm.clients.outcomes import Unavailable
from sbm.model.scheduler_call import Scheduling
from sbm.operations.scheduler_sync import Comparison
from tests.pipeline.scheduler.test_outbox import Outbox, answering, payload
from tests.pipeline.scheduler.test_outbox import here as here


def comparing(here: Outbox, mode: Scheduling = "subscription") -> Comparison:
    doing: Any = here.doing(mode)
    return Comparison(
        database=here.database(mode),
        scheduler=doing._scheduler,
        mode=mode,
        public_url="http://sbm",
        auth_token="inbound",
    )


async def differences(here: Outbox, mode: Scheduling = "subscription", **how: Any) -> list[Any]:
    return [(one.action, one.about) async for one in comparing(here, mode).bring_in_line(**how)]


async def bring_in_line(here: Outbox, mode: Scheduling = "subscription") -> list[Any]:
    found = await differences(here, mode)
    await here.do_all(here.doing(mode))
    here.door.asked.clear()
    assert await differences(here, mode) == []
    assert here.scheduler_calls() == []
    assert here.door.changes == []
    assert here.direct.value("SELECT count(*) FROM scheduler_listing") == 0
    return found


@ensureDeferred
async def test_what_is_missing_is_made_and_what_is_surplus_is_disabled(here: Outbox) -> None:
    missing, there, done, wrong, asleep = (here.subscribe() for _ in range(5))
    model = here.door.model
    kept = model.create(**payload(there))
    model.create(**payload(there))  # younger
    model.create(**payload(done))
    model.create(**payload(wrong) | {"cron_definition": "* * * * *"})
    model.create(**payload(asleep), enabled=False)
    nobody = model.create(**payload(uuid4()))
    foreign = model.create(endpoint="http://other/api/v1/schedule/1/send/", auth_token="x")
    here.direct.rows(
        "UPDATE subscriptions SET completed = true, active = false WHERE id = %s", done
    )
    await here.announce("subscription")
    shown = await differences(here, is_dry=True)
    assert here.scheduler_calls() == []
    found = await bring_in_line(here)
    assert sorted(shown) == sorted(found)
    assert sorted(action for action, _ in found) == [
        "create", "disable", "disable", "disable", "enable", "recreate",
    ]  # fmt: skip
    enabled = {one.endpoint: one for one in model.enabled()}
    assert set(enabled) == {payload(one)["endpoint"] for one in (missing, there, wrong, asleep)} | {
        foreign.endpoint
    }
    assert enabled[payload(there)["endpoint"]].id == kept.id
    assert enabled[payload(wrong)["endpoint"]].cron_definition == "30 8 * * *"
    assert not model.get(nobody.id).enabled


@pytest.mark.parametrize("field", ["endpoint", "auth_token"])
@ensureDeferred
async def test_what_calls_with_an_old_token_or_path_is_corrected(here: Outbox, field: str) -> None:
    subscription = here.subscribe()
    old = {"endpoint": payload(subscription)["endpoint"] + "/", "auth_token": "old"}
    entry = here.door.model.create(**payload(subscription) | {field: old[field]})
    await here.announce("subscription")
    assert await bring_in_line(here) == [("update", f"subscription {subscription}")]
    assert getattr(here.door.model.get(entry.id), field) == payload(subscription)[field]


@ensureDeferred
async def test_what_is_remembered_is_ours_wherever_it_calls(here: Outbox) -> None:
    await here.announce("subscription")
    subscription = here.subscribe()
    await here.do_all(here.doing())
    (entry,) = here.door.model.enabled()
    here.door.model.change(entry.id, endpoint="http://old-host/api/v1/subscriptions/x/send")
    assert await bring_in_line(here) == [("update", f"subscription {subscription}")]
    (corrected,) = here.door.model.enabled()
    assert (corrected.id, corrected.endpoint) == (entry.id, payload(subscription)["endpoint"])


@ensureDeferred
async def test_a_system_is_moved_from_one_way_to_another_and_back(here: Outbox) -> None:
    ids = [here.subscribe() for _ in range(3)]
    endpoints = {payload(one)["endpoint"] for one in ids}
    whole = {f"http://sbm/api/v1/schedule/{here.schedule}/send/"}
    expected: list[tuple[Scheduling, set[str]]] = [
        ("subscription", endpoints),
        ("schedule", whole),
        ("builtin", set()),
        ("schedule", whole),
        ("subscription", endpoints),
    ]
    for mode, enabled in expected:
        await here.announce(mode)
        await bring_in_line(here, mode)
        assert {one.endpoint for one in here.door.model.enabled()} == enabled
    assert len(here.door.model) == 4


@ensureDeferred
async def test_what_is_told_while_the_list_is_read_is_left_alone(here: Outbox) -> None:
    await here.announce("subscription")
    early = here.subscribe()
    await here.do_all(here.doing())
    found = []

    def subscribe(_request: Any, _body: Any) -> bool:
        found.append(here.subscribe())
        here.direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", early)
        return False

    here.door.troubles.append(subscribe)
    assert await differences(here) == []
    assert len(here.scheduler_calls()) == 2


@pytest.mark.parametrize("mode", ["subscription", "schedule"])
@ensureDeferred
async def test_what_was_told_by_a_clock_that_was_ahead_is_looked_at_all_the_same(
    here: Outbox, mode: Scheduling
) -> None:
    await here.announce(mode)
    here.subscribe()
    here.direct.rows("SELECT owe_scheduler_call('schedule', %s)", str(here.schedule))
    doing = here.doing(mode)
    await here.do_all(doing)
    here.direct.rows("UPDATE scheduler_schedules SET told_at = now() + interval '1 day'")
    here.direct.rows("UPDATE scheduler_crons SET known_at = now() + interval '1 day'")
    (entry,) = here.door.model.enabled()
    here.door.model.delete(entry.id)
    ((action, _),) = await differences(here, mode)
    assert action == "create"
    assert here.direct.value("SELECT count(known_at) FROM scheduler_crons") == 0
    assert here.direct.rows("SELECT * FROM scheduler_schedules") == []
    await here.do_all(doing)
    assert len(here.door.model.enabled()) == 1


@ensureDeferred
async def test_what_is_known_already_is_not_written_again(here: Outbox) -> None:
    here.door.model.create(**payload(here.subscribe()))
    await here.announce("subscription")
    await bring_in_line(here)
    row = "SELECT xmin::text, * FROM scheduler_schedules"
    before = here.direct.rows(row)
    assert await differences(here) == []
    assert here.direct.rows(row) == before != []


@ensureDeferred
async def test_a_list_too_long_to_be_read_is_the_fault_of_the_scheduler(here: Outbox) -> None:
    here.door.model.create(endpoint="http://sbm/", auth_token="x" * MAX_BODY_BYTES)
    with pytest.raises(Unavailable, match="more than"):
        await differences(here)


@ensureDeferred
async def test_a_list_that_breaks_off_changes_nothing(here: Outbox) -> None:
    for _ in range(3):
        here.door.model.create(endpoint="http://sbm/api/v1/schedule/77/send/", auth_token="x")
    here.door.troubles += [lambda *_: False, answering(500)]
    with pytest.raises(Unavailable):
        await differences(here)
    assert here.scheduler_calls() == []
    assert here.direct.value("SELECT count(*) FROM scheduler_listing") == 0


def changed_by_patch(here: Outbox, subscription: Any) -> Any:
    """A schedule of an earlier release, of which nothing is remembered that was not then."""
    entry = here.door.model.create(**payload(subscription) | {"cron_definition": "0 0 1 1 *"})
    return here.door.model.change(entry.id, cron_definition="30 8 * * *")


@pytest.mark.parametrize("is_remembered", [True, False])
@ensureDeferred
async def test_what_was_ever_patched_is_made_anew_once(here: Outbox, is_remembered: bool) -> None:
    subscription = here.subscribe()
    patched = changed_by_patch(here, subscription)
    if is_remembered:
        here.direct.rows(
            "INSERT INTO scheduler_schedules (kind, target, remote_id, cron_definition, enabled,"
            " told_at) VALUES ('subscription', %s, %s, '30 8 * * *', true, now() - interval '1 d')",
            str(subscription),
            patched.id,
        )
    await here.announce("subscription")
    assert await differences(here, is_dry=True) == [("recreate", f"subscription {subscription}")]
    assert await bring_in_line(here) == [("recreate", f"subscription {subscription}")]
    (entry,) = here.door.model.enabled()
    assert (entry.id != patched.id, entry.fires_at) == (True, "30 8 * * *")
    assert here.remote_id(subscription) == entry.id


@ensureDeferred
async def test_what_was_only_ever_disabled_and_enabled_is_made_anew_once(here: Outbox) -> None:
    """It cannot be told from one whose cron was changed."""
    subscription = here.subscribe()
    entry = here.door.model.create(**payload(subscription))
    for enabled in (False, True):
        here.door.model.change(entry.id, enabled=enabled)
    await here.announce("subscription")
    assert await bring_in_line(here) == [("recreate", f"subscription {subscription}")]


@ensureDeferred
async def test_what_was_never_changed_is_trusted_from_then_on(here: Outbox) -> None:
    subscription = here.subscribe()
    entry = here.door.model.create(**payload(subscription))
    await here.announce("subscription")
    assert await bring_in_line(here) == []
    here.door.model.change(entry.id, enabled=False)
    assert await bring_in_line(here) == [("enable", f"subscription {subscription}")]
    assert [one.id for one in here.door.model.enabled()] == [entry.id]


@ensureDeferred
async def test_what_we_have_made_is_trusted_however_often_it_was_enabled(here: Outbox) -> None:
    await here.announce("subscription")
    here.subscribe()
    doing = here.doing()
    for active in (True, False, True):
        here.direct.rows("UPDATE subscriptions SET active = %s", active)
        await here.do_all(doing)
    assert await bring_in_line(here) == []
    assert len(here.door.model) == 1


@ensureDeferred
async def test_what_somebody_has_patched_since_we_made_it_is_made_anew(here: Outbox) -> None:
    await here.announce("subscription")
    subscription = here.subscribe()
    await here.do_all(here.doing())
    (entry,) = here.door.model.enabled()
    here.door.model.change(entry.id, cron_definition="1 1 1 1 1")
    assert await bring_in_line(here) == [("recreate", f"subscription {subscription}")]
    (made,) = here.door.model.enabled()
    assert (made.id != entry.id, made.fires_at) == (True, "30 8 * * *")


@pytest.mark.parametrize("cron", ["30 8 * * 7", "5/20 8 * * *", "30 8 31 4 *"])
@ensureDeferred
async def test_a_cron_that_never_fires_there_is_made_anew(here: Outbox, cron: str) -> None:
    subscription = here.subscribe()
    here.door.model.create(**payload(subscription) | {"cron_definition": cron})
    await here.announce("subscription")
    assert await bring_in_line(here) == [("recreate", f"subscription {subscription}")]
    assert [one.fires_at for one in here.door.model.enabled()] == ["30 8 * * *"]


@ensureDeferred
async def test_the_schedules_of_whole_schedules_are_made_anew_as_well(here: Outbox) -> None:
    endpoint = f"http://sbm/api/v1/schedule/{here.schedule}/send/"
    entry = here.door.model.create(
        endpoint=endpoint, auth_token="inbound", cron_definition="0 0 1 1 *"
    )
    here.door.model.change(entry.id, cron_definition="30 8 * * *")
    await here.announce("schedule")
    assert await bring_in_line(here, "schedule") == [("recreate", f"schedule {here.schedule}")]
    assert [one.fires_at for one in here.door.model.enabled()] == ["30 8 * * *"]


@ensureDeferred
async def test_one_without_the_time_of_its_last_change_is_made_anew_once(here: Outbox) -> None:
    subscription = here.subscribe()
    here.door.model.create(**payload(subscription))
    await here.announce("subscription")

    def without(request: Any, _body: Any) -> bool:
        page = {"next": None, "results": [one.fields() for one in here.door.model.entries()]}
        for row in page["results"]:  # type: ignore[union-attr]
            del row["updated_at"]
        request.write(json.dumps(page).encode())
        request.finish()
        return True

    here.door.troubles.append(without)
    assert await bring_in_line(here) == [("recreate", f"subscription {subscription}")]

"""Resends, requeues and tasks, by a whole daemon."""

from __future__ import annotations

from pytest_twisted import ensureDeferred

from tests.e2e.end_to_end import World


@ensureDeferred
async def test_a_completed_subscription_gets_its_last_message_once_more(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, messages=1)
    (mother,) = seed.subscribe(1, messageset, schedule)
    seed.start()
    await seed.tick(schedule)
    before = seed.direct.subscription(mother)
    assert before["completed"]
    status, answer = await seed.call("POST", f"/api/v1/subscriptions/{mother}/resend")
    assert (status, answer) == (202, {"accepted": True})
    await seed.settled()
    outbounds = {outbound.id: outbound.said for outbound in seed.sender.outbounds()}
    assert [said.content for said in outbounds.values()] == ["pregnancy 1 eng_ZA"] * 2
    assert sorted(said.resend for said in outbounds.values()) == [False, True]
    resent = outbounds[seed.direct.value("SELECT outbound_id FROM resend_requests")]
    assert resent.resend
    assert seed.direct.subscription(mother) == before
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_estimates_and_those_behind_are_there_soon_after_they_are_asked_for(
    seed: World,
) -> None:
    schedule = seed.direct.schedule(minute="0", hour="8")
    messageset = seed.direct.messageset("pregnancy", schedule)
    (mother,) = seed.subscribe(1, messageset, schedule)
    seed.direct.rows("UPDATE subscriptions SET created_at = now() - interval '30 days'")
    seed.start()
    token = await seed.token()
    for path in ("runsendestimate", "behind-subscriptions/find_behind_subscriptions/"):
        status, _ = await seed.call("POST", f"/api/v1/{path}", token=token)
        assert status == 202
    await seed.until(
        lambda: seed.direct.value("SELECT count(*) FROM tasks WHERE state = 'done'") == 2
    )
    _, estimates = await seed.call("GET", "/api/v1/send-estimates/", token=token)
    assert [one["estimate_subscriptions"] for one in estimates["results"]] == [1] * 7
    _, behind = await seed.call("GET", "/api/v1/behind-subscriptions/", token=token)
    (one,) = behind["results"]
    assert (one["subscription_id"], one["messages_behind"]) == (str(mother), 3)


@ensureDeferred
async def test_a_hub_that_repeats_itself_subscribes_once_within_the_window(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.start(SBM_DUPLICATE_WINDOW="600")
    wanted = {"messageset": messageset, "schedule": schedule, "lang": "eng_ZA"}
    body = {"data": wanted | {"identity": "6fb30d6b-ba06-4964-825e-20f93388b9fe"}}
    answers = [await seed.call("POST", "/api/v1/subscriptions/request", body) for _ in range(2)]
    assert [(status, answer["accepted"]) for status, answer in answers] == [
        (201, True),
        (200, False),
    ]
    assert seed.direct.value("SELECT count(*) FROM subscriptions") == 1

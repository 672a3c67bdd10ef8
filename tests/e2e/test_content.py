"""The last message, the end of the content, and content that cannot be sent, with a daemon."""

from __future__ import annotations

from typing import Any

from pytest_twisted import ensureDeferred

from tests.e2e.end_to_end import World


@ensureDeferred
async def test_a_resend_of_a_set_with_gaps_repeats_what_was_sent_last(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, messages=[1, 5])
    (mother,) = seed.subscribe(1, messageset, schedule)
    seed.start()
    resend = ("POST", f"/api/v1/subscriptions/{mother}/resend")
    for _ in range(2):
        await seed.tick(schedule)
        assert await seed.call(*resend, token=await seed.token()) == (202, {"accepted": True})
        await seed.settled()
    (texts,) = seed.received().values()
    assert [text.split()[1] for text in texts] == ["1", "1", "5", "5"]
    seed.direct.rows("DELETE FROM messages WHERE sequence_number = 5")
    assert await seed.call(*resend, token=await seed.token()) == (202, {"accepted": True})
    await seed.settled()
    assert len(seed.sender.outbounds()) == 4
    (task,) = seed.direct.rows("SELECT kind, reason FROM failed_tasks")
    assert (task["kind"], "no longer exists" in task["reason"]) == ("resend", True)
    assert seed.direct.unbalanced_ticks() == []


async def after_the_last_was_deleted(seed: World, **settings: str) -> dict[str, Any]:
    """A subscription before a message that is deleted by the API, after another tick."""
    schedule = seed.direct.schedule()
    baby = seed.direct.messageset("baby", schedule)
    pregnancy = seed.direct.messageset("pregnancy", schedule, messages=2, next_set=baby)
    (mother,) = seed.subscribe(1, pregnancy, schedule)
    seed.start(**settings)
    await seed.tick(schedule)
    last = seed.direct.value(
        "SELECT id FROM messages WHERE messageset_id = %s AND sequence_number = 2", pregnancy
    )
    token = await seed.token()
    assert (await seed.call("DELETE", f"/api/v1/message/{last}/", token=token))[0] == 204
    await seed.tick(schedule)
    assert seed.direct.rows("SELECT * FROM failed_tasks") == []
    assert seed.direct.ledger()[-1]["outcome"] == "skipped"
    assert seed.direct.unbalanced_ticks() == []
    return seed.direct.subscription(mother)


@ensureDeferred
async def test_whoever_stood_before_a_deleted_message_is_not_completed_within_the_hour(
    seed: World,
) -> None:
    assert not (await after_the_last_was_deleted(seed))["completed"]


@ensureDeferred
async def test_how_long_content_has_to_be_at_rest_is_set_for_the_daemon(seed: World) -> None:
    done = await after_the_last_was_deleted(seed, SBM_CONTENT_SETTLE_SECONDS="0")
    assert done["completed"]
    (baby,) = seed.direct.rows("SELECT * FROM subscriptions WHERE chained_from = %s", done["id"])
    await seed.tick(baby["schedule_id"])
    (texts,) = seed.received().values()
    assert texts == ["pregnancy 1 eng_ZA", "baby 1 eng_ZA"]


@ensureDeferred
async def test_what_cannot_be_sent_is_not_posted_however_it_came(seed: World) -> None:
    schedule = seed.direct.schedule()
    texts = seed.direct.messageset("texts", schedule)
    chat = seed.direct.messageset("chat", schedule, channel="whatsapp")
    short = seed.direct.messageset("short", schedule, messages=0)
    seed.direct.message(short, 1, "eng_ZA", "x" * 31)
    odd: list[Any] = [False, {}, "  ", "“Hi”", "y" * 14]
    for prepend in odd:
        seed.subscribe(1, texts, schedule, metadata={"prepend_next_delivery": prepend})
    seed.subscribe(1, chat, schedule, metadata={"prepend_next_delivery": "Hi"})
    seed.subscribe(1, short, schedule)
    seed.subscribe(1, texts, schedule, metadata={"prepend_next_delivery": "y" * 13})
    seed.start(SBM_MAX_TEXT_LENGTH="28")
    await seed.tick(schedule)
    (texts_received,) = seed.received().values()
    assert texts_received == [f"{'y' * 13}\ntexts 1 eng_ZA"]
    stages = seed.direct.rows("SELECT stage, count(*) FROM failed_tasks GROUP BY stage")
    assert stages == [{"stage": "content", "count": 7}]
    token = await seed.token()
    message = {"messageset": texts, "sequence_number": 9, "lang": "eng", "text_content": "x" * 29}
    status, told = await seed.call("POST", "/api/v1/message/", message, token=token)
    assert (status, list(told)) == (400, ["text_content"])

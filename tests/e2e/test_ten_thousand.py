"""The main job at the size of a district: too long for every run."""

from __future__ import annotations

from collections import Counter

import pytest
from pytest_twisted import ensureDeferred

from tests.e2e.end_to_end import World

MOTHERS = 10_000


@pytest.mark.long
@ensureDeferred
async def test_ten_thousand_get_each_message_once_in_order(seed: World) -> None:
    schedule, weekly = seed.direct.schedule(), seed.direct.schedule()
    baby = seed.direct.messageset("baby", weekly)
    pregnancy = seed.direct.messageset("pregnancy", schedule, next_set=baby, messages=2)
    mothers = seed.subscribe(MOTHERS, pregnancy, schedule)
    seed.start()
    seed.start()
    for _ in range(2):
        await seed.tick(schedule)
    counted = Counter(tuple(texts) for texts in seed.received().values())
    assert counted == {("pregnancy 1 eng_ZA", "pregnancy 2 eng_ZA"): MOTHERS}
    chained = seed.direct.rows("SELECT * FROM subscriptions WHERE messageset_id = %s", baby)
    assert {row["chained_from"] for row in chained} == set(mothers)
    assert len(chained) == MOTHERS
    assert seed.direct.unbalanced_ticks() == []


@pytest.mark.long
@ensureDeferred
async def test_ten_thousand_post_backs_of_one_subscription_each(seed: World) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(MOTHERS, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start()
    for start in range(0, MOTHERS, 20):
        answers = await seed.together(
            seed.call("POST", f"/api/v1/subscriptions/{mother}/send")
            for mother in mothers[start : start + 20]
        )
        assert {status for status, _ in answers} == {201}
    await seed.settled()
    counted = Counter(tuple(texts) for texts in seed.received().values())
    assert counted == {("pregnancy 1 eng_ZA",): MOTHERS}
    assert seed.direct.unbalanced_ticks() == []

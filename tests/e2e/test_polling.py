"""Wake-ups are a convenience: without a single one, everything is done all the same."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, fields
from pytest_twisted import ensureDeferred

from sbm.runtime.wakeups import Wakeup, Wakeups
from tests.e2e.end_to_end import World


@define(eq=False, slots=False, kw_only=True)
class NeverWakes(Wakeup):
    """Wakes nobody when there is new work."""

    def wake(self) -> None:
        """Not even what the database says is heard."""


@ensureDeferred
async def test_a_daemon_that_is_never_woken_finds_all_work_by_polling(
    seed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(reactor: Any) -> Wakeups:
        return Wakeups(**{kind.name: NeverWakes(reactor=reactor) for kind in fields(Wakeups)})

    monkeypatch.setattr(Wakeups, "of", deaf)
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    one, *_ = seed.subscribe(3, messageset, schedule)
    seed.start()
    token = await seed.token()
    assert (await seed.call("POST", "/api/v1/runsendestimate", token=token))[0] == 202
    assert (await seed.call("POST", f"/api/v1/subscriptions/{one}/send"))[0] == 201
    await seed.settled()
    await seed.tick(schedule)
    await seed.until(lambda: seed.direct.value("SELECT state FROM tasks") == "done")
    assert sorted(len(texts) for texts in seed.received().values()) == [1, 1, 2]

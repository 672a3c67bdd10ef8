"""What every resource does, whatever is declared of it."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from sbm.model.content import Schedule
from sbm.model.user import User
from sbm.operations.drafts import Changes
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.http.bodies import Body, parse
from sbm.web.http.http_errors import Malformed, Refusal
from sbm.web.resources import schedules
from tests.web.conftest import Api

ROWS = ("schedule", "messageset", "message", "subscriptions")
NO_ROW = {"subscriptions": "6fb30d6b-ba06-4964-825e-20f93388b9fe"}

SCHEDULE = Schedule(
    id=1, minute="0", hour="*", day_of_week="*", day_of_month="*", month_of_year="*"
)


@define
class Recorded:
    """A request and an operation that record what is done, and in which order."""

    text: bytes
    done: list[str] = field(factory=list)
    method: str = "PUT"
    user: Any = field(factory=lambda: User(id=1, username="bob"))

    def body(self) -> Body:
        self.done.append("parse")
        return parse(self.text, "application/json")

    async def change(self, _transaction: None, changes: Changes, *, schedule_id: int) -> Schedule:
        self.done.append(f"lock {schedule_id}")
        draft = changes({"minute": "0"})
        draft.found().check()
        return evolve(SCHEDULE, **draft.values)


def changed(recorded: Recorded) -> Any:
    class Changing(Collection):
        app = collection_app()
        resource = evolve(schedules.RESOURCE, change=recorded.change)

    nothing: Any = None
    request: Any = recorded
    answered: list[Any] = []
    reply = Deferred.fromCoroutine(Changing(endpoint=nothing).change("1", nothing, request))
    reply.addCallbacks(answered.append, lambda failure: answered.append(failure.value))
    (answer,) = answered
    return answer


def test_a_body_is_parsed_before_the_row_is_locked() -> None:
    recorded = Recorded(b'{"hour": "8"}')
    assert changed(recorded).body["hour"] == "8"
    assert recorded.done == ["parse", "lock 1"]


@pytest.mark.parametrize(("text", "refusal"), [(b"{", Malformed), (b'{"hour": "x"}', Refusal)])
def test_what_is_wrong_with_it_is_told_after_the_row_was_looked_for(
    text: bytes, refusal: type[Refusal]
) -> None:
    recorded = Recorded(text)
    assert isinstance(changed(recorded), refusal)
    assert recorded.done == ["parse", "lock 1"]


@pytest_twisted.ensureDeferred
async def test_a_row_that_does_not_exist_is_told_before_a_body_that_cannot_be_read(
    api: Api,
) -> None:
    for name in ROWS:
        path = f"/api/v1/{name}/{NO_ROW.get(name, 1)}/"
        for method in ("PUT", "PATCH"):
            for body in ("{", "[]", '{"lang": 7}'):
                answer = await api.call(method, path, body)
                assert (answer.status, answer.json) == (404, {"detail": "Not found."}), path
            answer = await api.call(method, path, "x", Content_Type="text/plain")
            assert answer.status == 404, path

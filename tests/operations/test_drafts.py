from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.operations.drafts import Draft, Problems, Referenced
from sbm.operations.refusals import WrongValues

TRANSACTION: Any = None


async def _hold(transaction: Any, *, row_id: int) -> bool:
    return row_id < 10


def referring(**values: Any) -> Draft:
    return Draft(
        values=values,
        problems={"lang": ["wrong"]},
        references=[Referenced(attribute="set_id", hold=_hold, unknown="no such set")],
    )


@ensureDeferred
async def test_a_reference_to_no_row_is_told_beside_what_was_wrong_before() -> None:
    assert (await referring(set_id=7).hold_references(TRANSACTION)).found == {"lang": ["wrong"]}
    assert (await referring().hold_references(TRANSACTION)).found == {"lang": ["wrong"]}
    assert (await referring(set_id=10).hold_references(TRANSACTION)).found == {
        "lang": ["wrong"],
        "set_id": ["no such set"],
    }


@ensureDeferred
async def test_a_transaction_that_is_started_again_tells_nothing_twice() -> None:
    draft = referring(set_id=10)
    for _ in range(2):
        problems = await draft.hold_references(TRANSACTION)
        problems.add("lang", "wrong again")
        assert problems.found["lang"] == ["wrong", "wrong again"]
        assert problems.found["set_id"] == ["no such set"]


def test_problems_are_raised_if_there_are_any() -> None:
    problems = Problems()
    problems.check()
    problems.add("lang", "wrong")
    with pytest.raises(WrongValues) as caught:
        problems.check()
    assert caught.value.problems == {"lang": ["wrong"]}
    assert str(caught.value) == "lang: wrong"


def test_what_was_written_is_told_from_defaults() -> None:
    draft = Draft(values={"lang": "eng", "active": True}, defaults=frozenset({"active"}))
    assert draft.written == {"lang": "eng"}

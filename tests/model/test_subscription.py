from __future__ import annotations

from typing import Any

import pytest

from sbm.model.subscription import Contradiction, consistent


@pytest.mark.parametrize(
    ("was_completed", "changes", "stored"),
    [
        (False, {}, {}),
        (False, {"lang": "eng"}, {"lang": "eng"}),
        (
            False,
            {"completed": True},
            {"completed": True, "active": False, "process_status": 2},
        ),
        (
            False,
            {"completed": True, "active": True, "process_status": 0},
            {"completed": True, "active": True, "process_status": 2},
        ),
        (
            False,
            {"process_status": 2},
            {"completed": True, "active": False, "process_status": 2},
        ),
        (False, {"process_status": 1}, {"process_status": 0}),
        (False, {"process_status": -1}, {"process_status": -1}),
        (True, {"completed": False}, {"completed": False, "process_status": 0}),
        (
            True,
            {"completed": False, "process_status": -1},
            {"completed": False, "process_status": -1},
        ),
        (True, {"process_status": 0}, {"process_status": 2}),
    ],
)
def test_completed_active_and_status_go_together(
    was_completed: bool, changes: dict[str, Any], stored: dict[str, Any]
) -> None:
    assert consistent(changes, was_completed=was_completed) == stored


def test_what_is_not_completed_has_not_the_status_of_it() -> None:
    with pytest.raises(Contradiction):
        consistent({"completed": False, "process_status": 2}, was_completed=True)

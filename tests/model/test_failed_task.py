from __future__ import annotations

import json
from datetime import datetime, timezone
from uuid import UUID

import pytest

from sbm.model.failed_task import EVERYTHING, FailedTaskFilter

MOMENT = datetime(2026, 1, 3, 10, 0, 0, 123456, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "wanted",
    [
        EVERYTHING,
        FailedTaskFilter(kind="resend", stage="post"),
        FailedTaskFilter(subscription_id=UUID(int=7), identity="x"),
        FailedTaskFilter(
            reason_contains='100% "☃"', initiated_after=MOMENT, initiated_before=MOMENT
        ),
    ],
)
def test_a_filter_is_read_as_it_was_written(wanted: FailedTaskFilter) -> None:
    assert FailedTaskFilter.read(json.loads(json.dumps(wanted.written()))) == wanted


def test_no_filter_is_written_as_nothing() -> None:
    assert EVERYTHING.written() == {}

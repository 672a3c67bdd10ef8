"""The kinds of work, and their channels."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.runtime.wakeups import Wakeups

QUERIES = Path(__file__).parent.parent.parent / "sql" / "queries"


def test_one_kind_of_work_wakes_no_other() -> None:
    wakeups = Wakeups.of(Clock())
    sends = Deferred.fromCoroutine(wakeups.sends.wait(10))
    ticks = Deferred.fromCoroutine(wakeups.ticks.wait(10))
    wakeups.sends.wake()
    assert (sends.called, ticks.called) == (True, False)


def test_what_is_heard_on_a_channel_wakes_its_kind() -> None:
    wakeups = Wakeups.of(Clock())
    wakeups.by_channel()["sbm_audio_copies"]()
    assert (wakeups.audio_copies.calls, wakeups.tasks.calls) == (1, 0)


def test_looking_again_is_no_call() -> None:
    wakeups = Wakeups.of(Clock())
    waited = Deferred.fromCoroutine(wakeups.sends.wait(10))
    wakeups.sends.look_again()
    assert (waited.called, wakeups.sends.calls) == (True, 0)


def test_the_statements_notify_on_these_channels_and_on_each_of_them() -> None:
    texts = [path.read_text(encoding="utf-8") for path in QUERIES.glob("*.sql")]
    calls = [call for text in texts for call in re.findall(r"pg_notify\(([^;]*?)''\)", text)]
    notified = {name for call in calls for name in re.findall(r"'(sbm_[a-z_]+)'", call)}
    assert notified == set(Wakeups.of(Clock()).by_channel())

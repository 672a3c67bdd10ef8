"""Daemons, their database and peers are killed, stopped and cut off: nothing lost or doubled."""

from __future__ import annotations

import os

import pytest

from tests.chaos.patroni import missing
from tests.chaos.run import Options, Run
from tests.chaos.world import SENDERS

# Whatever was unknown is owed again at once: what a service does that sends again on suspicion.
_SUSPICION = """
    CREATE FUNCTION suspect() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.state := 'owed';
        NEW.unknown_since := NULL;
        NEW.due_at := now();
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER suspect BEFORE UPDATE ON sends FOR EACH ROW
    WHEN (NEW.state = 'unknown') EXECUTE FUNCTION suspect();
"""

# A given server is cut off, and its sessions are ended; it is not ours to kill.
_DATABASE = os.environ.get("SBM_TEST_DATABASE")


# One Message Sender is enough for each change; the others are for the long form.
HALF_MINUTES = [SENDERS[0], *(pytest.param(one, marks=pytest.mark.long) for one in SENDERS[1:])]


@pytest.mark.slow
@pytest.mark.parametrize("sender", HALF_MINUTES)
def test_after_half_a_minute_of_faults_the_account_is_clean(sender: str) -> None:
    # A stop is shorter than lease and settle time together: what a longer one does is for the
    # long form, where it may end between the last look at the lease and the first byte.
    options = Options(
        seconds=25,
        gap=1.5,
        subscribers=200,
        sender=sender,
        database=_DATABASE,
        longest_stop=8,
    )
    account = Run(options).make()
    assert account.is_clean, account.text()


@pytest.mark.long
@pytest.mark.parametrize("daemons", [2, 4])
@pytest.mark.parametrize("sender", SENDERS)
def test_after_minutes_of_faults_the_account_is_clean(sender: str, daemons: int) -> None:
    options = Options(
        seconds=240, kills=60, sender=sender, daemons=daemons, database=_DATABASE, longest_stop=14
    )
    account = Run(options).make()
    assert account.is_clean, account.text()


@pytest.mark.long
@pytest.mark.skipif(
    bool(missing()) and not os.environ.get("CI"), reason=f"this machine has no {missing()}"
)
def test_failovers_under_patroni_lose_nothing_and_repeat_nothing() -> None:
    """Leaders are killed and frozen during ticks, and come back as old primaries."""
    assert not missing(), f"there is no {missing()}"
    options = Options(
        seconds=150, kills=4, gap=5.0, is_replicated=True, only="leader", patience=300
    )
    run = Run(options)
    account = run.make()
    run.tell(account.text())
    assert account.is_clean, account.text()
    assert len(account.figures["time to resume"].split(",")) >= 4


@pytest.mark.long
def test_who_sends_again_on_suspicion_is_found_out() -> None:
    """Every message that is stored without an answer is sent again, so luck has no part in it."""
    options = Options(
        seconds=20,
        gap=1.0,
        subscribers=200,
        database=_DATABASE,
        only="Message Sender: stored, answered 500",
        sabotage=_SUSPICION,
    )
    assert Run(options).make().wrongs["twice"]

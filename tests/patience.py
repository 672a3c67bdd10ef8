"""How long a test may wait for what must come: as long as it has itself, see conftest."""

from __future__ import annotations

import signal

# So that a test can still say what it waits for, before it is interrupted and the run ends.
_TO_TELL_SECONDS = 10.0

# For a test whose time is not limited.
_LONG_SECONDS = 600.0


def patience() -> float:
    """The seconds that are left. Only a hang takes as long."""
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    return max(left - _TO_TELL_SECONDS, 0.0) if left else _LONG_SECONDS

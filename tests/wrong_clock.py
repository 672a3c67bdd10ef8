"""A database whose clock can be set wrong, while everything else goes on as it was."""

from __future__ import annotations

from tests.arrange import Arranged
from tests.simulated_time import simulate_time


class WrongClock:
    """The clock of one database; it is right at first. Install it before anybody connects."""

    def __init__(self, direct: Arranged) -> None:
        self._direct = direct
        simulate_time(
            direct,
            schema="wrong",
            column="ahead interval NOT NULL",
            value="'0'",
            time="pg_catalog.{name}() + ahead",
        )

    def set(self, ahead: float) -> None:
        """Make it wrong by so many seconds; 0 sets it right."""
        self._direct.rows("UPDATE wrong.clock SET ahead = make_interval(secs => %s)", ahead)

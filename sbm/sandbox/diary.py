"""What the stand-in Scheduler is told of sbm's schedules."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from sbm.sandbox.caller import Caller
from sbm.sandbox.scheduler import Schedule, Scheduler

# Of the fields in a cron definition.
_ORDER = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")


@frozen(eq=False, kw_only=True)
class Diary:
    """Sees to it that the stand-in Scheduler calls back for every schedule of the API.

    ``token`` is what it shows then. The address of the API and the token may change from one run
    to the next, so what it has written down is corrected, not believed.
    """

    caller: Caller
    scheduler: Scheduler
    token: str = field(repr=False)

    async def bring_up_to_date(self) -> None:
        """Write down the schedules that are new, and correct those that are not as they were."""
        written = {urlsplit(one.endpoint).path: one for one in self.scheduler.enabled()}
        for schedule in (await self.caller.get("schedule/"))["results"]:
            endpoint = f"{self.caller.url}/schedule/{schedule['id']}/send/"
            self._write(written.get(urlsplit(endpoint).path), endpoint, schedule)

    def _write(self, known: Schedule | None, endpoint: str, schedule: dict[str, Any]) -> None:
        entry = {
            "endpoint": endpoint,
            "auth_token": self.token,
            "cron_definition": " ".join(schedule[name] for name in _ORDER),
        }
        if known is None:
            self.scheduler.create(**entry)
        elif not entry.items() <= known.fields().items():
            self.scheduler.change(known.id, **entry)

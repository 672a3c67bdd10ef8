"""The data of the Scheduler's stand-in: its schedules, and the rows of their crons."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from attrs import define, evolve, field, frozen

from sbm.sandbox.stand_ins.celery_cron import CeleryCron, CronRows
from sbm.sandbox.stand_ins.journal import Journal
from sbm.sandbox.stand_ins.json_fields import (
    instant,
    parsed_boolean,
    parsed_instant,
    parsed_integer,
    parsed_text,
    required_text,
    required_url,
    utc_now,
)
from sbm.sandbox.stand_ins.rest import PageCursor, Position


def _any_json(value: Any) -> Any:
    return value


def _integer_or_null(value: Any) -> int | None:
    return None if value is None else parsed_integer(value)


# The fields that a client may set, and how each is read.
WRITABLE: dict[str, Callable[[Any], Any]] = {
    "frequency": _integer_or_null,
    "cron_definition": parsed_text,
    "interval_definition": parsed_text,
    "endpoint": required_url,
    "payload": _any_json,
    "auth_token": required_text,
    "enabled": parsed_boolean,
}


@frozen(kw_only=True)
class Schedule:
    """A stored schedule; ``number`` counts schedules in the order in which they came.

    ``fires_at`` is the cron at which it fires. It is the first cron that the schedule had, even if
    ``cron_definition`` shows another one now.
    """

    number: int
    id: str
    endpoint: str
    auth_token: str
    created_at: datetime
    updated_at: datetime
    frequency: int | None = None
    cron_definition: str | None = None
    interval_definition: str | None = None
    payload: Any = field(factory=dict)
    enabled: bool = True
    fires_at: str | None = None

    @property
    def position(self) -> Position:
        """Its place in the order of creation."""
        return (self.created_at, self.number)

    def fields(self) -> dict[str, Any]:
        """The fields as the API shows them except ``url``, in the order of the real service."""
        return {
            "id": self.id,
            "frequency": self.frequency,
            "cron_definition": self.cron_definition,
            "interval_definition": self.interval_definition,
            "endpoint": self.endpoint,
            "payload": self.payload,
            "auth_token": self.auth_token,
            "next_send_at": None,
            "enabled": self.enabled,
            "created_at": instant(self.created_at),
            "created_by": None,
            "updated_at": instant(self.updated_at),
            "updated_by": None,
        }

    @classmethod
    def from_fields(cls, number: int, fields: dict[str, Any]) -> Schedule:
        """The schedule that ``fields()`` was called on."""
        return cls(
            number=number,
            id=fields["id"],
            created_at=parsed_instant(fields["created_at"]),
            updated_at=parsed_instant(fields["updated_at"]),
            fires_at=fields.get("fires_at", fields["cron_definition"]),
            **{name: fields[name] for name in WRITABLE},
        )


@frozen(kw_only=True)
class FailedCall:
    """A call that was not answered with a 2xx, and why."""

    schedule_id: str
    at: datetime
    reason: str


@define(eq=False, kw_only=True)
class Scheduler:
    """All schedules in memory, and the last thousand calls that failed.

    With a path, the schedules are stored in that file, and loaded after a restart. ``crons`` are
    the rows of crons that were made for them, which stay when the schedules are deleted.
    """

    clock: Callable[[], datetime] = utc_now
    new_id: Callable[[], UUID] = uuid4
    path: Path | None = None
    failures: deque[FailedCall] = field(init=False, factory=lambda: deque(maxlen=1000))
    crons: CronRows = field(init=False, factory=CronRows)
    _journal: Journal = field(init=False)
    _count: int = field(init=False, default=0)
    _schedules: dict[str, Schedule] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        """Load the file at ``path``."""
        self._journal = Journal(path=self.path)
        for entry in self._journal.replay():
            if "deleted" in entry:
                del self._schedules[entry["deleted"]]
            elif "cron" in entry:
                self.crons.add(entry["cron"])
            else:
                known = self._schedules.get(entry["stored"]["id"])
                number = self._next_number() if known is None else known.number
                schedule = Schedule.from_fields(number, entry["stored"])
                self._schedules[schedule.id] = schedule
                if schedule.fires_at and not self.crons.count(schedule.fires_at):
                    self.crons.add(schedule.fires_at)

    def create(self, **fields: Any) -> Schedule:
        """Store a new schedule with ``endpoint``, ``auth_token``, and any other fields."""
        now = self.clock()
        fields["fires_at"] = self._with_row(fields.get("cron_definition"))
        number, schedule_id = self._next_number(), str(self.new_id())
        return self._keep(
            Schedule(number=number, id=schedule_id, created_at=now, updated_at=now, **fields)
        )

    def change(self, schedule_id: str, **fields: Any) -> Schedule:
        """Set some fields of a schedule. Errors: ``KeyError``.

        If the cron is changed, the new one is shown, but the schedule fires at its first one.
        """
        changed = evolve(self.get(schedule_id), updated_at=self.clock(), **fields)
        fires_at = changed.fires_at or self._with_row(changed.cron_definition)
        return self._keep(evolve(changed, fires_at=fires_at))

    def add_cron(self, definition: str) -> None:
        """Store a row of a cron, even if there is one."""
        self._journal.append({"cron": definition})
        self.crons.add(definition)

    def get(self, schedule_id: str) -> Schedule:
        """One schedule. Errors: ``KeyError``."""
        return self._schedules[schedule_id]

    def delete(self, schedule_id: str) -> None:
        """Delete a schedule. Errors: ``KeyError``."""
        del self._schedules[schedule_id]
        self._journal.append({"deleted": schedule_id})

    def enabled(self) -> list[Schedule]:
        """The schedules that are enabled, oldest first."""
        return [schedule for schedule in self._schedules.values() if schedule.enabled]

    def entries(self) -> list[Schedule]:
        """All schedules, oldest first."""
        return list(self._schedules.values())

    def firing(self) -> list[Schedule]:
        """The enabled schedules, except those with a cron that never fires."""
        if self.crons.is_hung:
            return []
        return [
            schedule
            for schedule in self.enabled()
            if schedule.fires_at is None or CeleryCron.read(schedule.fires_at) is not None
        ]

    def find(self, cursor: PageCursor) -> Iterator[Schedule]:
        """All schedules, newest first, beyond a cursor."""
        ordered = sorted(self._schedules.values(), key=lambda schedule: schedule.position)
        place = cursor.position
        if cursor.backward:
            return (s for s in ordered if place is None or s.position > place)
        return (s for s in reversed(ordered) if place is None or s.position < place)

    def record_failure(self, schedule_id: str, reason: str) -> None:
        """Record that a call failed."""
        self.failures.append(FailedCall(schedule_id=schedule_id, at=self.clock(), reason=reason))

    def __len__(self) -> int:
        """How many schedules are stored."""
        return len(self._schedules)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _keep(self, schedule: Schedule) -> Schedule:
        self._journal.append({"stored": {**schedule.fields(), "fires_at": schedule.fires_at}})
        self._schedules[schedule.id] = schedule
        return schedule

    def _with_row(self, definition: str | None) -> str | None:
        """The cron at which a schedule fires, with a row for it; None if it has no cron."""
        if definition and not self.crons.count(definition):
            self.add_cron(definition)
        return definition or None

    def _next_number(self) -> int:
        self._count += 1
        return self._count

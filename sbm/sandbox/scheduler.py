"""A stand-in of the Seed Scheduler: it keeps schedules, and calls their endpoints back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Protocol
from uuid import UUID, uuid4

from attrs import define, evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import Request

from sbm.sandbox.fields import (
    instant,
    parsed_boolean,
    parsed_instant,
    parsed_integer,
    parsed_text,
    required_text,
    required_url,
    utc_now,
)
from sbm.sandbox.journal import Journal
from sbm.sandbox.rest import (
    Cursor,
    Position,
    Refused,
    Reply,
    collection_url,
    exchange,
    json_object,
    new_app,
    not_found,
    page,
    parsed_fields,
)


@frozen(kw_only=True)
class Schedule:
    """A stored schedule; ``number`` counts them in the order in which they came."""

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

    @property
    def position(self) -> Position:
        """Its place in the order of creation."""
        return (self.created_at, self.number)

    def fields(self) -> dict[str, Any]:
        """The fields on the wire but for ``url``, in the order of the real service."""
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
        """The schedule whose ``fields()`` these are."""
        return cls(
            number=number,
            id=fields["id"],
            created_at=parsed_instant(fields["created_at"]),
            updated_at=parsed_instant(fields["updated_at"]),
            **{name: fields[name] for name in _WRITABLE},
        )


@frozen(kw_only=True)
class FailedCall:
    """A call-back that was not answered with a 2xx, and why."""

    schedule_id: str
    at: datetime
    reason: str


@define(eq=False, kw_only=True)
class Scheduler:
    """All schedules in memory, and the last thousand calls that failed.

    With a path, the schedules are kept there and are there again after a restart.
    """

    clock: Callable[[], datetime] = utc_now
    new_id: Callable[[], UUID] = uuid4
    path: Path | None = None
    failures: deque[FailedCall] = field(init=False, factory=lambda: deque(maxlen=1000))
    _journal: Journal = field(init=False)
    _count: int = field(init=False, default=0)
    _schedules: dict[str, Schedule] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        """Learn again what the file at ``path`` holds."""
        self._journal = Journal(self.path)
        for entry in self._journal.replay():
            if "deleted" in entry:
                del self._schedules[entry["deleted"]]
            else:
                known = self._schedules.get(entry["stored"]["id"])
                number = self._next_number() if known is None else known.number
                schedule = Schedule.from_fields(number, entry["stored"])
                self._schedules[schedule.id] = schedule

    def create(self, **fields: Any) -> Schedule:
        """Store a new schedule: ``endpoint``, ``auth_token``, and any other of its fields."""
        now = self.clock()
        number, schedule_id = self._next_number(), str(self.new_id())
        return self._keep(
            Schedule(number=number, id=schedule_id, created_at=now, updated_at=now, **fields)
        )

    def change(self, schedule_id: str, **fields: Any) -> Schedule:
        """Set some fields of a schedule. Errors: ``KeyError``."""
        return self._keep(evolve(self.get(schedule_id), updated_at=self.clock(), **fields))

    def get(self, schedule_id: str) -> Schedule:
        """One schedule. Errors: ``KeyError``."""
        return self._schedules[schedule_id]

    def delete(self, schedule_id: str) -> None:
        """Forget a schedule. Errors: ``KeyError``."""
        del self._schedules[schedule_id]
        self._journal.append({"deleted": schedule_id})

    def enabled(self) -> list[Schedule]:
        """The schedules whose endpoints are to be called, oldest first."""
        return [schedule for schedule in self._schedules.values() if schedule.enabled]

    def find(self, cursor: Cursor) -> Iterator[Schedule]:
        """All schedules, newest first, beyond a cursor."""
        ordered = sorted(self._schedules.values(), key=lambda schedule: schedule.position)
        place = cursor.position
        if cursor.backward:
            return (s for s in ordered if place is None or s.position > place)
        return (s for s in reversed(ordered) if place is None or s.position < place)

    def record_failure(self, schedule_id: str, reason: str) -> None:
        """Remember that a call-back failed."""
        self.failures.append(FailedCall(schedule_id=schedule_id, at=self.clock(), reason=reason))

    def __len__(self) -> int:
        """How many schedules are stored."""
        return len(self._schedules)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _keep(self, schedule: Schedule) -> Schedule:
        self._journal.append({"stored": schedule.fields()})
        self._schedules[schedule.id] = schedule
        return schedule

    def _next_number(self) -> int:
        self._count += 1
        return self._count


@frozen(eq=False)
class SchedulerApp:
    """The Scheduler's HTTP face."""

    scheduler: Scheduler
    page_size: int = 1000

    app = new_app()

    def resource(self) -> Resource:
        """What a site serves, at its root or wherever it is mounted."""
        return self.app.resource()

    @exchange(app, "POST", "/schedule/")
    def create(self, request: Request) -> Reply:
        """Store a schedule."""
        fields = parsed_fields(json_object(request), _WRITABLE)
        missing = [name for name in ("endpoint", "auth_token") if name not in fields]
        if missing:
            raise Refused(400, {name: ["This field is required."] for name in missing})
        schedule = self.scheduler.create(**fields)
        return Reply(status=201, body=_described(request, schedule))

    @exchange(app, "GET", "/schedule/")
    def list_all(self, request: Request) -> Reply:
        """A page of the schedules, newest first."""
        return page(
            request,
            self.scheduler.find,
            lambda schedule: _described(request, schedule),
            size=self.page_size,
        )

    @exchange(app, "GET", "/schedule/<schedule_id>/")
    def read(self, request: Request, schedule_id: str) -> Reply:
        """One schedule."""
        return Reply(body=_described(request, self._existing(schedule_id)))

    @exchange(app, "PATCH", "/schedule/<schedule_id>/")
    def change(self, request: Request, schedule_id: str) -> Reply:
        """Set the fields that the body names."""
        self._existing(schedule_id)
        schedule = self.scheduler.change(
            schedule_id, **parsed_fields(json_object(request), _WRITABLE)
        )
        return Reply(body=_described(request, schedule))

    @exchange(app, "DELETE", "/schedule/<schedule_id>/")
    def delete(self, _request: Request, schedule_id: str) -> Reply:
        """Forget a schedule."""
        self.scheduler.delete(self._existing(schedule_id).id)
        return Reply(status=204)

    def _existing(self, schedule_id: str) -> Schedule:
        try:
            return self.scheduler.get(schedule_id)
        except KeyError:
            raise not_found() from None


class Posts(Protocol):
    """The one thing that is needed of treq, or of a client that looks like it."""

    def post(self, url: str, **kwargs: Any) -> Deferred[Any]:
        """Begin a POST; the result is a treq response."""


@define(eq=False, slots=False, kw_only=True)
class CallBacks(Service):
    """While it runs, POSTs to the endpoint of every enabled schedule once per ``pace``.

    With several ``turns`` the schedules take turns instead, so that not all are called together:
    each is called once in as many paces, the oldest in the first.

    It ignores the cron on purpose: the fast clock of the sandbox is known here alone. A schedule
    whose last call is still under way is passed over; at most ``concurrency`` calls are under way
    together, and each has ``patience`` to be answered. What fails is recorded in the model, and
    made good by the next call.
    """

    scheduler: Scheduler
    treq: Posts
    clock: IReactorTime
    pace: timedelta
    patience: timedelta = timedelta(seconds=10)
    concurrency: int = 20
    turns: int = 1
    _paces: int = field(init=False, default=0)
    _under_way: dict[str, Deferred[None]] = field(init=False, factory=dict)
    _loop: LoopingCall = field(init=False)
    _free: DeferredSemaphore = field(init=False)

    def startService(self) -> None:
        """Begin; the first calls are made after one pace."""
        Service.startService(self)
        self._free = DeferredSemaphore(self.concurrency)
        self._loop = LoopingCall(self._call_all)
        self._loop.clock = self.clock
        self._loop.start(self.pace.total_seconds(), now=False)

    def stopService(self) -> Deferred[Any]:
        """Make no more calls and break off those under way; done when the last has ended."""
        Service.stopService(self)
        self._loop.stop()
        under_way = list(self._under_way.values())
        for call in under_way:
            call.cancel()
        return gatherResults(under_way)

    def _call_all(self) -> None:
        self._paces += 1
        for schedule in self.scheduler.enabled():
            is_its_turn = (self._paces - schedule.number) % self.turns == 0
            if is_its_turn and schedule.id not in self._under_way:
                self._begin(schedule.id)

    def _begin(self, schedule_id: str) -> None:
        def ended(_: None) -> None:
            del self._under_way[schedule_id]

        call = Deferred.fromCoroutine(self._call(schedule_id))
        self._under_way[schedule_id] = call
        call.addCallback(ended)

    async def _call(self, schedule_id: str) -> None:
        """Call one endpoint back; whatever happens ends here."""
        try:
            async with self._free:
                exchanged = Deferred.fromCoroutine(self._exchange(schedule_id))
                await exchanged.addTimeout(self.patience.total_seconds(), self.clock, _too_late)
        except CancelledError:
            return
        except Exception as error:
            # A call that was broken off by stopping fails in its own way, and is no failure.
            if self.running:
                self.scheduler.record_failure(schedule_id, f"{type(error).__name__}: {error}")

    async def _exchange(self, schedule_id: str) -> None:
        try:
            schedule = self.scheduler.get(schedule_id)
        except KeyError:
            return
        # It may have waited for its turn, and things have changed.
        if not schedule.enabled or not self.running:
            return
        response = await self.treq.post(
            schedule.endpoint,
            json=schedule.payload,
            headers={"Authorization": f"Token {schedule.auth_token}"},
        )
        await response.content()
        if not 200 <= response.code < 300:
            self.scheduler.record_failure(schedule_id, f"status {response.code}")


def _too_late(_ended_with: object, seconds: float) -> NoReturn:
    # A request that is cancelled ends in one of several errors, none of which says why.
    raise TimeoutError(f"no answer within {seconds} s")


def _described(request: Request, schedule: Schedule) -> dict[str, Any]:
    url = f"{collection_url(request, 'schedule')}{schedule.id}/"
    return {"url": url, **schedule.fields()}


def _any_json(value: Any) -> Any:
    return value


def _integer_or_null(value: Any) -> int | None:
    return None if value is None else parsed_integer(value)


_WRITABLE: dict[str, Callable[[Any], Any]] = {
    "frequency": _integer_or_null,
    "cron_definition": parsed_text,
    "interval_definition": parsed_text,
    "endpoint": required_url,
    "payload": _any_json,
    "auth_token": required_text,
    "enabled": parsed_boolean,
}

"""A stand-in of the Seed Scheduler, which stores schedules and calls their endpoints."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, NoReturn, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    gatherResults,
    succeed,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import Request

from sbm.sandbox.stand_ins.rest import (
    Refused,
    Response,
    collection_url,
    json_object,
    new_app,
    not_found,
    page,
    parsed_fields,
    route,
    server_error,
)
from sbm.sandbox.stand_ins.schedules import WRITABLE, Schedule, Scheduler

T = TypeVar("T")


def _no_time() -> Deferred[None]:
    return succeed(None)


@frozen(eq=False, kw_only=True)
class SchedulerApp:
    """The Scheduler's HTTP API.

    ``turn`` is a delay between looking for the row of a new cron and storing one, in which other
    requests may do the same. By default, there is none.
    """

    scheduler: Scheduler
    page_size: int = 1000
    turn: Callable[[], Deferred[None]] = _no_time

    app = new_app()

    def resource(self) -> Resource:
        """The resource for a site; it can be mounted at any path."""
        return self.app.resource()

    @route(app, "POST", "/schedule/")
    async def create(self, request: Request) -> Response:
        """Store a schedule, and a row of its cron if there is none.

        If several requests store a row at the same time, only one of them succeeds.
        """
        fields = parsed_fields(json_object(request), WRITABLE)
        missing = [name for name in ("endpoint", "auth_token") if name not in fields]
        if missing:
            raise Refused(400, {name: ["This field is required."] for name in missing})
        cron = fields.get("cron_definition")
        if cron and self.scheduler.crons.count(cron) == 0:
            await self.turn()
            self.scheduler.add_cron(cron)
        if cron and self.scheduler.crons.count(cron) > 1:
            raise server_error()
        schedule = self.scheduler.create(**fields)
        return Response(status=201, body=_described(request, schedule))

    @route(app, "GET", "/schedule/")
    def list_all(self, request: Request) -> Response:
        """A page of the schedules, newest first."""
        return page(
            request,
            self.scheduler.find,
            lambda schedule: _described(request, schedule),
            size=self.page_size,
        )

    @route(app, "GET", "/schedule/<schedule_id>/")
    def read(self, request: Request, schedule_id: str) -> Response:
        """One schedule."""
        return Response(body=_described(request, self._existing(schedule_id)))

    @route(app, "PATCH", "/schedule/<schedule_id>/")
    def change(self, request: Request, schedule_id: str) -> Response:
        """Set the fields that the body names."""
        self._existing(schedule_id)
        schedule = self.scheduler.change(
            schedule_id, **parsed_fields(json_object(request), WRITABLE)
        )
        return Response(body=_described(request, schedule))

    @route(app, "DELETE", "/schedule/<schedule_id>/")
    def delete(self, _request: Request, schedule_id: str) -> Response:
        """Delete a schedule."""
        self.scheduler.delete(self._existing(schedule_id).id)
        return Response(status=204)

    def _existing(self, schedule_id: str) -> Schedule:
        try:
            return self.scheduler.get(schedule_id)
        except KeyError:
            raise not_found() from None


class PostClient(Protocol):
    """The only method of treq, or of another client, that is needed here."""

    def post(self, url: str, **kwargs: Any) -> Deferred[Any]:
        """Begin a POST; the result is a treq response."""


@define(eq=False, slots=False, kw_only=True)
class CallBacks(Service):
    """While it runs, POSTs to the endpoint of every enabled schedule once per ``pace``.

    If ``turns`` is more than 1, not all schedules are called together: each is called once in so
    many paces, and the oldest one first.

    The times of the crons are ignored, because time runs faster in the sandbox. But a schedule that
    would never fire is not called. A schedule whose last call is still in progress is skipped. At
    most ``concurrency`` calls are in progress together, and each must be answered within
    ``patience``. Failures are recorded in the model. A failed call is not repeated: the next call
    comes soon. ``sbm.sandbox.stand_ins.beat`` has the repetitions of the real service.
    """

    scheduler: Scheduler
    treq: PostClient
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
        """Make no more calls, and cancel those in progress; fires when the last has ended."""
        Service.stopService(self)
        self._loop.stop()
        under_way = list(self._under_way.values())
        for call in under_way:
            call.cancel()
        return gatherResults(under_way)

    def _call_all(self) -> None:
        self._paces += 1
        for schedule in self.scheduler.firing():
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
        """Call one endpoint; all errors are handled here."""
        try:
            async with self._free:
                await within(self.patience, self.clock, self._called(schedule_id))
        except CancelledError:
            return
        except Exception as error:
            # If stopping canceled the call, it may raise any error, and that is not a failure.
            if self.running:
                self.scheduler.record_failure(schedule_id, f"{type(error).__name__}: {error}")

    async def _called(self, schedule_id: str) -> None:
        try:
            schedule = self.scheduler.get(schedule_id)
        except KeyError:
            return
        # The call may have waited for others, and the schedule may have changed since.
        if not schedule.enabled or not self.running:
            return
        failure = await post_back(self.treq, schedule)
        if failure is not None:
            self.scheduler.record_failure(schedule_id, failure)


async def post_back(treq: PostClient, schedule: Schedule) -> str | None:
    """Call the endpoint of a schedule; returns the answer if its status is not a 2xx."""
    response = await treq.post(
        schedule.endpoint,
        json=schedule.payload,
        headers={"Authorization": f"Token {schedule.auth_token}"},
    )
    await response.content()
    return None if 200 <= response.code < 300 else f"status {response.code}"


def within(patience: timedelta, clock: IReactorTime, call: Coroutine[Any, Any, T]) -> Deferred[T]:
    """The call, which fails with TimeoutError if it takes longer than ``patience``."""
    begun = Deferred.fromCoroutine(call)
    return begun.addTimeout(patience.total_seconds(), clock, _too_late)


def _too_late(_ended_with: object, seconds: float) -> NoReturn:
    # A canceled request fails with one of several errors, none of which says why.
    raise TimeoutError(f"no answer within {seconds} s")


def _described(request: Request, schedule: Schedule) -> dict[str, Any]:
    url = f"{collection_url(request, 'schedule')}{schedule.id}/"
    return {"url": url, **schedule.fields()}

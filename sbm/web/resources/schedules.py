"""``/api/v1/schedule``: when messages are sent; and "now", from an outside Scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import asdict, evolve, frozen
from twisted.web.server import Request

from sbm.model.content import Schedule
from sbm.model.cron import Cron, tidy
from sbm.model.scheduler_callback import Target
from sbm.model.user import SCHEDULER, User
from sbm.settings.config import Scheduling
from sbm.store import scheduler_calls, schedules, ticks
from sbm.store.postgres.database import Transaction
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import InUse, NotFound, Reason
from sbm.web.http.wire import row_id
from sbm.web.resources.scheduler_callbacks import Callback, SchedulerCallbacks
from sbm.web.schema.fields import CronField, ReadOnly
from sbm.web.schema.pages import Listing
from sbm.web.schema.schema import ParsedBody, Schema

CRON_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")

SHAPE = Schema(
    [
        ReadOnly(name="id", shown_as="integer"),
        *(CronField(name=name, default="*", max_length=64) for name in CRON_FIELDS),
    ]
)

_DESCRIPTION = "API endpoint that allows Schedule models to be viewed or edited."
_LIST = OptionsInfo(
    name="Schedule List", description=_DESCRIPTION, actions={"POST": SHAPE.description()}
)
_INSTANCE = OptionsInfo(
    name="Schedule Instance", description=_DESCRIPTION, actions={"PUT": SHAPE.description()}
)
_SEND = OptionsInfo(
    name="Send",
    description="Sends all the subscriptions for the specified schedule",
    actions={"POST": SHAPE.description()},
)


@frozen(eq=False)
class Schedules:
    """The schedules, and their POST-backs; ``wake`` is called once a tick is committed.

    A POST-back that the Scheduler should have stopped makes no tick, and has it stopped.
    """

    app = new_app()

    _front: Endpoint
    _wake: Callable[[], None]
    _scheduling: Scheduling
    _callbacks: SchedulerCallbacks

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._create}
        return await self._front.answer(request, _LIST, methods)

    @app.route("/<number>")
    async def instance(self, request: Request, number: str) -> bytes:
        change = partial(self._change, number)
        methods = {
            "GET": partial(self._read, number),
            "PUT": change,
            "PATCH": change,
            "DELETE": partial(self._delete, number),
        }
        return await self._front.answer(request, _INSTANCE, methods)

    @app.route("/<number>/send")
    async def post_back(self, request: Request, number: str) -> bytes:
        methods = {"POST": partial(self._send, number)}
        return await self._front.answer(request, _SEND, methods)

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _create(self, exchange: ApiRequest) -> Reply:
        reading = SHAPE.read(exchange.body())
        reading.check()
        made = await self._front.database.transact(_create, reading)
        return Reply(status=201, body=shown(made))

    async def _read(self, number: str, _exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(schedules.find, schedule_id=row_id(number))
        if found is None:
            raise NotFound
        return Reply(body=shown(found))

    async def _change(self, number: str, exchange: ApiRequest) -> Reply:
        changed = await self._front.database.transact(_change, row_id(number), exchange)
        return Reply(body=shown(changed))

    async def _delete(self, number: str, _exchange: ApiRequest) -> Reply:
        await self._front.database.transact(_delete, row_id(number))
        return Reply(status=204)

    async def _send(self, number: str, exchange: ApiRequest) -> Reply:
        """The body is not read: whatever it says, it is time."""
        callback = self._callbacks.of(exchange.user)
        post_back = partial(_post_back, row_id(number), exchange.user, self._scheduling, callback)
        reply = await self._front.once(exchange, post_back)
        callback.committed()
        self._wake()
        return reply


def shown(schedule: Schedule) -> dict[str, Any]:
    """A schedule as clients see it."""
    return asdict(schedule)


_LISTING = Listing(
    name="schedule",
    list_page=schedules.list_page,
    shown=lambda _exchange, one: shown(one),
)


async def _post_back(
    schedule_id: int,
    user: User,
    scheduling: Scheduling,
    callback: Callback,
    transaction: Transaction,
) -> Reply:
    if user is SCHEDULER and scheduling.mode != "schedule":
        by_clock = scheduling.mode == "builtin"
        if await scheduler_calls.stop_calling_schedule(
            transaction, schedule_id=schedule_id, clock_ticks=by_clock
        ):
            return Reply(status=202, body={}, reason=Reason(kind="not-called-for"))
    target = Target(kind="schedule", id=schedule_id)
    return await callback.answer(transaction, target, partial(_open_tick, schedule_id, user))


async def _open_tick(schedule_id: int, user: User, transaction: Transaction) -> Reply:
    tick_id = await ticks.open_tick(transaction, schedule_id=schedule_id, opened_by=user.username)
    if tick_id is None:
        raise NotFound
    return Reply(status=202, body={})


async def _change(transaction: Transaction, schedule_id: int, exchange: ApiRequest) -> Schedule:
    found = await schedules.lock(transaction, schedule_id=schedule_id)
    if found is None:
        raise NotFound
    reading = SHAPE.read(exchange.body(), method=exchange.method, stored=asdict(found))
    reading.check()
    changed = evolve(found, **reading.attributes())
    await _judge(transaction, reading, _fields(changed), before=_fields(found))
    await schedules.update(transaction, schedule=changed)
    return changed


async def _create(transaction: Transaction, reading: ParsedBody) -> Schedule:
    await _judge(transaction, reading, reading.attributes(), before={})
    return await schedules.create(transaction, **reading.attributes())


async def _judge(
    transaction: Transaction,
    reading: ParsedBody,
    fields: Mapping[str, str],
    *,
    before: Mapping[str, str],
) -> None:
    """Refuse fields that are wrong together.

    Imported ones may be: what is wrong about those that stay as they are is no reason to refuse.
    """
    kept = {name for name, value in fields.items() if before.get(name) == value}
    unread = kept & Cron.problems(fields).keys()
    found = await schedules.problems(transaction, fields={**fields, **dict.fromkeys(unread, "*")})
    if not found.keys() <= kept:
        for name, message in found.items():
            reading.refuse(name, message)
    reading.check()


def _fields(schedule: Schedule) -> dict[str, str]:
    return {name: tidy(getattr(schedule, name)) for name in CRON_FIELDS}


async def _delete(transaction: Transaction, schedule_id: int) -> None:
    if await schedules.lock(transaction, schedule_id=schedule_id) is None:
        raise NotFound
    users = await schedules.find_users(transaction, schedule_id=schedule_id)
    if users:
        raise InUse(f"schedule {schedule_id}", users)
    await schedules.delete(transaction, schedule_id=schedule_id)

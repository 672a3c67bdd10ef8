"""``/api/v1/schedule``: when messages are sent; and "now", from an outside Scheduler."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import frozen
from twisted.web.server import Request

from sbm.model.content import Schedule
from sbm.model.cron import CRON_FIELDS
from sbm.model.scheduler_callback import Target
from sbm.model.user import SCHEDULER, User
from sbm.operations import triggers
from sbm.operations.schedules import change_schedule, create_schedule, delete_schedule
from sbm.settings.config import Scheduling
from sbm.store import schedules
from sbm.store.postgres.database import Transaction
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.rows import Rows, collection
from sbm.web.http.endpoint import ApiRequest, OptionsInfo, Reply
from sbm.web.http.errors import Reason
from sbm.web.http.wire import row_id
from sbm.web.resources.scheduler_callbacks import Callback, SchedulerCallbacks
from sbm.web.schema.fields import CronField, ReadOnly
from sbm.web.schema.schema import Schema

SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer"),
        *(CronField(name=name, default="*", max_length=64) for name in CRON_FIELDS),
    ]
)

RESOURCE = Resource[Schedule](
    path="/api/v1/schedule/",
    title="Schedule",
    about="API endpoint that allows Schedule models to be viewed or edited.",
    schema=SCHEMA,
    key="schedule_id",
    list_page=schedules.list_page,
    find=schedules.find,
    create=create_schedule,
    change=change_schedule,
    delete=delete_schedule,
)

_SEND = OptionsInfo(
    name="Send",
    description="Sends all the subscriptions for the specified schedule",
    actions={"POST": SCHEMA.description()},
)


@frozen(eq=False, kw_only=True)
class Schedules(Rows):
    """The schedules, and their POST-backs; ``wake`` is called once a tick is committed.

    A POST-back that the Scheduler should have stopped makes no tick, and has it stopped.
    """

    app = collection()
    resource = RESOURCE

    wake: Callable[[], None]
    scheduling: Scheduling
    callbacks: SchedulerCallbacks

    @app.route("/<key>/send")
    async def post_back(self, request: Request, key: str) -> bytes:
        return await self.endpoint.answer(request, _SEND, {"POST": partial(self._send, key)})

    async def _send(self, key: str, request: ApiRequest) -> Reply:
        """The body is not read: whatever it says, it is time."""
        callback = self.callbacks.of(request.user)
        post_back = partial(self._post_back, row_id(key), request.user, callback)
        reply = await self.endpoint.once(request, post_back)
        callback.committed()
        self.wake()
        return reply

    async def _post_back(
        self, schedule_id: int, user: User, callback: Callback, transaction: Transaction
    ) -> Reply:
        if user is SCHEDULER and await triggers.stop_calls_for_schedule(
            transaction, schedule_id=schedule_id, mode=self.scheduling.mode
        ):
            return Reply(status=202, body={}, reason=Reason(kind="not-called-for"))
        target = Target(kind="schedule", id=schedule_id)
        return await callback.answer(transaction, target, partial(_open_tick, schedule_id, user))


async def _open_tick(schedule_id: int, user: User, transaction: Transaction) -> Reply:
    await triggers.open_tick(transaction, schedule_id=schedule_id, opened_by=user.username)
    return Reply(status=202, body={})

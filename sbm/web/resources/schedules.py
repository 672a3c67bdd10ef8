"""``/api/v1/schedule``: when messages are sent; and "now", from an outside Scheduler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from attrs import evolve, frozen
from twisted.web.server import Request

from sbm.model.content import Schedule
from sbm.model.scheduler_callback import Target
from sbm.model.simulation import SimulationRules
from sbm.model.simulation_told import shown_counts
from sbm.model.user import CONTENT_EDIT, SCHEDULER, User
from sbm.operations import triggers
from sbm.operations.drafts import Draft
from sbm.operations.refusals import WorldHasChanged
from sbm.operations.schedules import change_schedule, create_schedule, delete_schedule
from sbm.settings.config import SchedulingSettings
from sbm.store import schedules
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import SIMULATION_TOKEN, ApiRequest
from sbm.web.http.endpoint import InTransaction, once
from sbm.web.http.http_errors import NotAsSimulated, Reason
from sbm.web.http.needs import CALLED_BACK, writing
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_id
from sbm.web.openapi.lists import NOT_FOUND
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import schema
from sbm.web.resources.scheduler_callbacks import Callback, SchedulerCallbacks
from sbm.web.resources.simulations import NOT_AS_SIMULATED
from sbm.web.schema.fields import ID, CronField, Integer, ReadOnly, Text
from sbm.web.schema.json_schema import UUID as UUID_SCHEMA
from sbm.web.schema.moments import Hours
from sbm.web.schema.schema import ParsedBody, Schema

SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer", note=ID),
        *(
            CronField(name=name, default="*", max_length=64, note=note)
            for name, note in (
                ("minute", "Minutes: 0 to 59."),
                ("hour", "Hours: 0 to 23."),
                ("day_of_week", "Days of the week: 1 is Monday; Sunday is 7, or 0."),
                ("day_of_month", "Days of the month: 1 to 31."),
                ("month_of_year", "Months: 1 to 12."),
            )
        ),
        Text(
            name="time_zone",
            max_length=64,
            null=True,
            default=None,
            note="The IANA name of the time zone in which the fields are read, such as"
            " Africa/Johannesburg; null: that of SBM_TIMEZONE. If a Scheduler makes the ticks, only"
            " null or its own time zone is accepted.",
        ),
        Hours(
            name="send_hours",
            null=True,
            default=None,
            note="From when until when messages may leave, by the clock of the time zone, such as"
            " 08:00-20:00; null: always.",
        ),
        Integer(
            name="max_age",
            least=1,
            null=True,
            default=None,
            note="After how many seconds it is too late for what is owed: then it is skipped; null:"
            " it never is.",
        ),
        Integer(
            name="max_rate",
            least=1,
            null=True,
            default=None,
            note="How many messages may leave in a second, from all daemons; null: any number.",
        ),
        Integer(
            name="canary",
            least=1,
            null=True,
            default=None,
            note="After how many messages each tick waits until a person releases it; null: it does"
            " not wait. It holds for ticks that are opened from now on.",
        ),
        Integer(
            name="brake_percent",
            least=0,
            null=True,
            default=None,
            note="A tick stops if more than so many of a hundred messages were refused or failed;"
            " null: it does not stop. It holds for ticks that are opened from now on.",
        ),
        Integer(
            name="brake_after",
            least=1,
            null=True,
            default=None,
            note="The brake looks at so many messages at least; given together with brake_percent.",
        ),
    ]
)

RESOURCE = Resource[Schedule](
    path="/api/v1/schedule/",
    title="Schedule",
    description="API endpoint that allows Schedule models to be viewed or edited.",
    needs=writing(CONTENT_EDIT, publishes=True),
    is_under_way=schedules.is_under_way,
    schema=SCHEMA,
    key="schedule_id",
    list_page=schedules.list_page,
    find=schedules.find,
    create=create_schedule,
    change=change_schedule,
    delete=delete_schedule,
    sentences=Sentences(
        tag="Schedules",
        name="schedule",
        one="a schedule",
        many="schedules",
        schema_name="Schedule",
        key="The schedule.",
        in_use=True,
        notes={
            "POST": "Each field is `*`, numbers, ranges (`1-5`) or steps (`*/15`), several with"
            " commas between them. A day is due if all three of `day_of_month`, `month_of_year` and"
            " `day_of_week` match: `1-7` and `1` are the first Monday of a month. A date that does"
            " not exist, such as 31 April, is refused, and the errors name both of its fields.",
            "PUT": "A field that is left out is not changed. All fields are checked together.",
            "PATCH": "All fields are checked together, not only those that are given.",
            "DELETE": "It is refused while message sets or subscriptions use the schedule.",
        },
        example={"minute": "0", "hour": "8,18", "day_of_week": "1-5"},
        change={"hour": "9"},
    ),
)

_SEND = OptionsInfo(
    name="Send",
    description="Sends all the subscriptions for the specified schedule",
    actions={"POST": SCHEMA.description()},
)


@frozen(eq=False, kw_only=True)
class Schedules(Collection):
    """The schedules, and their POST-backs; ``wake`` is called after the commit of a tick.

    If the Scheduler should not call for a schedule, its POST-back makes no tick, but owes the
    Scheduler the call that stops it.
    """

    app = collection_app()
    resource = RESOURCE

    wake: Callable[[], None]
    scheduling: SchedulingSettings
    callbacks: SchedulerCallbacks
    rules: SimulationRules

    def draft(
        self, parsed: ParsedBody, request: ApiRequest, stored: Mapping[str, Any] | None = None
    ) -> Draft:
        """A draft that knows the time zone of the Scheduler, if it makes the ticks."""
        return evolve(
            super().draft(parsed, request, stored), ticking_zone=self.scheduling.ticking_zone
        )

    @app.route("/<key>/send")
    async def post_back(self, request: Request, key: str) -> bytes:
        send = InTransaction(work=partial(self._send, key), reply=self._sent, lane="prompt")
        return await self.endpoint.answer(request, _SEND, {"POST": send}, needs=CALLED_BACK)

    async def _send(
        self, key: str, transaction: Transaction, request: ApiRequest
    ) -> tuple[Callback, Reply]:
        """The body is not read."""
        callback = self.callbacks.of(request.user)
        open_tick = partial(self._open_tick, row_id(key), request.user, request.simulation_token())
        post_back = partial(self._post_back, row_id(key), request.user, callback, open_tick)
        return callback, await once(transaction, request, post_back)

    async def _sent(self, _request: ApiRequest, sent: tuple[Callback, Reply]) -> Reply:
        callback, reply = sent
        callback.committed()
        self.wake()
        return reply

    async def _post_back(
        self,
        schedule_id: int,
        user: User,
        callback: Callback,
        open_tick: Callable[[Transaction], Awaitable[Reply]],
        transaction: Transaction,
    ) -> Reply:
        if user is SCHEDULER and await triggers.stop_calls_for_schedule(
            transaction, schedule_id=schedule_id, mode=self.scheduling.mode
        ):
            return Reply(status=202, body={}, reason=Reason(kind="not-called-for"))
        target = Target(kind="schedule", id=schedule_id)
        return await callback.answer(transaction, target, open_tick)

    async def _open_tick(
        self, schedule_id: int, user: User, token: UUID | None, transaction: Transaction
    ) -> Reply:
        if token is None:
            await triggers.open_tick(transaction, schedule_id=schedule_id, opened_by=user.username)
            return Reply(status=202, body={})
        try:
            await triggers.open_simulated_tick(
                transaction,
                schedule_id=schedule_id,
                opened_by=user.username,
                token=token,
                rules=self.rules,
            )
        except WorldHasChanged as error:
            raise NotAsSimulated(
                {
                    "detail": str(error),
                    "simulated": shown_counts(error.simulated),
                    "now": shown_counts(error.now),
                }
            ) from None
        return Reply(status=202, body={})


SECTION = Section(
    tags=[
        (
            "Schedules",
            "When messages are sent: the five fields of a cron line, all of which must match.",
        )
    ],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/schedule/{id}/send/",
            tag="Schedules",
            needs=CALLED_BACK,
            parameters=RESOURCE.row_key,
            operations={
                "POST": Operation(
                    name="send_schedule",
                    summary="Send to all subscriptions on a schedule, now",
                    description="The POST-back of the Seed Scheduler. Each active subscription on"
                    " the schedule that is not completed is owed its next message, once, and it is"
                    " sent in the background. The body is not read. If a call with the Scheduler's"
                    " token repeats a call of the same due moment, it gets the same answer, and"
                    " triggers nothing.",
                    parameters=[
                        {
                            "name": SIMULATION_TOKEN,
                            "in": "header",
                            "description": "The token of a simulation of the schedule. The tick is"
                            " opened only if its results are those of the simulation, but for what"
                            " that allows.",
                            "schema": UUID_SCHEMA,
                        }
                    ],
                    answers={
                        202: answer_of({"type": "object", "maxProperties": 0}, "It is begun."),
                        409: answer_of(
                            schema("NotAsSimulated"),
                            "With a Simulation-Token: the results have changed by more than the"
                            " simulation allows. Nothing was begun.",
                        ),
                        **NOT_FOUND,
                    },
                    takes_key=True,
                )
            },
        ),
    ],
    schemas={**RESOURCE.schemas(), "NotAsSimulated": NOT_AS_SIMULATED},
)

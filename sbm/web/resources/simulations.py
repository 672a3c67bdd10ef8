"""``/api/v1/simulations``: what goes out, to whom, and to whom nothing, before anything is sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from attrs import field, frozen
from twisted.web.server import Request

from sbm.model.simulation import (
    ALLOWED_CHANGE,
    EXAMPLES,
    MOST_CHANGES,
    MOST_DAYS,
    ContentChange,
    SimulationSettings,
)
from sbm.model.simulation_told import shown, shown_token
from sbm.model.time_zones import TimeZones
from sbm.model.user import PEOPLE_READ
from sbm.operations.refusals import NoSuchRow, WrongValues
from sbm.operations.simulating import simulate_now
from sbm.operations.simulating_content import read_changes, simulate_changes
from sbm.operations.simulating_days import simulate_at, simulate_days
from sbm.runtime.places import Places
from sbm.store import clock, simulations
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, new_app
from sbm.web.http.needs import Needs
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema, taken_by, written
from sbm.web.schema import json_schema
from sbm.web.schema.fields import NON_FIELD, FieldError, Integer, JsonValue
from sbm.web.schema.json_schema import COUNT, MOMENT, NUMBER, ROW_ID, TEXT
from sbm.web.schema.moments import Moment
from sbm.web.schema.schema import Schema

PATH = "/api/v1/simulations/"

_NEEDS = Needs(of_method={"POST": PEOPLE_READ})


@frozen(kw_only=True)
class ContentChanges(JsonValue):
    """A list of messages that are written or deleted."""

    def parse(self, given: Any) -> list[ContentChange]:
        try:
            return read_changes(given)
        except WrongValues as refusal:
            raise FieldError(*refusal.problems["changes"]) from refusal


@taken_by.register
def _(field: ContentChanges) -> json_schema.JsonSchema:  # noqa: ARG001
    change = {
        "type": "object",
        "properties": {
            "sequence_number": {"type": "integer", "minimum": 1},
            "lang": TEXT,
            "text_content": TEXT,
            "delete": json_schema.FLAG,
        },
        "required": ["sequence_number", "lang"],
    }
    return {"type": "array", "minItems": 1, "maxItems": MOST_CHANGES, "items": change}


SCHEMA = Schema(
    [
        Integer(
            name="schedule",
            least=1,
            null=True,
            default=None,
            note="A tick of this schedule: now, or at a moment to come.",
        ),
        Moment(
            name="at",
            null=True,
            default=None,
            note="With schedule: when the tick comes. All ticks before it are simulated, too.",
        ),
        Integer(
            name="days",
            least=1,
            most=MOST_DAYS,
            null=True,
            default=None,
            note="All ticks of all schedules in so many days.",
        ),
        Integer(
            name="messageset",
            least=1,
            null=True,
            default=None,
            note="The next ticks of all people of this set, as it is and with changes.",
        ),
        ContentChanges(
            name="changes",
            null=True,
            default=None,
            note="With messageset: objects with sequence_number, lang, and text_content or"
            " `delete: true`.",
        ),
        Integer(
            name="allowed_change",
            least=0,
            most=100,
            default=ALLOWED_CHANGE,
            note="For a tick now: by how many percent of the members the results may have changed"
            " when the tick is opened with the token.",
        ),
    ]
)

_OPTIONS = OptionsInfo(
    name="Simulation",
    description="Says what goes out, and to whom nothing, before anything is sent.",
    actions={"POST": SCHEMA.description()},
)


@frozen(eq=False, kw_only=True)
class Simulations:
    """Simulations; one at a time is made, as each may read all subscriptions."""

    app = new_app()

    endpoint: Endpoint
    settings: SimulationSettings
    zones: TimeZones
    _one_at_a_time: Places = field(factory=lambda: Places(1), init=False)

    @app.route("/")
    async def answer(self, request: Request) -> bytes:
        return await self.endpoint.answer(request, _OPTIONS, {"POST": self._simulate}, needs=_NEEDS)

    async def _simulate(self, request: ApiRequest) -> Reply:
        parsed = SCHEMA.read(request.body())
        parsed.check()
        asked = parsed.values
        _check_kind(asked)
        await self._one_at_a_time.acquire()
        try:
            return Reply(body=await self._answer(request, asked))
        except NoSuchRow:
            name = "schedule" if asked["schedule"] is not None else "messageset"
            sentence = f'Invalid pk "{asked[name]}" - object does not exist.'
            raise SCHEMA.invalid({name: [sentence]}) from None
        except WrongValues as refusal:
            raise SCHEMA.told(refusal) from None
        finally:
            self._one_at_a_time.release()

    async def _answer(self, request: ApiRequest, asked: dict[str, Any]) -> dict[str, Any]:
        database, settings = self.endpoint.database, self.settings
        if asked["messageset"] is not None:
            both = await database.rehearse(
                simulate_changes,
                messageset_id=asked["messageset"],
                changes=asked["changes"],
                settings=settings,
            )
            return shown(both.after) | {"before": shown(both.before), "changed": both.changed}
        if asked["days"] is not None:
            now = await database.read(clock.now)
            told = await database.read_snapshot(
                simulate_days,
                until=now + timedelta(days=asked["days"]),
                zones=self.zones,
                settings=settings,
            )
            return shown(told)
        if asked["at"] is not None:
            await self._check_moment(asked["at"])
            told = await database.read_snapshot(
                simulate_at,
                schedule_id=asked["schedule"],
                at=asked["at"],
                zones=self.zones,
                settings=settings,
            )
            return shown(told)
        told = await database.read_snapshot(
            simulate_now, schedule_id=asked["schedule"], settings=settings
        )
        token = await database.transact(
            simulations.keep,
            schedule_id=asked["schedule"],
            made_by=request.user.username,
            allowed_change=asked["allowed_change"],
            counts=told.counts(),
        )
        return shown(told) | shown_token(told, token, asked["allowed_change"])

    async def _check_moment(self, at: datetime) -> None:
        now = await self.endpoint.database.read(clock.now)
        if not now < at <= now + timedelta(days=MOST_DAYS):
            raise SCHEMA.invalid({"at": [f"It must be within the next {MOST_DAYS} days."]})


def _check_kind(asked: dict[str, Any]) -> None:
    """Raise Invalid unless one thing is asked for."""
    kinds = [name for name in ("schedule", "days", "messageset") if asked[name] is not None]
    if len(kinds) != 1:
        raise SCHEMA.invalid({NON_FIELD: ["Give one of schedule, days, messageset."]})
    errors = {}
    if asked["at"] is not None and kinds != ["schedule"]:
        errors["at"] = ["It is for a schedule."]
    if asked["changes"] is not None and kinds != ["messageset"]:
        errors["changes"] = ["They are for a messageset."]
    if asked["changes"] is None and kinds == ["messageset"]:
        errors["changes"] = ["This field is required for a messageset."]
    if errors:
        raise SCHEMA.invalid(errors)


def _rows(**properties: json_schema.JsonSchema) -> json_schema.JsonSchema:
    return {"type": "array", "items": one_object(properties)}


_NUMBERED = said(nullable({"type": "integer"}), "The number of the message; null: of none.")
_BY = {"messageset": ROW_ID, "lang": TEXT, "sequence_number": _NUMBERED, "count": COUNT}
_RESULTS = {
    "send": said(
        one_object(
            {
                "count": COUNT,
                "sms": said(COUNT, "The short messages of all texts, in GSM 03.38 or UCS-2."),
                "by": _rows(**_BY, sms=COUNT),
            }
        ),
        "What is handed on. Whether there is an address, and whether the Message Sender accepts the"
        " message, is not known before.",
    ),
    "not": said(
        _rows(
            outcome=TEXT,
            stage=TEXT,
            reason=TEXT,
            count=COUNT,
            by=_rows(**_BY),
            examples=_rows(subscription=json_schema.UUID, identity=TEXT),
        ),
        f"What is not, and why, as the ledger will tell it. Up to {EXAMPLES} examples are those of"
        " a tick now or of a set.",
    ),
}
_TOLD = {
    "as_of": said(MOMENT, "The moment of the snapshot."),
    "follows": said(
        nullable(COUNT), "The tick that is still being sent, and whose members are skipped."
    ),
    "members": said(COUNT, "How many people all results are about."),
    **_RESULTS,
    "completes": said(COUNT, "How many reach the end of their set, if all of it is sent."),
    "continues": said(
        _rows(messageset=ROW_ID, lang=TEXT, next_set=nullable(ROW_ID), count=COUNT),
        "The sets that end, and where people go on; null: nowhere.",
    ),
    "ticks": said(
        _rows(schedule=ROW_ID, at=MOMENT, sent=COUNT, sms=COUNT, not_sent=COUNT),
        "The ticks of several days, or the one at a moment.",
    ),
    "holds": said({"type": "array", "items": TEXT}, "What would hold the tick back now."),
    "last_tick": said(
        nullable(
            one_object(
                {
                    "id": COUNT,
                    "due_at": MOMENT,
                    "members": COUNT,
                    "without_address": COUNT,
                    "refused": COUNT,
                }
            )
        ),
        "What happened at the last tick of the schedule after these decisions.",
    ),
    "per_second": said(
        nullable(NUMBER), "How many messages leave in a second, by the last ones and the rates."
    ),
    "done_about": said(nullable(MOMENT), "When the last one leaves, at this rate."),
}
_OF_A_TICK = {
    "token": said(json_schema.UUID, "For the header Simulation-Token of the tick."),
    "expires_at": said(MOMENT, "Until when the token is valid."),
    "allowed_change": COUNT,
    "changed": said(COUNT, "How many people, at least, have another result by the changes."),
    "before": said({"type": "object"}, "The same for the set as it is."),
}

_ANSWER = one_object({**_TOLD, **_OF_A_TICK}, required=list(_TOLD))

_COUNTED = one_object(
    {
        "send": one_object({"count": COUNT, "by": _rows(**_BY)}),
        "not": _rows(outcome=TEXT, stage=TEXT, reason=TEXT, count=COUNT),
    }
)
NOT_AS_SIMULATED = one_object({"detail": TEXT, "simulated": _COUNTED, "now": _COUNTED})

SECTION = Section(
    tags=[("Simulations", "What goes out, and to whom nothing, before anything is sent.")],
    paths=[
        PathItem(
            path=PATH,
            tag="Simulations",
            needs=_NEEDS,
            operations={
                "POST": Operation(
                    name="simulate",
                    summary="Simulate ticks",
                    description="Nothing is sent, and nothing is changed. A tick now is decided by"
                    " the same statements and rules as the tick itself, up to the look-up of the"
                    " address. For a moment to come, and for several days, everything that is owed"
                    " now is taken as sent, and nothing else is taken to happen than the ticks of"
                    " the clock. With changed messages, the next tick of everybody in the set is"
                    " told, and the same as it is now, as `before`. One simulation is made at a"
                    " time.",
                    body=schema("SimulationWritten"),
                    example={"schedule": 1},
                    answers={200: answer_of(schema("Simulation"), "What would happen.")},
                )
            },
        )
    ],
    schemas={"Simulation": _ANSWER, "SimulationWritten": written(SCHEMA)},
)

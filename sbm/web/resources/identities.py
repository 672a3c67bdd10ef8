"""``/api/v1/identities``: everything about a person: read it, export it, or forget it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.web.server import Request

from sbm.model.person import Person
from sbm.model.personal_data import SUBSCRIBER_TABLES
from sbm.model.user import ADMINISTER
from sbm.operations import privacy
from sbm.operations.privacy import Forgotten, TooMuchData
from sbm.runtime.time_slices import TimeSlice
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, new_app
from sbm.web.http.needs import Needs
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import compact_json
from sbm.web.openapi.lists import INVALID_FILTER, key, parameters
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema
from sbm.web.resources.people import Timelines
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter, read_filters
from sbm.web.schema.json_schema import COUNT, TEXT

PATH = "/api/v1/identities/"

# How long a request waits for a message that is being sent to the person.
WAIT = timedelta(seconds=5)

# The largest answer: it is held in memory.
MAX_BYTES = 16 * 2**20

_FILTERS = [
    Filter(
        name="dry_run",
        read=filters.boolean,
        note="`true`: only count the rows, and change nothing.",
    )
]
_NEEDS = Needs(of_path=ADMINISTER)
_FORGET = OptionsInfo(name="Forget", description="Deletes everything about a person")
_EXPORT = OptionsInfo(name="Export", description="Everything that is stored about a person")


@frozen(eq=False, kw_only=True)
class Identities:
    """People, by their identities in the Identity Store."""

    app = new_app()

    endpoint: Endpoint
    timelines: Timelines

    @app.route("/<identity>/timeline")
    async def timeline(self, request: Request, identity: str) -> bytes:
        return await self.timelines.answer(request, identity)

    @app.route("/<identity>/forget")
    async def forget(self, request: Request, identity: str) -> bytes:
        methods = {"POST": partial(self._forget, Person(identity=identity))}
        return await self.endpoint.answer(request, _FORGET, methods, needs=_NEEDS)

    @app.route("/<identity>/export")
    async def export(self, request: Request, identity: str) -> bytes:
        methods = {"GET": partial(self._export, Person(identity=identity))}
        return await self.endpoint.answer(request, _EXPORT, methods, needs=_NEEDS)

    async def _forget(self, person: Person, request: ApiRequest) -> Reply:
        """The body is not read."""
        database = self.endpoint.database
        wanted = await database.read(read_filters, _FILTERS, request.query)
        if wanted.get("dry_run"):
            return Reply(body=_shown(await privacy.count(database, person=person)))
        # The path has the identity, which must not be stored again.
        author = evolve(request.author(), action=f"POST {PATH}*/forget/")
        forgotten = await privacy.forget(database, person=person, author=author, wait=WAIT)
        return Reply(status=202 if forgotten.remaining else 200, body=_shown(forgotten))

    async def _export(self, person: Person, _request: ApiRequest) -> Reply:
        """Raises TooMuchData."""
        database = self.endpoint.database
        slices = TimeSlice(reactor=database.reactor)
        body = bytearray()
        async for piece in privacy.written(database, person=person, write=_json):
            body += piece.encode("utf-8")
            if len(body) > MAX_BYTES:
                raise TooMuchData
            if slices.is_over:
                await slices.next_turn()
        return Reply(json=bytes(body))


def _json(value: Any) -> str:
    return compact_json(value).decode("utf-8")


def _shown(forgotten: Forgotten) -> dict[str, Any]:
    return {
        "mark": forgotten.mark,
        "tables": dict(forgotten.counts),
        "remaining": dict(forgotten.remaining),
    }


_TABLES = {one.name: one.purpose for one in SUBSCRIBER_TABLES}
_FORGOTTEN = one_object(
    {
        "mark": said(
            nullable(TEXT), "What stands for the person in the rows that stay; null: a dry run."
        ),
        "tables": one_object(
            {name: said(COUNT, f"Rows of: {purpose}.") for name, purpose in _TABLES.items()},
            required=(),
            note="How many rows were deleted or marked, by table; of a dry run, how many there are."
            " Without a table, there are none.",
        ),
        "remaining": one_object(
            {
                "sends": said(COUNT, "Messages that may have been sent, or not: it is not known."),
                "scheduler_calls": said(COUNT, "Schedules at the Scheduler to be disabled."),
                "transactions": said(COUNT, "Transactions that began before."),
            },
            required=(),
            note="What is waited for.",
        ),
    }
)
_EXPORTED = one_object(
    {
        "identity": said(TEXT, "As it was asked for."),
        "tables": one_object(
            {
                name: said({"type": "array", "items": {"type": "object"}}, f"For: {purpose}.")
                for name, purpose in _TABLES.items()
            },
            required=(),
            note="The rows of the person, with all columns, by table. Times are in UTC. Without a"
            " table, it has none.",
        ),
    }
)
_KEY = key("identity", TEXT, "The identity, in any spelling of a UUID.")

SECTION = Section(
    tags=[("Privacy", "Everything that is stored about a person.")],
    paths=[
        PathItem(
            path=f"{PATH}{{identity}}/forget/",
            tag="Privacy",
            needs=_NEEDS,
            parameters=_KEY,
            operations={
                "POST": Operation(
                    name="forget_identity",
                    summary="Forget a person",
                    description="Deletes everything about the person. What the sums need stays,"
                    " with a random mark in place of the identity. The request is safe to repeat."
                    " It cannot be undone. The body is not read.",
                    parameters=parameters(_FILTERS),
                    answers={
                        200: answer_of(schema("ForgottenIdentity"), "Nothing is left."),
                        202: answer_of(
                            schema("ForgottenIdentity"),
                            "A message is being sent to the person. When it is known whether it was"
                            " sent, the rest is marked. Repeat the request to see whether it is.",
                        ),
                        **INVALID_FILTER,
                    },
                )
            },
        ),
        PathItem(
            path=f"{PATH}{{identity}}/export/",
            tag="Privacy",
            needs=_NEEDS,
            parameters=_KEY,
            operations={
                "GET": Operation(
                    name="export_identity",
                    summary="Export everything about a person",
                    answers={
                        200: answer_of(schema("ExportedIdentity"), "All rows about the person."),
                        409: answer_of(schema("Detail"), "There is too much: use `sbm export`."),
                    },
                )
            },
        ),
    ],
    schemas={"ForgottenIdentity": _FORGOTTEN, "ExportedIdentity": _EXPORTED},
)

"""``/api/v1/messageset_languages``: the languages of each message set."""

from __future__ import annotations

from attrs import frozen
from twisted.web.server import Request

from sbm.store import messagesets
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, new_app, reading
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.schema.json_schema import TEXT

_OPTIONS = OptionsInfo(
    name="Messageset Languages", description="The languages of the messages of each message set."
)


@frozen(eq=False, kw_only=True)
class Languages:
    """The languages of all message sets."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def languages(self, request: Request) -> bytes:
        return await self.endpoint.answer(request, _OPTIONS, {"GET": reading(_read)})


async def _read(transaction: Transaction, _request: ApiRequest) -> Reply:
    found = await messagesets.list_languages(transaction)
    return Reply(body={str(messageset_id): langs for messageset_id, langs in found.items()})


SECTION = Section(
    paths=[
        PathItem(
            path="/api/v1/messageset_languages/",
            tag="Message sets",
            operations={
                "GET": Operation(
                    name="read_messageset_languages",
                    summary="Read the languages of each message set",
                    answers={
                        200: answer_of(
                            {
                                "type": "object",
                                "additionalProperties": {"type": "array", "items": TEXT},
                            },
                            "The languages, sorted, by the id of the set.",
                        )
                    },
                )
            },
        )
    ]
)
